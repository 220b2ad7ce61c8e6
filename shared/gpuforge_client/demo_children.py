"""The processes of a demo: started so that they end with it, watched, stopped in order."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from gpuforge_client import config
from gpuforge_client.demo_folder import DemoError, fresh_log, last_lines
from gpuforge_shared.imports import no_garbage

RESTARTS, WITHIN_S = 3, 60.0
STOP_S = 2.0  # for the agents, and again for the control plane: less than 5 s in total, come what may
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # prctl(2)


class Process(Protocol):
    """What is asked of a child; subprocess.Popen has it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Child:
    """One process and its log. `name` is what people are told, `module` what `python -m` runs."""

    name: str
    module: str
    arguments: Sequence[str]
    settings: Mapping[str, str]  # environment variables
    folder: Path
    log: Path
    niceness: int = 0
    _process: Process | None = None
    _starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it; its log goes on, or begins with this run."""
        with self._begun() as log:
            self._process = launch(
                self.module,
                *self.arguments,
                settings=self.settings,
                folder=self.folder,
                stdout=log,
                stderr=log,
                niceness=self.niceness,
            )

    def start_as_copy(self) -> None:
        """Start it as a fork of this process, which spares it the imports that this one has done.

        Only while this process has one thread and no event loop.
        """
        with self._begun() as log:
            self._process = _Copy(self, log)

    def _begun(self) -> IO[bytes]:
        if not self._starts:
            fresh_log(self.log)
        self._starts.append(time.monotonic())
        return self.log.open("ab")

    def restart(self) -> None:
        """Stop it if it runs, and start it. Raises DemoError where it has died too often of late."""
        self.stop()
        of_late = [at for at in self._starts if at > time.monotonic() - WITHIN_S]
        if len(of_late) > RESTARTS:
            raise DemoError(f"{self.name} ended {len(of_late)} times within {WITHIN_S:.0f} s; giving up")
        self.start()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def obituary(self) -> str | None:
        """How it ended and the last lines of its log; None while it runs or was never started."""
        status = None if self._process is None else self._process.poll()
        if status is None:
            return None
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return f"{self.name} ended ({how}); the last lines of {self.log}:\n{last_lines(self.log)}"

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self, deadline_s: float = STOP_S) -> None:
        """Ask it to end, and see that it has."""
        self.terminate()
        if self._process is None:
            return
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def stop_all(children: Sequence[Child]) -> None:
    """End them together, within STOP_S."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_S
    for child in children:
        child.stop(max(0.0, deadline - time.monotonic()))


class _Copy:
    """A process that was forked, as `Process`."""

    def __init__(self, child: Child, log: IO[bytes]) -> None:
        prepare = _preparation(child.niceness)
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_become, args=(child, log, prepare))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (status := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return status

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _become(child: Child, log: IO[bytes], prepare: Callable[[], None]) -> None:
    """In the copy: be what `launch` would have started."""
    os.setpgid(0, 0)
    prepare()
    if sys.platform == "linux":  # for ps and top, which would show the command line of the original
        ctypes.CDLL(None).prctl(_PR_SET_NAME, child.name.removeprefix("the ").encode())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    os.chdir(child.folder)
    config.become({**config.plain_environment(), **child.settings})
    sys.argv[1:] = child.arguments
    runpy.run_module(child.module, run_name="__main__", alter_sys=True)


def prepare_copies(*modules: str) -> None:
    """Import what copies of this process will run."""
    with no_garbage():
        for module in modules:
            importlib.import_module(module)


def launch(
    module: str,
    *arguments: str,
    settings: Mapping[str, str],
    folder: Path,
    stdout: IO[bytes] | int,
    stderr: IO[bytes],
    niceness: int = 0,
) -> subprocess.Popen[bytes]:
    """Run a module of this installation in `folder`, with no settings but these, tied to this process.

    A process group of its own keeps it out of reach of the terminal's Ctrl-C: how it stops is for us to say.
    """
    return subprocess.Popen(  # noqa: S603  # this interpreter and modules of ours
        [sys.executable, "-P", "-m", module, *arguments],  # -P: what lies in the folder is no module
        cwd=folder,
        env={**config.plain_environment(), **settings},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        process_group=0,
        preexec_fn=_preparation(niceness),
    )


def _preparation(niceness: int) -> Callable[[], None]:
    """What a child does before it becomes its program: it ties its life to this process, kill -9 included.

    prctl(2) PR_SET_PDEATHSIG is Linux's own; elsewhere a demo that is killed by SIGKILL leaves its children.
    """
    libc, parent = ctypes.CDLL(None), os.getpid()

    def prepare() -> None:
        os.nice(niceness)
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was told
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare
