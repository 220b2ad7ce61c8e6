"""The packages under a real systemd, as a sysadmin meets them: from install to purge."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuforge_shared import apikey
from tests.booted import WRITES_JOURNALS, Booted, booted
from tests.conftest import require
from tests.tiers import CONTAINER

# Each test boots a system and sees a whole life: booting and installing take longest, by far.
pytestmark = pytest.mark.timeout(600)
AGENT, CONTROL_PLANE = "gpuforge-agent", "gpuforge-controlplane"
CGROUP = f"/sys/fs/cgroup/system.slice/{AGENT}.service"
STATE = f"/var/lib/private/{AGENT}"
FETCH = "python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())'"
EVERY_FILE = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o "
    "-path /var/tmp -o -path /var/lib/dpkg -o -path /var/cache -o -path /var/log -o -path /packages -o "
    "-path /root -o -path /var/lib/systemd \\) -prune -o ! -name '*-' -print | sort"
)


@pytest.fixture
def system(debs: Path, tmp_path: Path) -> Iterator[Booted]:
    require(CONTAINER)
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in debs.glob("*.deb"):
        (packages / f"{path.name.split('_')[0]}.deb").write_bytes(path.read_bytes())
    with booted(packages, tmp_path / "scratch") as system:
        yield system


def install(system: Booted, name: str) -> None:
    system.run(f"dpkg -i /packages/{name}.deb", timeout_s=300)


def upgrade(system: Booted, name: str) -> None:
    """To the same with a higher version."""
    system.run(
        f"cd /tmp && rm -rf next && dpkg-deb -R /packages/{name}.deb next"
        " && sed -i 's/^Version: .*/Version: 99/' next/DEBIAN/control"
        f" && dpkg-deb -Znone -b next next.deb && dpkg --force-confold -i next.deb"
        f" && test \"$(dpkg-query -Wf '${{Version}}' {name})\" = 99",
        timeout_s=300,
    )


def is_active(system: Booted, unit: str) -> bool:
    return system.shown(unit, "ActiveState") == "active"


def restarted(system: Booted, unit: str, pid: str) -> bool:
    return is_active(system, unit) and system.shown(unit, "MainPID") != pid


def startup_s(system: Booted, unit: str) -> float:
    """From systemd's start of it to `active`, by systemd's own monotonic clock."""
    began = int(system.shown(unit, "InactiveExitTimestampMonotonic"))
    return (int(system.shown(unit, "ActiveEnterTimestampMonotonic")) - began) / 1e6


def put_key(system: Booted) -> None:
    key = apikey.assemble("5e" * 28)
    system.run(f"umask 077 && echo {key} > /etc/gpuforge/agent.key")
    system.run("echo 'source = \"simulated\"' >> /etc/gpuforge/agent.toml")


def the_key_is_its_own(system: Booted, pid: str) -> None:
    """The agent, which is nobody's user, has the key; nobody else may read the file or its copy."""
    uid = system.run(f"stat -c %u /proc/{pid}").strip()
    assert 61184 <= int(uid) <= 65519  # of DynamicUser, systemd.exec(5)
    assert system.run("stat -c '%a %U' /etc/gpuforge/agent.key").split() == ["600", "root"]
    assert f"/run/credentials/{AGENT}.service/api_key" in system.run(f"tr '\\0' '\\n' < /proc/{pid}/environ")
    refused = system.run(
        f"setpriv --reuid 65534 --clear-groups cat /run/credentials/{AGENT}.service/api_key", check=False
    )
    assert "Permission denied" in refused


def only_gpus_may_be_opened(system: Booted) -> None:
    """Nodes without a driver: the kernel looks for one (ENXIO) only where the policy lets it (else EPERM)."""
    for name, major in (("nvidia0", 195), ("made-up", 196)):
        system.run(f"mknod -m 666 /dev/{name} c {major} 0")
    for name, said in (("nvidia0", "No such device"), ("made-up", "Operation not permitted")):
        opened = f"echo $$ > {CGROUP}/cgroup.procs; exec cat /dev/{name}"
        assert said in system.run(f"sh -c '{opened}' 2>&1", check=False), name
        assert "No such device" in system.run(f"cat /dev/{name}", check=False)  # outside there is no policy


def a_stopped_loop_is_restarted(system: Booted) -> float:
    """By the watchdog, here after 4 s; how long it took, in seconds."""
    system.run(
        f"mkdir -p /run/systemd/system/{AGENT}.service.d && cd /run/systemd/system/{AGENT}.service.d"
        " && printf '[Service]\\nWatchdogSec=4\\nTimeoutAbortSec=2\\n' > soon.conf && systemctl daemon-reload"
        f" && systemctl restart {AGENT}"
    )
    pid = system.shown(AGENT, "MainPID")
    system.run(f"kill -STOP {pid}")
    took = system.wait(lambda: restarted(system, AGENT, pid))
    assert "Watchdog timeout" in system.run(f"journalctl -u {AGENT} --no-pager")
    return took


def a_bad_setting_is_said_once(system: Booted, unit: str, settings: str) -> None:
    """And an upgrade that takes it, or comes after it was mended, starts the service again."""
    system.run(f"cp {settings} /tmp/good && echo 'log_level = \"loud\"' >> {settings}")
    system.run(f"systemctl restart {unit}", check=False)
    system.wait(lambda: system.shown(unit, "ActiveState") == "failed")  # and not on its way to the next start
    assert system.shown(unit, "ExecMainStatus") == "2"
    said = system.run(f"journalctl -u {unit} -p err -o cat --no-pager").splitlines()
    assert len([line for line in said if line.startswith(f"{unit}: log_level ({settings})")]) == 1
    system.run(f"cp /tmp/good {settings} && /var/lib/dpkg/info/{unit}.postinst configure 1")
    system.wait(lambda: is_active(system, unit))


def state_outlives_an_upgrade(system: Booted) -> None:
    """Queue, identity, key and what the administrator set, while the agent is restarted by it."""
    kept = (
        f"ls {STATE}/queue | head -1; cat {STATE}/gpus.json /etc/gpuforge/agent.key /etc/gpuforge/agent.toml"
    )
    system.wait(lambda: ".queue" in system.run(f"ls {STATE}/queue"))
    first = f"head -1 $(ls -d {STATE}/queue/*.queue | head -1)"
    before, sample, pid = system.run(kept), system.run(first), system.shown(AGENT, "MainPID")
    assert sample
    upgrade(system, AGENT)
    system.wait(lambda: restarted(system, AGENT, pid))
    assert system.run(kept) == before
    assert system.run(first) == sample


def the_kernels_xids_are_taken_with_the_drop_in(system: Booted) -> None:
    """By the real journalctl, under the unit's protection; what a program writes of Xids is nobody's word.

    Those of while it is stopped are heard by the next, with those that no control plane was there to be told.
    """
    drop_in = f"/usr/share/{AGENT}/drop-ins/journal-xids.conf"
    system.run(
        f"install -D -m 644 -t /etc/systemd/system/{AGENT}.service.d {drop_in} && systemctl daemon-reload"
        f" && echo 'metrics_listen = \"9835\"' >> /etc/gpuforge/agent.toml && systemctl restart {AGENT}"
    )
    card = "NVRM: Xid (PCI:0000:18:00)"  # where the first simulated GPU is
    system.run(f"logger -p kern.crit '{card}: 48, forged'; journalctl --sync")
    folder = system.run("dirname $(journalctl --header | sed -n 's/^File path: //p' | head -1)").strip()
    # of this boot, as the agent sees it: the container's name for it is not in the agent's own /proc
    of_agent = f"/proc/{system.shown(AGENT, 'MainPID')}/root/proc/sys/kernel/random/boot_id"
    boot = system.run(f"tr -d - < {of_agent}").strip()

    def kernel_says(code: int) -> None:
        entry = (
            f"__REALTIME_TIMESTAMP=$(date +%s%6N)\\n_BOOT_ID={boot}\\n"
            f"_TRANSPORT=kernel\\nMESSAGE={card}: {code}, pid=1\\n\\n"
        )
        to = f"{folder}/kernel-{code}.journal"
        system.run(f'printf "{entry}" > /tmp/entry; /{WRITES_JOURNALS} -o {to} /tmp/entry')

    def heard() -> list[str]:
        shown = system.run(f"{FETCH} http://127.0.0.1:9835/metrics", check=False)
        return re.findall(r'gpuforge_gpu_xids_total{.*code="(\d+)"} 1\.?0?$', shown, re.MULTILINE)

    kernel_says(79)
    system.wait(lambda: bool(heard()))
    assert heard() == ["79"]
    system.run(f"systemctl stop {AGENT}")
    kernel_says(63)
    system.run(f"systemctl start {AGENT}")
    system.wait(lambda: heard() == ["79", "63"])


def a_driver_that_comes_restarts_it(system: Booted) -> float:
    """So that the device policy is made anew; how long it took, in seconds."""
    system.run(
        f"cp /proc/devices /etc/devices && mkdir -p /run/systemd/system/{AGENT}.service.d"
        f" && cd /run/systemd/system/{AGENT}.service.d"
        " && printf '[Service]\\nBindReadOnlyPaths=/etc/devices:/proc/devices\\n' > devices.conf"
        " && sed -i 's/^source = .*/source = \"nvml\"/' /etc/gpuforge/agent.toml"
        f" && systemctl daemon-reload && systemctl restart {AGENT}"
    )
    pid = system.shown(AGENT, "MainPID")
    system.run("echo '236 nvidia-caps' >> /etc/devices")
    took = system.wait(lambda: restarted(system, AGENT, pid))
    assert "a driver came" in system.run(f"journalctl -u {AGENT} --no-pager")
    system.run("rm /etc/devices /run/systemd/system/gpuforge-agent.service.d/devices.conf")
    system.run("systemctl daemon-reload")
    return took


def all_is_compiled(system: Booted, name: str) -> None:
    """The program may not write there: what is not compiled it would compile at each start, in its memory."""
    lib = f"/opt/{name}/lib"
    tag = "import sys; print(sys.implementation.cache_tag)"
    sources = system.run(f"cd {lib} && find . -name '*.py' | sort").split()
    compiled = system.run(f"cd {lib} && find . -name \"*.$(python3 -c '{tag}').pyc\" | sort").split()
    of_sources = sorted(re.sub(r"__pycache__/(.+)\.[^.]+\.pyc$", r"\1.py", each) for each in compiled)
    assert sources == of_sources


def a_broken_upgrade_leaves_it_compiled(system: Booted, name: str) -> None:
    """One that fails while it unpacks: dpkg then tells the old package's scripts to go on."""
    system.run(
        f"cd /tmp && rm -rf broken && dpkg-deb -R /packages/{name}.deb broken"
        " && printf '#!/bin/sh\nexit 1\n' > broken/DEBIAN/preinst && chmod 755 broken/DEBIAN/preinst"
        " && dpkg-deb -Znone -b broken broken.deb && ! dpkg --force-confold -i broken.deb",
        timeout_s=300,
    )
    all_is_compiled(system, name)


def test_the_life_of_an_agent(
    system: Booted, record_testsuite_property: Callable[[str, object], None]
) -> None:
    before = system.run(EVERY_FILE)
    install(system, AGENT)
    assert "Assertion failed" in system.run(f"systemctl start {AGENT}", check=False)  # no key: said once
    assert system.run(f"systemctl is-enabled {AGENT}").strip() == "enabled"
    all_is_compiled(system, AGENT)
    a_broken_upgrade_leaves_it_compiled(system, AGENT)

    put_key(system)
    system.run(f"systemctl start {AGENT}")
    record_testsuite_property("start to active, s", startup_s(system, AGENT))
    grave = f"journalctl -u {AGENT} --no-pager -p warning"
    system.wait(lambda: "next try" in system.run(grave))  # nobody answers here
    assert "agent started" not in system.run(grave)
    pid = system.shown(AGENT, "MainPID")
    the_key_is_its_own(system, pid)
    only_gpus_may_be_opened(system)

    system.run(f"kill -9 {pid}")
    record_testsuite_property("kill -9 to active, s", system.wait(lambda: restarted(system, AGENT, pid)))

    record_testsuite_property("stopped to active, s", a_stopped_loop_is_restarted(system))
    a_bad_setting_is_said_once(system, AGENT, "/etc/gpuforge/agent.toml")
    state_outlives_an_upgrade(system)
    the_kernels_xids_are_taken_with_the_drop_in(system)
    record_testsuite_property("driver to active, s", a_driver_that_comes_restarts_it(system))

    system.run(f"dpkg -r {AGENT}")
    assert system.run(f"ls {STATE} /etc/gpuforge/agent.key")
    system.run(f"dpkg -P {AGENT}")
    assert system.run(EVERY_FILE) == before


def test_the_life_of_a_control_plane(system: Booted) -> None:
    before = system.run(EVERY_FILE)
    install(system, CONTROL_PLANE)
    all_is_compiled(system, CONTROL_PLANE)
    answers(system, "/readyz")
    page = system.run(f"{FETCH} http://127.0.0.1:8080/")
    assert "<script" in page  # the dashboard came along, built
    as_service = f"runuser -u gpuforge -- {CONTROL_PLANE} create-key --config /etc/gpuforge/controlplane.toml"
    key = system.run(f"{as_service} --label me --permissions read,write,admin 2>/dev/null").strip()
    assert apikey.is_well_formed(key)
    listed = f"GPUFORGE_API_KEY={key} gpuforge keys list"
    assert "me" in system.run(listed)
    secrets = "/etc/gpuforge/controlplane.toml"
    assert system.run(f"stat -c '%a %U %G' {secrets}").split() == ["640", "root", "gpuforge"]

    pid = system.shown(CONTROL_PLANE, "MainPID")
    system.run(f"kill -9 {pid}")
    system.wait(lambda: restarted(system, CONTROL_PLANE, pid))
    answers(system, "/readyz")

    pid = system.shown(CONTROL_PLANE, "MainPID")
    upgrade(system, CONTROL_PLANE)
    system.wait(lambda: restarted(system, CONTROL_PLANE, pid))
    answers(system, "/readyz")
    assert "me" in system.run(listed)
    a_bad_setting_is_said_once(system, CONTROL_PLANE, secrets)

    system.run(f"dpkg -P {CONTROL_PLANE}")
    assert system.run(EVERY_FILE) == before
    assert "gpuforge" not in system.run("cat /etc/passwd /etc/group")


def answers(system: Booted, path: str) -> None:
    system.wait(
        lambda: "error" not in system.run(f"{FETCH} http://127.0.0.1:8080{path}", check=False).lower()
    )
