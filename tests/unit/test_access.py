"""Scopes, kinds of caller and who may mint what, as tables."""

import pytest

from gpuforge_controlplane.domain.access import Access, Kind, Principal, closure, refusal, wider_than


def holder(kind: Kind = Kind.OPERATOR, *permissions: str, tenant_id: int | None = None) -> Principal:
    return Principal(name="x", kind=kind, scopes=closure(permissions), tenant_id=tenant_id)


@pytest.mark.parametrize(
    ("permissions", "scopes"),
    [
        pytest.param((), set(), id="none"),
        pytest.param(("read",), {"read"}, id="read"),
        pytest.param(("write",), {"read", "write"}, id="write holds read"),
        pytest.param(("admin",), {"read", "write", "admin"}, id="admin holds all"),
        pytest.param(("read", "admin"), {"read", "write", "admin"}, id="the widest counts"),
        pytest.param(("agent",), set(), id="an agent's permission is no scope"),
        pytest.param(("root",), set(), id="unknown words hold nothing"),
    ],
)
def test_scopes_imply_each_other(permissions: tuple[str, ...], scopes: set[str]) -> None:
    assert closure(permissions) == scopes


READ, WRITE, ADMIN = Access(scope="read"), Access(scope="write"), Access(scope="admin")
FOR_TENANTS = Access(scope="read", tenants=True)
FOR_AGENTS = Access(scope="write", agents=True)


@pytest.mark.parametrize(
    ("principal", "access", "said"),
    [
        pytest.param(holder(Kind.OPERATOR, "read"), READ, None, id="read reads"),
        pytest.param(
            holder(Kind.OPERATOR, "read"), WRITE, "the write scope; this one has read", id="no write"
        ),
        pytest.param(holder(Kind.OPERATOR, "write"), READ, None, id="write reads"),
        pytest.param(holder(Kind.OPERATOR, "write"), ADMIN, "the admin scope", id="write is no admin"),
        pytest.param(holder(Kind.OPERATOR), READ, "this one has none", id="no scope at all"),
        pytest.param(holder(Kind.OPERATOR, "admin"), FOR_AGENTS, None, id="an admin does what agents do"),
        pytest.param(holder(Kind.TENANT, "admin"), READ, "only that tenant's own", id="not for tenants"),
        pytest.param(holder(Kind.TENANT, "read"), FOR_TENANTS, None, id="a tenant's own"),
        pytest.param(holder(Kind.TENANT), FOR_TENANTS, "the read scope", id="a tenant needs the scope too"),
        pytest.param(holder(Kind.CLUSTER, "agent"), FOR_AGENTS, None, id="what agents do"),
        pytest.param(holder(Kind.CLUSTER, "agent"), READ, "what an agent does", id="not for agents"),
        pytest.param(holder(Kind.CLUSTER, "agent"), FOR_TENANTS, "what an agent does", id="nor for tenants"),
        pytest.param(holder(Kind.ANONYMOUS, "read"), READ, None, id="demo reads"),
        pytest.param(holder(Kind.ANONYMOUS, "read"), ADMIN, "the admin scope", id="live demo is no admin"),
    ],
)
def test_who_may_pass(principal: Principal, access: Access, said: str | None) -> None:
    refused = refusal(principal, access)
    assert (refused is None) == (said is None)
    assert said is None or said in (refused or "")


@pytest.mark.parametrize(
    ("mine", "wanted", "tenant_id", "said"),
    [
        pytest.param(holder(Kind.OPERATOR, "admin"), ("admin",), None, None, id="as wide"),
        pytest.param(holder(Kind.OPERATOR, "admin"), ("read",), 7, None, id="narrower, for a tenant"),
        pytest.param(holder(Kind.OPERATOR, "write"), ("admin",), None, "lacks admin", id="wider"),
        pytest.param(holder(Kind.OPERATOR, "read"), ("admin",), None, "lacks admin, write", id="much wider"),
        pytest.param(holder(Kind.TENANT, "admin", tenant_id=7), ("admin",), 7, None, id="own tenant"),
        pytest.param(
            holder(Kind.TENANT, "admin", tenant_id=7), ("read",), 8, "its own tenant", id="another tenant"
        ),
        pytest.param(
            holder(Kind.TENANT, "admin", tenant_id=7),
            ("read",),
            None,
            "its own tenant",
            id="no tenant: wider",
        ),
    ],
)
def test_nobody_mints_wider(
    mine: Principal, wanted: tuple[str, ...], tenant_id: int | None, said: str | None
) -> None:
    refused = wider_than(mine, wanted, tenant_id)
    assert (refused is None) == (said is None)
    assert said is None or said in (refused or "")
