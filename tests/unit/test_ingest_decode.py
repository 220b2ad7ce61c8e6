"""The hot path's decoder: good bodies to the letter, bad ones to the place."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.services.ingest import decode
from gpuforge_shared.errors import Invalid, MalformedBody

AT = datetime(2026, 5, 9, 0, 30, tzinfo=UTC)

ITEMS = st.fixed_dictionaries(
    {"gpu_id": st.integers(1, 2**63 - 1)},
    optional={
        "utilization_pct": st.one_of(st.none(), st.floats(0, 100)),
        "memory_used_mb": st.one_of(st.none(), st.integers(0, 2**40)),
        "temperature_c": st.one_of(st.none(), st.floats(0, 1e12)),
        "recorded_at": st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat()),
        "missing": st.dictionaries(st.text("abcäß 🚀", max_size=64), st.text("xyz", max_size=64), max_size=3),
        "tomorrow": st.one_of(st.none(), st.text(), st.lists(st.integers())),
    },
)


@given(items=st.lists(ITEMS, min_size=1, max_size=5))
def test_a_good_body_comes_through_as_it_is(items: list[dict[str, object]]) -> None:
    batch = decode(json.dumps({"metrics": items, "tomorrow": 1}).encode())
    for told, metric in zip(items, batch.metrics, strict=True):
        for name in told.keys() - {"tomorrow", "recorded_at"}:
            assert getattr(metric, name) == told[name]
        if "recorded_at" in told:
            assert metric.recorded_at == datetime.fromisoformat(str(told["recorded_at"]))


@given(body=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    with pytest.raises((MalformedBody, Invalid)):
        decode(body)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["metrics", "gpu_id", "missing", "recorded_at", "x"]), inner, max_size=4
        ),
    ),
    max_leaves=8,
)


@given(document=JSON)
def test_a_refusal_names_a_place_whatever_else_the_body_holds(document: object) -> None:
    body = json.dumps({"metrics": [{"gpu_id": 0, "x": document}]}).encode()  # an id that is refused
    with pytest.raises(Invalid) as refused:
        decode(body)
    assert refused.value.errors
    assert all(error.path for error in refused.value.errors)


@pytest.mark.parametrize(
    ("item", "path"),
    [
        pytest.param('"utilization_pct": NaN', "metrics[0].utilization_pct", id="NaN"),
        pytest.param('"power_draw_w": Infinity', "metrics[0].power_draw_w", id="Infinity"),
        pytest.param('"utilization_pct": 100.0001', "metrics[0].utilization_pct", id="over 100"),
        pytest.param('"utilization_pct": -0.0001', "metrics[0].utilization_pct", id="below 0"),
        pytest.param('"x": {"y": [1, NaN]}', "metrics[0].x.y[1]", id="NaN in a field nobody knows"),
        pytest.param('"memory_used_mb": 1.5', "metrics[0].memory_used_mb", id="half a megabyte"),
        pytest.param('"recorded_at": "2026-05-09T12:00:00"', "metrics[0].recorded_at", id="no zone"),
        pytest.param('"recorded_at": 1778328000', "metrics[0].recorded_at", id="epoch seconds"),
    ],
)
def test_a_fault_is_named_by_its_place(item: str, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(b'{"metrics": [{"gpu_id": 1, %s}]}' % item.encode())
    assert [error.path for error in refused.value.errors] == [path]


@pytest.mark.parametrize("value", ["0", "100", "-0.0", "1e2", "null"])
def test_the_edges_are_within(value: str) -> None:
    decode(b'{"metrics": [{"gpu_id": 1, "utilization_pct": %s}]}' % value.encode())
