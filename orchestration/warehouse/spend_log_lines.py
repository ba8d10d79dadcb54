"""Rows of spend logs read by SQL where nothing is in doubt; the strict reader has the rest.

A shape is which keys stand in which objects of a row. What follows from it is decided once: no key
stands twice, no object is unknown, where the quantities are. SQL then takes the values of all rows
of that shape, and leaves out each row one of whose values is not in its plainest form. Those go to
the strict reader, which alone decides what is refused, hashed or read in any other way.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from orchestration.core.refusals import CREDENTIAL_HINT, RefusedError
from orchestration.core.values import FLOAT_DIGITS, YEAR_FIRST, YEAR_LAST
from orchestration.landing.line_blocks import LineBlock
from orchestration.landing.rows import Row
from orchestration.sources import litellm_spend_logs as spend_logs
from orchestration.sources.records import NAMED_KEY, Record, RecordContext
from orchestration.warehouse.connection import quoted
from orchestration.warehouse.parquet_lines import METADATA, TypedColumn
from orchestration.warehouse.staged import row_hash_sql

Path = tuple[str, ...]

# As what DuckDB takes a value out of the row, by what is read from it. JSON keeps strings, numbers
# and objects apart; a text that may be none is told by how it looks.
_TAKEN_AS = {
    "text": "VARCHAR",
    "usage_text": "VARCHAR",
    "time": "VARCHAR",
    "cache_hit": "VARCHAR",
    "money": "VARCHAR",
    "count": "JSON",
    "seconds": "JSON",
    "truth": "JSON",
    "tags": "JSON",
    "content": "JSON",
    "no_content": "JSON",
    "absent": "JSON",
}
_METADATA = ("metadata",)
_USAGE = ("metadata", "usage_object")
_OTHER_USAGE = ("metadata", "additional_usage_values")
_NAMED = ("metadata", "spend_logs_metadata")
_PROMPT, _COMPLETION = ("prompt_tokens_details",), ("completion_tokens_details",)
_LIFETIMES = ("prompt_tokens_details", "cache_creation_token_details")
_TOOLS = ("server_tool_use",)
_OBJECTS: tuple[Path, ...] = (
    _METADATA,
    _NAMED,
    ("metadata", "error_information"),
    ("metadata", "cost_breakdown"),
    ("metadata", "model_map_information"),
    ("metadata", "model_map_information", "model_map_value"),
    *(
        (*usage, *inner)
        for usage in (_USAGE, _OTHER_USAGE)
        for inner in ((), _PROMPT, _LIFETIMES, _COMPLETION, _TOOLS)
    ),
    *((name,) for name in spend_logs.CONTENT_COLUMNS),
)
_MOST_OBJECTS = 200
_MOST_SHAPES = 20_000
_SHAPES_AT_ONCE = 500
_MOST_WORDS = 200_000
_ROUNDS = 4
_SEPARATOR = "chr(31)"
_TIME = (
    "20[0-9]{2}-[01][0-9]-[0-3][0-9][T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,6})?(?:Z|\+00:00)?"
)
_AMOUNT = r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"
_MONEY = rf'"spend": ?({_AMOUNT})[,}}]'
# Texts with a credential, and what was no string: an object, a list, a truth or a fraction.
_NO_TEXT = (
    rf"{CREDENTIAL_HINT}|(?:^|\x1f)(?:[{{\[]|(?:true|false|nan|inf(?:inity)?|-[0-9.e+-]+"
    r"|[0-9]+(?:\.[0-9]+|(?:\.[0-9]+)?e[-+]?[0-9]+))(?:\x1f|$))"
)
_SECONDS = r"[0-9]{1,8}(\.[0-9]{1,6})?"
_TIMES = {
    "started_at": "startTime",
    "ended_at": "endTime",
    "completion_started_at": "completionStartTime",
    "created_at": "created_at",
    "source_version_at": "updated_at",
    "observed_at": "observed_at",
}
_CACHE_HIT_WORDS = ("", "True", "False", "true", "false", "None")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "request_duration_ms")


def kind_of(holder: Path, name: str) -> str | None:
    """What is read from a value of a row, by the object it stands in; None where nothing is."""
    if (*holder, name) in _OBJECTS and (holder or name not in spend_logs.CONTENT_COLUMNS):
        return "object"
    if holder == _METADATA and name not in spend_logs.KNOWN_METADATA:
        return "no_content"
    if holder == _NAMED:
        return "text" if spend_logs.owner_column(name) else None
    return _KINDS.get(holder, {}).get(name)


def _kinds(kind: str, names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, kind)


_ROW_KINDS = {
    **_kinds("text", spend_logs.TEXT),
    **_kinds("text", ("api_key", "api_base", "user", "end_user", "currency", "source_hash")),
    **_kinds("text", ("requester_ip_address",)),
    **_kinds("time", _TIMES.values()),
    **_kinds("count", _COUNTS),
    **_kinds("content", spend_logs.CONTENT_COLUMNS),
    "cache_hit": "cache_hit",
    "request_tags": "tags",
    "spend": "money",
}
_WHOLE = (
    "attempted_retries",
    "attempted_fallbacks",
    "batch_successful_requests",
    "batch_failed_requests",
)
_TRUTHS = {
    "is_billed_retry_attempt": "billed_retry_attempt",
    "is_silent_experiment": "is_silent_experiment",
    "used_client_oauth_token": "used_client_oauth_token",
}
_METADATA_KINDS = {
    **_kinds("text", spend_logs.METADATA_TEXT.values()),
    **_kinds("text", ("status", "user_agent", "user_api_key_team_id")),
    **_kinds("text", ("user_api_key_org_id", "user_api_key_user_id")),
    **_kinds("count", _WHOLE),
    **_kinds("truth", _TRUTHS.values()),
}
_USAGE_TEXT = {
    "usage_service_tier": "service_tier",
    "usage_speed": "speed",
    "region": "inference_geo",
}
_USAGE_COUNTS: dict[Path, Mapping[str, str]] = {
    (): spend_logs.FLAT_NAMES,
    _PROMPT: spend_logs.PROMPT_NAMES,
    _LIFETIMES: spend_logs.LIFETIME_NAMES,
    _COMPLETION: spend_logs.COMPLETION_NAMES,
    _TOOLS: spend_logs.TOOL_NAMES,
}
_USAGE_SECONDS = ((), _PROMPT)
_USAGE_KINDS: dict[Path, dict[str, str]] = {
    inner: {
        **_kinds("count", names),
        **(_kinds("seconds", spend_logs.SECONDS_NAMES) if inner in _USAGE_SECONDS else {}),
    }
    for inner, names in _USAGE_COUNTS.items()
}
_USAGE_KINDS[()] |= _kinds("usage_text", _USAGE_TEXT.values())
_USAGE_KINDS[()] |= {"batch_usage_by_model": "absent"}
_KINDS: dict[Path, dict[str, str]] = {
    (): _ROW_KINDS,
    _METADATA: _METADATA_KINDS,
    ("metadata", "error_information"): _kinds("text", ("error_code", "error_class")),
    ("metadata", "cost_breakdown"): _kinds(
        "text", ("service_tier", "data_residency", "vertex_location")
    ),
    **{
        (*usage, *inner): kinds
        for usage in (_USAGE, _OTHER_USAGE)
        for inner, kinds in _USAGE_KINDS.items()
    },
}


# ---------------------------------------------------------------- shapes


@dataclass(frozen=True, slots=True)
class Shape:
    """What SQL has to know about the rows of one sound shape.

    Attributes:
        objects: How many objects a row of it consists of.
        usage_at: Where its quantities stand: 1 the usage object, 2 its stand-in, 0 nowhere.
        has_drift: Whether it has a column LiteLLM's table does not have.
        has_metadata: Whether its metadata are an object that is not empty.
    """

    objects: int
    usage_at: int
    has_drift: bool
    has_metadata: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Which keys of rows have been seen, and so which are looked at.

    Attributes:
        objects: Every place an object was seen at, outside lists; the row itself is the first.
        leaves: Where values stand that are read.
    """

    objects: tuple[Path, ...]
    leaves: frozenset[Path]

    def judge(self, keys: Sequence[Sequence[str] | None]) -> Shape | None:
        """What follows from the keys of all objects of a row; an empty one has none.

        None where a key stands twice, or where the strict reader would have to be asked.
        """
        held = {place: names for place, names in zip(self.objects, keys, strict=True) if names}
        if not all(map(self._is_plain, held, held.values())):
            return None
        owners = [spend_logs.owner_column(name) for name in held.get(_NAMED, ())]
        owners = [owner for owner in owners if owner]
        if len(set(owners)) < len(owners):
            return None
        usage_at = 1 if _USAGE in held else 2 if _OTHER_USAGE in held else 0
        if usage_at == 2 and _USAGE[-1] in held.get(_METADATA, ()):
            # Empty or null, which is not the same: only null has its stand-in looked at.
            return None
        has_drift = not set(held.get((), ())) <= spend_logs.KNOWN
        return Shape(len(held), usage_at, has_drift, _METADATA in held)

    def _is_plain(self, place: Path, names: Sequence[str]) -> bool:
        if len(set(names)) < len(names):
            return False
        return not any(
            # The amount is looked up in the text by its key, which must be the only one.
            '"' in name
            or "\\" in name
            or (place and name == "spend")
            or (kind_of(place, name) and (*place, name) not in self.leaves)
            for name in names
        )


class _Seen:
    """The keys of all objects seen so far, outside lists."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, None]] = {(): {}}

    def add(self, value: Mapping[str, Any], place: Path = ()) -> bool:
        """Note the keys of a row; whether any is new."""
        names = self._names.setdefault(place, {})
        fresh = [name for name in value if name not in names and _is_path_name(name)]
        if len(names) + len(fresh) > 500 or len(self._names) > _MOST_OBJECTS:
            fresh = []
        names.update(dict.fromkeys(fresh))
        inner = [
            self.add(each, (*place, name))
            for name, each in value.items()
            if isinstance(each, dict) and name in names and len(place) < 12
        ]
        return bool(fresh) or any(inner)

    def plan(self) -> Plan:
        """What to look at."""
        leaves = [
            (*place, name)
            for place, names in self._names.items()
            for name in names
            if kind_of(place, name)
        ]
        return Plan(tuple(self._names), frozenset(leaves))


def _is_path_name(name: str) -> bool:
    return name.isprintable() and not set(name) & set("\"\\'*")


# ---------------------------------------------------------------- what SQL reads

# The columns of a file of typed columns, None for the one whose text the lines are.
TypedColumns = Mapping[str, TypedColumn | None]


@dataclass(frozen=True, slots=True)
class _Places:
    """SQL of the values of a row; NULL for a place no row has had so far."""

    names: Mapping[Path, str]
    columns: TypedColumns | None

    @property
    def leaves(self) -> Collection[Path]:
        """Where values stand."""
        return self.names.keys()

    def value(self, *place: str) -> str:
        """The value as it was taken out of the row."""
        if place not in self.leaves:
            return f"cast(null as {_taken_as(place)})"
        return self.names[place]

    def column(self, place: Path) -> TypedColumn | None:
        """The column a value is typed by; None where it is JSON or text."""
        return self.columns.get(place[0]) if self.columns and len(place) == 1 else None

    def is_moment(self, *place: str) -> bool:
        """Whether a value is a time already."""
        column = self.column(place)
        return column is not None and column.is_moment

    def is_count(self, *place: str) -> bool:
        """Whether a value is a whole number already."""
        column = self.column(place)
        return column is not None and column.is_count

    def text(self, *place: str) -> str:
        """A text, or NULL for an empty one."""
        if self.is_moment(*place):
            return self.value(*place)
        return f"nullif({self.value(*place)}, '')" if place in self.leaves else "null"

    def is_zoned(self, *place: str) -> str:
        """Whether a time says that it is in UTC; NULL where there is none."""
        if self.is_moment(*place):
            column = self.column(place)
            return "true" if column is None or column.is_zoned else f"{self.value(*place)} is null"
        text = self.text(*place)
        return f"(right({text}, 1) = 'Z' or right({text}, 6) = '+00:00')"

    def count(self, *place: str) -> str:
        """A count that fits a bigint, else NULL."""
        if self.is_count(*place):
            return f"try_cast({self.value(*place)} as bigint)"
        return f"try_cast(cast({self.value(*place)} as varchar) as bigint)"

    def seconds(self, *place: str) -> str:
        """Seconds to six places."""
        return f"try_cast(cast({self.value(*place)} as varchar) as decimal(20, 6))"


def _taken_as(place: Path) -> str:
    return _TAKEN_AS[kind_of(place[:-1], place[-1]) or "text"]


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _json_path(place: Path) -> str:
    return quoted("$" + "".join(f'."{name}"' for name in place))


def _json_paths(places: Iterable[Path], top: Path) -> str:
    """Where objects stand in a line that begins at `top` of its row."""
    below = (place[len(top) :] for place in places if place[: len(top)] == top)
    return f"[{', '.join(map(_json_path, below))}]"


def _structure(values: Iterable[Path], top: Path) -> str:
    """The part of a line that is taken out of it, as json_transform expects it."""
    root: dict[str, Any] = {}
    for place in sorted(values):
        holder = root
        for name in place[len(top) : -1]:
            holder = holder.setdefault(name, {})
        holder[place[-1]] = _taken_as(place)
    return json.dumps(root, ensure_ascii=False)


def _first(*expressions: str) -> str:
    kept = [each for each in expressions if each != "null"]
    return f"coalesce({', '.join(kept)})" if len(kept) > 1 else (kept or ["null"])[0]


def _value_names(plan: Plan) -> dict[Path, str]:
    return {place: f"value_{number}" for number, place in enumerate(sorted(plan.leaves))}


def _taken_sql(plan: Plan, salt: int, columns: TypedColumns | None) -> str:
    """The values of every line, and its shape."""
    top = () if columns is None else _METADATA
    names = {place: ours for place, ours in _value_names(plan).items() if _is_value(place)}
    inner = [place for place in names if place[: len(top)] == top]
    values = "".join(
        f",\n{_inner_value(place[len(top) :]) if place in inner else _typed_value(place, columns)}"
        f" as {ours}"
        for place, ours in names.items()
    )
    whole = f"json_transform(line, {quoted(_structure(inner, top))})" if inner else "null"
    beside = "" if columns is None else ", block_lines.* exclude (line_number, line, objects)"
    return f"""
        select line_number, line, objects, has_nul, money_text, shape{values}
        from (
            select
                line_number,
                line,
                {"objects" if columns is None else "objects + 1 as objects"},
                {_has_nul(columns)} as has_nul,
                {_money_text(columns)} as money_text,
                {whole} as v,
                hash(json_keys(line, {_json_paths(plan.objects, top)}), {salt}) as shape
                {beside}
            from block_lines
        )
        """


def _is_value(place: Path) -> bool:
    return kind_of(place[:-1], place[-1]) != "object"


def _inner_value(place: Path) -> str:
    return f"v{''.join(f'.{_name(name)}' for name in place)}"


def _typed_value(place: Path, columns: TypedColumns | None) -> str:
    column = (columns or {})[place[0]]
    if column is None:
        raise AssertionError("the metadata are the line, no column beside it")
    if column.is_moment or column.is_count:
        return column.name
    is_text = _taken_as(place) == "VARCHAR" or kind_of((), place[0]) == "tags"
    return column.text if is_text else column.json


def _has_nul(columns: TypedColumns | None) -> str:
    tags = None if columns is None else columns.get("request_tags")
    escaped = "contains(line, '\\u0000')"
    if tags is None:
        return escaped
    return f"({escaped} or coalesce(contains({tags.text}, '\\u0000'), false))"


def _money_text(columns: TypedColumns | None) -> str:
    if columns is None:
        return f"regexp_extract(line, {quoted(_MONEY)}, 1)"
    column = columns.get("spend")
    if column is None or column.json != column.text:
        # An amount that is text is for the strict reader.
        return "''"
    return f"regexp_extract({column.text}, {quoted(f'^({_AMOUNT})$')}, 1)"


def _one_of(value: str, words: Iterable[str]) -> str:
    # Not IN, for which DuckDB joins.
    return f"list_contains([{', '.join(map(quoted, words))}], {value})"


def _usage_columns(at: _Places) -> dict[str, str]:
    counted: dict[str, tuple[list[str], list[str]]] = {}
    for number, usage in enumerate((_USAGE, _OTHER_USAGE)):
        for inner, names in _USAGE_COUNTS.items():
            for theirs, ours in names.items():
                if (*usage, *inner, theirs) in at.leaves:
                    counted.setdefault(ours, ([], []))[number].append(
                        at.count(*usage, *inner, theirs)
                    )
        for inner in _USAGE_SECONDS:
            for theirs, ours in spend_logs.SECONDS_NAMES.items():
                if (*usage, *inner, theirs) in at.leaves:
                    counted.setdefault(ours, ([], []))[number].append(
                        at.seconds(*usage, *inner, theirs)
                    )
    return {ours: _by_usage(*map(_largest, each)) for ours, each in counted.items()}


def _largest(expressions: list[str]) -> str:
    return f"greatest({', '.join(expressions)})" if len(expressions) > 1 else "".join(expressions)


def _by_usage(first: str, second: str) -> str:
    cases = [f"when {n} then {each}" for n, each in ((1, first), (2, second)) if each]
    return f"case usage_at {' '.join(cases)} end" if cases else "null"


def _text_columns(at: _Places, context: RecordContext) -> dict[str, str]:
    """Columns that are a text of the row as it stands."""
    meta = "metadata"
    columns = {name: at.text(name) for name in spend_logs.TEXT}
    columns |= {ours: at.text(meta, theirs) for ours, theirs in spend_logs.METADATA_TEXT.items()}
    columns["status"] = _first(at.text("status"), at.text(meta, "status"))
    columns["team_id"] = _first(at.text("team_id"), at.text(meta, "user_api_key_team_id"))
    columns["organization_id"] = _first(
        at.text("organization_id"), at.text(meta, "user_api_key_org_id")
    )
    columns["customer_id"] = at.text("end_user")
    columns["source_hash"] = at.text("source_hash")
    if context.keep_user_id:
        columns["user_id"] = _first(at.text("user"), at.text(meta, "user_api_key_user_id"))
    if context.keep_client_ip:
        columns["client_ip"] = at.text("requester_ip_address")
    if context.keep_user_agent:
        columns["user_agent"] = at.text(meta, "user_agent")
    for ours in spend_logs.OWNER_NAMES:
        named = [
            at.text(*place)
            for place in at.leaves
            if place[:-1] == _NAMED and spend_logs.owner_column(place[-1]) == ours
        ]
        columns[ours] = _first(*named)
    columns["error_code"] = at.text(meta, "error_information", "error_code")
    columns["error_class"] = at.text(meta, "error_information", "error_class")
    breakdown = (meta, "cost_breakdown")
    columns["billed_service_tier"] = at.text(*breakdown, "service_tier")
    columns["region"] = _first(
        at.text(*breakdown, "data_residency"), at.text(*breakdown, "vertex_location")
    )
    for ours, theirs in _USAGE_TEXT.items():
        first, second = (
            f"left({at.text(*usage, theirs)}, 64)" if (*usage, theirs) in at.leaves else ""
            for usage in (_USAGE, _OTHER_USAGE)
        )
        columns[ours] = _first(columns.get(ours, "null"), _by_usage(first, second))
    return columns


def _money_sql() -> str:
    """The amount at 24 places, exactly; NULL where its text says more than that."""
    return """
        case
            when contains(lower(money_text), 'e') then case
                when
                    strlen(money_text) <= 22
                    and list_contains(['e-05', 'e-06', 'e-07', 'e-08'], right(money_text, 4))
                    then try_cast(money_text as decimal(38, 24))
                end
            when strlen(money_text) between 1 and 25 then try_cast(money_text as decimal(38, 24))
        end
        """


# DuckDB rounds a half away from zero; money is rounded half to even.
_SPEND = """
    case
        when
            cast(spend_24 as decimal(38, 18)) - spend_24 = 0.0000000000000000005
            and ascii(right(cast(cast(spend_24 as decimal(38, 18)) as varchar), 1)) % 2 = 1
            then cast(spend_24 as decimal(38, 18)) - 0.000000000000000001
        else cast(spend_24 as decimal(38, 18))
    end
    """


@dataclass(frozen=True, slots=True)
class _Statements:
    """SQL over the table `block_lines` for one plan."""

    insert: str
    unknown_shapes: str
    words: str


def _statements(
    plan: Plan, salt: int, context: RecordContext, columns: TypedColumns | None
) -> _Statements:
    taken = _taken_sql(plan, salt, columns)
    at = _Places(_value_names(plan), columns)
    return _Statements(
        insert=_insert_sql(taken, at, context),
        unknown_shapes=f"""
            select b.line_number, b.line
            from block_lines as b
            inner join (
                select min(line_number) as line_number
                from ({taken})
                where shape not in (select shape from known_shapes)
                group by shape
                order by count(*) desc
                limit {_SHAPES_AT_ONCE}
            ) as e on b.line_number = e.line_number
            """,
        words=f"""
            select distinct 'tags', cast({at.value("request_tags")} as varchar) from ({taken})
            union
            select distinct 'base', {at.text("api_base")} from ({taken})
            """,
    )


def _insert_sql(taken: str, at: _Places, context: RecordContext) -> str:
    texts = _text_columns(at, context)
    owners = spend_logs.OWNER_NAMES
    columns = {
        "_source_line": "line_number",
        **{ours: expression for ours, expression in texts.items() if expression != "null"},
        **{
            ours: f"coalesce({texts[ours]}, tags.{ours})"
            if texts[ours] != "null"
            else f"tags.{ours}"
            for ours in owners
        },
        "request_tags": "tags.request_tags",
        "api_base": "bases.api_base",
        "api_key_id": at.text("api_key"),
        **{
            ours: f"try_cast({at.text(theirs)} as timestamp)"
            for ours, theirs in _TIMES.items()
            if (theirs,) in at.leaves
        },
        "cache_hit": (
            f"case lower({at.text('cache_hit')}) when 'true' then true when 'false' then false end"
        ),
        **{name: at.count(name) for name in _COUNTS if (name,) in at.leaves},
        "spend": _SPEND,
        **{name: at.count("metadata", name) for name in _WHOLE if ("metadata", name) in at.leaves},
        **{
            ours: f"coalesce(cast({at.value('metadata', theirs)} as varchar) = 'true', false)"
            for ours, theirs in _TRUTHS.items()
        },
        "has_usage": "usage_at > 0",
        **_usage_columns(at),
    }
    listed = ",\n".join(f"{expression} as {ours}" for ours, expression in columns.items())
    together = ", ".join(each for each in (*texts.values(), at.text("api_base")) if each != "null")
    conditions = " and ".join(_conditions(at, context))
    tags, base = f"cast({at.value('request_tags')} as varchar)", at.text("api_base")
    words, joins = ["tags.word as tags_word", "bases.word as base_word", "bases.is_stripped"], ""
    for name, text in (("tags", tags), ("bases", base)):
        # Of what no row has, there is nothing to look up.
        place = {"tags": "request_tags", "bases": "api_base"}[name]
        has_any = (place,) in at.leaves
        on = f"{text} = {name}.word" if has_any else "false"
        joins += f"left join known_{name} as {name} on {on}\n"
    words = ", ".join(words)
    return f"""
        insert into incoming_litellm__spend_logs by name
        with taken as ({taken}),
        known as (
            select t.*, s.usage_at, s.has_drift, s.has_metadata
            from taken as t
            inner join known_shapes as s on t.shape = s.shape and t.objects = s.objects
        ),
        priced as (select *, {_money_sql()} as spend_24 from known),
        typed as (
            select
                priced.*, {tags} as tags_text, {base} as base_text, {words},
                concat_ws({_SEPARATOR}, {together}) as together, {listed}
            from priced
            {joins}
        ),
        sure as (
            select *
            from typed
            -- A condition of its own would be tried before the join, on a row parsed for it alone.
            where case when usage_at is not null then {conditions} end
        )
        select
            {", ".join(columns)},
            {row_hash_sql(spend_logs.SPEND_LOGS, columns)} as _row_hash,
            nullif(concat_ws(',', {_codes_sql(at, set(columns))}), '') as _codes
        from sure
        """


def _conditions(at: _Places, context: RecordContext) -> list[str]:
    times = [
        at.text(name) for name in _TIMES.values() if (name,) in at.leaves and not at.is_moment(name)
    ]
    kinds: dict[str, list[str]] = {}
    for place in sorted(at.leaves):
        kind = kind_of(place[:-1], place[-1]) or ""
        if not at.is_count(*place):
            kinds.setdefault(kind, []).append(f"cast({at.value(*place)} as varchar)")
    conditions = [
        "not has_nul",
        *_metadata_conditions(at),
        "(tags_text is null or tags_word is not null)",
        "(base_text is null or base_word is not null)",
        # A name without a visible first letter, or one that may say `None`, is looked at.
        "ascii(request_id) between 33 and 126",
        "not starts_with(request_id, 'None') and not starts_with(request_id, 'null')",
        f"not regexp_matches(together, {quoted(_NO_TEXT)})",
        f"strlen(together) <= {context.field_characters}",
        *_all_match(times, f"(?:(?:{_TIME},)*{_TIME})?"),
        f"started_at <= {_timestamp(context.as_of)}",
        *(
            f"(year({ours}) between {YEAR_FIRST} and {YEAR_LAST} or {at.text(theirs)} is null)"
            for ours, theirs in _TIMES.items()
            if (theirs,) in at.leaves
        ),
        f"({at.text('api_key')} is null or regexp_full_match({at.text('api_key')}, "
        f"'[0-9a-f]{{64}}|{NAMED_KEY}'))",
        _one_of(f"coalesce({at.value('cache_hit')}, '')", _CACHE_HIT_WORDS),
        f"coalesce({at.text('currency')}, 'USD') = 'USD'",
        *_all_match(kinds.get("count"), "[0-9,]*"),
        *(
            f"coalesce({at.value(*place)} >= 0, true)"
            for place in sorted(at.leaves)
            if at.is_count(*place) and kind_of(place[:-1], place[-1]) == "count"
        ),
        *(f"({at.value(n)} is null or {n} is not null)" for n in _COUNTS if (n,) in at.leaves),
        # In other texts a number counts as what it reads.
        *(
            f"not regexp_full_match(coalesce({each}, ''), '[0-9]+')"
            for each in kinds.get("usage_text", ())
        ),
        *_all_match(kinds.get("seconds"), f"(?:{_SECONDS},?)*"),
        *_all_match(kinds.get("truth"), "(?:true,?|false,?)*"),
        *(f"{each} is null" for each in kinds.get("absent", ())),
        *(
            "not " + _one_of(f"coalesce({each}[1], '0')", '"[{')
            for each in kinds.get("no_content", ())
        ),
        *(f"coalesce({each}[1], 'n') not between '-' and '9'" for each in kinds.get("content", ())),
        *_money_conditions(at),
    ]
    if context.closed_until is not None:
        conditions.append(f"started_at >= {_timestamp(context.closed_until)}")
    return conditions


def _metadata_conditions(at: _Places) -> list[str]:
    if at.columns is not None:
        # The line is the metadata, and begins as an object does.
        return []
    # Metadata that are no object are a flag.
    return [
        "case when has_metadata then true"
        " else coalesce(json_type(line, '$.metadata'), 'NULL') in ('NULL', 'OBJECT') end"
    ]


def _all_match(values: list[str] | None, pattern: str) -> list[str]:
    """One condition on several values, each of which is plain or NULL."""
    if not values:
        return []
    return [f"regexp_full_match(concat_ws(',', {', '.join(values)}), {quoted(pattern)})"]


def _timestamp(moment: datetime) -> str:
    naive = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return f"timestamp '{naive.isoformat(sep=' ')}'"


def _money_conditions(at: _Places) -> list[str]:
    digits = "strlen(ltrim(replace(regexp_extract(money_text, '^[^eE]*'), '.', ''), '0'))"
    return [
        f"""case
            when {at.value("spend")} is null then {at.value("status")} = 'failure'
            when spend_24 is null then false
            -- Which digits were lost is for the strict reader to say.
            else spend = spend_24 or {digits} <= {FLOAT_DIGITS}
        end"""
    ]


def _codes_sql(at: _Places, columns: set[str]) -> str:
    """Flags of a row, sorted by name."""
    known = [name for name in spend_logs.CONTENT_COLUMNS if (name,) in at.leaves]
    nothing = ("null", "false", '""', "{}", "[]", '"{}"', '"[]"')
    contents = [f"not {_one_of(f'cast({at.value(n)} as varchar)', nothing)}" for n in known]
    times = [at.is_zoned(name) for name in _TIMES.values() if (name,) in at.leaves]
    tokens = [name for name in ("prompt_tokens", "completion_tokens") if name in columns]
    has_tokens = " or ".join(f"coalesce({name}, 0) > 0" for name in tokens) or "false"
    quantities = [c.name for c in spend_logs.USAGE_COLUMNS if c.name in columns]
    has_quantity = " or ".join([has_tokens, *(f"coalesce({n}, 0) > 0" for n in quantities)])
    has_sum = len(tokens) == 2 and "total_tokens" in columns
    reads_back = _one_of("call_type", sorted(spend_logs.NON_BILLABLE_CALL_TYPES))
    conditions = {
        "content_dropped": " or ".join(contents) or "false",
        "cost_without_usage": f"spend > 0 and not ({has_quantity})",
        "end_before_start": "ended_at < started_at" if "ended_at" in columns else "false",
        "naive_timestamp": " or ".join(f"not {is_zoned}" for is_zoned in times),
        "non_billable_call_type": reads_back if "call_type" in columns else "false",
        "null_spend_on_failure": "spend is null",
        "schema_drift": "has_drift",
        "spend_outlier": f"spend > {spend_logs.SPEND_OUTLIER}",
        "token_sum_mismatch": (
            "total_tokens <> cast(prompt_tokens as hugeint) + completion_tokens"
            if has_sum
            else "false"
        ),
        "unknown_model": "false"
        if "model" not in columns
        else f"model = 'unknown-model' or (model is null and ({has_tokens}))",
        "url_secret_stripped": "is_stripped",
        "usage_without_cost": (
            f"({has_tokens}) and spend = 0 and not coalesce(cache_hit, false)"
            + (" and coalesce(status, 'success') = 'success'" if "status" in columns else "")
        ),
    }
    return ", ".join(
        f"case when {condition} then {quoted(code)} end"
        for code, condition in sorted(conditions.items())
        if condition != "false"
    )


# ---------------------------------------------------------------- reading


class SpendLogLines:
    """Stages the rows of spend logs about which their shape leaves no doubt."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        context: RecordContext,
        columns: TypedColumns | None = None,
    ) -> None:
        """`columns` are those of a file whose lines are the metadata of its rows alone."""
        self._connection = connection
        self._context = context
        self._columns = columns
        self._top = () if columns is None else _METADATA
        self._seen = _Seen()
        self._salt = secrets.randbits(62)
        self._statements: _Statements | None = None
        self._plan = Plan((), frozenset())
        self._words: set[tuple[str, str]] = set()
        # One line of every shape, from which they are told again by a new plan.
        self._examples: list[pa.Table] = []
        owners = ", ".join(f"{name} varchar" for name in spend_logs.OWNER_NAMES)
        connection.execute(f"""
            create or replace temp table known_tags (
                word varchar, request_tags varchar, {owners}
            );
            create or replace temp table known_bases (
                word varchar, api_base varchar, is_stripped boolean
            );
            """)
        self._forget_shapes()

    def _forget_shapes(self) -> None:
        self._shapes: dict[int, Shape | None] = {}
        self._connection.execute("""
            create or replace temp table known_shapes (
                shape ubigint, objects bigint, usage_at bigint, has_drift boolean,
                has_metadata boolean
            )
            """)

    def stage(self, blocks: Sequence[LineBlock]) -> list[Row | None]:
        """Stage the sure rows of some lines; the others in order, None for a blank line."""
        lines = pa.Table.from_batches([block.lines for block in blocks])
        left = set(self._left(lines).column("line_number").to_pylist())
        return [
            row
            for block in blocks
            for row in block.rows_of(sorted({*block.doubtful, *_within(left, block)}))
        ]

    def _left(self, lines: pa.Table) -> pa.Table:
        """Stage what is sure, learning from the rest; the lines that remain."""
        if self._statements is None:
            self._learn(lines.slice(0, 200))
        for attempt in range(_ROUNDS):
            lines = self._insert(lines)
            if not lines.num_rows or attempt == _ROUNDS - 1 or not self._learn(lines):
                break
        return lines

    def _insert(self, lines: pa.Table) -> pa.Table:
        """Stage what is sure; the lines that remain."""
        if self._statements is None or not lines.num_rows:
            return lines
        with self._registered("block_lines", lines):
            try:
                (staged,) = self._connection.execute(self._statements.insert).fetchall()[0]
            except duckdb.InvalidInputException:
                # Some line is no JSON to DuckDB's parser either.
                staged = -1
            else:
                return lines.slice(0, 0) if staged == lines.num_rows else self._not_staged()
        sound = self._valid(lines)
        if sound.num_rows == lines.num_rows:
            raise AssertionError("valid lines were not read")
        self._insert(sound)
        with self._registered("block_lines", lines):
            return self._not_staged()

    def _not_staged(self) -> pa.Table:
        return self._connection.sql("""
            select *
            from block_lines
            where line_number not in (
                select _source_line
                from incoming_litellm__spend_logs
                where _source_line >= (select min(line_number) from block_lines)
            )
            order by line_number
            """).to_arrow_table()

    def _learn(self, lines: pa.Table) -> bool:
        """Learn keys, shapes and words of some lines; whether there was anything new."""
        sound = self._valid(lines)
        if not sound.num_rows or (self._statements is None and not self._learn_keys(sound)):
            return False
        with self._registered("block_lines", sound):
            has_shapes = self._learn_shapes()
            return self._learn_words() or has_shapes

    def _valid(self, lines: pa.Table) -> pa.Table:
        with self._registered("block_lines", lines):
            return self._connection.sql(
                "select * from block_lines where json_valid(line)"
            ).to_arrow_table()

    @contextmanager
    def _registered(self, name: str, rows: pa.Table) -> Iterator[None]:
        self._connection.register(name, rows)
        try:
            yield
        finally:
            self._connection.unregister(name)

    def _learn_keys(self, lines: pa.Table) -> bool:
        """Plan anew where the lines hold keys that no line before had."""
        is_new = [self._seen.add(self._row_of(line)) for line in lines.column("line").to_pylist()]
        if not any(is_new):
            return False
        self._plan = self._seen.plan()
        self._forget_shapes()
        if {("request_id",), ("startTime",), ("spend",)} <= self._plan.leaves:
            self._statements = _statements(self._plan, self._salt, self._context, self._columns)
            for known in self._examples:
                self._judge(known)
        return True

    def _row_of(self, line: str) -> dict[str, Any]:
        if self._columns is None:
            return _value_of(line)
        return {**dict.fromkeys(self._columns), METADATA: _value_of(line)}

    def _learn_shapes(self) -> bool:
        """Judge the shapes of `block_lines` that are new; whether there are any."""
        if self._statements is None or len(self._shapes) > _MOST_SHAPES:
            return False
        examples = self._connection.sql(self._statements.unknown_shapes).to_arrow_table()
        if not examples.num_rows:
            return False
        if self._learn_keys(examples):
            return self._learn_shapes()
        self._examples.append(examples)
        self._judge(examples)
        return True

    def _judge(self, examples: pa.Table) -> None:
        """Decide on the shapes of some lines, and tell SQL of the sound ones."""
        with self._registered("examples", examples):
            rows = self._connection.execute(f"""
                select hash(keys, {self._salt}) as shape, keys
                from (
                    select json_keys(line, {_json_paths(self._plan.objects, self._top)}) as keys
                    from examples
                )
                """).fetchall()
        for shape, keys in rows:
            if shape in self._shapes:
                continue
            above = [] if self._columns is None else [list(self._columns)]
            judged = self._plan.judge([*above, *keys])
            self._shapes[shape] = judged
            # A shape that is not sound is known too, and no row fits it.
            judged = judged or Shape(-1, usage_at=0, has_drift=False, has_metadata=False)
            self._connection.execute(
                "insert into known_shapes values (?, ?, ?, ?, ?)",
                [shape, *astuple(judged)],
            )

    def _learn_words(self) -> bool:
        """Read tags and addresses that are new, with the strict reader's own functions."""
        if self._statements is None or len(self._words) > _MOST_WORDS:
            return False
        found = self._connection.execute(self._statements.words).fetchall()
        fresh = [each for each in found if each[1] is not None and each not in self._words]
        self._words.update(fresh)
        tags = [_tags_of(word, self._context) for kind, word in fresh if kind == "tags"]
        bases = [_base_of(word, self._context) for kind, word in fresh if kind == "base"]
        self._add_words("known_tags", [each for each in tags if each])
        self._add_words("known_bases", [each for each in bases if each])
        return bool(fresh)

    def _add_words(self, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            names = list(rows[0])
            lists = ", ".join("unnest(?)" for _ in names)
            self._connection.execute(
                f"insert into {table} ({', '.join(names)}) select {lists}",
                [[row[name] for row in rows] for name in names],
            )


def _within(numbers: set[int], block: LineBlock) -> set[int]:
    if not numbers:
        return numbers
    return numbers.intersection(range(block.first_line, block.first_line + block.count))


def _value_of(line: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(line)
    except msgspec.MsgspecError:
        return {}
    return value if isinstance(value, dict) else {}


def _tags_of(text: str, context: RecordContext) -> dict[str, Any] | None:
    """What a list of tags comes to; None where the strict reader has something to say about it."""
    record = Record(values={})
    try:
        spend_logs.read_tags({"request_tags": msgspec.json.decode(text)}, record, context)
    except (RefusedError, msgspec.MsgspecError):
        return None
    if record.codes:
        return None
    names = ("request_tags", *spend_logs.OWNER_NAMES)
    return {"word": text, **{name: record.values.get(name) for name in names}}


def _base_of(text: str, context: RecordContext) -> dict[str, Any] | None:
    """What an address comes to."""
    if len(text) > context.field_characters:
        return None
    base, is_stripped = spend_logs.without_credentials(text)
    return {"word": text, "api_base": base, "is_stripped": is_stripped}
