"""The table of legal transitions, row by row."""

from itertools import product

import pytest

from gpuforge_controlplane.domain.lifecycle import (
    TERMINAL,
    TRANSITIONS,
    Actor,
    IllegalTransition,
    JobStatus,
    Move,
    OnNodeLoss,
    Unchanged,
    after_node_loss,
    transition,
)

QUEUED, RUNNING, COMPLETED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED
FAILED, CANCELLED, BLOCKED = JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.BLOCKED

# What a client may ask for, written out a second time on purpose.
FOR_CLIENTS = {
    QUEUED: {RUNNING, BLOCKED, CANCELLED},
    BLOCKED: {QUEUED, CANCELLED},
    RUNNING: {COMPLETED, FAILED, CANCELLED},
    COMPLETED: set(),
    FAILED: set(),
    CANCELLED: set(),
}
FOR_SCHEDULER = {
    QUEUED: {RUNNING, BLOCKED},
    BLOCKED: {QUEUED},
    RUNNING: {FAILED, QUEUED},
    COMPLETED: set(),
    FAILED: set(),
    CANCELLED: set(),
}


def test_the_words_are_those_of_the_reference() -> None:
    assert [status.value for status in JobStatus] == [
        "queued", "running", "completed", "failed", "cancelled", "blocked",
    ]  # fmt: skip


@pytest.mark.parametrize("actor", Actor, ids=str)
@pytest.mark.parametrize(("before", "after"), list(product(JobStatus, JobStatus)), ids=str)
def test_every_pair_of_statuses(before: JobStatus, after: JobStatus, actor: Actor) -> None:
    allowed = (FOR_CLIENTS if actor is Actor.CLIENT else FOR_SCHEDULER)[before]
    answer = transition(before, after, actor)
    if before is after:
        assert answer == Unchanged(status=before)
    elif after in allowed:
        assert answer == Move(before=before, after=after)
    else:
        assert answer == IllegalTransition(before=before, after=after)


def test_nothing_leaves_a_terminal_status() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] in TERMINAL]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (BLOCKED, RUNNING, "a job that is blocked cannot become running"),
        (RUNNING, BLOCKED, "a job that is running cannot become blocked"),
        (COMPLETED, RUNNING, "a job that is completed is final: it cannot become running"),
        (CANCELLED, QUEUED, "a job that is cancelled is final: it cannot become queued"),
    ],
)
def test_a_refusal_names_both_states(before: JobStatus, after: JobStatus, sentence: str) -> None:
    assert str(transition(before, after)) == sentence


@pytest.mark.parametrize("after", [COMPLETED, FAILED, CANCELLED], ids=str)
def test_leaving_running_frees_the_gpus(after: JobStatus) -> None:
    answer = transition(RUNNING, after)
    assert isinstance(answer, Move)
    assert answer.frees_gpus


def test_leaving_the_queue_frees_nothing() -> None:
    answer = transition(QUEUED, CANCELLED)
    assert isinstance(answer, Move)
    assert not answer.frees_gpus


@pytest.mark.parametrize(
    ("policy", "survived", "after"),
    [
        (OnNodeLoss.REQUEUE, 0, QUEUED),
        (OnNodeLoss.REQUEUE, 1, FAILED),
        (OnNodeLoss.FAIL, 0, FAILED),
    ],
    ids=["requeued once", "only once", "told to fail"],
)
def test_a_job_that_lost_its_node(policy: OnNodeLoss, survived: int, after: JobStatus) -> None:
    assert after_node_loss(policy, survived) is after
    assert Actor.SCHEDULER in TRANSITIONS[RUNNING, after]
