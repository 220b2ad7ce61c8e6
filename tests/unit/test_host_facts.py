"""What the host tells beside NVML: whose a process is, how busy the machine is."""

import threading
from pathlib import Path

import pytest

from gpuforge_agent.gauges import Gauges
from gpuforge_agent.processes import Owner, Owners, job_of, users_in

CONTAINER = "1234567890ab" + "cd" * 26
POD = "0c5f7a1e-2d3b-4c5d-8e9f-a0b1c2d3e4f5"


@pytest.mark.parametrize(
    ("cgroups", "job"),
    [
        pytest.param("0::/system.slice/gpuforge-job-42.service", "gpuforge:42", id="ours"),
        pytest.param(
            "0::/system.slice/slurmstepd.scope/job_1187/step_0/user/task_0",
            "slurm:1187",
            id="Slurm, version 2",
        ),
        pytest.param(
            "11:memory:/slurm/uid_1000/job_1187/step_batch\n1:name=systemd:/system.slice/slurmd.service",
            "slurm:1187",
            id="Slurm, version 1: the job before the service that started it",
        ),
        pytest.param(
            f"0::/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope",
            f"pod:{POD}",
            id="Kubernetes by systemd",
        ),
        pytest.param(
            f"0::/kubepods/burstable/pod{POD}/{CONTAINER}", f"pod:{POD}", id="Kubernetes by cgroupfs"
        ),
        pytest.param(f"0::/system.slice/docker-{CONTAINER}.scope", "container:1234567890ab", id="Docker"),
        pytest.param(f"12:devices:/docker/{CONTAINER}", "container:1234567890ab", id="Docker, version 1"),
        pytest.param("0::/system.slice/jupyter.service", "unit:jupyter.service", id="a service"),
        pytest.param(
            "0::/user.slice/user-1000.slice/session-3.scope", "unit:session-3.scope", id="a login session"
        ),
        pytest.param("0::/", None, id="none"),
        pytest.param("", None, id="a kernel thread"),
        pytest.param("nonsense", None, id="nonsense"),
    ],
)
def test_the_job_is_named_by_the_control_group(cgroups: str, job: str | None) -> None:
    assert job_of(cgroups) == job


def test_users_come_from_passwd_and_bad_lines_do_no_harm() -> None:
    assert users_in("root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:\n+::::::\n#x\n") == {
        0: "root",
        1000: "ada",
    }


def test_owners_of_processes_that_are_there_hidden_and_gone(tmp_path: Path) -> None:
    for pid, files in {
        1: {"comm": "python3\n", "cgroup": "0::/system.slice/a.service\n"},
        2: {"comm": "x\n"},  # another namespace's: no control group to be seen
    }.items():
        (tmp_path / str(pid)).mkdir()
        for name, text in files.items():
            (tmp_path / str(pid) / name).write_text(text)
    passwd = tmp_path / "passwd"
    passwd.write_text(f"me:x:{tmp_path.stat().st_uid}:0::/:\n")
    assert Owners(tmp_path, passwd).of({1, 2, 3}) == {
        1: Owner(name="python3", user="me", job="unit:a.service"),
        2: Owner(name="x", user="me"),
        3: Owner(),
    }
    assert Owners(tmp_path, tmp_path / "none").of({1})[1].user == str(tmp_path.stat().st_uid)


def host(folder: Path, busy: int) -> None:
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "sys/kernel/random/boot_id").write_text("0c5f7a1e\n")
    (folder / "uptime").write_text("3600.25 7000.00\n")
    (folder / "loadavg").write_text("1.50 2.00 3.25 2/345 6789\n")
    (folder / "stat").write_text(f"cpu  {busy} 0 0 300 100 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    (folder / "meminfo").write_text("MemTotal: 2097152 kB\nMemFree: 1 kB\nMemAvailable: 524288 kB\n")


async def test_a_hosts_figures(tmp_path: Path) -> None:
    gauges = Gauges(tmp_path, tmp_path)
    host(tmp_path, 100)
    figures, missing = await gauges.read()
    assert missing == {"cpu_pct": "not_reached"}, "a share needs two looks"
    disk = (figures.pop("disk_used_mb"), figures.pop("disk_total_mb"))
    assert isinstance(disk[0], int)
    assert isinstance(disk[1], int)
    assert 0 <= disk[0] <= disk[1]
    assert figures == {
        "boot_id": "0c5f7a1e",
        "uptime_s": 3600.25,
        "load_1m": 1.5,
        "load_5m": 2.0,
        "load_15m": 3.25,
        "ram_used_mb": 1536,
        "ram_total_mb": 2048,
    }
    (tmp_path / "stat").write_text("cpu  130 0 0 350 120 0 0 0 0 0\n")
    assert (await gauges.read())[0]["cpu_pct"] == 30.0


async def test_what_a_host_does_not_say_is_missing_with_its_reason(tmp_path: Path) -> None:
    figures, missing = await Gauges(tmp_path / "none", tmp_path).read()
    assert figures == {}
    assert set(missing.values()) == {"not_supported"}
    assert len(missing) == 10


async def test_a_disk_that_hangs_is_said_to_and_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, asked = threading.Event(), []

    def hang(folder: Path) -> tuple[int, int]:
        asked.append(folder)
        released.wait()
        return (1, 2)

    monkeypatch.setattr("gpuforge_agent.gauges.HANG_S", 0.01)
    monkeypatch.setattr("gpuforge_agent.gauges._space", hang)
    host(tmp_path, 100)
    others_say = False
    gauges = Gauges(tmp_path, tmp_path, disk_hangs=lambda: others_say)
    for _ in range(3):
        figures, missing = await gauges.read()
        assert (missing["disk_used_mb"], missing["disk_total_mb"]) == ("hung", "hung")
        assert figures["ram_total_mb"] == 2048
    assert asked == [tmp_path]
    released.set()
    monkeypatch.setattr("gpuforge_agent.gauges.HANG_S", 20)
    assert (await gauges.read())[0]["disk_total_mb"] == 2
    others_say = True
    assert (await gauges.read())[1]["disk_total_mb"] == "hung"
    assert len(asked) == 1
