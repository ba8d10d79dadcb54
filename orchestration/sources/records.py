"""What every kind of landed row becomes: typed columns, child rows and flag codes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from orchestration.core.refusals import Refusal, RefusedError, without_secrets

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}\Z")
# Names LiteLLM writes instead of a key's hash; none of them is a credential.
NAMED_KEY = (
    "(?:litellm_proxy_master_key|litellm-internal-health-check|litellm-cli|unassigned"
    "|cli-session-[A-Za-z0-9_-]+|hashed-jwt-[0-9a-fA-F]{64})"
)
_NAMED_KEYS = re.compile(rf"{NAMED_KEY}\Z")
FUTURE_LIMIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Column:
    """One allow-listed column of a raw table.

    Attributes:
        name: Column name in raw.
        type: DuckDB type.
        is_content: Whether it takes part in the row's content hash.
    """

    name: str
    type: str
    is_content: bool = True


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table of schema raw and what identifies one business fact in it.

    Attributes:
        name: Name within schema raw.
        columns: The allow-listed columns, without lineage.
        key: Columns of the natural key; the gateway or source name precedes it.
        event_at: The column whose UTC day a row belongs to.
        contested: Table of raw that names the request ids landed more than once; None where rows
            have no such id.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    event_at: str
    contested: str | None = None

    @property
    def request_days(self) -> str | None:
        """Table of raw that keeps a hash and the day of every request id; None without such ids."""
        return f"{self.name}_request_days" if self.contested else None


@dataclass(frozen=True, slots=True)
class RecordContext:
    """What reading a row depends on besides the row.

    Attributes:
        as_of: The clock, naive UTC.
        field_characters: The longest text field accepted.
        keep_client_ip, keep_user_agent, keep_user_id: Personal fields a reader may see.
        is_closed: Whether (gateway, key, project, team, organization, provider, start) falls into
            a closed period of the account that owes for it.
        observed_at: When the file was observed, for rows that do not say so themselves.
        closed_until: From when on no period of any account is closed; None where none is.
        webhook_secret: What the source's webhooks are signed with; None: they are not verified.
        accepts_test_mode: Whether payments in a processor's test mode count as payments.
        stated_at: When the file was observed, by its name; None where that says nothing.
        source_priority: Which of two sources of one gateway holds where they differ: the higher.
    """

    as_of: datetime
    field_characters: int = 4096
    keep_client_ip: bool = False
    keep_user_agent: bool = False
    keep_user_id: bool = True
    is_closed: Callable[[Mapping[str, Any]], bool] | None = None
    observed_at: Callable[[], datetime] | None = None
    closed_until: datetime | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    accepts_test_mode: bool = False
    stated_at: datetime | None = None
    source_priority: int = 0


@dataclass(slots=True)
class Record:
    """One accepted row.

    Attributes:
        values: Value by column name; absent means NULL.
        codes: Flags, each once.
        children: Rows of child tables by table name.
    """

    values: dict[str, Any]
    codes: set[str] = field(default_factory=set)
    children: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One row of a file, or one part of a larger thing in it that is accepted or refused whole.

    Attributes:
        line: Line of a text file, else the position of the part, from 1.
        value: Its fields.
        refusal: Why it is not accepted.
    """

    line: int
    value: Any
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class RefusedInvoice:
    """An invoice that was not loaded, as far as it could be read.

    Attributes:
        stated_amount: What its lines should add up to, by its own header.
        computed_amount: What its lines add up to.
    """

    vendor: str
    invoice_number: str
    reason_code: str
    currency: str | None
    dated_at: datetime | None
    stated_amount: Decimal | None = None
    computed_amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """The rows of a file whose things span several rows, or several of whose rows are one thing."""

    parts: tuple[Part, ...]
    refused_invoices: tuple[RefusedInvoice, ...] = ()


def read_text(row: Mapping[str, Any], name: str, context: RecordContext) -> str | None:
    """A text field; empty means missing, numbers are taken as their text.

    Raises:
        RefusedError: bad_type for objects and lists, field_too_long.
    """
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        if isinstance(value, (dict, list)):
            found = "an object" if isinstance(value, dict) else "a list"
            raise RefusedError("bad_type", f"expected text, found {found}", name)
        value = str(value)
    if len(value) > context.field_characters:
        raise RefusedError(
            "field_too_long", f"longer than {context.field_characters} characters", name
        )
    return value


def clean_text(text: str | None) -> str | None:
    """The text without anything that looks like a credential."""
    if text is None:
        return None
    return _clean_short(text) if len(text) <= 128 else without_secrets(text)


# Names of models, teams and keys come again with every row.
_clean_short = lru_cache(maxsize=2**14)(without_secrets)


def read_key_id(value: str | None) -> tuple[str | None, bool]:
    """The key's hash, and whether a raw key had to be hashed here.

    A 64-digit hex hash and LiteLLM's named pseudo-keys are kept; anything else may be the key
    itself (LiteLLM issue 30736) and is replaced by its sha256.
    """
    if value is None:
        return None, False
    if _HEX_KEY.match(value):
        return value.lower(), False
    if _NAMED_KEYS.match(value):
        return value, False
    return hashlib.sha256(value.encode()).hexdigest(), True


def check_not_future(moment: datetime, name: str, context: RecordContext) -> bool:
    """Whether the moment is ahead of the clock, by at most a day.

    Raises:
        RefusedError: future_timestamp beyond that.
    """
    if moment <= context.as_of:
        return False
    if moment > context.as_of + FUTURE_LIMIT:
        raise RefusedError(
            "future_timestamp", f"{moment:%Y-%m-%dT%H:%M:%SZ} is more than a day ahead", name
        )
    return True
