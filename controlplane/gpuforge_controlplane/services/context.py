"""What every use case is handed: a transaction, the caller, the moment, the request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from gpuforge_controlplane.domain.access import Principal
from gpuforge_controlplane.domain.buckets import Kept
from gpuforge_controlplane.services.outbound import Outbound
from gpuforge_controlplane.services.owned import OwnedGpus
from gpuforge_controlplane.storage import audit
from gpuforge_controlplane.storage.database import Connection
from gpuforge_shared.errors import invalid

T = TypeVar("T")

LIST_CAP = 10_000  # items in an answer to a list without `limit`


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One request's surroundings. `tx` is read-only for a GET."""

    tx: Connection
    principal: Principal
    now: datetime
    request_id: str
    retention: timedelta  # how long raw samples are kept
    kept: Kept = field(default_factory=Kept)
    owned: OwnedGpus = field(default_factory=OwnedGpus)  # the process's own, where requests share it
    outbound: Outbound = field(default_factory=Outbound)

    async def audit(
        self,
        action: str,
        object_type: str,
        object_id: int | None,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Record this write in its own transaction. Never hand in a raw key."""
        await audit.append(
            self.tx, self.audit_row(action, object_type, object_id, before=before, after=after)
        )

    def audit_row(
        self,
        action: str,
        object_type: str,
        object_id: int | None,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """What `audit` records."""
        return {
            "at": self.now,
            "principal": self.principal.name,
            "action": action,
            "object_type": object_type,
            "object_id": object_id,
            "before": before,
            "after": after,
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True)
class Upserted(Generic[T]):
    """The answer of an idempotent write: 201 where it made something new, else 200."""

    answer: T
    created: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page and where it ended; None where nothing follows."""

    answer: T
    last_id: int | None


def page_of(items: Sequence[T], limit: int, ids: Sequence[int]) -> Page[list[T]]:
    """A page of at most `limit` out of up to `limit + 1` items; `ids` are theirs, in order."""
    more = len(items) > limit
    return Page(list(items[:limit]), ids[limit - 1] if more else None)


def encode_cursor(last_id: int) -> str:
    """An opaque word for clients to hand back."""
    return base64.urlsafe_b64encode(f"after:{last_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *, start: int = 0) -> int:
    """The id that the last page ended at, or `start` without a cursor. Raises Invalid for a made-up one."""
    if cursor is None:
        return start
    try:
        word = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        head, last_id = word.split(":")
        if head == "after" and last_id.isdecimal() and len(last_id) < 19:
            return int(last_id)
    except (binascii.Error, ValueError):
        pass
    raise invalid("query.cursor", "not a cursor of this list; take it from the Link header as it is")
