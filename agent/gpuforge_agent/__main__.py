"""The command `gpuforge-agent`: run | check."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpuforge_agent import config
from gpuforge_agent.config import AgentSettings, Examined
from gpuforge_shared import logs
from gpuforge_shared.errors import Invalid
from gpuforge_shared.settings import SettingsError, add_flags, flags_of

DESCRIPTION = """\
The agent of a GPU host: reads every GPU, and delivers the figures to the control plane of its cluster.

  run     register this host and its GPUs, then read and deliver until SIGTERM or SIGINT
  check   what ails this host: driver, library, permissions, GPUs, MIG, control plane, key, clock and state
          folder, with the next step for each that is not well; stores nothing. Where the packaged service
          is, what is not given is its own: settings, key and queue
"""
EPILOG = """\
Every setting may stand in the TOML file of --config, in the environment (the name in brackets) or in a
flag; the latter win. The key itself has no flag, since a command line is public: set GPUFORGE_API_KEY_FILE
or GPUFORGE_API_KEY.

exit status:
  0  run: ended as asked; check: all well, warnings aside
  1  check: a GPU can't be read; run: another agent has the state folder, or a defect, with a traceback
  2  a flag, setting or file is wrong, or run's key; nothing was started, and systemd does not try again
  3  check: the control plane does not answer as it should
  4  check: the key is missing, unreadable, mistyped, refused, or may not write
  5  check: the clock is more than 30 s off, or the state folder can't be used
Of several failures, check answers the first of 4, 3, 1, 5.

examples:
  gpuforge-agent check            of the installed service, as root
  GPUFORGE_API_KEY_FILE=/root/key gpuforge-agent check --control-plane-url https://gpus.example.com
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = argparse.ArgumentParser(
        prog="gpuforge-agent",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("command", choices=["run", "check"], metavar="run|check")
    whole.add_argument(
        "--config", type=Path, metavar="FILE", help="settings in TOML, names as below with _ for -"
    )
    whole.add_argument("--json", action="store_true", help="check: answer as one JSON object")
    add_flags(whole, AgentSettings)
    whole.add_argument("--interval", dest="setting_interval_s", metavar="S", help="the same as --interval-s")
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and answer its exit status."""
    try:
        arguments = _parsed(parser(), argv)
        flags = flags_of(arguments)
        if arguments.command == "check":
            return _check(config.examined(flags, arguments.config), as_json=arguments.json)
        return _run(config.read(flags, arguments.config))
    except (SettingsError, Invalid) as error:
        return _say(str(error), 2)


def _parsed(whole: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, unknown = whole.parse_known_args(argv)
    if arguments.json and arguments.command != "check":
        raise SettingsError("--json belongs to check; run takes --log-format json")
    if not unknown:
        return arguments
    flag = unknown[0].split("=")[0]
    near = difflib.get_close_matches(flag, list(_flags(whole)), n=1)
    hint = f"did you mean {near[0]}?" if near else "--help lists all"
    raise SettingsError(f"unknown flag {flag}; {hint}")


def _flags(whole: argparse.ArgumentParser) -> Iterator[str]:
    for line in whole.format_usage().replace("[", " ").split():
        if line.startswith("--"):
            yield line.rstrip("]")


def _run(settings: AgentSettings) -> int:
    from gpuforge_agent import app
    from gpuforge_agent.state import FolderTaken

    if (problem := config.key_problem(settings)) is not None:
        raise SettingsError(problem)
    logs.configure(level=settings.log_level, form=settings.log_format, journal=config.journal_stream())
    supervisor = app.Supervisor(socket=config.notify_socket(), watchdog_s=config.watchdog_s())
    try:
        asyncio.run(app.run(settings, supervisor=supervisor))
    except FolderTaken as error:  # which may end: not for systemd to give up on
        return _say(str(error), 1)
    return 0


def _say(words: str, status: int) -> int:
    logs.say_last(f"gpuforge-agent: {words}", journal=config.journal_stream())
    return status


def _check(examined: Examined, *, as_json: bool) -> int:
    from gpuforge_agent.check import check

    logs.configure(level="error", form="human")  # what is found is in the report
    report = asyncio.run(check(examined))
    if as_json:
        print(report.to_json())
        return report.exit_status
    from rich.console import Console

    from gpuforge_agent.report import show

    show(report, Console(highlight=False, emoji=False, markup=False))
    return report.exit_status


if __name__ == "__main__":
    sys.exit(main())
