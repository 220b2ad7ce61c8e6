"""Notifications as channels get them."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from gpuforge_controlplane.services.messages import alertmanager, signature, text, title, webhook
from gpuforge_shared.wire.alerts import Notice

AT = datetime(2026, 5, 9, 12, tzinfo=UTC)


def notice(**fields: Any) -> Notice:
    base: Any = {
        "kind": "firing", "event_id": 7, "rule_type": "gpu_fault", "severity": "critical",
        "subject_type": "gpu", "subject_id": 71, "subject": "gpu-07/1", "tenant_id": None, "cluster_id": 1,
        "value": 1.0, "threshold": 1.0, "message": "GPU gpu-07/1 has a fault: Xid 79",
        "what_to_do": "Cordon the node.", "reason": None, "fired_at": AT, "resolved_at": None,
    }  # fmt: skip
    return cast(Notice, {**base, **fields})


OVER = notice(
    kind="resolved", event_id=8, severity="warning", message="cold again", reason="recovered", resolved_at=AT
)


def test_title_and_text() -> None:
    still = notice(kind="repeated", severity="info", message="still so", what_to_do="Wait.")
    assert title([notice(), OVER, notice()]) == "GPUForge: 2 firing, 1 resolved"
    assert title([still]) == "GPUForge: 1 still firing"
    assert text([OVER, still, notice()]).splitlines() == [
        "FIRING [critical] GPU gpu-07/1 has a fault: Xid 79. Cordon the node.",
        "STILL FIRING [info] still so. Wait.",
        "RESOLVED [warning] cold again (over: recovered)",
    ]


def test_a_text_names_twenty_and_counts_the_rest() -> None:
    lines = text([notice()] * 23).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 3 more")


def test_our_own_json() -> None:
    body = json.loads(webhook("abc", [notice()], AT))
    assert (body["delivery"], body["at"]) == ("abc", "2026-05-09T12:00:00Z")
    assert body["notices"][0]["fired_at"] == "2026-05-09T12:00:00Z"
    assert set(body["notices"][0]) == set(Notice.__annotations__)


def test_a_signature_as_a_receiver_checks_it() -> None:
    body = b'{"a": 1}'
    parts = dict(part.split("=") for part in signature("gfw_secret", body, AT).split(","))
    assert parts["t"] == "1778328000"
    wanted = hmac.new(b"gfw_secret", parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert parts["v1"] == wanted


def test_alertmanager_is_told_until_when_to_believe_it() -> None:
    fires, over = json.loads(alertmanager([notice(), OVER], AT + timedelta(minutes=1)))
    assert fires == {
        "labels": {
            "alertname": "gpu_fault", "severity": "critical", "subject_type": "gpu", "subject": "gpu-07/1",
            "event_id": "7", "cluster_id": "1",
        },
        "annotations": {"summary": "GPU gpu-07/1 has a fault: Xid 79", "description": "Cordon the node."},
        "startsAt": "2026-05-09T12:00:00Z",
        "endsAt": "2026-05-09T17:01:00Z",
    }  # fmt: skip
    assert over["endsAt"] == "2026-05-09T12:00:00Z"
    firing_again = json.loads(alertmanager([notice(kind="repeated")], AT))[0]
    assert firing_again["labels"] == fires["labels"]  # by which Alertmanager knows it for the same
