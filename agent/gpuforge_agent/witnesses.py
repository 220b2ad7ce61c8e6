"""Tells once what NVML and the kernel's log both saw of a GPU."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from gpuforge_agent.sources.base import Xid

Witness = Literal["nvml", "journal"]

MOST_REMEMBERED = 256
MOST_CODES = 512  # distinct GPUs and codes that are counted; there are some 150 codes


@dataclass(frozen=True, slots=True)
class _Alone:
    """What one witness told and the other did not, so far."""

    witness: Witness
    xid: Xid
    at: datetime


class Witnesses:
    """Each Xid of one witness stands for one of the other's: the same GPU, the same code, about that time."""

    def __init__(self, within_s: float) -> None:
        """`within_s`: how far apart the two may tell of one Xid. NVML is asked once a sample."""
        self._within = timedelta(seconds=within_s)
        self._alone: deque[_Alone] = deque(maxlen=MOST_REMEMBERED)
        self._counts: Counter[Xid] = Counter()

    @property
    def counts(self) -> Mapping[Xid, int]:
        """How often each GPU had each code since the agent started."""
        return self._counts

    def is_news(self, witness: Witness, xid: Xid, at: datetime) -> bool:
        """Take a witness's word in; whether the other has not told of it already."""
        for told in self._alone:
            if told.witness != witness and told.xid == xid and abs(at - told.at) <= self._within:
                self._alone.remove(told)
                return False
        self._alone.append(_Alone(witness, xid, at))
        if xid in self._counts or len(self._counts) < MOST_CODES:
            self._counts[xid] += 1
        return True
