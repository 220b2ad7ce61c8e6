"""What is told and when: grouped for 30 s, repeated after 4 h, silenced, acknowledged, taken back."""

from typing import Any

import pytest

from gpuforge_controlplane.domain.notices import Silence, Untold, due, reaches, retry_after_s, silenced
from gpuforge_controlplane.domain.rules import Severity

NOW = 1_778_328_000.0
HOUR = 3600.0
FIRES = Untold(1, "gpu_fault", "critical", "gpu", "gpu-07/3", NOW - 30, None, None, False)
GPUS = Silence("gpu/*")


def told(*events: Untold, silences: tuple[Silence, ...] = (), now: float = NOW) -> list[tuple[int, str]]:
    return [(event.id, kind) for event, kind in due(events, silences, now)]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        pytest.param({}, "firing", id="after 30 s"),
        pytest.param({"fired_at": NOW - 29.9}, None, id="before"),
        pytest.param({"fired_at": NOW + 3600}, "firing", id="the clock was set back an hour"),
        pytest.param({"told_at": NOW - 4 * HOUR + 1}, None, id="told, and not 4 h ago"),
        pytest.param({"told_at": NOW - 4 * HOUR}, None, id="4 h ago: grouped, too"),
        pytest.param({"told_at": NOW - 4 * HOUR - 30}, "repeated", id="4 h ago and 30 s"),
        pytest.param({"told_at": NOW - 9 * HOUR, "acknowledged": True}, None, id="somebody is on it"),
        pytest.param({"acknowledged": True}, "firing", id="acknowledged before it was told"),
        pytest.param({"resolved_at": NOW - 30}, None, id="over before anybody heard"),
        pytest.param({"resolved_at": NOW - 30, "told_at": NOW - 600}, "resolved", id="over"),
        pytest.param({"resolved_at": NOW - 29, "told_at": NOW - 600}, None, id="just over"),
    ],
)
def test_one_event(fields: dict[str, Any], kind: str | None) -> None:
    assert told(FIRES._replace(**fields)) == ([] if kind is None else [(1, kind)])


def test_what_comes_within_30_seconds_goes_together() -> None:
    late = FIRES._replace(id=3, fired_at=NOW - 1)
    over = FIRES._replace(id=2, told_at=NOW - HOUR, resolved_at=NOW - 5)
    assert told(late, over, FIRES) == [(1, "firing"), (2, "resolved"), (3, "firing")]
    assert told(late, over) == []


@pytest.mark.parametrize(
    ("silence", "holds"),
    [
        (GPUS, True),
        (Silence("gpu/gpu-07/*"), True),
        (Silence("gpu/gpu-0[78]/3"), True),
        (Silence("*"), True),
        (Silence("gpu/*", "gpu_fault"), True),
        (Silence("gpu/*", "gpu_thermal"), False),
        (Silence("gpu/gpu-07"), False),
        (Silence("node/*"), False),
        (Silence("GPU/*"), False),
        (Silence("gpu-07/3"), False),
    ],
)
def test_silences_match_type_and_name(silence: Silence, holds: bool) -> None:
    assert silenced("gpu_fault", "gpu", "gpu-07/3", [silence]) == holds


def test_a_silence_holds_back_and_what_still_fires_is_told_when_it_ends() -> None:
    assert told(FIRES, silences=(GPUS,)) == []
    assert told(FIRES, silences=(GPUS,), now=NOW + HOUR) == []
    assert told(FIRES, now=NOW + HOUR) == [(1, "firing")]
    assert told(FIRES._replace(told_at=NOW - 5 * HOUR), silences=(GPUS,)) == []  # no repeats either


def test_the_end_of_what_was_told_is_told_though_silenced() -> None:
    """Whoever was called must hear that it is over."""
    assert told(FIRES._replace(told_at=NOW - HOUR, resolved_at=NOW - 30), silences=(GPUS,)) == [
        (1, "resolved")
    ]


def test_severities() -> None:
    order: tuple[Severity, ...] = ("info", "warning", "critical")
    for place, severity in enumerate(order):
        assert [reaches(severity, least) for least in order] == [place >= each for each in range(3)]


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert [retry_after_s(attempts) for attempts in (1, 2, 3, 6, 7, 8, 10_000)] == [
        5,
        10,
        20,
        160,
        300,
        300,
        300,
    ]
