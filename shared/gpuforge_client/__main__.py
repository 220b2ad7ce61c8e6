"""The command `gpuforge`: the demo, and the REST API from a shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gpuforge_client.demo_folder import DemoError
from gpuforge_shared.errors import FieldError, Forbidden, GPUForgeError, Unauthorized

if TYPE_CHECKING:
    from gpuforge_client.listing import Record
    from gpuforge_client.rest import RestClient

T = TypeVar("T")

OK, FAILED, USAGE, UNREACHABLE, KEY_REFUSED = range(5)  # exit statuses, the agent's own

_HELP = """\
GPUForge from a shell: a live demo on this machine, and the control plane's REST API.

The API commands read two variables:

\b
  GPUFORGE_CONTROL_PLANE_URL   where the control plane listens (http://127.0.0.1:8080)
  GPUFORGE_API_KEY             the key; gpuforge-controlplane create-key makes the first
"""
_EPILOG = """\
\b
Exit status: 0 done, 1 refused or failed (the last line says why), 2 bad usage or a bad setting,
3 no control plane answers there,
4 the key is missing, mistyped or refused.
"""

app = typer.Typer(
    help=_HELP, epilog=_EPILOG, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
keys_app = typer.Typer(no_args_is_help=True)
app.add_typer(keys_app, name="keys", help="List, make and revoke API keys; for admins.")

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, the API's own fields.")]
OfCluster = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME|ID", help="Of this cluster; of all unless given.")
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    try:
        app(args=arguments, prog_name="gpuforge", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except DemoError as error:
        return _say(str(error), FAILED)
    except GPUForgeError as error:
        return _refused(error)
    except KeyboardInterrupt:
        return FAILED
    return OK


@app.command()
def demo(
    nodes: Annotated[
        int, typer.Option(min=1, max=1000, help="GPU hosts to play, 8 GPUs each, in up to 3 clusters.")
    ] = 12,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of the control plane.")] = 8080,
    data: Annotated[Path, typer.Option(help="Folder of the database, the keys and the logs.")] = Path(
        ".demo"
    ),
) -> None:
    """Run a control plane and a live, simulated fleet here.

    A control plane on SQLite and one agent process a cluster, which plays that cluster's nodes and pushes
    over HTTP as agents on real hosts do. Prints the URL and an admin key. Listens on 127.0.0.1 alone, and
    whoever can connect there may read without a key.

    Ctrl-C stops all of it. What is in --data stays: a second start is live within seconds, with the same key.
    """
    from gpuforge_client.demo import Options, run

    run(Options(nodes=nodes, port=port, data=data))


@app.command()
def clusters(*, as_json: Json = False) -> None:
    """List the clusters with their live counts."""
    from gpuforge_client import listing

    _show(_call(listing.clusters), listing.CLUSTERS, as_json=as_json)


@app.command()
def nodes(*, cluster: OfCluster = None, as_json: Json = False) -> None:
    """List the nodes: state, size, last heartbeat."""
    from gpuforge_client import listing

    _show(_call(lambda client: listing.nodes(client, cluster)), listing.NODES, as_json=as_json)


@app.command()
def gpus(*, cluster: OfCluster = None, as_json: Json = False) -> None:
    """List the GPUs with their latest figures.

    A - stands where a figure could not be read; --json tells why.
    """
    from gpuforge_client import listing

    _show(_call(lambda client: listing.gpus(client, cluster)), listing.GPUS, as_json=as_json)


@keys_app.command("list")
def list_keys(*, as_json: Json = False) -> None:
    """List all keys by their first characters, revoked ones too."""
    from gpuforge_client import listing

    _show(_call(listing.keys), listing.KEYS, as_json=as_json)


@keys_app.command("create")
def create_key(
    *,
    label: Annotated[str, typer.Option(help="What the key is for, in words.")],
    permissions: Annotated[str, typer.Option(metavar="LIST", help="Of read,write,admin.")] = "read,write",
    tenant_id: Annotated[int | None, typer.Option(help="Bind the key to this tenant.")] = None,
    cluster_id: Annotated[
        int | None, typer.Option(help="Make it the key of this cluster's agents; takes no --permissions.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it stops working, like 2027-01-01T00:00:00Z.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, alone, on stdout. It is shown this once: nobody can look it up later."""
    body: dict[str, object] = {"label": label, "tenant_id": tenant_id, "cluster_id": cluster_id}
    if cluster_id is None:
        body["permissions"] = [word.strip() for word in permissions.split(",") if word.strip()]
    body["expires_at"] = expires_at

    async def create(client: RestClient) -> Record:
        from gpuforge_client.rest import new_idempotency_key

        given = {name: value for name, value in body.items() if value is not None}
        key = new_idempotency_key()
        return await client.post("/api/api-keys", dict[str, object], body=given, idempotency_key=key)

    made = _call(create)
    print(_json(made) if as_json else made["key"])


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[int, typer.Argument(metavar="ID", min=1)], *, as_json: Json = False) -> None:
    """Revoke a key: it is refused from the next request on. The record of it stays."""

    async def revoke(client: RestClient) -> Record:
        return await client.delete(f"/api/api-keys/{key_id}", dict[str, object])

    gone = _call(revoke)
    print(_json(gone) if as_json else f"revoked {gone.get('key_prefix')}… ({gone.get('label')})")


def _call(work: Callable[[RestClient], Coroutine[object, object, T]]) -> T:
    """`work` with a client of this run's settings. Raises Exit where one is wrong, and what `work` raises."""
    import asyncio

    from gpuforge_client import config
    from gpuforge_client.rest import RestClient
    from gpuforge_client.retry import RetryPolicy
    from gpuforge_shared.settings import SettingsError

    try:
        settings = config.read()
    except SettingsError as error:
        raise typer.Exit(_say(str(error), USAGE)) from None
    if settings.api_key is None:
        print("gpuforge: GPUFORGE_API_KEY is not set: reading as anybody may, which shows a made-up sample "
              "fleet unless the control plane says otherwise", file=sys.stderr)  # fmt: skip

    somebody_waits = RetryPolicy(attempts=3, base_s=0.2, longest_retry_after_s=10.0)

    async def run() -> T:
        url, key = settings.control_plane_url, settings.api_key
        async with RestClient(url, key, user_agent="gpuforge", retry=somebody_waits) as client:
            return await work(client)

    return asyncio.run(run())


def _show(records: list[Record], columns: Mapping[str, str], *, as_json: bool) -> None:
    from gpuforge_client.listing import table

    print(_json(records) if as_json else table(records, columns))


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _refused(error: GPUForgeError) -> int:
    """The error in words, each field at fault on a line of its own, and the exit status that sorts it."""
    from gpuforge_client.failures import ControlPlaneUnreachable

    if isinstance(error, ControlPlaneUnreachable):
        return _say(f"{error}; GPUFORGE_CONTROL_PLANE_URL sets another URL", UNREACHABLE)
    if isinstance(error, Unauthorized):
        return _say(f"{error}; set GPUFORGE_API_KEY to a key that works", KEY_REFUSED)
    if isinstance(error, Forbidden):
        return _say(str(error), KEY_REFUSED)
    more = [_line(field) for field in error.errors if field.message not in error.detail]
    return _say("\n".join([str(error), *more]), FAILED)


def _line(field: FieldError) -> str:
    return f"  {field.path}: {field.message}"


def _say(words: str, status: int) -> int:
    print(f"gpuforge: {words}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
