"""The working state of one plan: what is still idle, what each tenant may still take, what was started."""

from collections.abc import Iterable, Sequence

from gpuforge_controlplane.domain.decisions import Start
from gpuforge_controlplane.domain.durations import believed_end
from gpuforge_controlplane.domain.placement import IdleNodes
from gpuforge_controlplane.domain.quota import QuotaLedger
from gpuforge_controlplane.domain.reservation import End, Outlook, Reservation, expected_ends
from gpuforge_controlplane.domain.snapshot import Line, Pool, PoolKey, QueuedJob, Scope, Snapshot


class PoolState:
    """One pool while a plan is made."""

    __slots__ = ("_hopeless", "_started", "idle", "pool", "reservation")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.idle = IdleNodes((node.id, node.owned, node.idle_gpu_ids) for node in pool.nodes)
        self.reservation: Reservation | None = None
        self._started: list[End] = []
        self._hopeless: set[int] = set()

    @property
    def untouched(self) -> bool:
        """Whether this plan has neither started nor promised anything here yet."""
        return self.reservation is None and not self._started

    def start(self, job: QueuedJob, now: float, *, kept: bool) -> Start | None:
        """Place a job, whole or not at all; on nodes kept for the reservation too if `kept`."""
        shares = self.idle.take(job.gpu_count, kept=kept)
        if not shares:
            return None
        held = tuple((share.node_id, len(share.gpu_ids)) for share in shares)
        self._started.append((believed_end(now, job.estimate_s, None), job.id, held))
        return Start(job=job, family=self.pool.key[1], shares=shares)

    def earliest(self, job: QueuedJob, now: float) -> Reservation | None:
        """The reservation that `job` would get here, or None if no end of a job brings it a place."""
        if job.gpu_count in self._hopeless:
            return None
        owned = {node.id: node.owned for node in self.pool.nodes if node.schedulable}
        outlook = Outlook(owned, self.idle.counts())
        found = outlook.earliest(job.gpu_count, expected_ends(self.pool, self._started, now))
        if found is None:
            self._hopeless.add(job.gpu_count)
            return None
        at, node_ids = found
        return Reservation(
            pool=self.pool.key, job_id=job.id, gpu_count=job.gpu_count, start=at, node_ids=node_ids
        )

    def grant(self, reservation: Reservation) -> None:
        """Keep the nodes of the pool's one reservation."""
        self.reservation = reservation
        self.idle.keep(reservation.node_ids)


class Cycle:
    """What one plan has decided so far."""

    __slots__ = ("_options", "_pools", "_settled", "now", "quota", "snapshot", "started_of", "starts")

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self.snapshot = snapshot
        self.now = now
        self.quota = QuotaLedger(snapshot.tenants, snapshot.used)
        self.starts: list[Start] = []
        self.started_of: dict[int, int] = {}  # starts by line index
        self._settled: dict[int, set[int]] = {}  # ids of jobs started or promised a place, by line index
        self._pools: dict[PoolKey, PoolState] = {}
        self._options: dict[Scope, list[PoolState]] = {}

    def options(self, scope: Scope) -> Sequence[PoolState]:
        """The pools in which a job of this scope may run, by family."""
        known = self._options.get(scope)
        if known is None:
            known = [self._pool(key) for key in self.snapshot.pool_keys(scope)]
            self._options[scope] = known
        return known

    def reservations(self) -> tuple[Reservation, ...]:
        """All reservations made, by pool."""
        granted = (self._pools[key].reservation for key in sorted(self._pools))
        return tuple(reservation for reservation in granted if reservation)

    def start(self, job: QueuedJob, line: int, where: Iterable[tuple[PoolState, bool]]) -> bool:
        """Start `job` of line number `line` in the pool it fits most snugly; False if it fits in none.

        `where`: pools to choose from, each with whether the job may borrow the nodes kept there.
        """
        able = [(state, kept) for state, kept in where if state.idle.fits(job.gpu_count, kept=kept)]
        if not able:
            return False
        state, kept = able[0]
        if len(able) > 1:
            state, kept = min(able, key=lambda one: one[0].idle.snugness(job.gpu_count, kept=one[1]))
        started = state.start(job, self.now, kept=kept)
        assert started is not None
        self.starts.append(started)
        self.quota.take(job.tenant_id, job.gpu_count)
        self.started_of[line] = self.started_of.get(line, 0) + 1
        self._settled.setdefault(line, set()).add(job.id)
        return True

    def promise(self, state: PoolState, reservation: Reservation, line: int) -> None:
        """Grant `state`'s one reservation to a job of line number `line`."""
        state.grant(reservation)
        self._settled.setdefault(line, set()).add(reservation.job_id)

    def undecided(self, number: int, line: Line) -> Sequence[QueuedJob]:
        """The jobs of line `number` that were neither started nor promised a place, in queue order."""
        settled = self._settled.get(number)
        return [job for job in line.jobs if job.id not in settled] if settled else line.jobs

    def _pool(self, key: PoolKey) -> PoolState:
        state = self._pools.get(key)
        if state is None:
            state = self._pools[key] = PoolState(self.snapshot.pools[key])
        return state
