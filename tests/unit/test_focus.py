"""A row of the ledger as FOCUS has it."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuforge_controlplane.domain.focus import COLUMNS, HEADER, Used, focus_row
from gpuforge_controlplane.domain.metering import RateBook, RateVersion, whole_second

BEGUN = datetime(2026, 5, 9, 12, tzinfo=UTC)
USED = Used(
    id=11, job_id=3, gpu_id=5, gpu_uuid="GPU-1", tenant_id=7, family="H100", rate_id=1, started_at=BEGUN,
    ended_at=BEGUN + timedelta(hours=1), gpu_seconds=3600, invoice_sequence=42, cluster_id=2, cluster="east",
    region="eu-1",
)  # fmt: skip


def version(number: int, price: int | None, tenant_id: int | None = None) -> RateVersion:
    return RateVersion(
        id=number, family="H100", tenant_id=tenant_id, price_micros=price, effective_s=whole_second(BEGUN)
    )


LISTED, OWN = version(1, 4_760_000), version(2, 4_000_000, 7)


def row(versions: list[RateVersion], **changes: Any) -> dict[str, str]:
    line = focus_row(USED._replace(**changes), RateBook(versions), {7: "Acme ML"})
    (found,) = csv.DictReader(io.StringIO(HEADER + line, newline=""), strict=True)
    return dict(found)


def test_every_column_has_its_cell() -> None:
    assert row([LISTED]) == dict(
        zip(
            COLUMNS,
            ("7", "Acme ML", "USD", "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z", "Usage", "",
             "H100 GPU time of job 3", "Usage-Based", "2026-05-09T12:00:00Z", "2026-05-09T13:00:00Z", "3600",
             "GPU-Seconds", "1.0000000000", "GPU-Hours", "4.76", "4.76", "4.7600000000", "4.7600000000",
             "4.7600000000", "4.7600000000", "GF-000042", "GPUForge", "GPUForge", "GPUForge", "GPU Compute",
             "Compute", "H100", "GPU-1", "GPU", "eu-1", "2", "east", "11", "3"),
            strict=True,
        )
    )  # fmt: skip


PRICED = ("ListUnitPrice", "ContractedUnitPrice", "ListCost", "BilledCost")


@pytest.mark.parametrize(
    ("versions", "rate_id", "expected"),
    [
        pytest.param([LISTED, OWN], 2, ("4.76", "4.00", "4.7600000000", "4.0000000000"), id="its own price"),
        pytest.param([OWN], 2, ("", "4.00", "4.0000000000", "4.0000000000"), id="without a list price"),
        pytest.param([], None, ("", "", "0.0000000000", "0.0000000000"), id="unrated"),
        pytest.param([version(1, 0)], 1, ("0.00", "0.00", "0.0000000000", "0.0000000000"), id="free"),
        pytest.param(
            [LISTED], None, ("4.76", "", "0.0000000000", "0.0000000000"), id="unrated when it was metered"
        ),
    ],
)
def test_prices(versions: list[RateVersion], rate_id: int | None, expected: tuple[str, ...]) -> None:
    found = row(versions, rate_id=rate_id)
    assert tuple(found[name] for name in PRICED) == expected


@pytest.mark.parametrize(
    ("changes", "column", "cell"),
    [
        pytest.param({"tenant_id": None}, "BillingAccountName", "", id="nobody's"),
        pytest.param({"tenant_id": 9}, "BillingAccountName", "tenant 9", id="a tenant without a name"),
        pytest.param({"gpu_uuid": None}, "ResourceId", "5", id="a GPU without a UUID"),
        pytest.param({"invoice_sequence": None}, "InvoiceId", "", id="on no invoice"),
        pytest.param({"cluster": "=cmd"}, "SubAccountName", "'=cmd", id="a name that is a formula"),
        pytest.param(
            {"started_at": BEGUN.replace(month=12)}, "BillingPeriodEnd", "2027-01-01T00:00:00Z", id="December"
        ),
    ],
)
def test_cells_that_differ(changes: dict[str, Any], column: str, cell: str) -> None:
    assert row([LISTED], **changes)[column] == cell


@given(st.integers(0, 86_400), st.integers(0, 10**10))
def test_costs_are_exact_to_ten_places(seconds: int, micros: int) -> None:
    found = row([version(1, micros)], gpu_seconds=seconds)
    exact = Fraction(seconds * micros, 3600 * 10**6)
    assert abs(Fraction(Decimal(found["BilledCost"])) - exact) <= Fraction(1, 2 * 10**10)
    assert Fraction(Decimal(found["ContractedUnitPrice"])) == Fraction(micros, 10**6)
