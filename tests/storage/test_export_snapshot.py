"""The export's rows are of one moment, in pages, whatever happens meanwhile."""

from datetime import timedelta

from gpuforge_controlplane.domain.focus import Used
from gpuforge_controlplane.storage import usage_export
from gpuforge_controlplane.storage.billing_schema import usage_events
from gpuforge_controlplane.storage.schema import allocations
from tests.storage.rows import NOW, Shelf


async def add(shelf: Shelf, allocation: int, first: int, count: int) -> None:
    """Rows of a second each, from second `first` on."""
    row = {
        "allocation_id": allocation,
        "job_id": 1,
        "gpu_id": 1,
        "family": "H100",
        "gpu_seconds": 1,
        "metered_at": NOW,
    }
    times = [NOW + timedelta(seconds=second) for second in range(first, first + count)]
    await shelf.insert(
        usage_events,
        *({**row, "started_at": time, "ended_at": time + timedelta(seconds=1)} for time in times),
    )


async def test_rows_added_meanwhile_are_not_seen(shelf: Shelf) -> None:
    await shelf.node(1)
    await shelf.queue()
    held = {"job_id": 1, "gpu_id": 1, "node_id": 1, "family": "H100", "started_at": NOW, "settled": False}
    allocation = await shelf.insert(allocations, held)
    await add(shelf, allocation, 0, 25)
    pages: list[list[Used]] = []
    async with shelf.database.read() as tx:
        until = NOW + timedelta(hours=1)
        async for page in usage_export.used(tx, since=NOW, until=until, tenant_id=None, page=10):
            await add(shelf, allocation, 100 * (len(pages) + 1), 10)
            pages.append(page)
    assert [len(page) for page in pages] == [10, 10, 5]
    starts = [(row.started_at - NOW).total_seconds() for page in pages for row in page]
    assert starts == list(range(25))
    assert (await shelf.all("SELECT count(*) FROM usage_events"))[0][0] == 55
