"""How many requests share a transaction: large hosts hold the writer for no longer than small ones."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from gpuforge_controlplane.services.together import GROUP, Asked, Together


class Ledger:
    """Stands for the database: counts what each transaction serves."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    async def transact(self, work: Any, **_: Any) -> Any:
        return await work(None)

    async def serve(self, asked: Sequence[Any]) -> Sequence[Any]:
        self.groups.append(len(asked))
        return [None] * len(asked)


@pytest.mark.parametrize(
    ("body", "a_transaction"),
    [
        (SimpleNamespace(hostname="gpu-01"), GROUP),
        (SimpleNamespace(gpus=[]), GROUP),
        (SimpleNamespace(gpus=[None] * 8), GROUP),
        (SimpleNamespace(gpus=[None] * 16), GROUP // 2),
        (SimpleNamespace(gpus=[None] * 64), GROUP // 8),
        (SimpleNamespace(gpus=[None] * 8 * GROUP * 2), 1),
    ],
    ids=["a heartbeat", "no GPU", "8 GPUs", "16 GPUs", "64 GPUs", "more than a transaction's"],
)
async def test_a_transaction_is_as_long_for_large_hosts_as_for_small_ones(
    body: object, a_transaction: int
) -> None:
    ledger: Any = Ledger()
    together = Together(ledger, ledger.serve)
    asked = Asked(inputs=(7, body), context=lambda _: SimpleNamespace())  # type: ignore[arg-type,return-value]
    await asyncio.gather(*(together.submit(asked) for _ in range(2 * GROUP)))
    assert max(ledger.groups) == a_transaction
    assert sum(ledger.groups) == 2 * GROUP
