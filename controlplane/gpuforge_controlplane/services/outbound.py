"""What sending needs of the settings: the secret that seals and signs, and which networks are allowed."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from gpuforge_controlplane.gateways.addresses import Network
from gpuforge_controlplane.services.sealing import open_tagged, seal_tagged


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """The secret is a setting and nowhere in the database, which therefore holds nothing to sign or send
    with: whoever reads a backup can neither forge a webhook nor post to somebody's Slack."""

    secret: bytes | None = None
    networks: Sequence[Network] = ()

    def seal(self, url: str) -> tuple[bytes, bytes]:
        """The URL sealed, and its nonce. There must be a secret."""
        nonce = secrets.token_bytes(32)
        return seal_tagged(self._key("seal", nonce), nonce, url.encode()), nonce

    def open(self, sealed: bytes, nonce: bytes) -> str | None:
        """The URL; None where it was sealed with another secret."""
        if self.secret is None:
            return None
        url = open_tagged(self._key("seal", nonce), nonce, sealed)
        return None if url is None else url.decode()

    def signing_secret(self, nonce: bytes) -> str:
        """A channel's own, derived whenever it is needed and stored nowhere."""
        return "gfw_" + self._key("sign", nonce).hex()

    def _key(self, use: str, nonce: bytes) -> bytes:
        assert self.secret is not None
        return hmac.digest(self.secret, use.encode() + nonce, "sha256")
