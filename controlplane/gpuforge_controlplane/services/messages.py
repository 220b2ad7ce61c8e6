"""Notifications as each kind of channel wants them. The same notices give the same bytes at every attempt."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from gpuforge_controlplane.domain.notices import REPEAT_S
from gpuforge_shared.wire.alerts import Notice

_SHOWN = 20  # notices that a text spells out
# Alertmanager takes an alert that is not sent again for resolved: past the next repeat, with time to retry.
_HOLDS_FOR = timedelta(seconds=REPEAT_S, hours=1)
_WORDS = {"firing": "FIRING", "repeated": "STILL FIRING", "resolved": "RESOLVED"}


def webhook(uid: str, notices: Sequence[Notice], created_at: datetime) -> bytes:
    """Our own JSON: `{"delivery": …, "at": …, "notices": […]}`."""
    return msgspec.json.encode({"delivery": uid, "at": created_at, "notices": notices})


def signature(secret: str, body: bytes, now: datetime) -> str:
    """`t=<seconds since 1970>,v1=<hex>`: HMAC-SHA256 of `<t>.<body>`.

    The time lets receivers refuse what somebody recorded and sends again.
    """
    at = int(now.timestamp())
    return f"t={at},v1={hmac.new(secret.encode(), b'%d.' % at + body, 'sha256').hexdigest()}"


def alertmanager(notices: Sequence[Notice], created_at: datetime) -> bytes:
    """The body of Alertmanager's POST /api/v2/alerts."""
    return msgspec.json.encode([_alert(notice, created_at) for notice in notices])


def title(notices: Sequence[Notice]) -> str:
    """`GPUForge: 2 firing, 1 resolved`."""
    kinds = [notice["kind"] for notice in notices]
    counts = {kind: kinds.count(kind) for kind in ("firing", "repeated", "resolved")}
    names = {"firing": "firing", "repeated": "still firing", "resolved": "resolved"}
    return "GPUForge: " + ", ".join(f"{count} {names[kind]}" for kind, count in counts.items() if count)


def text(notices: Sequence[Notice]) -> str:
    """One line a notice, the worst first."""
    rank = {"critical": 0, "warning": 1, "info": 2}
    ordered = sorted(notices, key=lambda notice: (notice["kind"] == "resolved", rank[notice["severity"]]))
    lines = [
        f"{_WORDS[notice['kind']]} [{notice['severity']}] {_line(notice)}" for notice in ordered[:_SHOWN]
    ]
    if len(ordered) > _SHOWN:
        lines.append(f"and {len(ordered) - _SHOWN} more")
    return "\n".join(lines)


def _line(notice: Notice) -> str:
    over = f" (over: {notice['reason']})" if notice["kind"] == "resolved" else f". {notice['what_to_do']}"
    return notice["message"] + over


def _alert(notice: Notice, created_at: datetime) -> dict[str, object]:
    labels = {
        "alertname": notice["rule_type"],
        "severity": notice["severity"],
        "subject_type": notice["subject_type"],
        "subject": notice["subject"],
        "event_id": str(notice["event_id"]),
    }
    for name, value in (("cluster_id", notice["cluster_id"]), ("tenant_id", notice["tenant_id"])):
        if value is not None:
            labels[name] = str(value)
    return {
        "labels": labels,
        "annotations": {"summary": notice["message"], "description": notice["what_to_do"]},
        "startsAt": notice["fired_at"],
        "endsAt": notice["resolved_at"] or created_at + _HOLDS_FOR,
    }
