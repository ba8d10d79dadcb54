"""The mapping of a gateway's export: which of its fields is which of ours (contract, table T4)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

TEXT_FIELDS = (
    "api_key_name",
    "model",
    "model_group",
    "provider",
    "upstream_provider",
    "endpoint",
    "error_type",
    "routing_mode",
    "service_tier",
    "region",
    "fallback_from_model",
    "trace_id",
    "session_id",
    "customer_id",
    "customer_segment",
    "team_id",
    "team_name",
    "project_id",
    "organization_id",
    "environment",
    "workflow",
    "cost_center",
    "budget_owner",
    "ticket",
)
FLAG_FIELDS = ("is_streaming", "is_batch", "is_byok", "is_internal", "cache_hit")
WHOLE_FIELDS = ("http_status", "latency_ms", "attempt", "retries", "fallbacks")
PERSONAL_FIELDS = ("user_id", "client_ip", "user_agent")
FIELDS = (
    "request_id",
    "api_key_id",
    "status",
    "ended_at",
    *TEXT_FIELDS,
    *FLAG_FIELDS,
    *WHOLE_FIELDS,
    *PERSONAL_FIELDS,
)
STATUSES = ("success", "failure", "pending")

# Quantities other than tokens, by their names in table T9.
COUNT_QUANTITIES = (
    "input_characters",
    "output_characters",
    "input_images",
    "output_images",
    "input_pixels",
    "output_pixels",
    "ocr_pages",
    "rerank_searches",
    "web_search_calls",
    "file_search_calls",
    "maps_grounding_calls",
    "code_sessions",
    "tool_calls",
    "requests",
)
MEASURE_QUANTITIES = (
    "input_audio_seconds",
    "output_audio_seconds",
    "input_video_seconds",
    "output_video_seconds",
    "storage_gibibyte_hours",
    "provisioned_unit_hours",
)
QUANTITIES = (*COUNT_QUANTITIES, *MEASURE_QUANTITIES)

_DECIMAL_TEXT = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?\Z")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_EPOCHS = {"unix_s": 10**6, "unix_ms": 10**3, "unix_us": 1, "unix_ns": Decimal("0.001")}
# Nested lists have no way back to one record; what a path may be is what stands in T4 and samples.
_RECORDS_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\[\])?(?:\.[A-Za-z_][\w-]*(?:\[\])?)*\Z")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(value: object) -> object:
    """A field's name alone stands for the field as it is."""
    return {"field": value} if isinstance(value, str | list | tuple) else value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _factor(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    text = str(value)
    if not _DECIMAL_TEXT.match(text) or not Decimal(text):
        raise ValueError(
            f"expected a decimal above 0 such as 0.01, found '{text[:40]}'; "
            "a division is written as the multiplication it is"
        )
    return Decimal(text)


Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Factor = Annotated[Decimal, BeforeValidator(_factor)]


class FieldRule(_Section):
    """How one of our fields is found in a row.

    Attributes:
        field: Their name; of several the first that is not empty. A dot leads into an object.
        join: Their names whose values together, with / between, are ours.
        value: A fixed text, for what the gateway does not write.
        map: Ours by theirs, as text; compared without regard to case.
        otherwise: Ours for every value that `map` does not name.
        if_empty: Ours where the field is empty or absent.
        multiply: Exact factor from their unit to ours.
        hash_if_raw: Whether the field may hold a key itself, so that hashing it is worth a flag.
        format, zone: Of a time; those of `time` where they are left out.
    """

    field: Names | None = None
    join: Names | None = None
    value: str | None = None
    map: dict[str, str] | None = None
    otherwise: str | None = None
    if_empty: str | None = None
    multiply: Factor = Decimal(1)
    hash_if_raw: bool = False
    format: str | None = None
    zone: str | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> FieldRule:
        if sum(each is not None for each in (self.field, self.join, self.value)) != 1:
            raise ValueError("give one of field, join and value")
        if self.format is not None:
            _check_format(self.format)
        if self.zone is not None:
            _check_zone(self.zone)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, whichever way they are used."""
        return self.field or self.join or ()

    @property
    def outcomes(self) -> tuple[str | None, ...]:
        """Every text the rule itself may give."""
        return (*self.words.values(), self.otherwise, self.if_empty, self.value)

    @cached_property
    def words(self) -> Mapping[str, str]:
        """`map` by the lower-case word."""
        return {theirs.strip().lower(): ours for theirs, ours in (self.map or {}).items()}


Rule = Annotated[FieldRule, BeforeValidator(_named)]


def _check_format(text: str) -> None:
    if text == "iso8601" or text in _EPOCHS:
        return
    if "%" not in text:
        known = ", ".join(("iso8601", *_EPOCHS))
        raise ValueError(f"format: unknown '{text[:40]}'; known: {known}, or text like %d/%m/%Y")
    probe = datetime(2026, 11, 21, 13, 14, 15, tzinfo=UTC)
    try:
        datetime.strptime(probe.strftime(text), text)  # noqa: DTZ007  # the zone is a rule of its own
    except ValueError as error:
        raise ValueError(f"format: cannot be read back: '{text[:40]}'") from error
    if not any(code in text for code in ("%d", "%j", "%x", "%c", "%U", "%W", "%V", "%s")):
        raise ValueError(f"format: names no day: '{text[:40]}'")


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"zone: write an IANA name like UTC, found '{name[:40]}'") from error


class TimeRule(_Section):
    """Where a time stands and how it is written.

    Attributes:
        format: iso8601, unix_s, unix_ms, unix_us, unix_ns, or strptime text.
        zone: IANA name for times that name no zone themselves; where it is left out they are read
            as UTC and the file is flagged naive_timestamp.
    """

    field: Names
    format: str = "iso8601"
    zone: str | None = None

    @model_validator(mode="after")
    def _is_readable(self) -> TimeRule:
        _check_format(self.format)
        if self.zone is not None:
            _check_zone(self.zone)
        return self


def scale_to_microseconds(time_format: str) -> int | Decimal | None:
    """Microseconds of one unit of a count since 1970; None where the format is no such count."""
    return _EPOCHS.get(time_format)


class TokenRules(_Section):
    """Which counts are which tokens, and what a count includes.

    Attributes:
        input_includes_cached: Whether input contains cache reads and writes.
        output_includes_reasoning: Whether output contains reasoning.
    """

    input: Rule | None = None
    cached_read: Rule | None = None
    cache_write: Rule | None = None
    cache_write_5m: Rule | None = None
    cache_write_30m: Rule | None = None
    cache_write_1h: Rule | None = None
    cache_write_12h: Rule | None = None
    input_audio: Rule | None = None
    input_audio_cached: Rule | None = None
    input_image: Rule | None = None
    input_video: Rule | None = None
    input_tool: Rule | None = None
    output: Rule | None = None
    reasoning: Rule | None = None
    output_audio: Rule | None = None
    output_image: Rule | None = None
    total: Rule | None = None
    input_includes_cached: Rule | None = None
    output_includes_reasoning: Rule | None = None

    @model_validator(mode="before")
    @classmethod
    def _fixed_inclusion(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        for name in ("input_includes_cached", "output_includes_reasoning"):
            if isinstance(value.get(name), str):
                if value[name].lower() not in ("true", "false"):
                    raise ValueError(f"{name}: true or false, or a field with a map to these")
                value[name] = {"value": value[name].lower()}
        return value

    @model_validator(mode="after")
    def _says_what_includes_what(self) -> TokenRules:
        cached = [name for name, _ in self.counts if name.startswith("cache")]
        if cached and self.input is not None and self.input_includes_cached is None:
            raise ValueError(
                f"input_includes_cached: say whether input contains {cached[0]} (true or false)"
            )
        if self.reasoning and self.output and self.output_includes_reasoning is None:
            raise ValueError(
                "output_includes_reasoning: say whether output contains reasoning (true or false)"
            )
        return self

    @cached_property
    def counts(self) -> tuple[tuple[str, FieldRule], ...]:
        """The counts that are mapped, by our name."""
        rules = ((name, getattr(self, name)) for name in TOKEN_COUNTS)
        return tuple((name, rule) for name, rule in rules if rule is not None)


TOKEN_COUNTS = tuple(name for name in TokenRules.model_fields if "includes" not in name)


class CostRule(_Section):
    """Where an amount stands, its currency (a code, or the field that holds it) and its unit."""

    field: Names
    currency: Rule = FieldRule(value="USD")
    multiply: Factor = Decimal(1)

    @model_validator(mode="before")
    @classmethod
    def _fixed_currency(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"field": value}
        if isinstance(value, dict) and isinstance(value.get("currency"), str):
            if not _CURRENCY.match(value["currency"]):
                raise ValueError("currency: a code like USD, or {field: their_name}")
            return {**value, "currency": {"value": value["currency"]}}
        return value


class CostRules(_Section):
    """What the gateway wrote of money.

    Attributes:
        charge: What the customer pays the gateway.
        provider: The provider's or market rate, where it is shown.
        is_estimate: Whether the charge is the gateway's own reckoning, not what it bills.
    """

    charge: CostRule | None = None
    provider: CostRule | None = None
    is_estimate: bool = False


class GatewayMapping(_Section):
    """One mapping file.

    Attributes:
        preset: Its name.
        provenance: Where the fields were read, and when.
        format: What the gateway exports: read where a file's name does not end in a known format.
        records: Path to the list of rows in a JSON document or line, like result or a[].b[].
        fields: Our fields by name.
        json_fields: Their fields that hold JSON as text.
        restates_by: When a row was last changed; None: rows never change.
        ignore: Their fields that are known and not wanted.
    """

    preset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    provenance: Annotated[str, Field(min_length=1)]
    format: Literal["csv", "jsonl", "json", "parquet"] | None = None
    records: str | None = None
    time: TimeRule
    fields: dict[str, Rule]
    tokens: TokenRules = TokenRules()
    quantities: dict[str, Rule] = {}
    costs: CostRules = CostRules()
    json_fields: Names | tuple[()] = ()
    restates_by: Annotated[TimeRule | None, BeforeValidator(_named)] = None
    ignore: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_not_mapped(cls, value: Any) -> Any:
        """A field that the gateway lacks may be listed as null."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        for part in ("fields", "quantities"):
            if isinstance(value.get(part), dict):
                value[part] = {k: v for k, v in value[part].items() if v is not None}
        if isinstance(value.get("restates_by"), str) and isinstance(value.get("time"), dict):
            # A second time of a row is written like the first, unless it says otherwise.
            shared = {k: v for k, v in value["time"].items() if k in ("format", "zone")}
            value["restates_by"] = {"field": value["restates_by"], **shared}
        return {k: v for k, v in value.items() if v is not None}

    @model_validator(mode="after")
    def _is_closed(self) -> GatewayMapping:
        _refuse_unknown("fields", self.fields, FIELDS)
        _refuse_unknown("quantities", self.quantities, QUANTITIES)
        if "request_id" not in self.fields:
            raise ValueError("fields.request_id: name the field that tells records apart")
        status = self.fields.get("status")
        for word in () if status is None else status.outcomes:
            if word is not None and word not in STATUSES:
                raise ValueError(
                    f"fields.status: '{word[:40]}' is no status; ours are {', '.join(STATUSES)}"
                )
        if self.records is not None and not _RECORDS_PATH.match(self.records):
            raise ValueError("records: a path like result or resourceSpans[].scopeSpans[].spans[]")
        return self

    # ------------------------------------------------------------ what a mapping knows

    @property
    def required_names(self) -> tuple[str, ...]:
        """The first name of everything without which no row can be a record."""
        return tuple(names[0] for names in self._required)

    @cached_property
    def _required(self) -> tuple[tuple[str, ...], ...]:
        request_id = self.fields["request_id"]
        found = [self.time.field]
        if request_id.names:
            found.insert(0, request_id.names)
        if self.costs.charge is not None and not self.costs.is_estimate:
            found.append(self.costs.charge.field)
        return tuple(found)

    def missing(self, columns: Collection[str]) -> list[str]:
        """The required names of which a table has no column, nor one that may contain it."""
        return [
            names[0]
            for names in self._required
            if not any(part in columns for name in names for part in beginnings(name))
        ]

    def resembles(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has one of the required fields besides its time."""
        wanted = [names for names in self._required if names != self.time.field]
        return any(find(row, name) is not None for names in wanted for name in names)

    @cached_property
    def named(self) -> frozenset[str]:
        """All their names that are mapped."""
        rules = [*self.fields.values(), *(rule for _, rule in self.tokens.counts)]
        rules += [*self.quantities.values()]
        rules += filter(
            None, (self.tokens.input_includes_cached, self.tokens.output_includes_reasoning)
        )
        names = {name for rule in rules for name in rule.names}
        for cost in filter(None, (self.costs.charge, self.costs.provider)):
            names.update(cost.field, cost.currency.names)
        for moment in filter(None, (self.time, self.restates_by)):
            names.update(moment.field)
        return frozenset(names)

    @cached_property
    def personal_names(self) -> frozenset[str]:
        """Their names of what says who called, and from where."""
        rules = (self.fields.get(name) for name in PERSONAL_FIELDS)
        return frozenset(name for rule in rules if rule is not None for name in rule.names)

    @cached_property
    def _known(self) -> tuple[frozenset[str], frozenset[str]]:
        """Names that are mapped or ignored, and objects that hold such names."""
        leaves = frozenset({*self.named, *self.ignore, OBSERVED_AT})
        return leaves, frozenset(part for name in leaves for part in beginnings(name)) - leaves

    def has_unknown(self, row: Mapping[str, Any], *, within: str = "") -> bool:
        """Whether a row has a field that is neither mapped nor ignored."""
        leaves, holders = self._known
        for key, value in row.items():
            name = within + key
            if name in leaves:
                continue
            inner = as_object(value) if name in holders else None
            if inner is None or self.has_unknown(inner, within=f"{name}."):
                return True
        return False

    def unpack(self, document: Any) -> list[Any] | None:
        """The rows inside a document or line; None where it is not wrapped as `records` says."""
        if self.records is None or not isinstance(document, dict):
            return None
        found: list[Any] = [document]
        for step in self.records.split("."):
            name = step.removesuffix("[]")
            held = [each[name] for each in found if isinstance(each, dict) and name in each]
            if len(held) < len(found) and not held:
                return None
            found = [each for value in held for each in _elements(value)]
        return found


# When an extractor asked for a row; it adds this to what the source gave.
OBSERVED_AT = "observed_at"


def _refuse_unknown(part: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{part}.{name[:40]}: unknown; known are {', '.join(sorted(known))}")


def _elements(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def beginnings(name: str) -> Iterator[str]:
    """The name itself and every object it may lie in: a.b.c, a.b, a."""
    yield name
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def as_object(value: Any) -> Mapping[str, Any] | None:
    """The value as fields by name; OpenTelemetry's list of key and value is one too."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not value:
        return None
    fields: dict[str, Any] = {}
    for each in value:
        if not (isinstance(each, dict) and isinstance(each.get("key"), str) and "value" in each):
            return None
        held = each["value"]
        is_typed = isinstance(held, dict) and len(held) == 1
        fields[each["key"]] = next(iter(held.values())) if is_typed else held
    return fields


def find(row: Mapping[str, Any], name: str) -> Any:
    """The value of a name in a row; None where it has none.

    A dot leads into an object, but may also be part of a name, as in OpenTelemetry's: the longest
    name that is there goes first.
    """
    if name in row:
        return row[name]
    place = name.rfind(".")
    while place > 0:
        holder = row.get(name[:place])
        inner = None if holder is None else as_object(holder)
        if inner is not None and (found := find(inner, name[place + 1 :])) is not None:
            return found
        place = name.rfind(".", 0, place)
    return None
