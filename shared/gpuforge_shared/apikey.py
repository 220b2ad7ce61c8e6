"""The form of an API key: `gfk_`, 56 random hex digits, 8 hex digits of CRC-32 over what precedes them.

The checksum refuses a typo or a truncated paste without a look-up, on either side of the wire, and lets
secret scanners recognise a key.
"""

from __future__ import annotations

import hashlib
import re
import zlib

PREFIX = "gfk_"
RANDOM_DIGITS = 56  # 224 bits
DISPLAY_CHARS = 12  # what lists show: `gfk_` and 8 digits, too few to guess the other 192 bits
_FORM = re.compile(r"gfk_[0-9a-f]{64}")
ANYWHERE = re.compile(r"gfk_[0-9a-f]{9,64}")  # longer than the display prefix: never to be logged


def assemble(random_hex: str) -> str:
    """The raw key for 56 lower-case hex digits of randomness. ValueError for any other length."""
    if len(random_hex) != RANDOM_DIGITS:
        raise ValueError(f"an API key takes {RANDOM_DIGITS} random hex digits, not {len(random_hex)}")
    body = PREFIX + random_hex
    return body + _checksum(body)


def is_well_formed(raw: str) -> bool:
    """Whether `raw` has the form of a key and its checksum holds."""
    return _FORM.fullmatch(raw) is not None and raw[-8:] == _checksum(raw[:-8])


def digest(raw: str) -> bytes:
    """SHA-256 of the raw key: what is stored. 224 random bits need no slow hash."""
    return hashlib.sha256(raw.encode()).digest()


def display_prefix(raw: str) -> str:
    """The first 12 characters, by which people tell keys apart."""
    return raw[:DISPLAY_CHARS]


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
