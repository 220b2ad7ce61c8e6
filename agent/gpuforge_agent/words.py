"""Text that drivers, cards and other people's programs wrote, as the control plane takes it."""

from __future__ import annotations

import unicodedata


def plain(text: str, longest: int) -> str:
    """Without what can't be printed, and no longer than that."""
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cs"))[:longest]
