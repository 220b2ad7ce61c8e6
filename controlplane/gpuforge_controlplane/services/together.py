"""Requests that arrive together share a transaction; one that breaks is tried again apart from the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.storage.database import Connection, Database
from gpuforge_controlplane.storage.grouping import Grouped
from gpuforge_shared.errors import Unavailable

GROUP = 100  # requests a transaction, of hosts with eight GPUs at most: other writers wait some 100 ms
GPUS = 8  # of a host with more GPUs, each so many count as a request
LOCK_WAIT_S = 2.0  # on PostgreSQL; a row that somebody holds for longer holds up nobody but who needs it

# Answers requests in one transaction, that of every context: each is a context, its path's ids and its body.
# In order, an exception for each that is refused, so that a refusal is none of the others'.
Many = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request to be served with others; `context` makes its context in their transaction."""

    inputs: Sequence[object]
    context: Callable[[Connection], Context]


class Together:
    """The way of requests without an Idempotency-Key: a burst pays for few transactions and statements."""

    def __init__(self, database: Database, serve: Many) -> None:
        self._database = database
        self._serve = serve
        self._groups: Grouped[Asked, Any] = Grouped(self._run, weight=_weight, most=GROUP)

    async def submit(self, one: Asked) -> object:
        """The answer, after commit. Raises what the request is refused with."""
        outcome = await self._groups.submit(one)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _run(self, group: Sequence[Asked]) -> Sequence[object]:
        try:
            return await self._in_one(group)
        except Exception as error:
            if len(group) == 1 or (isinstance(error, Unavailable) and error.code != "row_held"):
                raise
        # Whatever it was belongs to one of them: the others must not pay for it.
        return await asyncio.gather(*map(self._alone, group))

    async def _in_one(self, group: Sequence[Asked]) -> Sequence[object]:
        return await self._database.transact(
            lambda tx: self._serve([(one.context(tx), *one.inputs) for one in group]), lock_wait_s=LOCK_WAIT_S
        )

    async def _alone(self, one: Asked) -> object:
        try:
            (outcome,) = await self._in_one([one])
        except Exception as error:  # noqa: BLE001  # it is this caller's alone
            return error
        return outcome


def _weight(one: Asked) -> int:
    """What a body costs is mostly what its GPUs cost."""
    gpus = max((len(getattr(each, "gpus", ())) for each in one.inputs), default=0)
    return max(1, gpus // GPUS)
