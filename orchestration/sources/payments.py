"""What rows of payment processors have in common: fields, minor units, signatures.

A processor's object is first laid out flat, one text or number per column of raw, and the flat row
is then typed. Names, addresses, cards and descriptions have no column, so nothing keeps them.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from orchestration.core.currencies import MINOR_UNIT_PLACES, from_minor_units
from orchestration.core.refusals import RefusedError, shown
from orchestration.core.values import (
    INTEGER_LIMIT,
    read_signed_money,
    read_time,
    read_unix_time,
)
from orchestration.sources.records import (
    Column,
    Record,
    RecordContext,
    check_not_future,
    clean_text,
    read_text,
)

# A signature older than this may be a message somebody recorded and sends again.
SIGNATURE_TOLERANCE = timedelta(seconds=300)
_TYPES = {
    "text": "varchar",
    "flag": "boolean",
    "minor": "decimal(38, 18)",
    "signed_minor": "decimal(38, 18)",
    "money": "decimal(38, 18)",
    "rate": "decimal(18, 12)",
    "event": "timestamp",
    "moment": "timestamp",
    "observed": "timestamp",
}
# A sum of credits in metadata, by itself or with the currency it is money in.
_CREDITS = re.compile(r"credits(?:_([A-Za-z]{3}))?\Z")
# No payment is as large, and sums of smaller amounts always fit.
_AMOUNT_LIMIT = Decimal(10) ** 15
_RATE_PLACES = Decimal(1).scaleb(-12)

Flat = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PaymentField:
    """How one column of a flat row is read.

    Attributes:
        type: text, flag, minor and signed_minor (whole numbers of minor units), money and rate
            (decimal text), event (Unix seconds, not ahead), moment (Unix seconds), observed.
        currency: The column that names a minor amount's currency.
    """

    name: str
    type: str = "text"
    currency: str = "currency"

    @property
    def column(self) -> Column:
        """Its column of raw."""
        return Column(self.name, _TYPES[self.type], is_content=self.type != "observed")


def type_flat(
    flat: Mapping[str, Any],
    fields: tuple[PaymentField, ...],
    context: RecordContext,
    *,
    places: Mapping[str, int],
) -> Record:
    """The typed record of a flat row; `places` are the minor units' decimals by currency.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    for field in fields:
        value = flat.get(field.name)
        if value is None or value == "":
            continue
        record.values[field.name] = _READERS[field.type](
            value, field, flat, record, context, places
        )
    return record


def _read_text(value: Any, field: PaymentField, *rest: Any) -> str | None:
    context = rest[2]
    text = clean_text(read_text({field.name: value}, field.name, context))
    return text.upper() if text is not None and field.name.endswith("currency") else text


def _read_flag(value: Any, field: PaymentField, *_rest: Any) -> bool:
    if not isinstance(value, bool):
        raise RefusedError("bad_type", f"expected true or false, found {shown(value)}", field.name)
    return value


def _read_minor(
    value: Any,
    field: PaymentField,
    flat: Mapping[str, Any],
    _record: Record,
    _context: RecordContext,
    places: Mapping[str, int],
) -> Decimal:
    amount = read_minor_units(value, field.name, is_signed=field.type == "signed_minor")
    currency = str(flat.get(field.currency) or "").upper()
    if currency not in places:
        reason = f"no ISO 4217 code of a currency in use: '{shown(currency, 8)}'"
        raise RefusedError("unsupported_currency", reason, field.currency)
    money = from_minor_units(amount, places[currency])
    if money.copy_abs() >= _AMOUNT_LIMIT:
        raise RefusedError("bad_amount", "1e15 or more", field.name)
    return money


def read_minor_units(value: Any, name: str, *, is_signed: bool = False) -> int:
    """A whole number of minor units, as both processors write every amount.

    Raises:
        RefusedError: bad_amount for anything else: a fraction means another unit was meant.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        reason = f"expected a whole number of minor units, found {shown(value)}"
        raise RefusedError("bad_amount", reason, name)
    if value < 0 and not is_signed:
        raise RefusedError("bad_amount", f"expected 0 or more, found {value}", name)
    if abs(value) > INTEGER_LIMIT:
        raise RefusedError("bad_amount", "larger than 2^63-1", name)
    return value


def _read_money(value: Any, field: PaymentField, *rest: Any) -> Decimal:
    amount, lost = read_signed_money(value, field.name)
    if lost:
        rest[1].codes.add("precision_rounded")
    return amount


def _read_rate(value: Any, field: PaymentField, *_rest: Any) -> Decimal:
    rate, _ = read_signed_money(value, field.name)
    if not 0 < rate < 1_000_000:
        raise RefusedError("bad_number", f"no rate of exchange: {rate}", field.name)
    return rate.quantize(_RATE_PLACES)


def _read_event(value: Any, field: PaymentField, *rest: Any) -> datetime:
    record, context = rest[1], rest[2]
    moment = read_unix_time(value, field.name)
    if check_not_future(moment, field.name, context):
        record.codes.add("clock_skew")
    return moment


def _read_moment(value: Any, field: PaymentField, *_rest: Any) -> datetime:
    return read_unix_time(value, field.name)


def _read_observed(value: Any, field: PaymentField, *_rest: Any) -> datetime:
    return read_time(value, field.name)[0]


_READERS: Mapping[str, Callable[..., Any]] = {
    "text": _read_text,
    "flag": _read_flag,
    "minor": _read_minor,
    "signed_minor": _read_minor,
    "money": _read_money,
    "rate": _read_rate,
    "event": _read_event,
    "moment": _read_moment,
    "observed": _read_observed,
}
ISO_PLACES = MINOR_UNIT_PLACES


# ---------------------------------------------------------------- parts of an object


def part(holder: Any, *names: str) -> Mapping[str, Any]:
    """The object under a path of names; an empty one where there is none."""
    for name in names:
        holder = holder.get(name) if isinstance(holder, Mapping) else None
    return holder if isinstance(holder, Mapping) else {}


def id_of(value: Any) -> Any:
    """The id of what may be given by its id or as a whole object."""
    return value.get("id") if isinstance(value, Mapping) else value


def read_notes(notes: Any) -> Flat:
    """The wallet and the credits that metadata names; everything else in it is left behind.

    Razorpay writes an empty list where there are no notes, and JSON as text in settlements.
    """
    if isinstance(notes, str):
        try:
            notes = json.loads(notes, parse_float=Decimal)
        except ValueError:
            return {}
    if not isinstance(notes, Mapping):
        return {}
    found: Flat = {"wallet_id": notes.get("wallet_id")}
    for name in sorted(notes, key=str):
        match = _CREDITS.match(str(name))
        if match and notes[name] not in (None, ""):
            found["credits"] = notes[name]
            found["credits_currency"] = match[1]
    return found


# ---------------------------------------------------------------- webhooks


def read_received_at(envelope: Mapping[str, Any]) -> datetime:
    """When a webhook arrived, from Unix seconds or ISO 8601; naive UTC."""
    value = envelope.get("received_at")
    if isinstance(value, int) and not isinstance(value, bool):
        return read_unix_time(value, "received_at")
    return read_time(value, "received_at")[0]


def read_header(envelope: Mapping[str, Any], name: str) -> str:
    """A header by its name in any case; empty where it is missing."""
    for key, value in part(envelope, "headers").items():
        if str(key).lower() == name:
            return str(value[0] if isinstance(value, list) and value else value)
    return ""


def refuse_forged(signatures: list[str], message: bytes, secret: str) -> None:
    """Nothing, if one of the signatures is the HMAC-SHA256 of the message in hex.

    Raises:
        RefusedError: bad_signature.
    """
    expected = hmac.new(secret.encode(), message, "sha256").hexdigest()
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures):
        raise RefusedError(
            "bad_signature",
            "not signed with the webhook_secret of this source; check the secret, "
            "and that the body is kept byte for byte",
            "headers",
        )


def refuse_stale(signed_at: int, received_at: datetime) -> None:
    """Nothing, if the message arrived soon after it was signed.

    Raises:
        RefusedError: stale_signature.
    """
    delay = received_at.replace(tzinfo=UTC).timestamp() - signed_at
    if abs(delay) > SIGNATURE_TOLERANCE.total_seconds():
        raise RefusedError(
            "stale_signature", f"signed {delay:.0f} s before it arrived; 300 s are accepted"
        )
