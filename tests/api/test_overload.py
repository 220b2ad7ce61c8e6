"""More requests than can be answered: who comes late is told to come back, and the others are served."""

import contextlib
import logging

import pytest

from gpuforge_controlplane.api.traffic import BACK_WITHIN_S, MOST, ROOM
from tests.api.harness import ON_SQLITE, Plane, Site


@ON_SQLITE
async def test_who_comes_when_too_many_wait_is_sent_away_for_a_while(
    plane: Plane, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    beat = {"cluster_id": site.cluster_id, "hostname": "east-01"}
    with contextlib.ExitStack() as waiting:
        for _ in range(MOST - 1):
            waiting.enter_context(plane.api.traffic.served(agent=True))
        assert (await site.agent.post("/api/clusters/nodes", beat)).status == 200
        waiting.enter_context(plane.api.traffic.served(agent=True))
        before = await plane.contents()
        caplog.clear()
        refused = [await site.agent.post("/api/clusters/nodes", beat) for _ in range(20)]
        assert {(answer.status, answer.code) for answer in refused} == {(503, "unavailable")}
        assert await plane.contents() == before
        told = [each.message for each in caplog.records if each.levelno > logging.DEBUG]
        assert told.count("can't serve") == len(told) == 1  # and not a line for each of them, by thousands
        seconds = {int(answer.headers["Retry-After"]) for answer in refused}
        assert BACK_WITHIN_S[0] <= min(seconds) < max(seconds) <= BACK_WITHIN_S[1]  # not all of them at once
        for path in ("/healthz", "/api/whoami", "/api/clusters"):  # people come in, and all is well
            assert (await plane.admin.get(path)).status == 200, path
        assert (await plane.holder("gfk_" + "0" * 64).get("/api/whoami")).status == 401
        for _ in range(ROOM):
            waiting.enter_context(plane.api.traffic.served(agent=False))
        assert (await plane.admin.get("/api/whoami")).status == 503
        assert (await plane.admin.get("/healthz")).status == 200  # this server is well, only busy
    assert (await site.agent.post("/api/clusters/nodes", beat)).status == 200
