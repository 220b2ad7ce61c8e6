"""Which starts of a plan still hold when they are applied: a table, and what must hold for any of them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.decisions import Start
from gpuforge_controlplane.domain.placement import NodeShare
from gpuforge_controlplane.domain.quota import Tenant
from gpuforge_controlplane.domain.recheck import still_valid
from gpuforge_controlplane.domain.snapshot import QueuedJob

ACME, NOVAI = 1, 2


def start(job_id: int, shares: dict[int, tuple[int, ...]], tenant_id: int | None = None) -> Start:
    """Of a job that takes these GPUs by node."""
    count = sum(map(len, shares.values()))
    job = QueuedJob(5, 0.0, job_id, 1, None, count, tenant_id, None)
    taken = tuple(NodeShare(node_id=node, gpu_ids=ids) for node, ids in shares.items())
    return Start(job=job, family="H100", shares=taken)


def held(*starts: Start, **now: object) -> list[int]:
    """The ids of the jobs that may start; what `now` leaves out is as good as can be."""
    facts: dict[str, object] = {
        "tenants": {ACME: Tenant(id=ACME, quota=4)},
        "used": {},
        "busy": frozenset(),
        "usable": {1, 2},
        **now,
    }
    return [one.job.id for one in still_valid(starts, **facts)]  # type: ignore[arg-type]  # facts by name


ONE_NODE = start(7, {1: (10, 11)}, ACME)
GANG = start(8, {1: (12,), 2: (20, 21)}, ACME)


@pytest.mark.parametrize(
    ("starts", "now", "expected"),
    [
        pytest.param([ONE_NODE], {}, [7], id="nothing changed"),
        pytest.param([ONE_NODE], {"busy": {11}}, [], id="one of its GPUs was taken"),
        pytest.param([ONE_NODE], {"busy": {12}}, [7], id="somebody else's GPU was taken"),
        pytest.param([GANG], {"usable": {1}}, [], id="one node of a gang was cordoned"),
        pytest.param([ONE_NODE], {"usable": set()}, [], id="its node was cordoned"),
        pytest.param([ONE_NODE], {"tenants": {}}, [], id="its tenant is gone"),
        pytest.param(
            [ONE_NODE], {"tenants": {ACME: Tenant(id=ACME, quota=4, active=False)}}, [], id="tenant inactive"
        ),
        pytest.param([ONE_NODE], {"used": {ACME: 2}}, [7], id="the quota's very last GPUs"),
        pytest.param([ONE_NODE], {"used": {ACME: 3}}, [], id="one GPU over the quota"),
        pytest.param([ONE_NODE], {"used": {ACME: 9}}, [], id="the quota was lowered below what is in use"),
        pytest.param([ONE_NODE, GANG], {}, [7], id="two that only fit the quota one at a time: the first"),
        pytest.param([GANG, ONE_NODE], {}, [8], id="and it is the order that tells the first"),
        pytest.param(
            [ONE_NODE, GANG], {"busy": {10}}, [8], id="what is dropped leaves its quota to those behind it"
        ),
        pytest.param([start(9, {1: (13,)})], {"used": {None: 500}}, [9], id="without a tenant no quota"),
        pytest.param(
            [start(9, {1: (13,)}), start(10, {1: (13,)})], {}, [9], id="one GPU promised twice: the first"
        ),
    ],
)
def test_table(starts: list[Start], now: dict[str, object], expected: list[int]) -> None:
    assert held(*starts, **now) == expected


node_ids = st.integers(1, 3)
gpu_sets = st.sets(st.integers(0, 9), min_size=1, max_size=4)
shares = st.dictionaries(node_ids, gpu_sets.map(sorted).map(tuple), min_size=1, max_size=2)
tenant_ids = st.none() | st.sampled_from((ACME, NOVAI, 3))


@st.composite
def starts(draw: st.DrawFn) -> list[Start]:
    """Starts with ids of their own; GPU ids tell their node."""
    found = draw(st.lists(st.tuples(shares, tenant_ids), max_size=12))
    return [
        start(number, {node: tuple(100 * node + gpu for gpu in gpus) for node, gpus in taken.items()}, tenant)
        for number, (taken, tenant) in enumerate(found)
    ]


@given(
    asked=starts(),
    quotas=st.dictionaries(st.sampled_from((ACME, NOVAI)), st.tuples(st.integers(1, 9), st.booleans())),
    used=st.dictionaries(tenant_ids, st.integers(0, 9)),
    busy=st.sets(st.builds(lambda node, gpu: 100 * node + gpu, node_ids, st.integers(0, 9))),
    usable=st.sets(node_ids),
)
def test_what_passes_breaks_nothing(
    asked: list[Start],
    quotas: dict[int, tuple[int, bool]],
    used: dict[int | None, int],
    busy: set[int],
    usable: set[int],
) -> None:
    tenants = {key: Tenant(id=key, quota=quota, active=active) for key, (quota, active) in quotas.items()}
    before = dict(used)
    passed = still_valid(asked, tenants=tenants, used=used, busy=busy, usable=usable)
    assert used == before
    assert [one.job.id for one in passed] == sorted(one.job.id for one in passed)  # in the plan's order
    taken = Counter(gpu for one in passed for share in one.shares for gpu in share.gpu_ids)
    assert not taken.keys() & busy
    assert set(taken.values()) <= {1}
    assert {share.node_id for one in passed for share in one.shares} <= usable
    for tenant_id in {one.job.tenant_id for one in passed} - {None}:
        assert tenant_id is not None
        started = sum(one.job.gpu_count for one in passed if one.job.tenant_id == tenant_id)
        assert tenants[tenant_id].active
        assert used.get(tenant_id, 0) + started <= tenants[tenant_id].quota


@given(asked=starts())
def test_what_still_holds_is_not_dropped(asked: list[Start]) -> None:
    seen: set[int] = set()
    apart = []
    for one in asked:
        gpus = {gpu for share in one.shares for gpu in share.gpu_ids}
        if gpus.isdisjoint(seen):
            apart.append(one)
            seen |= gpus
    tenants = {key: Tenant(id=key, quota=1_000) for key in (ACME, NOVAI, 3)}
    assert still_valid(apart, tenants=tenants, used={}, busy=set(), usable={1, 2, 3}) == apart
