"""Records of the file kind `owners`: dated observations of keys, teams, organizations and people.

Two shapes: the owner map of the contract (table T2, key_owners), and rows of LiteLLM's own tables.
Source: LiteLLM proxy migrations and code, release 1.109.1, read 2026-11-21.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from orchestration.core.refusals import RefusedError, shown
from orchestration.core.values import read_count, read_date, read_money, read_time
from orchestration.sources.litellm_spend_logs import OWNER_NAMES, owner_column
from orchestration.sources.records import (
    Column,
    RawTable,
    Record,
    RecordContext,
    check_not_future,
    clean_text,
    read_key_id,
    read_text,
)

OPEN_END = date(9999, 12, 31)
# What a row names instead of a table of its own: the owner map people keep.
OWNER_MAP = "key_owners"
_TYPES = {
    "key": "varchar",
    "text": "varchar",
    "person": "varchar",
    "list": "varchar",
    "flag": "boolean",
    "count": "bigint",
    "money": "decimal(38, 18)",
    "moment": "timestamp",
    "date": "date",
}
# Columns the extractor and we add to a row of LiteLLM's tables.
TABLE_FIELD, GONE_FIELD, HASH_FIELD = "litellm_table", "is_gone", "source_hash"
_OURS = frozenset({TABLE_FIELD, GONE_FIELD, HASH_FIELD, "observed_at"})


@dataclass(frozen=True, slots=True)
class OwnerField:
    """One allow-listed field of an owner table.

    Attributes:
        name: Column in raw.
        theirs: The source's own name.
        type: key (hashed when raw), text, person (kept by `privacy.user_id`), list, flag, count,
            money, moment (a time, which may lie ahead) or date.
    """

    name: str
    theirs: str
    type: str = "text"


@dataclass(frozen=True, slots=True)
class OwnerTable:
    """One table that says who owns what.

    Attributes:
        entity: What a row describes, in our words.
        name: LiteLLM's name of the table; `key_owners` for the owner map.
        raw_name: Table of schema raw.
        known_by: Fields that tell a row of this table from those of the others.
        fields: The allow-listed fields, the identifying ones first.
        id_fields: How many of the first fields identify a row.
        has_metadata: Whether owner columns stand in a free-form `metadata`.
    """

    entity: str
    name: str
    raw_name: str
    known_by: tuple[str, ...]
    fields: tuple[OwnerField, ...]
    id_fields: int = 1
    has_metadata: bool = False

    @property
    def raw(self) -> RawTable:
        """The table of schema raw."""
        named = [Column(each.name, _TYPES[each.type]) for each in self.fields]
        owners = [Column(name, "varchar") for name in OWNER_NAMES] if self.has_metadata else []
        return RawTable(
            name=self.raw_name,
            columns=(
                *named,
                *owners,
                Column("is_gone", "boolean"),
                Column("source_version_at", "timestamp"),
                Column("observed_at", "timestamp"),
            ),
            key=(*(each.name for each in self.fields[: self.id_fields]), "observed_at"),
            event_at="observed_at",
        )


_KEY_FIELDS = (
    OwnerField("api_key_name", "key_alias"),
    OwnerField("user_id", "user_id", "person"),
    OwnerField("team_id", "team_id"),
    OwnerField("organization_id", "organization_id"),
    OwnerField("project_id", "project_id"),
    OwnerField("agent_id", "agent_id"),
    OwnerField("budget_id", "budget_id"),
    OwnerField("key_type", "key_type"),
    OwnerField("is_blocked", "blocked", "flag"),
    OwnerField("max_budget", "max_budget", "money"),
    OwnerField("budget_duration", "budget_duration"),
    OwnerField("created_at", "created_at", "moment"),
    OwnerField("expires_at", "expires", "moment"),
    OwnerField("rotation_count", "rotation_count", "count"),
    OwnerField("last_rotation_at", "last_rotation_at", "moment"),
)
_TEAM_FIELDS = (
    OwnerField("team_name", "team_alias"),
    OwnerField("organization_id", "organization_id"),
    OwnerField("is_blocked", "blocked", "flag"),
    OwnerField("max_budget", "max_budget", "money"),
    OwnerField("budget_duration", "budget_duration"),
    OwnerField("created_at", "created_at", "moment"),
)
# In order: the first table whose fields a row has is its table.
OWNER_TABLES = (
    OwnerTable(
        entity="owner_map",
        name=OWNER_MAP,
        raw_name="owners__key_owners",
        known_by=("api_key_id", "team_id", "cost_center", "valid_from_date"),
        id_fields=3,
        fields=(
            OwnerField("api_key_id", "api_key_id", "key"),
            OwnerField("gateway", "gateway"),
            OwnerField("valid_from_date", "valid_from_date", "date"),
            OwnerField("valid_to_date", "valid_to_date", "date"),
            OwnerField("api_key_name", "api_key_name"),
            OwnerField("team_id", "team_id"),
            OwnerField("project_id", "project_id"),
            OwnerField("cost_center", "cost_center"),
            OwnerField("environment", "environment"),
            OwnerField("workflow", "workflow"),
            OwnerField("customer_segment", "customer_segment"),
            OwnerField("budget_owner", "budget_owner"),
            OwnerField("ticket", "ticket"),
            OwnerField("batch_allowed", "batch_allowed", "flag"),
            OwnerField("allowed_service_tiers", "allowed_service_tiers"),
        ),
    ),
    OwnerTable(
        entity="deprecated_key",
        name="LiteLLM_DeprecatedVerificationToken",
        raw_name="litellm__deprecated_keys",
        known_by=("token", "active_token_id"),
        fields=(
            OwnerField("api_key_id", "token", "key"),
            OwnerField("active_api_key_id", "active_token_id", "key"),
            OwnerField("revoke_at", "revoke_at", "moment"),
            OwnerField("created_at", "created_at", "moment"),
        ),
    ),
    OwnerTable(
        entity="deleted_key",
        name="LiteLLM_DeletedVerificationToken",
        raw_name="litellm__deleted_keys",
        known_by=("token", "deleted_at"),
        has_metadata=True,
        fields=(
            OwnerField("api_key_id", "token", "key"),
            OwnerField("deleted_at", "deleted_at", "moment"),
            *_KEY_FIELDS,
        ),
    ),
    OwnerTable(
        entity="key",
        name="LiteLLM_VerificationToken",
        raw_name="litellm__keys",
        known_by=("token",),
        has_metadata=True,
        fields=(OwnerField("api_key_id", "token", "key"), *_KEY_FIELDS),
    ),
    OwnerTable(
        entity="deleted_team",
        name="LiteLLM_DeletedTeamTable",
        raw_name="litellm__deleted_teams",
        known_by=("team_id", "deleted_at"),
        has_metadata=True,
        fields=(
            OwnerField("team_id", "team_id"),
            OwnerField("deleted_at", "deleted_at", "moment"),
            *_TEAM_FIELDS,
        ),
    ),
    OwnerTable(
        entity="team",
        name="LiteLLM_TeamTable",
        raw_name="litellm__teams",
        known_by=("team_id", "team_alias"),
        has_metadata=True,
        fields=(OwnerField("team_id", "team_id"), *_TEAM_FIELDS),
    ),
    OwnerTable(
        entity="project",
        name="LiteLLM_ProjectTable",
        raw_name="litellm__projects",
        known_by=("project_id", "project_alias"),
        has_metadata=True,
        fields=(
            OwnerField("project_id", "project_id"),
            OwnerField("project_name", "project_alias"),
            OwnerField("team_id", "team_id"),
            OwnerField("budget_id", "budget_id"),
            OwnerField("is_blocked", "blocked", "flag"),
            OwnerField("created_at", "created_at", "moment"),
        ),
    ),
    OwnerTable(
        entity="organization",
        name="LiteLLM_OrganizationTable",
        raw_name="litellm__organizations",
        known_by=("organization_id", "organization_alias"),
        has_metadata=True,
        fields=(
            OwnerField("organization_id", "organization_id"),
            OwnerField("organization_name", "organization_alias"),
            OwnerField("budget_id", "budget_id"),
            OwnerField("created_at", "created_at", "moment"),
        ),
    ),
    OwnerTable(
        entity="user",
        name="LiteLLM_UserTable",
        raw_name="litellm__users",
        known_by=("user_id", "user_role"),
        fields=(
            OwnerField("user_id", "user_id", "person"),
            OwnerField("user_name", "user_alias", "person"),
            OwnerField("user_role", "user_role"),
            OwnerField("team_id", "team_id"),
            OwnerField("team_ids", "teams", "list"),
            OwnerField("organization_id", "organization_id"),
            OwnerField("max_budget", "max_budget", "money"),
            OwnerField("created_at", "created_at", "moment"),
        ),
    ),
    OwnerTable(
        entity="customer",
        name="LiteLLM_EndUserTable",
        raw_name="litellm__customers",
        known_by=("user_id", "alias"),
        fields=(
            OwnerField("customer_id", "user_id"),
            OwnerField("customer_name", "alias"),
            OwnerField("budget_id", "budget_id"),
            OwnerField("is_blocked", "blocked", "flag"),
        ),
    ),
    OwnerTable(
        entity="budget",
        name="LiteLLM_BudgetTable",
        raw_name="litellm__budgets",
        known_by=("budget_id", "max_budget"),
        fields=(
            OwnerField("budget_id", "budget_id"),
            OwnerField("max_budget", "max_budget", "money"),
            OwnerField("soft_budget", "soft_budget", "money"),
            OwnerField("budget_duration", "budget_duration"),
            OwnerField("budget_reset_at", "budget_reset_at", "moment"),
            OwnerField("created_at", "created_at", "moment"),
        ),
    ),
)
_BY_NAME = {table.name: table for table in OWNER_TABLES}
RAW_BY_NAME = {table.name: table.raw for table in OWNER_TABLES}

# One row per observed owner row whatever its table: what tells observations apart, and whose day a
# change belongs to. The typed columns are in the table of its own, on the same line of the file.
OBSERVATIONS = RawTable(
    name="owners__observations",
    columns=(
        Column("entity", "varchar"),
        Column("entity_id", "varchar"),
        Column("observed_at", "timestamp"),
        Column("source_version_at", "timestamp"),
        Column("is_gone", "boolean"),
        Column("content_sha256", "varchar"),
        Column("source_hash", "varchar", is_content=False),
    ),
    key=("entity", "entity_id", "observed_at"),
    event_at="observed_at",
)
REQUIRED = ("api_key_id", "team_id", "cost_center", "valid_from_date")
ALTERNATIVES = (
    (TABLE_FIELD, GONE_FIELD),
    *(table.known_by for table in OWNER_TABLES if table.name != OWNER_MAP),
)
JSON_FIELDS = ("metadata", "teams")


def find_table(row: Mapping[str, Any] | Collection[str]) -> OwnerTable | None:
    """The owner table a row belongs to: the one it names, else the first whose fields it has."""
    named = row.get(TABLE_FIELD) if isinstance(row, Mapping) else None
    if named is not None:
        return _BY_NAME.get(str(named))
    return next((table for table in OWNER_TABLES if set(table.known_by) <= set(row)), None)


def read_owner(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One observation of a key, team, organization, project, person, or entry of the owner map.

    Grain: one row per entity and observation. Times in UTC, money in USD, validity half-open.

    Raises:
        RefusedError: a row code of the closed list.
    """
    table = find_table(row)
    if table is None:
        named = row.get(TABLE_FIELD)
        reason = (
            f"table {shown(named)} is no owner table"
            if named is not None
            else "neither an owner map nor a row of an owner table of LiteLLM"
        )
        raise RefusedError("missing_field", reason)
    record = Record(values={})
    values = _read_fields(table, row, record, context)
    if table.has_metadata:
        values.update(_read_owner_columns(row.get("metadata"), context))
    if table.name == OWNER_MAP:
        _check_owner_map(values)
    values["is_gone"] = row.get(GONE_FIELD) is True
    values["source_version_at"] = _read_moment(row, "updated_at", record)
    values["observed_at"] = _observed_at(row, record, context)
    _flag_drift(table, row, record)
    record.children[table.raw_name] = [values]
    record.values.update(_observation(table, values, row))
    return record


def _read_fields(
    table: OwnerTable, row: Mapping[str, Any], record: Record, context: RecordContext
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for number, field in enumerate(table.fields):
        value = row.get(field.theirs)
        is_empty = value is None or (isinstance(value, str) and not value.strip())
        if is_empty:
            if number == 0 or (table.name == OWNER_MAP and field.theirs in REQUIRED):
                raise RefusedError("missing_field", "required and empty", field.theirs)
            continue
        if field.type == "person" and not context.keep_user_id:
            if number == 0:
                # The row stays countable; whom it describes is not kept.
                values[field.name] = _sha256(str(value))
            continue
        values[field.name] = _read_value(field, row, record, context)
    return values


def _read_value(
    field: OwnerField, row: Mapping[str, Any], record: Record, context: RecordContext
) -> Any:
    if field.type == "key":
        key_id, was_raw = read_key_id(read_text(row, field.theirs, context))
        record.codes.update({"raw_key_hashed"} if was_raw else ())
        return key_id
    if field.type == "moment":
        return _read_moment(row, field.theirs, record)
    read = _READERS.get(field.type)
    if read is not None:
        return read(row[field.theirs], field.theirs)
    return clean_text(read_text(row, field.theirs, context))


def _read_valid_date(value: Any, name: str) -> date:
    return OPEN_END if str(value).startswith("9999") else read_date(value, name)


def _read_flag(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return value
    flag = {"true": True, "t": True, "false": False, "f": False}.get(str(value).strip().lower())
    if flag is None:
        raise RefusedError("bad_type", f"expected true or false, found {shown(value)}", name)
    return flag


def _read_list(value: Any, _name: str) -> str | None:
    """A list as sorted comma-separated text; `{a,b}` is how PostgreSQL writes one."""
    if isinstance(value, str):
        value = value.strip("{}[]").split(",")
    if not isinstance(value, list):
        return None
    return clean_text(",".join(sorted({str(each).strip(' "') for each in value if each}))) or None


_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "flag": _read_flag,
    "count": read_count,
    "money": lambda value, name: read_money(value, name)[0],
    "date": _read_valid_date,
    "list": _read_list,
}


def _read_moment(row: Mapping[str, Any], name: str, record: Record) -> datetime | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    moment, naive = read_time(value, name)
    record.codes.update({"naive_timestamp"} if naive else ())
    return moment


def _read_owner_columns(metadata: Any, context: RecordContext) -> dict[str, Any]:
    """The owner columns in the free-form metadata of a key, team, organization or project.

    Named directly, below `spend_logs_metadata`, or as a tag `name:value`, in that order.
    """
    if not isinstance(metadata, dict):
        return {}
    found: dict[str, Any] = {}
    tags = metadata.get("tags")
    tagged: dict[str, Any] = {}
    for tag in tags if isinstance(tags, list) else ():
        name, _, text = str(tag).partition(":")
        tagged[name] = text
    below = metadata.get("spend_logs_metadata")
    for holder in (tagged, below if isinstance(below, dict) else {}, metadata):
        for name, value in holder.items():
            ours = owner_column(name)
            is_plain = isinstance(value, str | int | float | Decimal) and not isinstance(
                value, bool
            )
            if ours is not None and is_plain and str(value).strip():
                found[ours] = clean_text(str(value).strip()[: context.field_characters])
    return found


def _check_owner_map(values: dict[str, Any]) -> None:
    valid_to = values.get("valid_to_date")
    values["valid_to_date"] = valid_to or OPEN_END
    if values["valid_to_date"] <= values["valid_from_date"]:
        reason = f"ends {values['valid_to_date']}, not after its start {values['valid_from_date']}"
        raise RefusedError("overlapping_validity", reason, "valid_to_date")


def _observed_at(row: Mapping[str, Any], record: Record, context: RecordContext) -> datetime:
    stated = row.get("observed_at")
    if stated is None or stated == "":
        return context.observed_at() if context.observed_at is not None else context.as_of
    moment, _ = read_time(stated, "observed_at")
    if check_not_future(moment, "observed_at", context):
        record.codes.add("clock_skew")
    return moment


def _flag_drift(table: OwnerTable, row: Mapping[str, Any], record: Record) -> None:
    """LiteLLM's tables have many columns we leave out by choice; the owner map has none."""
    if table.name == OWNER_MAP:
        known = {field.theirs for field in table.fields} | _OURS
        record.codes.update({"schema_drift"} if not row.keys() <= known else ())


def _observation(
    table: OwnerTable, values: Mapping[str, Any], row: Mapping[str, Any]
) -> dict[str, Any]:
    identity = [values.get(field.name) for field in table.fields[: table.id_fields]]
    content = {name: value for name, value in values.items() if name != "observed_at"}
    return {
        "entity": table.entity,
        "entity_id": "/".join("" if part is None else str(part) for part in identity),
        "observed_at": values["observed_at"],
        "source_version_at": values["source_version_at"],
        "is_gone": values["is_gone"],
        "content_sha256": _sha256(json.dumps(content, sort_keys=True, default=str)),
        "source_hash": row.get(HASH_FIELD),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def validity(record: Record) -> tuple[tuple[Any, ...], date, date] | None:
    """(key, from, to) of an entry of the owner map: two of one key must not overlap."""
    entries = record.children.get("owners__key_owners")
    if not entries:
        return None
    (entry,) = entries
    key = (entry["api_key_id"], entry.get("gateway"))
    return key, entry["valid_from_date"], entry["valid_to_date"]
