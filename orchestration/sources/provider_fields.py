"""Fields of provider pages and cloud bills: their names to ours, then text to typed values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from orchestration.core.refusals import RefusedError, shown, with_hashed_secrets
from orchestration.core.values import (
    MONEY_LIMIT,
    at_money_scale,
    read_count,
    read_decimal,
    read_time,
)
from orchestration.sources.records import (
    Column,
    RawTable,
    Record,
    RecordContext,
    check_not_future,
    clean_text,
    read_text,
)

# Under this name a renamed row lists the fields that nobody asked for.
UNLISTED = "_unlisted"
_TYPES = {
    "text": "varchar",
    "id": "varchar",
    "currency": "varchar",
    "tags": "varchar",
    "count": "bigint",
    "number": "decimal(38, 18)",
    "amount": "decimal(38, 18)",
    "flag": "boolean",
    "unix": "timestamp",
    "time": "timestamp",
    "day": "timestamp",
    "last_day": "timestamp",
    "position": "bigint",
}
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_AMERICAN_DAY = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})(?: 0?0:00(?::00)?)?\Z")


@dataclass(frozen=True, slots=True)
class ProviderField:
    """One allow-listed field.

    Attributes:
        name: Our column.
        type: text, id, currency, tags, count, number (any sign), amount (money of any sign),
            flag, unix or time (an instant), day (its midnight), last_day (a day printed as the
            last one, kept as the midnight that ends it), position.
        theirs: Names the source gives it; our own where there are none.
        is_required: Whether the row is refused without it.
    """

    name: str
    type: str = "text"
    theirs: tuple[str, ...] = ()
    is_required: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which a source writes the field."""
        return self.theirs or (self.name,)


def table_of(
    name: str, fields: Iterable[ProviderField], *, key: tuple[str, ...], event_at: str
) -> RawTable:
    """The raw table with a column for each field."""
    columns = tuple(Column(field.name, _TYPES[field.type]) for field in fields)
    return RawTable(name=name, columns=columns, key=key, event_at=event_at)


def rename(
    row: Mapping[str, Any],
    fields: Iterable[ProviderField],
    *,
    ignored: Callable[[str], bool] = lambda _name: False,
) -> dict[str, Any]:
    """The row by our names, its values untouched; names nobody asked for under UNLISTED.

    `ignored` says of a name that it is known and left out on purpose.

    Raises:
        RefusedError: bad_type where two columns of one field hold different values.
    """
    renamed: dict[str, Any] = {}
    known: set[str] = set()
    for field in fields:
        known.update(field.names)
        given = {name: row[name] for name in field.names if row.get(name) not in (None, "")}
        if len(set(map(repr, given.values()))) > 1:
            listed = " and ".join(sorted(given))
            raise RefusedError("bad_type", f"{listed} differ; leave one of them out", field.name)
        if given:
            renamed[field.name] = next(iter(given.values()))
    unlisted = sorted(name for name in row if name not in known and not ignored(name))
    return {**renamed, UNLISTED: unlisted} if unlisted else renamed


def read_fields(
    row: Mapping[str, Any], fields: Iterable[ProviderField], context: RecordContext
) -> Record:
    """The typed record of a row that has our names.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    for field in fields:
        value = row.get(field.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            if field.is_required:
                code = "missing_spend" if field.type == "amount" else "missing_field"
                raise RefusedError(code, "required and empty", field.names[0])
            continue
        record.values[field.name] = _READERS[field.type](row, field, record, context)
    if UNLISTED in row:
        record.codes.add("schema_drift")
    return record


def read_signed(value: object, field: str) -> tuple[Decimal, bool]:
    """An amount of either sign at 18 decimal places, and whether that lost written digits.

    A binary double, as Parquet holds it, is read by its shortest decimal text.

    Raises:
        RefusedError: bad_number, spend_not_finite, or spend_out_of_range from 1e20 on.
    """
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and not value.is_finite():
        raise RefusedError("spend_not_finite", f"found {value}", field)
    number = read_decimal(value, field)
    if number.copy_abs() >= MONEY_LIMIT:
        raise RefusedError("spend_out_of_range", "1e20 or more", field)
    return at_money_scale(number)


def read_unix(value: object, field: str) -> datetime:
    """The instant of whole seconds since 1970, naive UTC.

    Raises:
        RefusedError: bad_timestamp.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**11:
        raise RefusedError("bad_timestamp", f"expected unix seconds, found {shown(value)}", field)
    return read_time(datetime.fromtimestamp(value, UTC), field)[0]


def read_day(value: object, field: str) -> datetime:
    """The midnight of a calendar day written YYYY-MM-DD, with or without a time, or MM/DD/YYYY.

    Raises:
        RefusedError: bad_timestamp.
    """
    match = _AMERICAN_DAY.match(value) if isinstance(value, str) else None
    if match is not None:
        month, day, year = (each.zfill(2) for each in match.groups())
        value = f"{year}-{month}-{day}"
    moment, _ = read_time(value, field)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def read_tags(value: object) -> str | None:
    """Tags as a JSON object of texts, sorted by name; None where they cannot be told apart.

    Taken as an object, as JSON text with or without its braces, or as a list of key and value.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text if text.startswith(("{", "[")) else f"{{{text}}}")
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list):
        pairs = [_pair(each) for each in value]
        value = dict(pair for pair in pairs if pair is not None) if all(pairs) else None
    if not isinstance(value, dict) or any(isinstance(v, dict | list) for v in value.values()):
        return None
    texts = {clean_text(str(k)): clean_text(str(v)) for k, v in value.items() if v is not None}
    return json.dumps(texts, sort_keys=True, ensure_ascii=False)


def _pair(item: object) -> tuple[Any, Any] | None:
    if isinstance(item, dict) and "key" in item:
        return item["key"], item.get("value")
    # Parquet gives the entries of a map as pairs.
    return item if isinstance(item, tuple) and len(item) == 2 else None


_Row = Mapping[str, Any]


def _text(row: _Row, field: ProviderField, _record: Record, context: RecordContext) -> str | None:
    return clean_text(read_text(row, field.name, context))


def _id(row: _Row, field: ProviderField, record: Record, context: RecordContext) -> str | None:
    text = read_text(row, field.name, context)
    identity = None if text is None else with_hashed_secrets(text)
    if identity != text:
        record.codes.add("raw_key_hashed")
    return identity


def _currency(row: _Row, field: ProviderField, _record: Record, context: RecordContext) -> str:
    currency = (read_text(row, field.name, context) or "").upper()
    if not _CURRENCY.match(currency):
        reason = f"expected a code like USD, found '{shown(currency, 8)}'"
        raise RefusedError("unsupported_currency", reason, field.names[0])
    return currency


def _tags(row: _Row, field: ProviderField, record: Record, context: RecordContext) -> str | None:
    tags = read_tags(row[field.name])
    if tags is None or len(tags) > context.field_characters:
        record.codes.add("tags_unparsed")
        return None
    return tags


def _number(row: _Row, field: ProviderField, record: Record, _context: RecordContext) -> Decimal:
    number, lost = read_signed(row[field.name], field.names[0])
    if lost:
        record.codes.add("precision_rounded")
    return number


def _flag(row: _Row, field: ProviderField, _record: Record, _context: RecordContext) -> bool:
    value = row[field.name]
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise RefusedError("bad_type", "expected true or false", field.names[0])
    return value


def _time(row: _Row, field: ProviderField, record: Record, context: RecordContext) -> datetime:
    moment, _naive = read_time(row[field.name], field.names[0])
    return _not_future(moment, field, record, context)


def _unix(row: _Row, field: ProviderField, record: Record, context: RecordContext) -> datetime:
    moment = read_unix(row[field.name], field.names[0])
    return _not_future(moment, field, record, context)


def _not_future(
    moment: datetime, field: ProviderField, record: Record, context: RecordContext
) -> datetime:
    # The end of a span may well lie ahead; its beginning may not.
    if "_end_" not in field.name and check_not_future(moment, field.names[0], context):
        record.codes.add("clock_skew")
    return moment


_READERS: Mapping[str, Callable[[_Row, ProviderField, Record, RecordContext], Any]] = {
    "text": _text,
    "id": _id,
    "currency": _currency,
    "tags": _tags,
    "count": lambda row, field, _record, _context: read_count(row[field.name], field.names[0]),
    "position": lambda row, field, _record, _context: read_count(row[field.name], field.names[0]),
    "number": _number,
    "amount": _number,
    "flag": _flag,
    "time": _time,
    "unix": _unix,
    "day": lambda row, field, _record, _context: read_day(row[field.name], field.names[0]),
    "last_day": lambda row, field, _record, _context: (
        read_day(row[field.name], field.names[0]) + timedelta(days=1)
    ),
}
