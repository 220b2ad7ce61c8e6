"""Why a job waits: one dominant reason with numbers, as `CODE: sentence`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Code(StrEnum):
    """The reason codes of the contract."""

    NEVER_FITS_CLUSTER = "NEVER_FITS_CLUSTER"
    NO_SUCH_GPU_TYPE = "NO_SUCH_GPU_TYPE"
    EXCEEDS_TENANT_QUOTA = "EXCEEDS_TENANT_QUOTA"
    TENANT_INACTIVE = "TENANT_INACTIVE"
    QUOTA_FULL = "QUOTA_FULL"
    WAITING_CAPACITY = "WAITING_CAPACITY"
    FRAGMENTED = "FRAGMENTED"
    RESERVED_FOR = "RESERVED_FOR"


# Someone must change something; for the others time is enough.
BLOCKING = frozenset(
    {Code.NEVER_FITS_CLUSTER, Code.NO_SUCH_GPU_TYPE, Code.EXCEEDS_TENANT_QUOTA, Code.TENANT_INACTIVE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason; `str()` of it is the text that the API shows and the database stores."""

    code: Code
    sentence: str

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


def code_of(text: str) -> Code | None:
    """The code a stored reason starts with, or None for a text that a client wrote."""
    head = text.partition(":")[0]
    return Code(head) if head in Code.__members__ else None


def gpus(count: int, family: str | None = None) -> str:
    """`8 H100 GPUs`, `1 GPU`: a number never stands without its noun."""
    kind = f"{family} " if family else ""
    return f"{count} {kind}GPU{'' if count == 1 else 's'}"


def instant(at: float) -> str:
    """Seconds since the epoch as RFC 3339 UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
