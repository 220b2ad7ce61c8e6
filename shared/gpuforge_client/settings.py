"""The command line's settings."""

from __future__ import annotations

from pydantic import Field, SecretStr

from gpuforge_shared.settings import Settings


class ClientSettings(Settings):
    """Everything that can be set."""

    control_plane_url: str = Field(
        default="http://127.0.0.1:8080", description="Where the control plane listens, http or https."
    )
    api_key: SecretStr | None = Field(default=None, description="The key to call it with.")
