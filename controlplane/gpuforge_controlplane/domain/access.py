"""Who may do what: scopes, tenant-bound keys, cluster keys and anonymous readers, as one pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Scope = Literal["read", "write", "admin"]

_IMPLIES: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
}


class Kind(Enum):
    """What sort of caller it is."""

    OPERATOR = "key"  # a key bound to nothing
    TENANT = "tenant key"
    CLUSTER = "cluster key"
    ANONYMOUS = "anonymous"  # no header: demo mode, read-only


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller. `name` is how the audit log tells who it was."""

    name: str
    kind: Kind
    scopes: frozenset[str]  # closed under implication: admin holds all three
    key_id: int | None = None
    tenant_id: int | None = None
    cluster_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a route asks of its caller."""

    scope: Scope
    tenants: bool = False  # tenant-bound keys may call it, and see their own
    agents: bool = False  # cluster keys may call it, for their own cluster


def closure(permissions: tuple[str, ...]) -> frozenset[str]:
    """All scopes that `permissions` hold, by admin ⊃ write ⊃ read; unknown words hold nothing."""
    return frozenset().union(*(_IMPLIES.get(permission, frozenset()) for permission in permissions))


def refusal(principal: Principal, access: Access) -> str | None:
    """Why `principal` may not pass, as a sentence that says what would help; None where it may."""
    if principal.kind is Kind.CLUSTER:
        return None if access.agents else "a cluster key may only do what an agent does for its own cluster"
    if principal.kind is Kind.TENANT and not access.tenants:
        return "a tenant's key sees and changes only that tenant's own objects; use an operator's key"
    if access.scope not in principal.scopes:
        return f"this needs a key with the {access.scope} scope; this one has {_words(principal.scopes)}"
    return None


def wider_than(principal: Principal, permissions: tuple[str, ...], tenant_id: int | None) -> str | None:
    """Why `principal` may not mint a key of these permissions and this tenant; None where it may."""
    lacking = closure(permissions) - principal.scopes
    if lacking:
        return f"nobody mints a key wider than their own: this one lacks {_words(lacking)}"
    if principal.tenant_id is not None and tenant_id != principal.tenant_id:
        return "a tenant's key mints keys for its own tenant only"
    return None


def _words(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"
