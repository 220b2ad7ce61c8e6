"""Building blocks of wire models: bounded strings and numbers, strict bodies."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyAddress,
    StringConstraints,
)

MAX_INT = 2**31 - 1  # what a counter column holds on every database
MAX_ID = 2**63 - 1
MAX_ADDRESS = 64


def printable(value: str) -> str:
    """Control characters have no place in a name, and PostgreSQL refuses NUL."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in value):
        raise ValueError("must not contain control characters")
    return value


def _in_utc(moment: datetime) -> datetime:
    """The last hours of the year 9999 west of Greenwich are no time that a database can keep."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999, in UTC") from None


def _short_address(address: IPvAnyAddress) -> IPvAnyAddress:
    """An IPv6 address may carry a zone (`fe80::1%eth0`), and ipaddress takes anything for one."""
    if len(printable(str(address))) > MAX_ADDRESS:
        raise ValueError(f"must have at most {MAX_ADDRESS} characters")
    return address


Text = Annotated[str, StringConstraints(max_length=255), AfterValidator(printable)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(printable)
]
# Who wrote, as the audit log has it: a label of 255 characters, and what sort of key it is.
PrincipalName = Annotated[str, StringConstraints(max_length=300), AfterValidator(printable)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Whole = Annotated[int, Field(ge=0, le=MAX_ID)]
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Address = Annotated[IPvAnyAddress, AfterValidator(_short_address)]


class HumanBody(BaseModel):
    """A body that people write: a typo in a field's name must not pass in silence."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AgentBody(BaseModel):
    """A body that agents write: an agent may be newer than the control plane, so unknown fields pass."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Query(BaseModel):
    """Query parameters: text by nature, so numbers are read from text; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Query):
    """A route that takes no query parameters."""


class PageQuery(Query):
    """A list read in pages. Without `limit` the answer holds everything, up to the route's cap."""

    limit: Annotated[int, Field(ge=1, le=100, description="Items a page, 1-100.")] | None = None
    cursor: (
        Annotated[str, Field(max_length=255, description="Where the last page ended, from its Link header.")]
        | None
    ) = None
