"""Keys at work: which pass, which never, when one stops, and what each is kept away from."""

import asyncio

import pytest

from gpuforge_shared.apikey import assemble
from tests.api.conftest import Serve
from tests.api.harness import ON_SQLITE, START, Answer, Plane, Site, build_site

HEADERS = {
    "empty": ("", "unauthorized"),
    "no scheme": ("{key}", "unauthorized"),
    "another scheme": ("Basic {key}", "unauthorized"),
    "no key": ("Bearer ", "unauthorized"),
    "no key and no space": ("Bearer", "unauthorized"),
    "a comma": ("Bearer, {key}", "unauthorized"),
    "two keys": ("Bearer {key} {key}", "unauthorized"),
    "nonsense": ("Bearer nonsense", "unauthorized"),
    "cut": ("Bearer {cut}", "unauthorized"),
    "a typo": ("Bearer {typo}", "unauthorized"),
    "upper case": ("Bearer {upper}", "unauthorized"),
    "well formed and unknown": ("Bearer {unknown}", "unauthorized"),
    "quoted": ('Bearer "{key}"', "unauthorized"),
    "long": ("Bearer {long}", "unauthorized"),
}


@pytest.mark.parametrize("demo", ["off", "sample"])
@ON_SQLITE
async def test_a_header_that_is_present_but_wrong(serve: Serve, demo: str, subtests: pytest.Subtests) -> None:
    plane = await serve(demo=demo)
    key = plane.admin_key
    words = {
        "key": key,
        "cut": key[:-1],
        "typo": key[:20] + ("0" if key[20] != "0" else "1") + key[21:],
        "upper": key.upper(),
        "unknown": assemble("0" * 56),
        "long": key * 50,
    }
    for name, (header, code) in HEADERS.items():
        with subtests.test(name):
            answer = await plane.anonymous.get(
                "/api/clusters", headers={"Authorization": header.format(**words)}
            )
            assert (answer.status, answer.code) == (401, code)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gpuforge"'
            assert "X-GPUForge-Demo" not in answer.headers
            assert key[12:] not in answer.raw.decode()


@ON_SQLITE
async def test_the_scheme_in_any_case(plane: Plane) -> None:
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
        header = {"Authorization": f"{scheme} {plane.admin_key}"}
        assert (await plane.anonymous.get("/api/clusters", headers=header)).status == 200


@ON_SQLITE
async def test_a_key_in_the_url_is_no_key(plane: Plane) -> None:
    unknown = assemble("1" * 56)
    answer = await plane.anonymous.get(f"/api/clusters?key={unknown}")
    assert answer.status == 401


async def test_a_revoked_key_is_refused_on_the_very_next_request(plane: Plane) -> None:
    made = await plane.admin.write("/api/api-keys", {"label": "x"})
    holder = plane.holder(made["key"])
    assert (await holder.get("/api/clusters")).status == 200
    assert (await plane.admin.delete(f"/api/api-keys/{made['id']}")).status == 200
    refused = await holder.get("/api/clusters")
    assert (refused.status, refused.code) == (401, "key_revoked")
    assert made["key_prefix"] in refused.body["detail"]


async def test_a_key_revoked_here_is_refused_there(serve: Serve) -> None:
    """Two control planes on one database: nothing is cached."""
    here, there = await serve(), await serve()
    made = await here.admin.write("/api/api-keys", {"label": "x"})
    holder = there.holder(made["key"])
    assert (await holder.get("/api/clusters")).status == 200
    await here.admin.delete(f"/api/api-keys/{made['id']}")
    assert (await holder.get("/api/clusters")).status == 401


@ON_SQLITE
async def test_a_key_may_revoke_itself(plane: Plane) -> None:
    own = await plane.holder_of(permissions=["admin"])
    assert (await own.delete("/api/api-keys/2")).status == 200
    assert (await own.get("/api/clusters")).status == 401


async def test_revoking_twice_changes_nothing(plane: Plane) -> None:
    made = await plane.admin.write("/api/api-keys", {"label": "x"})
    first = await plane.admin.delete(f"/api/api-keys/{made['id']}")
    before = await plane.contents()
    plane.clock.forward(minutes=5)
    again = await plane.admin.delete(f"/api/api-keys/{made['id']}")
    assert again.body == first.body
    assert await plane.contents() == before


async def test_a_key_expires(plane: Plane) -> None:
    later = await plane.admin.write(
        "/api/api-keys", {"label": "x", "expires_at": "2026-05-09T14:00:00+01:00"}
    )
    holder = plane.holder(later["key"])
    assert later["expires_at"] == "2026-05-09T13:00:00Z"
    plane.clock.forward(seconds=3599)
    assert (await holder.get("/api/clusters")).status == 200
    plane.clock.forward(seconds=1)
    refused = await holder.get("/api/clusters")
    assert (refused.status, refused.code) == (401, "key_expired")


async def test_a_use_is_noted_once_a_minute(plane: Plane) -> None:
    made = await plane.admin.write("/api/api-keys", {"label": "x"})
    holder = plane.holder(made["key"])
    assert made["last_used_at"] is None
    noted = []
    for seconds in (0, 1, 58, 1, 59, 1):
        plane.clock.forward(seconds=seconds)
        await holder.get("/api/clusters")
        (key,) = [key for key in await plane.admin.read("/api/api-keys") if key["id"] == made["id"]]
        noted.append(key["last_used_at"])
    assert noted == ["2026-05-09T12:00:00Z"] * 3 + ["2026-05-09T12:01:00Z"] * 2 + ["2026-05-09T12:02:00Z"]


async def test_many_callers_at_once_are_told_apart(plane: Plane) -> None:
    raw = [await plane.key(permissions=["read"]) for _ in range(20)]
    unknown = [assemble(f"{number:056x}") for number in range(20)]
    answers = await asyncio.gather(
        *(plane.holder(key).get("/api/clusters") for pair in zip(raw, unknown, strict=True) for key in pair)
    )
    assert [answer.status for answer in answers] == [200, 401] * 20


# Who may mint what


async def test_nobody_mints_a_wider_key(plane: Plane) -> None:
    tenant_id, other_id = await plane.tenant(), await plane.tenant("another")
    tenant = await plane.holder_of(permissions=["admin"], tenant_id=tenant_id)
    before = await plane.contents()
    for body in ({"label": "x"}, {"label": "x", "tenant_id": other_id}):
        answer = await tenant.post("/api/api-keys", body)
        assert (answer.status, answer.code) == (403, "key_too_wide")
    assert await plane.contents() == before
    own = await tenant.post("/api/api-keys", {"label": "x", "tenant_id": tenant_id})
    assert (own.status, own.body["tenant_id"]) == (201, tenant_id)


async def test_a_key_that_cannot_be(plane: Plane) -> None:
    await build_site(plane, "east")
    await plane.tenant()
    before = await plane.contents()
    for body, status, code in (
        ({"tenant_id": 99}, 404, "tenant_not_found"),
        ({"cluster_id": 99}, 404, "cluster_not_found"),
        ({"cluster_id": 1, "tenant_id": 1}, 422, "invalid"),
        ({"cluster_id": 1, "permissions": ["read"]}, 422, "invalid"),  # an agent's are fixed
    ):
        answer = await plane.admin.post("/api/api-keys", {"label": "x", **body})
        assert (answer.status, answer.code) == (status, code), body
    assert await plane.contents() == before


@ON_SQLITE
async def test_a_clusters_second_key(plane: Plane, site: Site) -> None:
    made = await plane.admin.write("/api/api-keys", {"label": "x", "cluster_id": site.cluster_id})
    assert (made["permissions"], made["cluster_id"]) == (["agent"], site.cluster_id)
    assert (await plane.holder(made["key"]).get(f"/api/clusters/nodes/{site.node_id}")).status == 200


@ON_SQLITE
async def test_permissions_once_each_and_read_write_by_default(plane: Plane) -> None:
    plain = await plane.admin.write("/api/api-keys", {"label": "x"})
    doubled = await plane.admin.write("/api/api-keys", {"label": "x", "permissions": ["read", "read"]})
    assert (plain["permissions"], doubled["permissions"]) == (["read", "write"], ["read"])


# What a cluster's key is kept away from


async def test_a_cluster_key_knows_its_own_cluster_alone(plane: Plane, site: Site) -> None:
    other = await build_site(plane, "west")
    assert [cluster["id"] for cluster in await site.agent.read("/api/clusters")] == [site.cluster_id]
    assert (await site.agent.get(f"/api/clusters/{site.cluster_id}")).status == 200
    before = await plane.contents()
    for method, path, body in (
        ("GET", f"/api/clusters/{other.cluster_id}", None),
        ("GET", f"/api/clusters/nodes/{other.node_id}", None),
        ("PATCH", f"/api/clusters/nodes/{other.node_id}", {"state": "draining"}),
        ("POST", "/api/clusters/nodes", {"cluster_id": other.cluster_id, "hostname": "west-01"}),
        ("POST", "/api/clusters/nodes", {"cluster_id": other.cluster_id, "hostname": "mine"}),
        ("POST", "/api/clusters/gpus", {"node_id": other.node_id, "gpus": [{"model": "mine"}]}),
    ):
        answer = await site.agent.call(method, path, body)
        assert answer.status == 404, (method, path)
    assert await plane.contents() == before


async def test_a_cluster_key_writes_no_other_clusters_metrics(plane: Plane, site: Site) -> None:
    other = await build_site(plane, "west")
    both = {
        "metrics": [{"gpu_id": gpu, "utilization_pct": 77} for gpu in (other.gpu_ids[0], site.gpu_ids[0])]
    }
    told = await site.agent.write("/api/clusters/metrics", both)
    unknown = {"index": 0, "gpu_id": other.gpu_ids[0], "reason": "unknown_gpu"}
    assert told == {"accepted": 1, "duplicates": 0, "rejected": [unknown]}
    before = await plane.contents()
    refused = await site.agent.post("/api/clusters/metrics", {"metrics": both["metrics"][:1]})
    assert (refused.status, refused.code) == (422, "all_rejected")
    assert await plane.contents() == before
    untouched = await plane.admin.read(f"/api/clusters/nodes/{other.node_id}")
    assert untouched["gpus"][0]["utilization_pct"] is None


async def test_a_cluster_key_draws_no_card_from_elsewhere(plane: Plane, site: Site) -> None:
    other = await build_site(plane, "west")
    before = await plane.contents()
    claim = {"node_id": site.node_id, "gpus": [{"gpu_index": 5, "uuid": "GPU-west-0"}]}
    answer = await site.agent.post("/api/clusters/gpus", claim)
    assert (answer.status, answer.code) == (409, "gpu_in_other_cluster")
    assert await plane.contents() == before
    moved = await plane.admin.post("/api/clusters/gpus", claim)  # an operator may
    assert (moved.status, moved.body) == (200, [])
    node = await plane.admin.read(f"/api/clusters/nodes/{site.node_id}")
    assert [gpu["id"] for gpu in node["gpus"]] == [*site.gpu_ids, other.gpu_ids[0]]


# What a tenant's key is kept away from


async def test_a_tenants_key_sees_its_own_keys_alone(plane: Plane) -> None:
    tenant_id = await plane.tenant()
    tenant = await plane.holder_of(permissions=["admin"], tenant_id=tenant_id)
    other = await plane.key(permissions=["admin"], tenant_id=await plane.tenant("another"))
    assert [key["tenant_id"] for key in await tenant.read("/api/api-keys")] == [tenant_id]
    for key_id in (1, 3):  # the operator's and the other tenant's
        assert (await tenant.delete(f"/api/api-keys/{key_id}")).code == "api_key_not_found"
    assert (await plane.holder(other).get("/api/api-keys")).status == 200


@ON_SQLITE
async def test_a_tenants_key_sees_no_hardware(plane: Plane, site: Site) -> None:
    tenant = await plane.holder_of(permissions=["read"], tenant_id=await plane.tenant())
    assert (await tenant.read(f"/api/clusters/{site.cluster_id}"))["nodes"] == []
    assert (await tenant.read("/api/dashboard"))["nodes"] == []
    assert await tenant.read("/api/dashboard/gpu-allocation") == []


@ON_SQLITE
async def test_the_raw_key_is_in_one_answer(plane: Plane) -> None:
    made = await plane.admin.write("/api/api-keys", {"label": "x"})
    answers: list[Answer] = [
        await plane.admin.get("/api/api-keys"),
        await plane.admin.get("/api/audit"),
        await plane.admin.delete(f"/api/api-keys/{made['id']}"),
    ]
    assert all(made["key"][12:] not in answer.raw.decode() for answer in answers)
    assert made["created_at"] == f"{START:%Y-%m-%dT%H:%M:%S}Z"
