"""Quota arithmetic as named cases."""

import pytest

from gpuforge_controlplane.domain.quota import UNLIMITED, QuotaLedger, Tenant, exceeds, in_use, remaining


@pytest.mark.parametrize(
    ("quota", "used", "left"),
    [(8, 0, 8), (8, 5, 3), (8, 8, 0), (4, 8, 0)],
    ids=["untouched", "partly used", "used up", "lowered below use"],
)
def test_what_a_tenant_may_still_take(quota: int, used: int, left: int) -> None:
    assert remaining(quota, used) == left


@pytest.mark.parametrize(("gpus", "quota", "never"), [(8, 8, False), (9, 8, True), (1, 1, False)])
def test_a_job_larger_than_the_quota_never_fits(gpus: int, quota: int, never: bool) -> None:
    assert exceeds(gpus, quota) is never


def test_use_is_summed_by_tenant_and_for_nobody() -> None:
    assert in_use([(1, 8), (2, 1), (1, 4), (None, 2)]) == {1: 12, 2: 1, None: 2}


def test_a_ledger_counts_down() -> None:
    ledger = QuotaLedger({1: Tenant(id=1, quota=8)}, {1: 3})
    assert ledger.left(1) == 5
    ledger.take(1, 4)
    assert ledger.left(1) == 1
    assert ledger.used[1] == 7


def test_work_without_a_tenant_has_no_limit() -> None:
    ledger = QuotaLedger({}, {None: 1_000})
    ledger.take(None, 100_000)
    assert ledger.left(None) > UNLIMITED // 2


def test_an_unknown_tenant_may_take_nothing() -> None:
    assert QuotaLedger({}, {}).left(7) == 0
