"""Keeping a secret in the database under a key that is not there: XOR with HMAC-SHA256 in counter mode."""

from __future__ import annotations

import hmac

_TAG = 32  # bytes of HMAC that tell whether it is the right key


def seal(key: bytes, nonce: bytes, secret: bytes) -> bytes:
    """`secret` sealed. The nonce is stored beside it, and never used for another secret."""
    return _xor(secret, _pad(key, nonce, len(secret)))


def open_sealed(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """The inverse of `seal`; with another key, noise."""
    return seal(key, nonce, sealed)


def seal_tagged(key: bytes, nonce: bytes, secret: bytes) -> bytes:
    """Like `seal`, and it can be told whether a key opens it."""
    sealed = seal(key, nonce, secret)
    return sealed + hmac.digest(key, b"tag" + nonce + sealed, "sha256")


def open_tagged(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """The inverse of `seal_tagged`; None where it was sealed with another key, or changed."""
    body, tag = sealed[:-_TAG], sealed[-_TAG:]
    if not hmac.compare_digest(hmac.digest(key, b"tag" + nonce + body, "sha256"), tag):
        return None
    return open_sealed(key, nonce, body)


def _pad(key: bytes, nonce: bytes, length: int) -> bytes:
    blocks = range(-(-length // 32))
    return b"".join(hmac.digest(key, nonce + block.to_bytes(4), "sha256") for block in blocks)[:length]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
