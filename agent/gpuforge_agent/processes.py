"""Whose a process on a GPU is: its user and, by its control group, its job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The first that matches names the job; the more specific come first, since a pod is a systemd slice as well.
_JOBS = (
    (re.compile(r"/gpuforge-job-(\d+)\b"), "gpuforge:{}"),
    (re.compile(r"/job_(\d+)(?:/|$)"), "slurm:{}"),
    (
        re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})"),
        "pod:{}",
    ),
    (re.compile(r"/(?:docker|libpod|cri-containerd|crio)[-/]([0-9a-f]{12})[0-9a-f]{52}"), "container:{}"),
    (re.compile(r"/([^/]+\.(?:service|scope))$"), "unit:{}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the host tells of a process; None where it does not, or not to us."""

    name: str | None = None
    user: str | None = None
    job: str | None = None


def job_of(cgroups: str) -> str | None:
    """The job that a process belongs to, as its scheduler or supervisor names it.

    `cgroups` is /proc/<pid>/cgroup: a line a hierarchy (cgroups(7)), in version 2 a single one.
    """
    paths = [line.split(":", 2)[2] for line in cgroups.splitlines() if line.count(":") >= 2]
    for pattern, form in _JOBS:
        for path in paths:
            if found := pattern.search(path):
                return form.format(found[1].replace("_", "-") if form.startswith("pod") else found[1])
    return None


def users_in(passwd: str) -> Mapping[int, str]:
    """Names by uid of a passwd(5) file."""
    fields = (line.split(":") for line in passwd.splitlines())
    return {int(each[2]): each[0] for each in fields if len(each) > 3 and each[2].isdecimal()}


class Owners:
    """Looks processes up under /proc. Users come from passwd alone: a directory service may not answer."""

    def __init__(self, proc: Path = Path("/proc"), passwd: Path = Path("/etc/passwd")) -> None:
        """Nothing is read before it is asked for."""
        self._proc = proc
        self._passwd = passwd

    def of(self, pids: set[int]) -> Mapping[int, Owner]:
        """The owners of these processes. One that has ended meanwhile, or is hidden, has no name."""
        if not pids:
            return {}
        users = users_in(_text(self._passwd) or "")
        return {pid: self._owner(pid, users) for pid in pids}

    def _owner(self, pid: int, users: Mapping[int, str]) -> Owner:
        folder = self._proc / str(pid)
        name, cgroups = _text(folder / "comm"), _text(folder / "cgroup")
        try:
            uid = folder.stat().st_uid
        except OSError:
            return Owner()
        return Owner(
            name=name and name.strip(),
            user=users.get(uid, str(uid)),
            job=None if cgroups is None else job_of(cgroups),
        )


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
