"""The life of a job: its statuses, and the one table of legal transitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class JobStatus(StrEnum):
    """The status words of the API reference, to the letter."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"


class Actor(StrEnum):
    """Who asks for a transition: an API client, or the control plane itself."""

    CLIENT = "client"
    SCHEDULER = "scheduler"


class OnNodeLoss(StrEnum):
    """A job's own policy for the loss of a node under it."""

    REQUEUE = "requeue"
    FAIL = "fail"


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})

_BOTH = frozenset(Actor)
_CLIENT = frozenset({Actor.CLIENT})
_SCHEDULER = frozenset({Actor.SCHEDULER})

# What is absent is illegal. Running goes back to queued only when a node is lost under the job:
# a client who wants that cancels and submits again, so that the history stays one line.
TRANSITIONS: Mapping[tuple[JobStatus, JobStatus], frozenset[Actor]] = MappingProxyType(
    {
        (JobStatus.QUEUED, JobStatus.RUNNING): _BOTH,
        (JobStatus.QUEUED, JobStatus.BLOCKED): _BOTH,
        (JobStatus.QUEUED, JobStatus.CANCELLED): _CLIENT,
        (JobStatus.BLOCKED, JobStatus.QUEUED): _BOTH,
        (JobStatus.BLOCKED, JobStatus.CANCELLED): _CLIENT,
        (JobStatus.RUNNING, JobStatus.COMPLETED): _CLIENT,
        (JobStatus.RUNNING, JobStatus.FAILED): _BOTH,
        (JobStatus.RUNNING, JobStatus.CANCELLED): _CLIENT,
        (JobStatus.RUNNING, JobStatus.QUEUED): _SCHEDULER,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A legal transition that changes something: write it, and a history row beside it."""

    before: JobStatus
    after: JobStatus

    @property
    def frees_gpus(self) -> bool:
        """Whether the job's allocation ends, and its meter with it, in the same transaction."""
        return self.before is JobStatus.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The status asked for is the present one: answer the record, write nothing."""

    status: JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class IllegalTransition:
    """The refusal behind a 409; its sentence names both states."""

    before: JobStatus
    after: JobStatus

    def __str__(self) -> str:
        if self.before in TERMINAL:
            return f"a job that is {self.before} is final: it cannot become {self.after}"
        return f"a job that is {self.before} cannot become {self.after}"


def transition(
    before: JobStatus, after: JobStatus, by: Actor = Actor.CLIENT
) -> Move | Unchanged | IllegalTransition:
    """Decide whether `by` may take a job from `before` to `after`."""
    if before is after:
        return Unchanged(status=before)
    if by in TRANSITIONS.get((before, after), frozenset()):
        return Move(before=before, after=after)
    return IllegalTransition(before=before, after=after)


def after_node_loss(policy: OnNodeLoss, requeues: int) -> JobStatus:
    """Where a running job goes when a node is lost under it; `requeues` = losses it has survived.

    Once only: a job that loses two nodes may be what kills them.
    """
    again = policy is OnNodeLoss.REQUEUE and requeues == 0
    return JobStatus.QUEUED if again else JobStatus.FAILED
