"""`Idempotency-Key`, on every POST of the table: one effect and one answer, whatever happens in between."""

import asyncio
from typing import Any

import pytest

from gpuforge_controlplane.services import retention
from tests.api.examples import Example, build_scene, rows_to_walk
from tests.api.harness import ON_SQLITE, Answer, Caller, Json, Plane

KEY = "order-2026-05-09/1"


def with_key(key: str = KEY) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def posts(plane: Plane) -> list[Example]:
    """An example of every POST."""
    rows = rows_to_walk(await build_scene(plane))
    return [example for route, example in rows if route.method == "POST"]


async def post(asks: Caller, example: Example, key: str = KEY, body: Json = None) -> Answer:
    return await asks.post(example.path, body or example.body, headers=with_key(key))


async def test_a_repeat_gets_the_first_answer_and_does_nothing_again(
    plane: Plane, subtests: pytest.Subtests
) -> None:
    for example in await posts(plane):
        with subtests.test(example.path):
            first = await post(plane.admin, example)
            assert first.status in (200, 201), first.raw
            after = await plane.contents()
            plane.clock.forward(minutes=1)
            again = await post(plane.admin, example)
            assert (again.status, again.body) == (first.status, first.body)
            assert await plane.contents() == after


async def test_another_body_is_refused(plane: Plane, subtests: pytest.Subtests) -> None:
    for example in await posts(plane):
        with subtests.test(example.path):
            await post(plane.admin, example)
            after = await plane.contents()
            data = b" " + str(example.body).replace("'", '"').encode()
            if example.body is None:  # what it takes, it takes from its query
                other = await plane.admin.post(f"{example.path}?days=29", headers=with_key())
            else:
                other = await plane.admin.post(example.path, data=data, headers=with_key())
            assert (other.status, other.code) == (422, "idempotency_key_reused"), other.raw
            assert await plane.contents() == after


async def test_of_two_at_the_same_instant_one_takes_effect(plane: Plane, subtests: pytest.Subtests) -> None:
    for example in await posts(plane):
        with subtests.test(example.path):
            if example.once:
                continue
            before = await sizes(plane)
            once = await post(plane.admin, example, "alone")
            grown = {table: size - before[table] for table, size in (await sizes(plane)).items()}
            body = _another(example.body)
            both = await asyncio.gather(*(post(plane.admin, example, "both", body) for _ in range(4)))
            assert {answer.status for answer in both} == {once.status}
            assert len({answer.raw for answer in both}) == 1
            after = await sizes(plane)
            assert {table: size - before[table] - grown[table] for table, size in after.items()} == grown


async def sizes(plane: Plane) -> dict[str, int]:
    contents = await plane.contents()
    return {table: len(rows) for table, rows in contents.items()}


def _another(body: Json) -> Json:
    """A body with the effect of the first, on something else."""
    if "metrics" in body:
        return {"metrics": [{**body["metrics"][0], "recorded_at": "2026-05-09T11:58:00Z"}]}
    if "gpus" in body:
        return {**body, "gpus": [{**body["gpus"][0], "gpu_index": 6, "uuid": "GPU-another"}]}
    name = next(name for name in ("name", "hostname", "label", "note", "reason") if name in body)
    return {**body, name: f"another {body[name]}"}


@ON_SQLITE
async def test_two_callers_may_use_one_key(plane: Plane) -> None:
    second = await plane.holder_of(permissions=["admin"])
    example = Example(path="/api/api-keys", body={"label": "x"})
    first, other = await post(plane.admin, example), await post(second, example)
    assert first.body["id"] != other.body["id"]
    assert first.body["key"] != other.body["key"]
    assert (await post(second, example)).body == other.body


@ON_SQLITE
async def test_two_routes_may_use_one_key(plane: Plane) -> None:
    made = await post(plane.admin, Example(path="/api/clusters", body={"name": "x"}))
    other = await post(plane.admin, Example(path="/api/api-keys", body={"label": "x"}))
    assert (made.status, other.status) == (201, 201)


async def test_a_raw_key_comes_again_for_its_caller_alone(plane: Plane) -> None:
    """The answer is stored, the raw key in it is not: it is sealed with the caller's own."""
    made = await post(plane.admin, Example(path="/api/clusters", body={"name": "x"}))
    agent = plane.holder(made.body["api_key"])
    await plane.admin.delete("/api/api-keys/2")
    again = await post(plane.admin, Example(path="/api/clusters", body={"name": "x"}))
    assert again.body["api_key"] == made.body["api_key"]
    assert (await agent.get("/api/clusters")).status == 401  # it is the first answer, not today's state


async def test_an_answer_is_kept_for_24_hours(plane: Plane) -> None:
    example = Example(path="/api/api-keys", body={"label": "x"})
    first = await post(plane.admin, example)
    plane.clock.forward(hours=24)
    assert (await post(plane.admin, example)).body == first.body
    plane.clock.forward(seconds=1)
    again = await post(plane.admin, example)
    assert again.body["id"] != first.body["id"]
    plane.clock.forward(hours=23)  # the new one has its own 24 h
    assert (await post(plane.admin, example)).body == again.body


async def test_old_answers_are_cleared_away(plane: Plane) -> None:
    await post(plane.admin, Example(path="/api/api-keys", body={"label": "x"}))
    plane.clock.forward(hours=24)
    await retention.enforce(plane.database, plane.clock(), plane.api.kept)
    assert await plane.count("idempotency_keys") == 1
    plane.clock.forward(seconds=1)
    await retention.enforce(plane.database, plane.clock(), plane.api.kept)
    assert await plane.count("idempotency_keys") == 0


async def test_a_failure_is_not_kept(plane: Plane) -> None:
    node = Example(path="/api/clusters/nodes", body={"cluster_id": 1, "hostname": "a"})
    assert (await post(plane.admin, node)).status == 404
    assert await plane.count("idempotency_keys") == 0
    await plane.admin.write("/api/clusters", {"name": "x"})
    assert (await post(plane.admin, node)).status == 201


async def test_a_crash_of_the_work_leaves_neither_effect_nor_answer(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of creating a cluster fails: the other half, its audit row and the claim of the key go too."""
    example = Example(path="/api/clusters", body={"name": "x"})
    before = await plane.contents()

    async def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr("gpuforge_controlplane.storage.keys.create", breaks)
        broken = await post(plane.admin, example)
    assert (broken.status, broken.code) == (500, "internal_error")
    assert "in the middle" not in broken.raw.decode()
    assert await plane.contents() == before
    (logged,) = [record for record in caplog.records if record.exc_info]
    assert vars(logged)["path"] == "/api/clusters"
    caplog.clear()
    assert (await post(plane.admin, example)).status == 201


@ON_SQLITE
async def test_a_key_that_is_none(plane: Plane) -> None:
    before = await plane.contents()
    for key in ("", "two words", "x" * 256, "ümlaut", "tab\tinside"):
        answer = await post(plane.admin, Example(path="/api/clusters", body={"name": "x"}), key)
        assert (answer.status, answer.paths) == (422, ["Idempotency-Key"]), key
    assert await plane.contents() == before


async def test_the_key_itself_is_stored_nowhere(plane: Plane) -> None:
    await post(plane.admin, Example(path="/api/clusters", body={"name": "x"}), "customer-4711-secret")
    assert "customer-4711" not in str(await plane.contents())


@ON_SQLITE
async def test_other_methods_pass_it_over(plane: Plane) -> None:
    await plane.admin.write("/api/clusters", {"name": "x"})
    assert (await plane.admin.get("/api/clusters", headers=with_key())).status == 200
    assert (await plane.admin.delete("/api/api-keys/2", headers=with_key("two words"))).status == 200
    assert await plane.count("idempotency_keys") == 0
