"""What `gpuforge-controlplane check` looks at."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gpuforge_controlplane import migrations
from gpuforge_controlplane.config import ControlPlaneSettings
from gpuforge_controlplane.storage.database import Database, schema_revision
from gpuforge_shared.errors import GPUForgeError, root_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    words: str


async def findings(settings: ControlPlaneSettings) -> AsyncIterator[Finding]:
    """The findings, one by one; nothing is changed."""
    yield await _database(settings)
    yield _port(settings)


async def _database(settings: ControlPlaneSettings) -> Finding:
    database = Database(settings.database_url)
    shown = database.url.render_as_string(hide_password=True)
    if database.is_new():
        return Finding(what="database", ok=True, words=f"{shown}, not there yet; serve will make it")
    try:
        async with database.read() as tx:
            revision = await schema_revision(tx)
    except GPUForgeError as error:
        return Finding(what="database", ok=False, words=f"{shown}: {root_of(error)}")
    finally:
        await database.close()
    if revision == migrations.head():
        return Finding(what="database", ok=True, words=f"{shown}, schema {revision}")
    if revision is not None and revision > migrations.head():
        return Finding(what="database", ok=True, words=f"{shown}, schema {revision}, newer than this code")
    ok = database.dialect == "sqlite"  # serve migrates SQLite by itself
    advice = "serve will migrate it" if ok else "run gpuforge-controlplane migrate"
    return Finding(what="database", ok=ok, words=f"{shown}, schema {revision or 'none'}; {advice}")


def _port(settings: ControlPlaneSettings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding(what="port", ok=False, words=f"{where}: {error.strerror}")
    return Finding(what="port", ok=True, words=f"{where} is free")
