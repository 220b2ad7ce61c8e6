"""`gpuforge demo`: a control plane and a live fleet of simulated GPUs here, real processes over HTTP."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gpuforge_client import config
from gpuforge_client.demo_children import Child, launch, prepare_copies, stop_all
from gpuforge_client.demo_folder import DemoError, DemoFolder, last_lines, opened, read_key, write_key
from gpuforge_client.demo_plan import GPUS_PER_NODE, Share, delivery_s, sampling_s, shares
from gpuforge_client.demo_screen import Screen, counted, welcome
from gpuforge_shared.clock import utc_now

if TYPE_CHECKING:
    from gpuforge_client.rest import RestClient

HOST = "127.0.0.1"  # demo mode `live` shows everything to whoever can connect
DEFAULT_FOLDER = Path(".demo")
MAX_NODES = 1000
KEEP_SAMPLES_HOURS = 2  # at 96 samples/s a day of them would fill a gigabyte
LOOK_S, ASK_S = 0.1, 0.1  # between two looks at the children, two questions to the control plane
# aiohttp reads the system's certificates as it is imported, a tenth of a second; here is no TLS
_NO_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be chosen. `nodes` 1 to MAX_NODES, `port` 1 to 65535."""

    nodes: int = 12
    port: int = 8080
    data: Path = DEFAULT_FOLDER

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def run(options: Options) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; nothing is left running then, nor after a kill -9 (on Linux).

    Raises DemoError where it can't start or go on, and what the REST client raises.
    """
    _require_the_whole_distribution()
    asked = threading.Event()
    _interrupt_on(_SIGNALS, asked)
    with Screen() as screen, opened(options.data, options.url) as folder:
        _require_port(options)
        demo = _Demo(options, folder, screen)
        try:
            demo.begin()
            asyncio.run(demo.live(asked))
        except (KeyboardInterrupt, asyncio.CancelledError):
            screen.step("stopping")
        finally:
            with _deaf_to(_SIGNALS):
                demo.stop()
    screen.say("Stopped: nothing is left running.")


class _Demo:
    """The processes of one run and the way to a fleet that reports."""

    def __init__(self, options: Options, folder: DemoFolder, screen: Screen) -> None:
        self._options = options
        self._folder = folder
        self._screen = screen
        self._since = utc_now()
        self._fleet = shares(options.nodes)
        self._clusters: Mapping[str, int] = {}  # their ids, by name, once settled
        self._plane = self._control_plane()
        self._agents = {share.site.cluster: self._agent(share) for share in self._fleet}

    def begin(self) -> None:
        """Start what can be started at once: from the second run on, that is everything."""
        if read_key(self._folder.admin_key) is None:
            self._screen.step("preparing the database")
            self._mint_admin_key()
        self._screen.step("starting the control plane")
        config.extend(_NO_CERTIFICATES)
        prepare_copies("aiohttp", "msgspec", "pydantic", "gpuforge_shared.settings")  # what all of them need
        self._plane.start_as_copy()
        prepare_copies("gpuforge_agent.app", "gpuforge_client.demo_fleet")
        for cluster, agent in self._agents.items():
            if read_key(self._folder.cluster_key(cluster)) is not None:
                agent.start_as_copy()

    async def live(self, asked: threading.Event) -> None:
        """Bring the fleet to life, tell how to use it, watch over it until cancelled or `asked` to end."""
        _cancel_on(_SIGNALS)
        if asked.is_set():
            return
        rise = asyncio.create_task(self._rise())
        watch = asyncio.create_task(self._watch())
        tasks: list[asyncio.Task[str] | asyncio.Task[None]] = [rise, watch]
        try:
            await asyncio.wait((rise, watch), return_when=asyncio.FIRST_COMPLETED)
            if rise.done():
                self._screen.say(rise.result())
                self._screen.end_step()
                tasks.append(asyncio.create_task(self._work()))
            await watch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Agents first: what they still hold is delivered."""
        stop_all(list(self._agents.values()))
        stop_all([self._plane])

    async def _rise(self) -> str:
        """The words of welcome, once every GPU has reported."""
        from gpuforge_shared.errors import Unauthorized

        try:
            return await self._risen()
        except Unauthorized:
            self._screen.say(f"The key in {self._folder.admin_key} was revoked: making another.")
            self._mint_admin_key()
            return await self._risen()

    async def _risen(self) -> str:
        # 0.3 s of imports, by now in the shadow of the children's own
        from gpuforge_client.demo_fleet import settle
        from gpuforge_client.rest import RestClient
        from gpuforge_client.retry import RetryPolicy

        key = read_key(self._folder.admin_key) or ""
        soon = RetryPolicy(attempts=None, base_s=0.1, cap_s=0.5)
        async with RestClient(self._options.url, key, user_agent="gpuforge-demo", retry=soon) as client:
            settled = await settle(client, self._folder, self._fleet)
            self._clusters = settled.ids
            for cluster in settled.renewed:
                self._agents[cluster].restart()
            await self._wait_for_gpus(client, settled.ids)
        gpus = counted(sum(share.gpus for share in self._fleet), "GPU")
        nodes, clusters = counted(self._options.nodes, "node"), counted(len(self._fleet), "cluster")
        return welcome(
            url=self._options.url,
            key=key,
            count=f"{gpus} on {nodes} in {clusters}",
            cluster_id=settled.ids[self._fleet[0].site.cluster],
            folder=str(self._folder.path),
        )

    async def _work(self) -> None:
        """Jobs come and go for as long as the demo lasts."""
        from gpuforge_client.demo_work import work
        from gpuforge_client.rest import RestClient

        key = read_key(self._folder.admin_key) or ""
        async with RestClient(self._options.url, key, user_agent="gpuforge-demo") as client:
            await work(client, list(self._clusters.values()), sum(share.gpus for share in self._fleet))

    async def _wait_for_gpus(self, client: RestClient, ids: Mapping[str, int]) -> None:
        """Until every GPU has reported. A cluster that is complete is not asked again."""
        from gpuforge_client.demo_fleet import count

        waiting, strangers = list(self._fleet), 0
        expected = sum(share.gpus for share in self._fleet)
        reporting = dict.fromkeys((share.site.cluster for share in self._fleet), 0)
        while waiting:
            done = sum(reporting.values())
            self._screen.step("waiting for the GPUs", f"({done} of {expected} report)")
            # one cluster at a time: to answer costs the control plane what the agents' registrations need
            found = await count(client, waiting[0], ids[waiting[0].site.cluster], self._since)
            reporting[waiting[0].site.cluster] = found.reporting
            if found.reporting >= waiting[0].gpus:
                waiting.pop(0)
                strangers += found.strangers
            else:
                await asyncio.sleep(ASK_S)
        if strangers:
            others = counted(strangers, "other node")
            self._screen.say(f"Nobody plays {others} of these clusters any more: offline soon.")

    async def _watch(self) -> None:
        """Start agents that died again. Raises DemoError when the control plane has ended."""
        while True:
            self._screen.tick()
            if (words := self._plane.obituary()) is not None:
                raise DemoError(words)
            for agent in self._agents.values():
                if (words := agent.obituary()) is not None:
                    self._screen.say(words)
                    agent.restart()
                    self._screen.say("It was started again.")
            await asyncio.sleep(LOOK_S)

    def _mint_admin_key(self) -> None:
        log = self._folder.log("create-key")
        arguments = ["create-key", "--label", "demo admin", "--permissions", "read,write,admin"]
        with (
            log.open("wb") as errors,
            launch(
                "gpuforge_controlplane",
                *arguments,
                settings={"GPUFORGE_LOG_FORMAT": "human"},
                folder=self._folder.path,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as making,
        ):
            made, _ = making.communicate()
        if making.returncode:
            raise DemoError(f"can't make the admin key; the last lines of {log}:\n{last_lines(log)}")
        write_key(self._folder.admin_key, made.decode().strip())

    def _control_plane(self) -> Child:
        arguments = ["serve", "--host", HOST, "--port", str(self._options.port), "--demo", "live"]
        arguments += ["--metrics-retention-hours", str(KEEP_SAMPLES_HOURS), "--log-format", "human"]
        return Child(
            name="the control plane",
            module="gpuforge_controlplane",
            arguments=arguments,
            settings={
                "GPUFORGE_NOTIFY_SECRET": self._folder.notify_secret(),
                "GPUFORGE_NOTIFY_ALLOW_NETWORKS": "127.0.0.0/8",  # a receiver to try webhooks on is here, too
            },
            folder=self._folder.path,
            log=self._folder.log("control-plane"),
        )

    def _agent(self, share: Share) -> Child:
        flags = {
            "control-plane-url": self._options.url,
            "hostname": share.hostname,
            "source": "simulated",
            "simulated-nodes": str(share.nodes),
            "simulated-gpus": str(GPUS_PER_NODE),
            "simulated-model": share.site.model,
            "simulated-follow": "true",
            "interval-s": f"{sampling_s(self._options.nodes):g}",
            "push-interval-s": f"{delivery_s(self._options.nodes):g}",
            "log-format": "human",
        }
        cluster = share.site.cluster
        return Child(
            name=f"the agent of {cluster}",
            module="gpuforge_agent",
            arguments=["run", *(word for flag, value in flags.items() for word in (f"--{flag}", value))],
            settings={"GPUFORGE_API_KEY_FILE": self._folder.cluster_key(cluster).name},
            folder=self._folder.path,
            log=self._folder.log(f"agent-{cluster}"),
            niceness=10,  # the control plane goes first: an agent has nothing to do before it listens
        )


def _require_the_whole_distribution() -> None:
    missing = [name for name in ("sqlalchemy", "alembic", "uvloop") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoError(
            f"the demo runs a control plane and agents, and {', '.join(missing)} is not installed; "
            "install gpuforge[agent,controlplane]"
        )


def _require_port(options: Options) -> None:
    """Raises DemoError for a port that can't be had, with one that can."""
    problem = port_problem(options.port)
    if problem is None:
        return
    free = next((port for port in range(options.port + 1, 65_536) if port_problem(port) is None), 8080)
    raise DemoError(
        f"port {options.port} {problem}. This one is free:\n"
        f"    gpuforge demo --port {free}\n"
        f"    make demo PORT={free}"
    )


def port_problem(port: int) -> str | None:
    """Why nobody can listen on that port now; None where one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
    return None


def _interrupt_on(numbers: tuple[signal.Signals, ...], asked: threading.Event) -> None:
    """Until the event loop takes the signals over, each is a KeyboardInterrupt, and `asked` is set: where it
    strikes a hook of fork(2) or a finaliser, Python drops the exception."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    for number in _wanted(numbers):
        signal.signal(number, interrupt)


def _cancel_on(numbers: tuple[signal.Signals, ...]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in _wanted(numbers):
        loop.add_signal_handler(number, task.cancel)


def _wanted(numbers: tuple[signal.Signals, ...]) -> Iterator[signal.Signals]:
    """All but a SIGHUP that nohup(1) has told us to outlive."""
    for number in numbers:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            yield number


@contextmanager
def _deaf_to(numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    """A second Ctrl-C must not keep us from stopping what we started; that takes seconds at most."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
