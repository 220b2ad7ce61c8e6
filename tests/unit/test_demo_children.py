"""The demo's processes: what is told of one that ended, and when starting it again is given up."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gpuforge_client import demo_children
from gpuforge_client.demo import HOST, port_problem
from gpuforge_client.demo_children import RESTARTS, Child, stop_all
from gpuforge_client.demo_folder import DemoError


def child(folder: Path, module: str, *arguments: str, **settings: str) -> Child:
    return Child(
        name=f"the {module}",
        module=module,
        arguments=arguments,
        settings=settings,
        folder=folder,
        log=folder / f"{module}.log",
    )


def ended(one: Child) -> str:
    """What is told of it, once it has ended by itself."""
    assert one._process is not None
    one._process.wait(20)
    words = one.obituary()
    assert words is not None
    return words


def test_what_ended_is_told_with_its_last_lines(tmp_path: Path) -> None:
    one = child(tmp_path, "tokenize", "absent.py")
    assert one.obituary() is None
    one.start()
    words = ended(one)
    assert words.startswith(
        f"the tokenize ended (exit status 1); the last lines of {tmp_path}/tokenize.log:\n    "
    )
    assert "absent.py" in words


def test_it_is_started_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    one = child(tmp_path, "keyword")
    one.start()
    for _ in range(RESTARTS):
        ended(one)
        one.restart()
    with pytest.raises(DemoError, match="the keyword ended 4 times within 60 s; giving up"):
        one.restart()


def test_a_child_gets_the_settings_it_is_told_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUFORGE_API_KEY", "of the person who runs the demo")
    (tmp_path / "show.py").write_text("import os; print(sorted(n for n in os.environ if 'GPUF' in n))")
    one = child(tmp_path, "show", GPUFORGE_PORT="1", PYTHONPATH=str(tmp_path))
    one.start()
    ended(one)
    assert one.log.read_text() == "['GPUFORGE_PORT']\n"


def test_what_does_not_heed_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_children, "STOP_S", 0.05)
    heedless = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    (tmp_path / "deaf.py").write_text(heedless)
    one = child(tmp_path, "deaf", PYTHONPATH=str(tmp_path))
    one.start()
    while not one.log.read_text():
        pass
    stop_all([one])
    words = one.obituary()
    assert words is not None
    assert signal.SIGKILL.name in words


def test_a_port_is_free_or_taken() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert port_problem(port) == "is taken"
    assert port_problem(port) is None


def test_a_copy_is_what_a_start_would_have_been(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(
        "import os, signal, sys\n"
        "print(sorted(n for n in os.environ if 'GPUF' in n), sys.argv[1:], os.getcwd(), flush=True)\n"
        "print(__name__, os.getpgrp() == os.getpid(), os.nice(0), signal.getsignal(2) is signal.SIG_DFL)\n"
        "sys.exit(3)"
    )
    # in a process of its own: only one of a single thread may be forked
    started = f"""
import os, signal, sys
from pathlib import Path
from gpuforge_client.demo_children import Child, prepare_copies
os.environ["GPUFORGE_API_KEY"] = "of the person who runs the demo"
signal.signal(2, lambda *_: None)
folder = Path({str(tmp_path)!r})
sys.path.insert(0, str(folder))
prepare_copies("json.tool")
one = Child(name="it", module="shown", arguments=["a", "b"], settings={{"GPUFORGE_PORT": "1"}}, folder=folder,
            log=folder / "log", niceness=3)
one.start_as_copy()
one._process.wait(20)
print(one.obituary())
"""
    nice = os.nice(0)
    told = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=True)
    shown = f"['GPUFORGE_PORT'] ['a', 'b'] {tmp_path}\n__main__ True {min(nice + 3, 19)} True\n"
    assert (tmp_path / "log").read_text() == shown
    assert told.stdout.startswith("it ended (exit status 3); the last lines of ")
    assert not told.stderr


def test_a_copy_that_does_not_heed_is_killed(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(
        "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    )
    started = f"""
import sys
from pathlib import Path
from gpuforge_client.demo_children import Child, stop_all
folder = Path({str(tmp_path)!r})
sys.path.insert(0, str(folder))
one = Child(name="it", module="deaf", arguments=[], settings={{}}, folder=folder, log=folder / "log")
one.start_as_copy()
while not one.log.read_text():
    pass
stop_all([one])
print(one.obituary())
"""
    told = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("it ended (SIGKILL)")
