"""Which form of an answer the `Accept` header asks for (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The media type of `offered` that is wanted most, the first of equals; None where none may be sent.

    Without a header anything will do. What is no media range is ignored.
    """
    if not accept.strip():
        return offered[0]
    ranges = dict(_ranges(accept))
    weight = {media: _weight(media, ranges) for media in offered}
    best = max(offered, key=lambda media: weight[media])  # max keeps the first of equals
    return best if weight[best] > 0 else None


def _ranges(accept: str) -> list[tuple[str, float]]:
    found = []
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        weights = [each[2:].strip() for each in parameters if each.startswith("q=")]
        if all(_WEIGHT.fullmatch(weight) for weight in weights):
            found.append((media, float(weights[0]) if weights else 1.0))
    return found


def _weight(media: str, ranges: dict[str, float]) -> float:
    """By the most specific range that it falls into."""
    family = media.partition("/")[0]
    for name in (media, f"{family}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
