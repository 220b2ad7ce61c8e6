"""A reader of the live stream that knows its documentation and none of its code."""

import asyncio
import base64
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

Json = Any
STATUSES = ("idle", "active", "unhealthy", "offline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One server-sent event."""

    event: str
    id: str | None
    data: Json


def messages(stream: str) -> Iterator[Message]:
    """The events in a piece of a stream; comments and `retry` are nothing to a reader."""
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            yield Message(event=fields["event"], id=fields.get("id"), data=json.loads(fields["data"]))


@dataclass(slots=True)
class Map:
    """The fleet as a dashboard would keep it."""

    snapshot: Json = None
    allocation: Json = None
    frame: Json = None

    def take(self, message: Message) -> None:
        """Apply a message that shows the fleet; all three are of one version when a frame is here."""
        match message.event:
            case "snapshot":
                self.snapshot, self.allocation, self.frame = message.data, None, None
            case "allocation":
                assert message.data["version"] == self.snapshot["version"]
                self.allocation = message.data
            case "frame":
                assert self.allocation is not None
                assert message.data["version"] == self.snapshot["version"]
                self.frame = message.data

    def gpus(self) -> list[dict[str, Json]]:
        """Every GPU with all that is shown of it."""
        columns = self.snapshot["gpus"]
        return [self._gpu(place) for place in range(len(columns["id"]))]

    def _gpu(self, place: int) -> dict[str, Json]:
        still, nodes, clusters = (self.snapshot[name] for name in ("gpus", "nodes", "clusters"))
        node, model = still["node"][place], still["model"][place]
        flags = base64.b64decode(self.frame["flags"])[place]
        return {
            "id": still["id"][place],
            "cluster": clusters["name"][nodes["cluster"][node]],
            "hostname": nodes["hostname"][node],
            "gpu_index": still["gpu_index"][place],
            "model": None if model is None else self.snapshot["models"][model],
            "memory_total_mb": still["memory_total_mb"][place],
            **{name: self._figure(name, place, unit) for name, unit in self.snapshot["units"].items()},
            "status": STATUSES[flags & 7],
            "flags": [name for name, bit in _FLAGS.items() if flags & bit],
            **self._holder(place),
        }

    def _figure(self, name: str, place: int, unit: float) -> float | None:
        byte = base64.b64decode(self.frame[name])[place]
        return None if byte == 255 else byte * unit

    def _holder(self, place: int) -> dict[str, Json]:
        raw = base64.b64decode(self.allocation["holder"])
        held_by = struct.unpack(f"<{len(raw) // 4}I", raw)[place]
        if not held_by:
            return {"job": None, "tenant": None}
        jobs, tenants = self.allocation["jobs"], self.allocation["tenants"]
        tenant = jobs["tenant"][held_by - 1]
        return {
            "job": jobs["name"][held_by - 1],
            "tenant": None if tenant is None else tenants["name"][tenant],
        }


_FLAGS = {"allocated": 8, "cordoned": 16, "draining": 32, "stale": 64}


def last_map(read: Iterable[Message]) -> Map:
    """The fleet after these messages."""
    shown = Map()
    for message in read:
        shown.take(message)
    return shown


@dataclass(slots=True)
class Stream:
    """A stream that is being read."""

    response: aiohttp.ClientResponse
    read: list[Message] = field(default_factory=list)
    buffer: str = ""
    ended: bool = False

    async def next(self) -> Message:
        """The next message. Raises EOFError at the end."""
        while True:
            head, found, rest = self.buffer.partition("\n\n")
            if not found:
                raw = await self.response.content.readany()
                if not raw:
                    self.ended = True
                    raise EOFError
                self.buffer += raw.decode()
                continue
            self.buffer = rest
            for message in messages(head):
                self.read.append(message)
                return message

    async def until(self, *events: str) -> Message:
        """The next message of one of these kinds."""
        async with asyncio.timeout(20):
            while (message := await self.next()).event not in events:
                pass
        return message

    async def to_its_end(self) -> list[Message]:
        """All that still comes."""
        before = len(self.read)
        with contextlib.suppress(EOFError):
            while True:
                await self.next()
        return self.read[before:]

    @property
    def last_id(self) -> str:
        """What a reader hands back."""
        return [message.id for message in self.read if message.id is not None][-1]

    def shown(self) -> Map:
        """The fleet as it is known now."""
        return last_map(self.read)


@contextlib.asynccontextmanager
async def streaming(
    url: str, key: str | None, *, frames: bool = True, last_id: str | None = None
) -> AsyncIterator[Stream]:
    """Read the stream of the control plane at `url`."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.get(f"{url}/api/events?frames={str(frames).lower()}", headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        yield Stream(response)
