"""`Idempotency-Key`: a POST that is repeated gets the first one's answer and does nothing again.

The claim, the work and the stored answer share one transaction, so a crash leaves all or nothing, and of
two requests at the same instant the second waits for the first and gets its answer.

A raw API key in an answer is stored sealed under the caller's own raw key, which the database does not hold.
So only the caller who made the request can have it again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from gpuforge_controlplane.services.context import Context
from gpuforge_controlplane.services.sealing import open_sealed, seal
from gpuforge_controlplane.storage import idempotency
from gpuforge_controlplane.storage.idempotency import Claim, Stored
from gpuforge_shared.errors import Conflict, Invalid

# Money keeps its two decimals: the repeat is the first answer to the letter.
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A status and the answer that goes with it."""

    status: int
    answer: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A POST with an Idempotency-Key; `sealed` names the answer's field with a raw key, if it has one."""

    claim: Claim
    bearer: str  # the caller's raw key
    sealed: str | None


def claim_of(*, principal: str, route: str, key: str, request: bytes) -> Claim:
    """The claim of a request; the key itself is stored as a digest only."""
    return Claim(
        principal=principal,
        route=route,
        key_digest=hashlib.sha256(key.encode()).digest(),
        request_digest=hashlib.sha256(request).digest(),
    )


async def once(ctx: Context, wanted: Once, work: Callable[[], Awaitable[Reply]]) -> Reply:
    """`work`'s reply, or that of an earlier request with the same key.

    Raises Invalid where the earlier request was another one, Conflict where it is still running.
    """
    nonce = secrets.token_bytes(32)
    earlier = await idempotency.claim(ctx.tx, wanted.claim, nonce, ctx.now)
    if earlier is not None:
        return _replay(wanted, earlier)
    reply = await work()
    sealed = _with_secret(
        msgspec.to_builtins(reply.answer, builtin_types=(Decimal,)),
        wanted.sealed,
        lambda raw: _seal(wanted, nonce, raw),
    )
    await idempotency.keep(ctx.tx, wanted.claim, reply.status, _ENCODER.encode(sealed))
    return reply


def _replay(wanted: Once, earlier: Stored) -> Reply:
    if earlier.request_digest != wanted.claim.request_digest:
        raise Invalid(
            "this Idempotency-Key was used for another request; take a new key", code="idempotency_key_reused"
        )
    if earlier.status is None or earlier.answer is None:
        raise Conflict("the first request with this Idempotency-Key is still running", code="still_running")
    answer = _DECODER.decode(earlier.answer)
    opened = _with_secret(answer, wanted.sealed, lambda sealed: _open(wanted, earlier.nonce, sealed))
    return Reply(status=earlier.status, answer=opened)


def _with_secret(answer: object, name: str | None, change: Callable[[str], str]) -> object:
    if name is None or not isinstance(answer, dict):
        return answer
    return {**answer, name: change(answer[name])}


def _seal(wanted: Once, nonce: bytes, raw: str) -> str:
    return seal(wanted.bearer.encode(), nonce, raw.encode()).hex()


def _open(wanted: Once, nonce: bytes, sealed: str) -> str:
    return open_sealed(wanted.bearer.encode(), nonce, bytes.fromhex(sealed)).decode()
