"""The clock of the outbox to Stripe: every few seconds, by the leader alone."""

from __future__ import annotations

from gpuforge_controlplane.loops.leader import Leadership
from gpuforge_controlplane.services.payments import PaymentDesk

LOOK_S = 5.0


class Payments:
    """Runs a round where this replica leads; a task is claimed first, so requests may attend to it, too."""

    def __init__(self, desk: PaymentDesk, leadership: Leadership) -> None:
        self._desk = desk
        self._leadership = leadership

    async def __call__(self) -> None:
        if self._leadership.token is not None:
            await self._desk.work()
