"""A real systemd in a container of its own, from a Debian that was bootstrapped once and stays as it was."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deb.build import Target, build, debian_architecture
from tests.environment import ROOT, apt_install

KEPT = ROOT / "build"
ROOTFS = KEPT / "bookworm"
SUITE = "bookworm"
PYTHON = "3.11"  # bookworm's
TOOLS = ("systemd-container", "mmdebstrap", "debian-archive-keyring")
INSIDE = (
    "systemd,systemd-sysv,dbus,libpam-systemd,python3,procps,iproute2,ca-certificates,systemd-journal-remote"
)
WRITES_JOURNALS = "usr/lib/systemd/systemd-journal-remote"  # with whatever in them, a kernel's messages too
# In a mount namespace of its own: a version 2 cgroup tree as systemd wants it, and a layer in memory over the
# system that was bootstrapped, so that it stays as it was.
NAMESPACE = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")
PREPARE = """
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
"""
BOOT = (
    PREPARE
    + """
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mkdir -p "$1/root/packages"
cp "$3"/*.deb "$1/root/packages"
mkdir "/sys/fs/cgroup/$4" # of its own: two that are booted at once would share one
echo $$ > "/sys/fs/cgroup/$4/cgroup.procs"
exec systemd-nspawn --quiet --directory "$1/root" --boot --register=no --keep-unit --private-network \\
    --console=pipe --capability=all --system-call-filter=bpf --machine "$4" --link-journal=no
"""
)
CLEAR = """
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +
"""


def can_boot() -> bool:
    """Whether this user may make namespaces and mounts: a container without privileges can't."""
    if os.geteuid() or not shutil.which("unshare"):
        return False
    trial = (
        PREPARE + 'mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"'
    )
    command = [*NAMESPACE, trial, "sh", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


def has_system() -> bool:
    """Whether there is a system to boot, and what boots it."""
    there = all((ROOTFS / path).exists() for path in ("usr/bin/python3", WRITES_JOURNALS))
    return bool(shutil.which("systemd-nspawn")) and there


def fetch_system() -> bool:
    """Bootstrap a minimal Debian into build/, which takes a minute and 200 MB; False where that fails."""
    if not all(map(shutil.which, ("systemd-nspawn", "mmdebstrap"))) and not apt_install(TOOLS):
        return False
    print(f"bootstrapping {SUITE} into {ROOTFS} …", flush=True)
    KEPT.mkdir(exist_ok=True)
    fresh = ROOTFS.with_name(f"{ROOTFS.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={INSIDE}", SUITE, str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return False
    shutil.rmtree(ROOTFS, ignore_errors=True)
    fresh.rename(ROOTFS)
    return True


def built_packages() -> Path:
    """The folder with both packages for the system that is booted, built where their sources changed."""
    folder, stamp = KEPT / "deb", KEPT / "deb" / ".stamp"
    KEPT.mkdir(exist_ok=True)
    with (KEPT / "deb.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's workers ask at once
        made_of = _fingerprint()
        if not stamp.exists() or stamp.read_text() != made_of:
            shutil.rmtree(folder, ignore_errors=True)
            build(Target(python=PYTHON, architecture=debian_architecture()), folder)
            stamp.write_text(made_of)
    return folder


def _fingerprint() -> str:
    found = hashlib.sha256()
    for name in ("agent", "controlplane", "shared", "systemd", "deb", "pyproject.toml"):
        for path in [ROOT / name, *sorted((ROOT / name).rglob("*"))]:
            parts = set(path.relative_to(ROOT).parts)
            if path.is_file() and not parts & {"__pycache__", "node_modules", "_ui"}:
                found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A running system; commands run in it as root."""

    leader: int  # the process id of its systemd, out here

    def run(self, command: str, *, check: bool = True, timeout_s: float = 60) -> str:
        """What a shell command says. Raises AssertionError, with that, where it fails."""
        entered = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        done = subprocess.run(
            [*entered, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd="/",
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 or not check, f"{command}\n{said}\nexit {done.returncode}"
        return said

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show --value -p {name} {unit}").strip()

    def wait(self, reached: Callable[[], bool], *, within_s: float = 60) -> float:
        """Until that is so; the seconds it took. Raises AssertionError with the journal's end."""
        began = time.monotonic()
        while not reached():
            if time.monotonic() - began > within_s:
                raise AssertionError(self.run("journalctl --no-pager -n 60", check=False))
            time.sleep(0.05)
        return time.monotonic() - began


@contextlib.contextmanager
def booted(packages: Path, scratch: Path) -> Iterator[Booted]:
    """A system with these packages in /packages, not installed yet; nothing of it is left at the end."""
    scratch.mkdir()
    machine = f"gpuforge-{os.getpid()}"
    command = [*NAMESPACE, BOOT, "sh", str(scratch), str(ROOTFS), str(packages), machine]
    with (scratch.parent / "console").open("wb") as console:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        system = Booted(leader=_leader(nspawn))
        system.wait(lambda: "running" in system.run("systemctl is-system-running", check=False).split())
        yield system
    finally:
        with contextlib.suppress(UnboundLocalError, AssertionError, subprocess.TimeoutExpired):
            system.run("systemctl poweroff", check=False, timeout_s=10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            nspawn.wait(15)
        nspawn.kill()  # and with it, by its namespace, all that it holds
        nspawn.wait()
        subprocess.run([*NAMESPACE, CLEAR, "sh", machine], capture_output=True, check=False, timeout=30)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """The container's first process: the child of nspawn, which the shell has become."""
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and nspawn.poll() is None:
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("systemd-nspawn did not boot")
