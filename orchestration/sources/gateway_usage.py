"""Usage records of any gateway but LiteLLM, read as a mapping says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.core.refusals import RefusedError, shown, shown_figure, with_hashed_secrets
from orchestration.core.values import read_count, read_decimal, read_money, read_time
from orchestration.sources.gateway_mapping import (
    COUNT_QUANTITIES,
    FLAG_FIELDS,
    MEASURE_QUANTITIES,
    OBSERVED_AT,
    TEXT_FIELDS,
    TOKEN_COUNTS,
    WHOLE_FIELDS,
    CostRule,
    FieldRule,
    GatewayMapping,
    TimeRule,
    find,
    scale_to_microseconds,
)
from orchestration.sources.litellm_spend_logs import without_credentials
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

SPEND_OUTLIER = Decimal(100_000)
# A measure is decimal(20, 6) in raw; a price times a longer one would fit no decimal.
MEASURE_LIMIT = Decimal(10) ** 8
_MEASURE_SCALE = Decimal(1).scaleb(-6)
# Milliseconds of a year: what takes longer is no latency.
_LATENCY_LIMIT = 366 * 24 * 3_600_000
_COUNT_LIMIT = 10**6
_YES, _NO = ("true", "t", "yes", "1"), ("false", "f", "no", "0")

GATEWAY_USAGE = RawTable(
    name="gateway__usage",
    columns=(
        Column("request_id", "varchar"),
        Column("started_at", "timestamp"),
        Column("api_key_id", "varchar"),
        Column("preset", "varchar"),
        Column("source_priority", "bigint"),
        Column("ended_at", "timestamp"),
        Column("source_version_at", "timestamp"),
        Column("observed_at", "timestamp", is_content=False),
        Column("status", "varchar"),
        *(Column(name, "varchar") for name in TEXT_FIELDS),
        *(Column(name, "boolean") for name in FLAG_FIELDS),
        *(Column(name, "bigint") for name in WHOLE_FIELDS),
        Column("user_id", "varchar"),
        Column("client_ip", "varchar"),
        Column("user_agent", "varchar"),
        Column("charge", "decimal(38, 18)"),
        Column("charge_currency", "varchar"),
        Column("provider_charge", "decimal(38, 18)"),
        Column("provider_charge_currency", "varchar"),
        Column("is_estimate", "boolean"),
        *(Column(f"{name}_tokens", "bigint") for name in TOKEN_COUNTS),
        Column("input_includes_cached", "boolean"),
        Column("output_includes_reasoning", "boolean"),
        *(Column(name, "bigint") for name in COUNT_QUANTITIES),
        *(Column(name, "decimal(20, 6)") for name in MEASURE_QUANTITIES),
    ),
    key=("request_id", "started_at", "api_key_id"),
    event_at="started_at",
    contested="gateway__contested_requests",
)


def read_gateway_usage(
    row: Mapping[str, Any], context: RecordContext, mapping: GatewayMapping
) -> Record:
    """One record of a gateway's export.

    Grain: one row of the export, a billable attempt or what the gateway adds up in its place.
    Units: amounts in the currency beside them, tokens, seconds, milliseconds; times in UTC.
    A token count includes what the mapping says; only staging takes the parts out.

    Raises:
        RefusedError: a row code of the closed list.
    """
    reading = _Reading(row, context, mapping)
    reading.read_identity()
    reading.read_words()
    reading.read_costs()
    reading.read_quantities()
    reading.flag()
    return reading.record


class _Reading:
    """One row on its way to a record."""

    def __init__(
        self, row: Mapping[str, Any], context: RecordContext, mapping: GatewayMapping
    ) -> None:
        self.row = row
        self.context = context
        self.mapping = mapping
        self.record = Record(
            values={"preset": mapping.preset, "source_priority": context.source_priority}
        )

    # ------------------------------------------------------------ values by rule

    def found(self, names: tuple[str, ...]) -> tuple[Any, str]:
        """The first of several fields that is not empty, and its name."""
        for name in names:
            value = find(self.row, name)
            if value is not None and not (isinstance(value, str) and not value.strip()):
                return value, name
        return None, names[0] if names else ""

    def text(self, rule: FieldRule | None, *, is_closed: bool = False) -> str | None:
        """The text a rule gives; `is_closed` refuses words that its map does not name."""
        if rule is None:
            return None
        if rule.value is not None:
            return rule.value
        if rule.join is not None:
            parts = [self._part(name) for name in rule.join]
            text, name = "/".join(part for part in parts if part) or None, rule.join[0]
        else:
            value, name = self.found(rule.names)
            text = self._plain(value, name)
        if text is None:
            return rule.if_empty
        if rule.map is None:
            return text
        ours = rule.words.get(text.strip().lower(), rule.otherwise)
        if ours is None and is_closed:
            reason = f"{shown_figure(text)} is not in the map of mapping '{self.mapping.preset}'"
            raise RefusedError("bad_type", f"{reason}; add what it means there", name)
        return text if ours is None else ours

    def _part(self, name: str) -> str | None:
        """A part of a joined text; a person only as a hash, for joined texts are kept."""
        part = self._plain(*self.found((name,)))
        if part is None or name not in self.mapping.personal_names:
            return part
        return hashlib.sha256(part.encode()).hexdigest()[:16]

    def _plain(self, value: Any, name: str) -> str | None:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and value.is_integer():
            # A column of whole numbers with gaps becomes one of doubles in Parquet.
            value = int(value)
        return read_text({name: value}, name, self.context)

    def flag_of(self, rule: FieldRule | None) -> bool | None:
        """A yes or no.

        Raises:
            RefusedError: bad_type for any other word.
        """
        text = self.text(rule, is_closed=True)
        if rule is None or text is None:
            return None
        word = text.strip().lower()
        if word not in (*_YES, *_NO):
            raise RefusedError(
                "bad_type", f"expected true or false, found {shown_figure(text)}", rule.names[0]
            )
        return word in _YES

    def number(self, rule: FieldRule | CostRule) -> tuple[Decimal | None, str]:
        """The exact number a rule gives, in our unit, and the field it stands in.

        Raises:
            RefusedError: bad_number, or spend_not_finite for NaN and infinities.
        """
        fixed = rule.value if isinstance(rule, FieldRule) else None
        value, name = (fixed, "value") if fixed is not None else self.found(rule.field or ())
        if value is None:
            fallback = rule.if_empty if isinstance(rule, FieldRule) else None
            return (None if fallback is None else read_decimal(fallback, name)), name
        if isinstance(value, float):
            value = Decimal(repr(value))
        if isinstance(value, Decimal) and not value.is_finite():
            raise RefusedError("spend_not_finite", f"found {value}", name)
        return _multiplied(read_decimal(value, name), rule.multiply), name

    def moment(self, names: tuple[str, ...], rule: TimeRule) -> datetime | None:
        """A time by its format; None where the field is empty."""
        value, name = self.found(names)
        if value is None:
            return None
        moment, is_naive = _read_moment(value, name, rule)
        if is_naive:
            self.record.codes.add("naive_timestamp")
        return moment

    # ------------------------------------------------------------ the parts of a record

    def read_identity(self) -> None:
        """Take over id, start, key and the times that order observations."""
        values, mapping = self.record.values, self.mapping
        rule = mapping.fields["request_id"]
        request_id = self.text(rule)
        if request_id is None or request_id.strip() in ("", "None", "null"):
            reason = "a row without an id cannot be told apart"
            raise RefusedError("missing_request_id", reason, (*rule.names, "request_id")[0])
        values["request_id"] = with_hashed_secrets(request_id)
        if values["request_id"] != request_id:
            self.record.codes.add("raw_key_hashed")
        started_at = self.moment(mapping.time.field, mapping.time)
        if started_at is None:
            raise RefusedError("bad_timestamp", "required and empty", mapping.time.field[0])
        values["started_at"] = started_at
        if check_not_future(started_at, mapping.time.field[0], self.context):
            self.record.codes.add("clock_skew")
        values["ended_at"] = self._ended_at()
        if mapping.restates_by is not None:
            values["source_version_at"] = self.moment(
                mapping.restates_by.field, mapping.restates_by
            )
        self._read_observed_at()
        self._read_key()

    def _ended_at(self) -> datetime | None:
        rule = self.mapping.fields.get("ended_at")
        if rule is None:
            return None
        time = self.mapping.time
        written = TimeRule(
            field=rule.names, format=rule.format or time.format, zone=rule.zone or time.zone
        )
        return self.moment(rule.names, written)

    def _read_observed_at(self) -> None:
        """When the source was asked: by the row, else by the name of its file, else unknown."""
        values = self.record.values
        values["observed_at"] = self.context.stated_at
        if OBSERVED_AT not in self.mapping.named and self.row.get(OBSERVED_AT):
            values["observed_at"] = read_time(self.row[OBSERVED_AT], OBSERVED_AT)[0]

    def _read_key(self) -> None:
        rule = self.mapping.fields.get("api_key_id")
        key = self.text(rule)
        self.record.values["api_key_id"], was_raw = read_key_id(key)
        if rule is not None and key is not None and was_raw:
            is_credential = with_hashed_secrets(key) != key
            if rule.hash_if_raw or is_credential:
                self.record.codes.add("raw_key_hashed")

    def read_words(self) -> None:
        """Take over names, flags and small numbers."""
        values, fields, context = self.record.values, self.mapping.fields, self.context
        for name in TEXT_FIELDS:
            values[name] = clean_text(self.text(fields.get(name)))
        values["endpoint"] = self._endpoint(values["endpoint"])
        values["status"] = self._status()
        for name in FLAG_FIELDS:
            values[name] = self.flag_of(fields.get(name))
        if values["is_internal"]:
            # It carries the id of the request it belongs to, and must not count as its repeat.
            values["request_id"] += "/internal"
        for name in WHOLE_FIELDS:
            values[name] = self._whole(name)
        for name, is_kept in (
            ("user_id", context.keep_user_id),
            ("client_ip", context.keep_client_ip),
            ("user_agent", context.keep_user_agent),
        ):
            values[name] = clean_text(self.text(fields.get(name))) if is_kept else None

    def _endpoint(self, text: str | None) -> str | None:
        """What was called, as word, path or address; of an address nothing that may be a secret."""
        if text is None or "://" not in text:
            return None if text is None else text.partition("?")[0] or None
        address, was_stripped = without_credentials(text)
        if was_stripped:
            self.record.codes.add("url_secret_stripped")
        return address

    def _status(self) -> str | None:
        """The status by the mapping, else by the HTTP status; None where neither says anything."""
        rule = self.mapping.fields.get("status")
        text = self.text(rule, is_closed=False)
        if text is not None and text.strip().lower() in ("success", "failure", "pending"):
            return text.strip().lower()
        if rule is not None and text is not None and not _http_status(text):
            reason = f"{shown_figure(text)} is not in fields.status.map of mapping"
            raise RefusedError(
                "bad_type",
                f"{reason} '{self.mapping.preset}'; add it as success, failure or pending",
                rule.names[0],
            )
        http_status = _http_status(text or self.text(self.mapping.fields.get("http_status")))
        if http_status is None:
            return None
        return "success" if http_status < 400 else "failure"

    def _whole(self, name: str) -> int | None:
        rule = self.mapping.fields.get(name)
        if rule is None:
            return None
        if name == "http_status":
            # Gateways write -1 and the like for calls that got no answer.
            return _http_status(self.text(rule))
        number, theirs = self.number(rule)
        if number is None:
            return None
        limit = _LATENCY_LIMIT if name == "latency_ms" else _COUNT_LIMIT
        if not 0 <= number <= limit:
            raise RefusedError(
                "bad_number", f"expected 0 to {limit}, found {shown(number)}", theirs
            )
        if name != "latency_ms" and number != number.to_integral_value():
            reason = f"expected a whole number, found {shown(number)}"
            raise RefusedError("bad_integer", reason, theirs)
        return int(number.to_integral_value(rounding=ROUND_HALF_EVEN))

    def read_costs(self) -> None:
        """Take over the amounts, each with its currency.

        Raises:
            RefusedError: a spend code, or unsupported_currency.
        """
        values, costs = self.record.values, self.mapping.costs
        values["is_estimate"] = costs.is_estimate or costs.charge is None
        for column, rule in (("charge", costs.charge), ("provider_charge", costs.provider)):
            amount = None if rule is None else self._amount(rule)
            if rule is None or amount is None:
                continue
            values[column] = amount
            values[f"{column}_currency"] = self._currency(rule)
        self._miss_charge()
        if values.get("charge", Decimal(0)) > SPEND_OUTLIER:
            self.record.codes.add("spend_outlier")

    def _amount(self, rule: CostRule) -> Decimal | None:
        number, name = self.number(rule)
        if number is None:
            return None
        amount, lost = read_money(number, name)
        if lost:
            self.record.codes.add("precision_rounded")
        return amount

    def _currency(self, rule: CostRule) -> str:
        text = self.text(rule.currency) or "USD"
        currency = text.strip().upper()
        if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
            name = (*rule.currency.names, "currency")[0]
            raise RefusedError(
                "unsupported_currency",
                f"expected a code like USD, found {shown_figure(text)}",
                name,
            )
        return currency

    def _miss_charge(self) -> None:
        """Refuse a call without the charge that its gateway states for every call."""
        values, charge = self.record.values, self.mapping.costs.charge
        if charge is None or values["is_estimate"] or "charge" in values:
            return
        if values["status"] == "failure":
            self.record.codes.add("null_spend_on_failure")
        elif values["status"] != "pending" and not values["is_internal"]:
            raise RefusedError(
                "missing_spend", "a successful row states its charge", charge.field[0]
            )

    def read_quantities(self) -> None:
        """Take over token counts, other quantities, and what the counts include."""
        values, tokens = self.record.values, self.mapping.tokens
        for name, rule in tokens.counts:
            values[f"{name}_tokens"] = self._count(rule)
        for name, rule in self.mapping.quantities.items():
            if name in COUNT_QUANTITIES:
                values[name] = self._count(rule)
            else:
                values[name] = self._measure(rule)
        for name in ("input_includes_cached", "output_includes_reasoning"):
            flag = self.flag_of(getattr(tokens, name))
            # Where a mapping has no parts there is nothing a count could leave out.
            values[name] = True if flag is None else flag

    def _count(self, rule: FieldRule) -> int | None:
        if rule.multiply != 1:
            number, name = self.number(rule)
            return None if number is None else read_count(number, name)
        value, name = self.found(rule.names) if rule.value is None else (rule.value, "value")
        value = rule.if_empty if value is None else value
        return None if value is None else read_count(value, name)

    def _measure(self, rule: FieldRule) -> Decimal | None:
        number, name = self.number(rule)
        if number is None:
            return None
        if number < 0:
            raise RefusedError(
                "negative_tokens", f"expected 0 or more, found {shown(number)}", name
            )
        if number >= MEASURE_LIMIT:
            raise RefusedError("bad_number", f"{MEASURE_LIMIT:f} or more", name)
        return number.quantize(_MEASURE_SCALE, context=Context(prec=40, rounding=ROUND_HALF_EVEN))

    # ------------------------------------------------------------ what is odd about it

    def flag(self) -> None:
        """Note what a person would follow up."""
        values, codes = self.record.values, self.record.codes
        if self.mapping.has_unknown(self.row):
            codes.add("schema_drift")
        if values["ended_at"] is not None and values["ended_at"] < values["started_at"]:
            codes.add("end_before_start")
        parts = (values.get("input_tokens"), values.get("output_tokens"))
        total = values.get("total_tokens")
        if total is not None and None not in parts and total != sum(p or 0 for p in parts):
            codes.add("token_sum_mismatch")
        codes.update(self._usage_against_cost())
        is_closed = self.context.is_closed
        if is_closed is not None and is_closed(
            {**values, "custom_llm_provider": values["provider"]}
        ):
            codes.add("late_in_closed_period")

    def _usage_against_cost(self) -> set[str]:
        values = self.record.values
        codes: set[str] = set()
        has_tokens = any(values.get(f"{name}_tokens") for name in TOKEN_COUNTS)
        has_quantity = has_tokens or any(values.get(name) for name in self.mapping.quantities)
        succeeded = values["status"] in (None, "success") and not values["cache_hit"]
        charge = values.get("charge")
        if charge and not has_quantity:
            codes.add("cost_without_usage")
        is_paid_elsewhere = values["is_byok"] or values["is_internal"]
        if has_tokens and charge is not None and not charge and succeeded and not is_paid_elsewhere:
            codes.add("usage_without_cost")
        if values["model"] is None and has_tokens:
            codes.add("unknown_model")
        return codes


def _multiplied(number: Decimal, factor: Decimal) -> Decimal:
    """The exact product."""
    if factor == 1:
        return number
    digits = len(number.as_tuple().digits) + len(factor.as_tuple().digits)
    return Context(prec=max(digits, 28)).multiply(number, factor)


def _http_status(value: str | None) -> int | None:
    """An HTTP status, of whatever is written where one should stand."""
    text = (value or "").strip()
    is_three_digits = len(text) == 3 and text.isascii() and text.isdigit()
    return int(text) if is_three_digits and 100 <= int(text) <= 599 else None


def _read_moment(value: Any, name: str, rule: TimeRule) -> tuple[datetime, bool]:
    """An instant in naive UTC, and whether neither value nor mapping says its zone.

    Raises:
        RefusedError: bad_timestamp.
    """
    scale = scale_to_microseconds(rule.format)
    if isinstance(value, datetime) or (scale is None and rule.format == "iso8601"):
        moment, is_naive = read_time(value, name)
    elif scale is not None:
        return _from_epoch(value, name, scale), False
    else:
        moment, is_naive = _from_text(value, name, rule.format)
    if not is_naive:
        return moment, False
    if rule.zone is None:
        return moment, True
    return read_time(_in_zone(moment, name, rule.zone), name)[0], False


def _from_epoch(value: Any, name: str, scale: int | Decimal) -> datetime:
    """A count since 1970 in UTC; what is below a microsecond is cut off.

    Raises:
        RefusedError: bad_timestamp.
    """
    if isinstance(value, float):
        value = Decimal(repr(value))
    number = read_decimal(value, name, code="bad_timestamp")
    # Compared before it is converted: 1e999 has a thousand digits.
    if not 0 < number < 10**20:
        raise RefusedError("bad_timestamp", f"no count since 1970: {shown(number)}", name)
    try:
        moment = datetime(1970, 1, 1) + timedelta(  # noqa: DTZ001  # naive UTC
            microseconds=int(_multiplied(number, Decimal(scale)))
        )
    except OverflowError as error:
        raise RefusedError("bad_timestamp", f"no such time: {shown(number)}", name) from error
    return read_time(moment, name)[0]


def _from_text(value: Any, name: str, time_format: str) -> tuple[datetime, bool]:
    reason = f"expected a time like {time_format}, found "
    if not isinstance(value, str):
        raise RefusedError("bad_timestamp", reason + shown(value), name)
    try:
        moment = datetime.strptime(value.strip(), time_format)  # noqa: DTZ007  # read_time decides
    except ValueError as error:
        raise RefusedError("bad_timestamp", reason + shown_figure(value), name) from error
    return read_time(moment, name)


def _in_zone(moment: datetime, name: str, zone: str) -> datetime:
    """The instant of a wall clock; of an hour that comes twice the first.

    Raises:
        RefusedError: bad_timestamp for an hour that the clocks left out.
    """
    there = moment.replace(tzinfo=ZoneInfo(zone))
    instant = there.astimezone(UTC)
    if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != moment:
        reason = f"the clocks of {zone} left out {moment:%Y-%m-%dT%H:%M:%S}"
        raise RefusedError("bad_timestamp", reason, name)
    return instant.replace(tzinfo=None)
