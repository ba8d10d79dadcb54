"""Invoices as finance receives them: lines with their header, each invoice accepted as a whole.

Two shapes: a CSV or Parquet row per line with the header repeated, or a JSON object per invoice
with its `lines`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from orchestration.core.currencies import MINOR_UNIT_PLACES
from orchestration.core.refusals import Refusal, RefusedError, shown
from orchestration.core.values import read_count, read_date, read_signed_money, read_time
from orchestration.sources.records import (
    Column,
    Expansion,
    Part,
    RawTable,
    Record,
    RecordContext,
    RefusedInvoice,
    check_not_future,
    clean_text,
    read_key_id,
    read_text,
)

# What lines and header may differ by (contract, table T3), in the invoice's currency.
TOLERANCE = Decimal("0.01")
# No invoice bills as much, and sums of smaller amounts always fit.
_AMOUNT_LIMIT = Decimal(10) ** 15
_TYPES = {
    "text": "varchar",
    "key": "varchar",
    "money": "decimal(38, 18)",
    "count": "bigint",
    "date": "date",
    "moment": "timestamp",
    "flag": "boolean",
}
_ALIASES = {
    "vendor": ("vendor", "provider", "source"),
    "invoice_number": ("invoice_number", "invoice_id"),
    "line_no": ("line_no", "position"),
    "description": ("description", "product"),
}


@dataclass(frozen=True, slots=True)
class InvoiceField:
    """One field of an invoice's header or of a line of it."""

    name: str
    type: str = "text"
    is_required: bool = False
    choices: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What the field may be called; the first name that has a value counts."""
        return _ALIASES.get(self.name, (self.name,))


HEADER = (
    InvoiceField("vendor", is_required=True),
    InvoiceField("invoice_number", is_required=True),
    InvoiceField("invoice_type", choices=("invoice", "credit_note", "receipt", "proforma")),
    InvoiceField("issued_at", "moment"),
    InvoiceField("period_start", "date"),
    InvoiceField("period_end", "date"),
    InvoiceField("time_zone"),
    InvoiceField("currency", is_required=True),
    InvoiceField("provider_account_id"),
    InvoiceField("subtotal", "money"),
    InvoiceField("tax", "money"),
    InvoiceField("credits_applied", "money"),
    InvoiceField("total", "money", is_required=True),
    InvoiceField("is_usage", "flag"),
    InvoiceField("supersedes_invoice_number"),
    InvoiceField("approval_status"),
)
LINE = (
    InvoiceField("line_no", "count", is_required=True),
    InvoiceField("description", is_required=True),
    InvoiceField("quantity", "money"),
    InvoiceField("unit"),
    InvoiceField("unit_price", "money"),
    InvoiceField("amount", "money", is_required=True),
    InvoiceField("tax_rate", "money"),
    InvoiceField("line_kind", choices=("usage", "tax", "fee", "credit", "commitment", "ignore")),
    InvoiceField("service_start", "date"),
    InvoiceField("service_end", "date"),
    InvoiceField("provider_project_id"),
    InvoiceField("api_key_id", "key"),
    InvoiceField("model"),
    InvoiceField("service_tier"),
    InvoiceField("is_batch", "flag"),
)
_FIELDS = (*HEADER, *LINE)
_KNOWN = frozenset({"lines", "observed_at", *(name for field in _FIELDS for name in field.names)})
LINES = RawTable(
    name="invoices__lines",
    columns=(
        *(Column(field.name, _TYPES[field.type]) for field in _FIELDS),
        # When the document is from: its issue, else the end of its period.
        Column("dated_at", "timestamp"),
        # The same for all lines of one version of a document.
        Column("version_hash", "varchar"),
        Column("line_count", "bigint"),
        Column("observed_at", "timestamp", is_content=False),
    ),
    key=("vendor", "invoice_number", "line_no"),
    event_at="dated_at",
)
# Which columns a table needs; a JSON object has its amounts in its lines.
REQUIRED = ("vendor", "invoice_number", "currency", "total", "description", "amount")
ALTERNATIVES = tuple(itertools.product(*(_ALIASES.get(name, (name,)) for name in REQUIRED)))
# What laid-out rows carry beside the fields of T3.
_LAID_OUT = ("version_hash", "line_count")


def read_invoice_line(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One line of an invoice with the header it stands under.

    Grain: one row per vendor, invoice number, line and version of the document. Units: money in
    `currency`; both days of the period belong to it. Flag: `credit` for a negative amount.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    for field in _FIELDS:
        value = _given(row, field)
        if value is None:
            if field.is_required:
                raise RefusedError("missing_field", "required and empty", field.name)
            continue
        record.values[field.name] = _READERS[field.type](value, field, record, context)
    values = record.values
    dated_at = values.get("issued_at") or _midnight(
        values.get("period_end") or values.get("service_end")
    )
    if dated_at is None:
        raise RefusedError("missing_field", "neither issued_at nor a period", "issued_at")
    values["dated_at"] = dated_at
    values |= {name: row.get(name) for name in _LAID_OUT}
    values["observed_at"] = _observed(row, context)
    if values["amount"] < 0:
        record.codes.add("credit")
    if not row.keys() <= _KNOWN | set(_LAID_OUT):
        record.codes.add("schema_drift")
    return record


def _given(row: Mapping[str, Any], field: InvoiceField) -> Any:
    for name in field.names:
        value = row.get(name)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day)  # noqa: DTZ001  # naive UTC


def _observed(row: Mapping[str, Any], context: RecordContext) -> datetime | None:
    if row.get("observed_at"):
        return read_time(row["observed_at"], "observed_at")[0]
    return context.observed_at() if context.observed_at is not None else None


# ---------------------------------------------------------------- single values


def _read_text(value: Any, field: InvoiceField, _record: Record, context: RecordContext) -> Any:
    text = clean_text(read_text({field.name: value}, field.name, context)) or ""
    text = text.strip()
    if field.choices:
        if text.lower() not in field.choices:
            reason = f"expected one of {', '.join(field.choices)}, found '{shown(text, 30)}'"
            raise RefusedError("bad_type", reason, field.name)
        return text.lower()
    if field.name == "currency":
        return _read_currency(text)
    if field.name == "time_zone":
        _refuse_unknown_zone(text)
    return text


def _read_currency(text: str) -> str:
    if text.upper() not in MINOR_UNIT_PLACES:
        reason = f"no ISO 4217 code of a currency in use: '{shown(text, 8)}'"
        raise RefusedError("unsupported_currency", reason, "currency")
    return text.upper()


def _refuse_unknown_zone(text: str) -> None:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        reason = f"no IANA time zone such as America/Los_Angeles: '{shown(text, 40)}'"
        raise RefusedError("bad_type", reason, "time_zone") from error


def _read_key(value: Any, field: InvoiceField, record: Record, context: RecordContext) -> Any:
    key_id, was_raw = read_key_id(read_text({field.name: value}, field.name, context))
    if was_raw:
        record.codes.add("raw_key_hashed")
    return key_id


def _read_money(
    value: Any, field: InvoiceField, record: Record, _context: RecordContext
) -> Decimal:
    amount, lost = read_signed_money(value, field.name)
    if amount.copy_abs() >= _AMOUNT_LIMIT:
        raise RefusedError("spend_out_of_range", "1e15 or more", field.name)
    if lost:
        record.codes.add("precision_rounded")
    return amount


def _read_count(value: Any, field: InvoiceField, *_rest: Any) -> int:
    return read_count(value, field.name)


def _read_date(value: Any, field: InvoiceField, *_rest: Any) -> date:
    return read_date(value, field.name)


def _read_moment(
    value: Any, field: InvoiceField, record: Record, context: RecordContext
) -> datetime:
    moment, _ = read_time(value, field.name)
    if check_not_future(moment, field.name, context):
        record.codes.add("clock_skew")
    return moment


def _read_flag(value: Any, field: InvoiceField, *_rest: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() not in ("true", "false"):
        raise RefusedError("bad_type", f"expected true or false, found {shown(value)}", field.name)
    return str(value).strip().lower() == "true"


_READERS: Mapping[str, Callable[..., Any]] = {
    "text": _read_text,
    "key": _read_key,
    "money": _read_money,
    "count": _read_count,
    "date": _read_date,
    "moment": _read_moment,
    "flag": _read_flag,
}


# ---------------------------------------------------------------- whole invoices


@dataclass(frozen=True, slots=True)
class _Document:
    """One invoice of a file: its header, its lines with their places, and what is wrong with it."""

    header: Mapping[str, Any]
    lines: tuple[Part, ...]
    refusal: Refusal | None = None
    reported: RefusedInvoice | None = None


def expand_invoices(rows: Iterable[Part], context: RecordContext) -> Expansion:
    """The lines of a file's invoices; of an invoice that is not consistent, all are refused.

    Grain: one part per invoice line. A refused invoice of whose lines none can be told apart is one
    part.
    """
    documents = [_checked(document, context) for document in _documents(rows)]
    parts = [part for document in documents for part in _parts(document)]
    reported = tuple(each.reported for each in documents if each.reported is not None)
    return Expansion(tuple(parts), reported)


def _documents(rows: Iterable[Part]) -> Iterable[_Document]:
    """The invoices in order of their first row; lines of JSON are counted through the file."""
    by_number: dict[tuple[Any, Any], list[Part]] = {}
    found: list[_Document | tuple[Any, Any]] = []
    count = itertools.count(1)
    for row in rows:
        if row.refusal is not None or not isinstance(row.value, Mapping):
            refusal = row.refusal or Refusal("not_object", "", "expected an object of fields")
            found.append(_Document({}, (replace(row, line=next(count)),), refusal))
        elif "lines" in row.value:
            found.append(_from_object(row.value, count))
        else:
            key = (_given(row.value, HEADER[0]), _given(row.value, HEADER[1]))
            if key not in by_number:
                found.append(key)
            by_number.setdefault(key, []).append(row)
    for each in found:
        yield each if isinstance(each, _Document) else _from_rows(by_number[each])


def _from_object(invoice: Mapping[str, Any], count: Iterable[int]) -> _Document:
    header = {name: value for name, value in invoice.items() if name != "lines"}
    lines = invoice["lines"]
    if not isinstance(lines, list) or not all(isinstance(line, Mapping) for line in lines):
        refusal = Refusal("bad_type", "lines", "expected a list of lines")
        return _Document(header, (Part(next(iter(count)), header),), refusal)
    own_names = {name for field in HEADER for name in field.names}
    laid_out = []
    for position, line in enumerate(lines, 1):
        own = {name: value for name, value in line.items() if name not in own_names}
        if _given(own, LINE[0]) is None:
            own["line_no"] = position
        laid_out.append(Part(next(iter(count)), {**header, **own}))
    return _Document(header, tuple(laid_out))


def _from_rows(rows: list[Part]) -> _Document:
    lines = []
    for position, row in enumerate(rows, 1):
        has_number = _given(row.value, LINE[0]) is not None
        value = row.value if has_number else {**row.value, "line_no": position}
        lines.append(replace(row, value=value))
    return _Document(rows[0].value, tuple(lines))


def _parts(document: _Document) -> Iterable[Part]:
    if document.refusal is None:
        return document.lines
    lines = document.lines or (Part(1, document.header),)
    return [replace(line, refusal=document.refusal) for line in lines]


def _checked(document: _Document, context: RecordContext) -> _Document:
    """The invoice with its version written on every line, or with why it is refused."""
    if document.refusal is not None:
        return document
    context = replace(context, observed_at=None)
    try:
        records = [read_invoice_line(line.value, context) for line in document.lines]
        _refuse_inconsistent(document, records, context)
    except RefusedError as error:
        reported = _report(document, error.refusal, context)
        return replace(document, refusal=error.refusal, reported=reported)
    version = _version_of(records)
    lines = (
        replace(line, value={**line.value, "version_hash": version, "line_count": len(records)})
        for line in document.lines
    )
    return replace(document, lines=tuple(lines))


def _version_of(records: list[Record]) -> str:
    """A hash of the whole document, equal for equal content in any order of its lines."""
    lines = sorted(
        repr(
            sorted((name, str(value)) for name, value in record.values.items() if name not in skip)
        )
        for record in records
        for skip in (("observed_at", *_LAID_OUT),)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _refuse_inconsistent(
    document: _Document, records: list[Record], context: RecordContext
) -> None:
    """Nothing, if the invoice holds together.

    Raises:
        RefusedError: bad_period, duplicate_line, invoice_total_mismatch, or bad_type for a header
            that differs from line to line.
    """
    if not records:
        header = _read_header(document.header, context)
        _refuse_period(header)
        _refuse_sums(header, [])
        return
    header = records[0].values
    for field in HEADER:
        if len({record.values.get(field.name) for record in records}) > 1:
            code = "invoice_total_mismatch" if field.type == "money" else "bad_type"
            raise RefusedError(code, "differs between lines of one invoice", field.name)
    _refuse_period(header)
    numbers = [record.values["line_no"] for record in records]
    repeated = next((each for each in numbers if numbers.count(each) > 1), None)
    if repeated is not None:
        raise RefusedError("duplicate_line", f"line {repeated} stands twice", "line_no")
    _refuse_sums(header, [record.values for record in records])


def _read_header(header: Mapping[str, Any], context: RecordContext) -> dict[str, Any]:
    """The typed header of an invoice without lines.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    for field in HEADER:
        value = _given(header, field)
        if value is None and field.is_required:
            raise RefusedError("missing_field", "required and empty", field.name)
        if value is not None:
            record.values[field.name] = _READERS[field.type](value, field, record, context)
    return record.values


def _refuse_period(header: Mapping[str, Any]) -> None:
    begin, end = header.get("period_start"), header.get("period_end")
    if begin is not None and end is not None:
        if end < begin:
            raise RefusedError(
                "bad_period", f"{begin} to {end} ends before it begins", "period_end"
            )
        return
    is_receipt = header.get("invoice_type") == "receipt" or header.get("is_usage") is False
    if not is_receipt:
        raise RefusedError(
            "bad_period", "period_start and period_end are needed; only receipts go without"
        )


def _refuse_sums(header: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
    """Nothing, if the lines add up to the header's amounts within a cent.

    Raises:
        RefusedError: invoice_total_mismatch.
    """
    stated, computed = _sums(header, lines)
    if abs(computed - stated) > TOLERANCE:
        reason = f"the amounts add up to {computed:f}, where the header says {stated:f}"
        raise RefusedError("invoice_total_mismatch", reason, "total")


def _sums(header: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> tuple[Decimal, Decimal]:
    """What the amounts should add up to by the header, and what they add up to.

    Tax and credits stand in the header or in lines of their own, hardly ever in both: of the two
    readings the one that fits better counts. Where the lines fit, the header must fit in itself.
    """
    computed = sum((line["amount"] for line in lines), Decimal(0))
    tax = header.get("tax", Decimal(0))
    credits_applied = abs(header.get("credits_applied", Decimal(0)))
    subtotal, total = header.get("subtotal"), header["total"]
    # The header's way first: among equally good readings it is the one a person expects.
    if subtotal is None:
        readings = [(total - tax + credits_applied, computed), (total, computed)]
        return min(readings, key=_difference)
    apart = (line["amount"] for line in lines if line.get("line_kind") in ("tax", "credit"))
    before_tax = min((subtotal, computed), (subtotal, computed - sum(apart)), key=_difference)
    of_header = [(total, subtotal + tax - credits_applied), (total, computed)]
    return max(before_tax, min(of_header, key=_difference), key=_difference)


def _difference(pair: tuple[Decimal, Decimal]) -> Decimal:
    return abs(pair[0] - pair[1])


def _report(document: _Document, refusal: Refusal, context: RecordContext) -> RefusedInvoice | None:
    """The refused invoice as far as it can be read; None where not even its number can."""
    vendor, number = (_given(document.header, field) for field in HEADER[:2])
    if not isinstance(vendor, str) or not isinstance(number, str | int):
        return None
    reported = RefusedInvoice(
        vendor=(clean_text(vendor) or "")[:256],
        invoice_number=(clean_text(str(number)) or "")[:256],
        reason_code=refusal.code,
        currency=None,
        dated_at=None,
    )
    try:
        header = _read_header(document.header, context)
        dated_at = header.get("issued_at") or _midnight(header.get("period_end"))
        reported = replace(reported, currency=header["currency"], dated_at=dated_at)
        lines = [read_invoice_line(line.value, context).values for line in document.lines]
        stated, computed = _sums(header, lines)
    except RefusedError:
        return reported
    return replace(reported, stated_amount=stated, computed_amount=computed)
