"""GPUs over HTTP: known by slot and by UUID, through swaps, replacements and moves."""

import asyncio

import pytest

from tests.api.harness import ON_SQLITE, Json, Plane, Site, build_site

GPUS = "/api/clusters/gpus"


async def register(plane: Plane, node_id: int, *gpus: Json, status: int | None = None) -> list[Json]:
    """What is answered: the records newly created."""
    answer = await plane.admin.post(GPUS, {"node_id": node_id, "gpus": list(gpus)})
    assert answer.status == (status or (201 if answer.body else 200)), answer.raw
    created: list[Json] = answer.body
    return created


async def slots(plane: Plane, node_id: int) -> dict[int, tuple[int, str | None]]:
    """Index → id and UUID."""
    node = await plane.admin.read(f"/api/clusters/nodes/{node_id}")
    return {gpu["gpu_index"]: (gpu["id"], gpu["uuid"]) for gpu in node["gpus"]}


@pytest.fixture
async def node_id(plane: Plane) -> int:
    """A node without GPUs."""
    cluster = await plane.admin.write("/api/clusters", {"name": "north"})
    node = await plane.admin.write(
        "/api/clusters/nodes", {"cluster_id": cluster["id"], "hostname": "north-01"}
    )
    return int(node["id"])


async def test_only_new_records_are_answered(plane: Plane, node_id: int) -> None:
    model = {"model": "NVIDIA H100 80GB", "vram_mb": 81920}
    first = await register(plane, node_id, {"gpu_index": 0, **model}, {"gpu_index": 1, **model}, status=201)
    assert [(gpu["gpu_index"], gpu["status"], gpu["model"]) for gpu in first] == [
        (0, "idle", "NVIDIA H100 80GB"),
        (1, "idle", "NVIDIA H100 80GB"),
    ]
    assert await register(plane, node_id, {"gpu_index": 0}, {"gpu_index": 1}, status=200) == []
    third = await register(plane, node_id, {"gpu_index": 1}, {"gpu_index": 5}, status=201)
    assert [gpu["gpu_index"] for gpu in third] == [5]


@ON_SQLITE
async def test_an_index_defaults_to_the_place_in_the_array(plane: Plane, node_id: int) -> None:
    created = await register(plane, node_id, {}, {"gpu_index": 7}, {"gpu_index": None})
    assert [gpu["gpu_index"] for gpu in created] == [0, 7, 2]


@ON_SQLITE
async def test_nothing_is_named_twice(plane: Plane, node_id: int) -> None:
    before = await plane.contents()
    for gpus, path in (
        ([{"gpu_index": 1}, {"gpu_index": 1}], "gpus[0].gpu_index"),
        ([{"gpu_index": 1}, {}], "gpus[0].gpu_index"),  # once by default
        ([{"uuid": "A"}, {"uuid": "A"}], "gpus[0].uuid"),
    ):
        answer = await plane.admin.post(GPUS, {"node_id": node_id, "gpus": gpus})
        assert (answer.status, answer.paths) == (422, [path])
    assert await plane.contents() == before


@ON_SQLITE
async def test_absent_fields_keep_their_value(plane: Plane, node_id: int) -> None:
    await register(plane, node_id, {"uuid": "A", "model": "H100", "vram_mb": 81920})
    await register(plane, node_id, {"gpu_index": 0})
    node = await plane.admin.read(f"/api/clusters/nodes/{node_id}")
    assert [(gpu["uuid"], gpu["model"], gpu["vram_mb"]) for gpu in node["gpus"]] == [("A", "H100", 81920)]


async def test_a_slot_learns_its_uuid(plane: Plane, node_id: int) -> None:
    (made,) = await register(plane, node_id, {"gpu_index": 0})
    assert await register(plane, node_id, {"gpu_index": 0, "uuid": "A"}) == []
    assert await slots(plane, node_id) == {0: (made["id"], "A")}


async def test_two_cards_swap_their_slots(plane: Plane, node_id: int) -> None:
    await register(plane, node_id, {"uuid": "A"}, {"uuid": "B"})
    await plane.admin.write("/api/clusters/metrics", {"metrics": [{"gpu_id": 1, "utilization_pct": 77}]})
    assert await register(plane, node_id, {"uuid": "B"}, {"uuid": "A"}) == []
    assert await slots(plane, node_id) == {0: (2, "B"), 1: (1, "A")}
    node = await plane.admin.read(f"/api/clusters/nodes/{node_id}")
    assert [gpu["utilization_pct"] for gpu in node["gpus"]] == [None, 77]  # history goes with the card


async def test_eight_cards_go_round(plane: Plane, node_id: int) -> None:
    uuids = [f"GPU-{index}" for index in range(8)]
    await register(plane, node_id, *({"uuid": uuid} for uuid in uuids))
    for turn in range(1, 4):
        turned = uuids[turn:] + uuids[:turn]
        assert await register(plane, node_id, *({"uuid": uuid} for uuid in turned)) == []
        assert [uuid for _, uuid in (await slots(plane, node_id)).values()] == turned


async def test_a_replaced_card_leaves_its_slot_and_keeps_its_record(plane: Plane, node_id: int) -> None:
    (old,) = await register(plane, node_id, {"uuid": "A"})
    (new,) = await register(plane, node_id, {"uuid": "B"})
    assert await slots(plane, node_id) == {0: (new["id"], "B")}
    assert (await plane.admin.read("/api/clusters"))[0]["gpu_count"] == 1
    assert await register(plane, node_id, {"gpu_index": 3, "uuid": "A"}) == []  # put back elsewhere
    assert await slots(plane, node_id) == {0: (new["id"], "B"), 3: (old["id"], "A")}


async def test_a_card_without_uuid_in_the_old_slot_of_one_that_moved(plane: Plane, node_id: int) -> None:
    (card,) = await register(plane, node_id, {"gpu_index": 1, "uuid": "A"})
    (new,) = await register(plane, node_id, {"gpu_index": 0, "uuid": "A"}, {"gpu_index": 1})
    assert await slots(plane, node_id) == {0: (card["id"], "A"), 1: (new["id"], None)}


async def test_a_card_moves_to_another_node_with_its_history(plane: Plane, site: Site, node_id: int) -> None:
    card = site.gpu_ids[0]
    await plane.admin.write("/api/clusters/metrics", {"metrics": [{"gpu_id": card, "utilization_pct": 77}]})
    await register(plane, node_id, {"uuid": "there already"})
    assert await register(plane, node_id, {"gpu_index": 0, "uuid": "GPU-east-0"}) == []
    assert await slots(plane, node_id) == {0: (card, "GPU-east-0")}
    assert list(await slots(plane, site.node_id)) == [1]
    (moved,) = (await plane.admin.read(f"/api/clusters/nodes/{node_id}"))["gpus"]
    assert (moved["utilization_pct"], moved["node_id"]) == (77, node_id)


async def test_two_nodes_claim_one_card_at_once(plane: Plane, site: Site) -> None:
    """A new UUID, so that nothing is there to lock: the later one finds the card and moves it."""
    other = await build_site(plane, "west")
    for number in range(5):
        claim = [{"gpu_index": 9, "uuid": f"GPU-new-{number}"}]
        answers = await asyncio.gather(
            *(
                plane.admin.post(GPUS, {"node_id": node, "gpus": claim})
                for node in (site.node_id, other.node_id)
            )
        )
        assert sorted(answer.status for answer in answers) == [200, 201]
    found = await plane.rows("SELECT count(*), count(DISTINCT uuid) FROM gpus")
    assert found[0] == (9, 9)


async def test_one_node_registers_twice_at_once(plane: Plane, node_id: int) -> None:
    body = {"node_id": node_id, "gpus": [{"uuid": f"GPU-{index}"} for index in range(8)]}
    answers = await asyncio.gather(*(plane.admin.post(GPUS, body) for _ in range(4)))
    assert sorted(len(answer.body) for answer in answers) == [0, 0, 0, 8]


async def test_two_nodes_swap_their_cards_at_once(plane: Plane, site: Site) -> None:
    """Each takes the other's: locks in crossed order must not end in an error."""
    other = await build_site(plane, "west")
    for turn in range(6):
        here, there = ("east", "west") if turn % 2 else ("west", "east")
        answers = await asyncio.gather(
            *(
                plane.admin.post(
                    GPUS, {"node_id": node, "gpus": [{"uuid": f"GPU-{name}-{n}"} for n in range(2)]}
                )
                for node, name in ((site.node_id, here), (other.node_id, there))
            )
        )
        assert [answer.status for answer in answers] == [200, 200]
        assert {uuid for _, uuid in (await slots(plane, site.node_id)).values()} == {
            f"GPU-{here}-0",
            f"GPU-{here}-1",
        }
