"""Strict reading of single values: money from its text, whole counts, times in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from orchestration.core.refusals import RefusedError, shown, shown_figure

MONEY_SCALE = Decimal(1).scaleb(-18)
MONEY_LIMIT = Decimal(10) ** 20
INTEGER_LIMIT = 2**63 - 1
# A binary double prints at most 17 significant digits; a longer text was written as a decimal,
# so rounding it is a loss that somebody should hear of.
FLOAT_DIGITS = 17
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)

_DECIMAL_TEXT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?\Z")
_INTEGER_TEXT = re.compile(r"-?[0-9]{1,20}(?:\.0+)?\Z")
_TIME_TEXT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)"
    r" ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?\Z"
)
_UTC_NAMES = (None, "Z", "z", "UTC")
YEAR_FIRST, YEAR_LAST = 2020, 2100
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # naive UTC
_LAST_UNIX_TIME = 10**10


def decimal_from_json(text: str) -> Decimal:
    """The exact number a JSON number says; infinite where its exponent is beyond all reading."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def read_decimal(value: object, field: str, *, code: str = "bad_number") -> Decimal:
    """The exact number a source wrote, as JSON number (Decimal or int) or plain decimal text.

    Raises:
        RefusedError: `code` for anything that is not plainly a number (booleans, NaN,
            thousands separators, hexadecimal, padding).
    """
    if type(value) is Decimal and value.is_finite():
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise RefusedError(code, f"expected a number, found {shown(value)}", field)
    if isinstance(value, str):
        if not _DECIMAL_TEXT.match(value):
            raise RefusedError(
                code, f"expected a plain decimal, found {shown_figure(value)}", field
            )
        value = Decimal(value)
    number = Decimal(value)
    if not number.is_finite():
        raise RefusedError(code, f"expected a finite number, found {number}", field)
    return number


def read_money(value: object, field: str) -> tuple[Decimal, bool]:
    """An amount of 0 or more at 18 decimal places, and whether that lost written digits.

    A binary double, as Parquet holds it, is read by its shortest decimal text.

    Raises:
        RefusedError: bad_number, spend_not_finite, negative_spend, or spend_out_of_range from
            1e20 on.
    """
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and not value.is_finite():
        raise RefusedError("spend_not_finite", f"found {value}", field)
    amount = read_decimal(value, field)
    if amount < 0:
        raise RefusedError("negative_spend", f"expected 0 or more, found {amount}", field)
    if amount >= MONEY_LIMIT:
        raise RefusedError("spend_out_of_range", "1e20 or more", field)
    return at_money_scale(amount)


def read_signed_money(value: object, field: str) -> tuple[Decimal, bool]:
    """An amount of either sign at 18 decimal places, and whether that lost written digits.

    Raises:
        RefusedError: bad_number, spend_not_finite, or spend_out_of_range from 1e20 on.
    """
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and not value.is_finite():
        raise RefusedError("spend_not_finite", f"found {value}", field)
    amount = read_decimal(value, field)
    if amount.copy_abs() >= MONEY_LIMIT:
        raise RefusedError("spend_out_of_range", "1e20 or more", field)
    return at_money_scale(amount)


def at_money_scale(number: Decimal) -> tuple[Decimal, bool]:
    """The amount at 18 decimal places (half-even), and whether that lost written digits.

    Raises:
        RefusedError: spend_out_of_range where the rounded amount reaches 1e20.
    """
    rounded = number.quantize(MONEY_SCALE, context=_EXACT)
    if rounded.is_zero():
        rounded = rounded.copy_abs()
    if rounded.copy_abs() >= MONEY_LIMIT:
        raise RefusedError("spend_out_of_range", "1e20 or more")
    lost = rounded != number and len(number.as_tuple().digits) > FLOAT_DIGITS
    return rounded, lost


def read_count(value: object, field: str) -> int:
    """A whole number from 0 to 2^63-1.

    A binary double counts when it is whole: a column with gaps becomes one on its way to Parquet.

    Raises:
        RefusedError: bad_integer, or negative_tokens below zero.
    """
    if type(value) is int and 0 <= value <= INTEGER_LIMIT:
        return value
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise RefusedError("bad_integer", f"expected a whole number, found {shown(value)}", field)
    if isinstance(value, str) and not _INTEGER_TEXT.match(value):
        raise RefusedError(
            "bad_integer", f"expected a whole number, found {shown_figure(value)}", field
        )
    number = Decimal(value)
    if not number.is_finite() or number != number.to_integral_value():
        raise RefusedError("bad_integer", f"expected a whole number, found {shown(value)}", field)
    if number < 0:
        raise RefusedError("negative_tokens", f"expected 0 or more, found {shown(value)}", field)
    if number > INTEGER_LIMIT:
        raise RefusedError("bad_integer", f"larger than 2^63-1: {shown(value)}", field)
    return int(number)


def read_time(value: object, field: str) -> tuple[datetime, bool]:
    """An instant in UTC without zone, at microseconds, and whether the source named no zone.

    Raises:
        RefusedError: bad_timestamp outside ISO 8601 or the years 2020 to 2100.
    """
    if isinstance(value, datetime):
        naive = value.tzinfo is None
        try:
            moment = value if naive else value.astimezone(UTC).replace(tzinfo=None)
        except OverflowError as error:
            raise RefusedError("bad_timestamp", "before year 1", field) from error
        return _within_years(moment, field), naive
    if isinstance(value, date):
        return _within_years(datetime(value.year, value.month, value.day), field), True  # noqa: DTZ001  # naive UTC
    match = _TIME_TEXT.match(value) if isinstance(value, str) else None
    if match is None:
        raise RefusedError("bad_timestamp", f"expected ISO 8601, found {_found(value)}", field)
    day, clock, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}")
        if zone not in _UTC_NAMES:
            moment -= _offset(zone)
    except (ValueError, OverflowError) as error:
        raise RefusedError("bad_timestamp", f"no such time: {_found(value)}", field) from error
    return _within_years(moment, field), zone is None


def _found(value: object) -> str:
    return shown_figure(value) if isinstance(value, str) else shown(value)


def _offset(zone: str) -> timedelta:
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or "0")
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    span = timedelta(hours=hours, minutes=minutes)
    return -span if zone[0] == "-" else span


def _within_years(moment: datetime, field: str) -> datetime:
    if not YEAR_FIRST <= moment.year <= YEAR_LAST:
        raise RefusedError(
            "bad_timestamp", f"year {moment.year} is outside {YEAR_FIRST} to {YEAR_LAST}", field
        )
    return moment


def read_unix_time(value: object, field: str) -> datetime:
    """An instant written as whole seconds since 1970, as naive UTC.

    Raises:
        RefusedError: bad_timestamp for anything else, or outside the years 2020 to 2100.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LAST_UNIX_TIME:
        raise RefusedError("bad_timestamp", f"expected Unix seconds, found {_found(value)}", field)
    return _within_years(_EPOCH + timedelta(seconds=value), field)


def read_date(value: object, field: str) -> date:
    """A calendar day written YYYY-MM-DD.

    Raises:
        RefusedError: bad_timestamp.
    """
    moment, _ = read_time(value, field)
    return moment.date()
