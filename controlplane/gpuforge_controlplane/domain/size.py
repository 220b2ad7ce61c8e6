"""Which of two waiting jobs is the smaller one: by estimated GPU-seconds, within a priority."""

from gpuforge_controlplane.domain.snapshot import QueuedJob

# (priority, no estimate?, estimated GPU-seconds, submitted_at, id): the id makes every key different.
Key = tuple[int, bool, int, float, int]


def size_key(job: QueuedJob) -> Key:
    """What to sort by; jobs without an estimate come last, in order of submission."""
    priority, submitted_at, job_id, _, _, count, _, estimate, _ = job
    return priority, estimate is None, (estimate or 0) * count, submitted_at, job_id
