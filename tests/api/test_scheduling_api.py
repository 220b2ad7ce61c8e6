"""What becomes of jobs by themselves: nodes that go, limits that pass; and what the scheduler tells of it."""

import random
from datetime import timedelta

from gpuforge_controlplane.domain.lifecycle import JobStatus
from tests.api.harness import START, Json
from tests.api.work import Work, broken

STEPS = 150


def wire(moment: object) -> str:
    return str(moment).replace(" ", "T").replace("+00:00", "Z")


async def test_a_cordoned_node_takes_no_new_job_and_keeps_its_own(work: Work) -> None:
    cluster = await work.cluster(8, 8)
    first, second = work.hosts
    stays = await work.running(cluster, 4)
    await work.node_state(first, "cordoned")
    new = await work.running(cluster, 4)
    assert {gpu["hostname"] for gpu in (await work.job(new))["allocation"]} == {second.hostname}
    assert await work.states(stays) == ["running"]
    waits = await work.submit(cluster, 8)
    await work.cycle()
    assert (await work.move(waits["id"], "running")).code == "no_capacity"
    await work.node_state(first, "active")
    await work.move(stays, "completed")
    await work.cycle()
    assert {gpu["hostname"] for gpu in (await work.job(waits["id"]))["allocation"]} == {first.hostname}


async def test_a_drain_empties_a_node_without_killing(work: Work) -> None:
    cluster = await work.cluster(8)
    jobs = [await work.running(cluster, 2) for _ in range(3)]
    await work.node_state(work.hosts[0], "draining")
    queued = await work.submit(cluster, 1)
    for left in (2, 1, 0):
        work.plane.clock.forward(seconds=60)
        await work.beat()
        await work.cycle()
        assert await work.states(*jobs) == ["running"] * (left + 1)
        assert (await work.move(jobs.pop(), "completed")).status == 200
        held = await work.admin.read("/api/dashboard/gpu-allocation?allocated=true")
        assert len(held) == 2 * left
    assert await work.states(queued) == ["queued"]


async def test_a_lost_nodes_job_runs_again_elsewhere_once(work: Work) -> None:
    cluster, clock = await work.cluster(8, 8, 8), work.plane.clock
    job = await work.running(cluster, 12)
    first, second, third = work.hosts
    heard = []
    for lost, quiet_for in ((first, 91), (second, 100)):
        await work.beat()
        heard.append(clock.now)
        clock.forward(seconds=90)
        await work.beat(lost)
        await work.cycle()
        assert await work.states(job) == ["running"]  # 90 s is not yet over 90 s
        clock.forward(seconds=quiet_for - 90)
        await work.cycle()
        told = await work.job(job)
        if lost is first:
            assert {gpu["hostname"] for gpu in told["allocation"]} == {second.hostname, third.hostname}
            assert told["started_at"] == wire(clock.now)
    assert (told["status"], told["ended_at"]) == ("failed", told["allocation"][0]["ended_at"])
    assert told["end_reason"] == f"NODE_LOST: node {second.hostname} was last heard at {wire(heard[1])}"
    rows = await work.plane.rows("SELECT started_at, ended_at FROM allocations ORDER BY id")
    assert len(rows) == 24
    first_run, second_run = told["history"][1:3], told["history"][3:]
    assert [(row["to_status"], row["reason"]) for row in first_run] == [
        ("running", f"12 H100 on {first.hostname}, {second.hostname}"),
        ("queued", f"NODE_LOST: node {first.hostname} was last heard at {wire(heard[0])}"),
    ]
    assert [row["to_status"] for row in second_run] == ["running", "failed"]
    assert (await work.explain(job))["code"] == "NODE_LOST"


async def test_the_allocation_ends_at_the_last_heartbeat(work: Work) -> None:
    cluster, clock = await work.cluster(1), work.plane.clock
    job = await work.running(cluster, 1, on_node_loss="fail")
    clock.forward(seconds=45)
    await work.beat()
    heard = clock.now
    clock.forward(hours=5)
    await work.cycle()
    told = await work.job(job)
    (held,) = told["allocation"]
    assert (told["status"], told["ended_at"], held["ended_at"]) == ("failed", wire(heard), wire(heard))
    assert held["started_at"] == wire(START)
    last = told["history"][-1]
    assert (last["at"], last["actor"]) == (wire(clock.now), "scheduler")


async def test_a_job_that_came_after_the_last_heartbeat_ends_no_sooner_than_it_began(work: Work) -> None:
    cluster, clock = await work.cluster(1), work.plane.clock
    clock.forward(seconds=60)
    job = await work.running(cluster, 1, on_node_loss="fail")
    began = clock.now
    clock.forward(seconds=60)
    await work.cycle()
    told = await work.job(job)
    assert (told["status"], told["started_at"], told["ended_at"]) == ("failed", wire(began), wire(began))
    assert [gpu["ended_at"] for gpu in told["allocation"]] == [wire(began)]


async def test_a_node_that_is_retired_under_a_job(work: Work) -> None:
    cluster = await work.cluster(4, 4)
    job = await work.running(cluster, 4)
    first, second = work.hosts
    work.plane.clock.forward(seconds=30)
    await work.beat()
    assert (await work.admin.delete(f"/api/clusters/nodes/{first.id}")).status == 200
    await work.cycle()
    told = await work.job(job)
    assert (told["status"], {gpu["hostname"] for gpu in told["allocation"]}) == ("running", {second.hostname})
    assert [row["to_status"] for row in told["history"]] == ["queued", "running", "queued", "running"]
    waits = await work.submit(cluster, 4)
    await work.cycle()
    assert (await work.job(waits["id"]))["pending_reason"] == "WAITING_CAPACITY: needs 4 GPUs; 0 of 4 idle"


async def test_a_time_limit_ends_a_job_to_the_second(work: Work) -> None:
    cluster, clock = await work.cluster(2), work.plane.clock
    limited = await work.running(cluster, 1, time_limit_min=10)
    free = await work.running(cluster, 1)
    clock.forward(seconds=599)
    await work.beat()
    await work.cycle()
    assert await work.states(limited, free) == ["running", "running"]
    clock.forward(seconds=31)
    await work.cycle()
    told = await work.job(limited)
    ended = wire(START + timedelta(minutes=10))
    assert (told["status"], told["ended_at"]) == ("failed", ended)
    assert told["end_reason"] == "TIME_LIMIT: ran for its limit of 10 min"
    assert [gpu["ended_at"] for gpu in told["allocation"]] == [ended]
    assert (await work.explain(limited))["code"] == "TIME_LIMIT"
    assert await work.states(free) == ["running"]


async def test_of_a_limit_and_a_lost_node_the_earlier_ends_the_run(work: Work) -> None:
    cluster, clock = await work.cluster(2, 2), work.plane.clock
    over = await work.running(cluster, 1, time_limit_min=1)
    lost = await work.running(cluster, 1, time_limit_min=3)
    clock.forward(seconds=120)
    await work.beat()
    clock.forward(seconds=95)
    await work.beat(work.hosts[0])
    await work.cycle()
    assert (await work.job(over))["end_reason"].startswith("TIME_LIMIT")
    told = await work.job(lost)
    assert told["history"][2]["reason"].startswith("NODE_LOST")
    assert {gpu["hostname"] for gpu in told["allocation"]} == {"east-02"}


async def test_the_log_is_newest_first_and_counts(work: Work) -> None:
    cluster, clock = await work.cluster(4), work.plane.clock
    tenant = await work.tenant(2)
    await work.submit(cluster, 1)
    await work.submit(cluster, 4)
    await work.submit(cluster, 2, tenant_id=tenant)
    blocked = await work.submit(cluster, 5)
    await work.cycle()
    clock.forward(seconds=30)
    await work.change(f"/api/tenants/{tenant}", gpu_quota=1)
    await work.host(cluster, "more", 4)
    await work.cycle()
    newest, oldest = await work.admin.read("/api/scheduler/logs")
    assert (newest["id"], oldest["id"]) == (2, 1)
    assert (newest["started_at"], oldest["started_at"]) == (wire(clock.now), wire(START))
    counts = ("processed", "started", "blocked", "unblocked")
    assert [oldest[name] for name in counts] == [4, 2, 0, 0]
    assert oldest["reasons"] == {"WAITING_CAPACITY": 1, "NEVER_FITS_CLUSTER": 1}
    assert [newest[name] for name in counts] == [2, 1, 0, 1]
    assert newest["duration_ms"] > 0
    assert len(newest["input_hash"]) == 32
    assert newest["input_hash"] != oldest["input_hash"]
    assert await work.states(blocked) == ["queued"]


async def test_the_log_by_page_and_limit(work: Work) -> None:
    for _ in range(22):
        await work.plane.cycle()
    path = "/api/scheduler/logs"
    assert [row["id"] for row in await work.admin.read(path)] == list(range(22, 2, -1))
    assert [row["id"] for row in await work.admin.read(f"{path}?limit=2")] == [22, 21]
    pages = await work.admin.pages(f"{path}?limit=10")
    assert [[row["id"] for row in page.body] for page in pages] == [
        list(range(22, 12, -1)),
        list(range(12, 2, -1)),
        [2, 1],
    ]
    for query in ("?limit=0", "?limit=101", "?limit=x", "?since=1"):
        assert (await work.admin.get(path + query)).status == 422


async def test_scheduling_metrics_of_a_small_history(work: Work) -> None:
    """Waits of 0, 10, 20, 30 and 100 s within the day; one of a day before is not counted."""
    east, west = await work.cluster(4), await work.cluster(1, name="west")
    clock = work.plane.clock

    async def ran(wait_s: float, status: str, **fields: Json) -> None:
        job = await work.submit(east, 1, **fields)
        clock.forward(seconds=wait_s)
        await work.cycle()
        await work.move(job["id"], status)

    assert (await work.admin.read("/api/dashboard/scheduling-metrics"))["wait"] == {
        "mean_s": None,
        "p50_s": None,
        "p95_s": None,
    }
    await ran(7, "completed")
    clock.forward(hours=24, seconds=1)
    await work.beat()
    for wait_s, status in ((10, "completed"), (30, "failed"), (0, "completed"), (20, "cancelled")):
        await ran(wait_s, status)
    late = await work.submit(east, 1)
    clock.forward(seconds=30)
    await work.beat()
    clock.forward(seconds=70)
    await work.cycle()
    await work.move((await work.submit(west, 1))["id"], "cancelled")
    big = await work.submit(east, 9)
    first = await work.submit(east, 4, priority=2)
    second = await work.submit(east, 4)
    urgent = await work.submit(east, 4, priority=1)
    told = await work.admin.read("/api/dashboard/scheduling-metrics")
    assert told["queue_depth"] == {"running": 1, "queued": 3, "blocked": 1}
    assert told["wait"] == {"mean_s": 32.0, "p50_s": 20.0, "p95_s": 100.0}
    assert told["throughput_24h"] == {
        "submitted": 10,
        "started": 5,
        "completed": 2,
        "failed": 1,
        "cancelled": 2,
    }
    here, there = told["clusters"]
    assert [here[name] for name in ("cluster_id", "cluster_name", "running", "queued", "blocked")] == [
        east, "east", 1, 3, 1,
    ]  # fmt: skip
    assert [job["id"] for job in here["queue"]] == [urgent["id"], first["id"], second["id"]]
    assert (there["cluster_name"], there["queue"], there["queued"]) == ("west", [], 0)
    assert await work.states(late, big) == ["running", "blocked"]


async def test_nobody_waited_for_less_than_nothing_though_the_clock_was_set_back(work: Work) -> None:
    await work.submit(await work.cluster(1), 1)
    work.plane.clock.forward(hours=-1)
    await work.beat()
    await work.plane.cycle()
    told = await work.admin.read("/api/dashboard/scheduling-metrics")
    assert told["wait"] == {"mean_s": 0.0, "p50_s": 0.0, "p95_s": 0.0}


async def test_a_clusters_queue_shows_its_first_twenty(work: Work) -> None:
    cluster = await work.cluster(1)
    jobs = [await work.submit(cluster, 1, priority=10 - number % 2) for number in range(21)]
    (queue,) = (await work.admin.read("/api/dashboard/scheduling-metrics"))["clusters"]
    order = sorted(jobs, key=lambda job: (job["priority"], job["id"]))
    assert [job["id"] for job in queue["queue"]] == [job["id"] for job in order[:20]]
    assert queue["queued"] == 21


class Walk:
    """Random requests: what somebody may ask for at any moment."""

    def __init__(self, work: Work, seed: str) -> None:
        self.work = work
        self.chance = random.Random(seed)
        self.clusters: list[int] = []
        self.allowed: dict[int, int] = {}  # by tenant, what was in use when its quota was last changed

    async def furnish(self) -> None:
        """Two clusters, three tenants."""
        self.clusters = [await self.work.cluster(4, 8), await self.work.cluster(8, name="west")]
        for name in ("a", "b", "c"):
            self.allowed[await self.work.tenant(self.chance.randint(1, 12), name)] = 0

    async def submit(self) -> None:
        await self.work.submit(
            self.chance.choice(self.clusters),
            self.chance.choice((1, 2, 4, 9, 12)),
            tenant_id=self.chance.choice((None, *self.allowed)),
            time_limit_min=self.chance.choice((None, 1)),
            priority=self.chance.randint(1, 3),
        )

    async def move(self) -> None:
        jobs = await self.work.admin.read("/api/jobs?limit=15")
        if jobs:
            answer = await self.work.move(self.chance.choice(jobs)["id"], self.chance.choice([*JobStatus]))
            assert answer.status in (200, 409)

    async def alter(self) -> None:
        told = await self.work.change(
            f"/api/tenants/{self.chance.choice([*self.allowed])}",
            gpu_quota=self.chance.randint(1, 16),
            status=self.chance.choice(("active", "active", "inactive")),
        )
        self.allowed[told["id"]] = told["gpus_in_use"]

    async def node(self) -> None:
        state = self.chance.choice(("active", "active", "cordoned"))
        await self.work.node_state(self.chance.choice(self.work.hosts), state)

    async def time(self) -> None:
        self.work.plane.clock.forward(seconds=self.chance.choice((1, 30, 80)))
        await self.work.beat(*self.chance.sample(self.work.hosts, self.chance.randint(0, 1)))

    async def step(self) -> None:
        """Any of these, or a cycle."""
        ways = (self.submit, self.submit, self.move, self.move, self.alter, self.node, self.time)
        await self.chance.choice((*ways, self.work.cycle, self.work.cycle))()


async def test_whatever_is_asked_in_whatever_order_the_laws_hold(work: Work) -> None:
    """A quota is exceeded by lowering it alone; the other laws are those of `broken`."""
    walk = Walk(work, seed=f"{work.plane.database.dialect} 1")
    await walk.furnish()
    for number in range(STEPS):
        await walk.step()
        found = await broken(work.plane.database)
        assert not found, (number, found)
    for tenant in await work.admin.read("/api/tenants"):
        assert tenant["gpus_in_use"] <= max(tenant["gpu_quota"], walk.allowed[tenant["id"]])
        held = await work.admin.read(f"/api/dashboard/gpu-allocation?tenant_id={tenant['id']}")
        assert len(held) == tenant["gpus_in_use"]
    assert (
        len({job["status"] for job in await work.admin.read("/api/jobs")}) >= len(JobStatus) - 1
    )  # it went far
