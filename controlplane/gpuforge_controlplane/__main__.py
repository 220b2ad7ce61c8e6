"""The control plane's command: serve, migrate, create-key, check."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from gpuforge_controlplane.config import ControlPlaneSettings, journal_stream, read_settings
from gpuforge_shared import logs
from gpuforge_shared.errors import GPUForgeError, root_of
from gpuforge_shared.imports import no_garbage
from gpuforge_shared.settings import SettingsError, add_flags, flags_of

OK, FAILED, USAGE = 0, 1, 2
OPEN_FILES = 65_536  # systemd/gpuforge-controlplane.service has the same

_EPILOG = """\
Settings come from --config FILE (TOML), then GPUFORGE_... variables, then flags; later ones win.
Secrets have no flag: a command line is public to every user of the host.
Exit status: 0 all well, 1 it failed (the last line says why), 2 bad usage or a bad setting
(systemd does not start it again)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        settings = read_settings(file=asked.config, flags=flags_of(asked))
    except SettingsError as error:
        return _say(str(error), USAGE)
    logs.configure(level=settings.log_level, form=settings.log_format, journal=journal_stream())
    command: Callable[[ControlPlaneSettings, argparse.Namespace], Awaitable[int]] = asked.command
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_awaited(command(settings, asked)))
    except GPUForgeError as error:
        return _say(error.detail if error.__cause__ is None else f"{error.detail}: {root_of(error)}", FAILED)
    except KeyboardInterrupt:
        return FAILED


async def _awaited(work: Awaitable[int]) -> int:
    return await work


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # +30 % on small requests

    return uvloop.new_event_loop


async def _serve(settings: ControlPlaneSettings, _: argparse.Namespace) -> int:
    # Before the imports, which take longer than all else at the start: a taken port is told at once, and who
    # calls meanwhile waits for an answer instead of being refused.
    try:
        listening = _listen(settings.host, settings.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return _say(f"can't listen on {settings.host}:{settings.port}: {error.strerror}", FAILED)
        return _say(
            f"port {settings.port} on {settings.host} is taken; choose another: --port {settings.port + 1}",
            FAILED,
        )
    _hold_many_connections()
    with no_garbage():
        from gpuforge_controlplane.app import SchemaError, serve

    try:
        await serve(settings, listening)
    except SchemaError as error:
        return _say(str(error), FAILED)
    finally:
        listening.close()
    return OK


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(socket.SOMAXCONN)  # Linux lets two bind one port as long as neither listens
    except OSError:
        listening.close()
        raise
    return listening


def _hold_many_connections() -> None:
    """As many open files as the unit asks for, where the host allows them: a shell's usual 1,024 are gone
    with the thousandth agent."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, min(OPEN_FILES, most)), most))


async def _migrate(settings: ControlPlaneSettings, _: argparse.Namespace) -> int:
    from gpuforge_controlplane.migrations import head, migrate

    await migrate(settings.database_url)
    logging.getLogger(__name__).info("database is at the newest schema", extra={"revision": head()})
    return OK


async def _create_key(settings: ControlPlaneSettings, asked: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from gpuforge_controlplane.migrations import migrate
    from gpuforge_controlplane.services.keys import create_key_on_host
    from gpuforge_controlplane.storage.database import Database
    from gpuforge_shared.clock import utc_now
    from gpuforge_shared.wire.keys import KeyCreate

    permissions = [word.strip() for word in asked.permissions.split(",") if word.strip()]
    try:
        body = KeyCreate.model_validate(
            {"label": asked.label, "permissions": permissions, "tenant_id": asked.tenant_id}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return _say(f"{first['loc'][0]}: {first['msg']}", USAGE)
    await migrate(settings.database_url)
    database = Database(settings.database_url)
    try:
        print(await create_key_on_host(database, utc_now, body))
    finally:
        await database.close()
    return OK


async def _check(settings: ControlPlaneSettings, _: argparse.Namespace) -> int:
    from gpuforge_controlplane.check import findings

    failed = False
    async for finding in findings(settings):
        failed |= not finding.ok
        print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.words}")
    return FAILED if failed else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpuforge-controlplane",
        description="The control plane of GPUForge: keeps the truth of a GPU fleet and serves its REST API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, run, words in (
        ("serve", _serve, "serve the REST API until stopped (SIGTERM or Ctrl-C)"),
        ("migrate", _migrate, "bring the database to the newest schema"),
        ("create-key", _create_key, "make an API key and print it, alone, on stdout"),
        ("check", _check, "say whether settings, database and port are fit to serve"),
    ):
        command = commands.add_parser(
            name, help=words, description=words[0].upper() + words[1:] + ".", epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings")
        if run is _create_key:
            _add_key_arguments(command)
        add_flags(command, ControlPlaneSettings)
        command.set_defaults(command=run)
    return parser


def _add_key_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--label", required=True, help="what the key is for, in words")
    command.add_argument(
        "--permissions",
        default="read,write",
        metavar="LIST",
        help="of read,write,admin (default: read,write)",
    )
    command.add_argument("--tenant-id", type=int, metavar="ID", help="bind the key to this tenant")


def _say(words: str, status: int) -> int:
    logs.say_last(f"gpuforge-controlplane: {words}", journal=journal_stream())
    return status


if __name__ == "__main__":
    sys.exit(main())
