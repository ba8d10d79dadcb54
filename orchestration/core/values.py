"""Strict reading of single values: money from its text, whole counts, times in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal

from orchestration.core.refusals import RefusedError, shown

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
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]{1,9})?"
    r"\s?(Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?\Z"
)
YEAR_FIRST, YEAR_LAST = 2020, 2100


def read_decimal(value: object, field: str, *, code: str = "bad_number") -> Decimal:
    """The exact number a source wrote, as JSON number (Decimal or int) or plain decimal text.

    Raises:
        RefusedError: `code` for anything that is not plainly a number (booleans, NaN,
            thousands separators, hexadecimal, padding).
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise RefusedError(code, f"expected a number, found {shown(value)}", field)
    if isinstance(value, str):
        if not _DECIMAL_TEXT.match(value):
            raise RefusedError(code, f"expected a plain decimal, found '{shown(value)}'", field)
        value = Decimal(value)
    number = Decimal(value)
    if not number.is_finite():
        raise RefusedError(code, f"expected a finite number, found {number}", field)
    return number


def at_money_scale(number: Decimal) -> tuple[Decimal, bool]:
    """The amount at 18 decimal places (half-even), and whether that lost written digits."""
    rounded = number.quantize(MONEY_SCALE, context=_EXACT)
    if rounded.is_zero():
        rounded = abs(rounded)
    lost = rounded != number and len(number.as_tuple().digits) > FLOAT_DIGITS
    return rounded, lost


def read_count(value: object, field: str) -> int:
    """A whole number from 0 to 2^63-1.

    Raises:
        RefusedError: bad_integer, or negative_tokens below zero.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise RefusedError("bad_integer", f"expected a whole number, found {shown(value)}", field)
    if isinstance(value, str) and not _INTEGER_TEXT.match(value):
        raise RefusedError("bad_integer", f"expected a whole number, found '{shown(value)}'", field)
    number = Decimal(value)
    if not number.is_finite() or number != number.to_integral_value():
        raise RefusedError("bad_integer", f"expected a whole number, found {shown(value)}", field)
    if number < 0:
        raise RefusedError("negative_tokens", f"expected 0 or more, found {number}", field)
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
        moment = value if naive else value.astimezone(UTC).replace(tzinfo=None)
        return _within_years(moment, field), naive
    if not isinstance(value, str):
        raise RefusedError("bad_timestamp", f"expected ISO 8601, found {shown(value)}", field)
    match = _TIME_TEXT.match(value)
    if match is None:
        raise RefusedError("bad_timestamp", f"expected ISO 8601, found '{shown(value)}'", field)
    day, minute, second, fraction, zone = match.groups()
    clock = f"{minute or '00:00'}{second or ':00'}{(fraction or '.0')[:7]}"
    offset = {"Z": "+00:00", "z": "+00:00", "UTC": "+00:00", None: "+00:00"}.get(zone, zone)
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise RefusedError("bad_timestamp", f"no such time: '{shown(value)}'", field) from error
    return _within_years(moment, field), zone is None


def _within_years(moment: datetime, field: str) -> datetime:
    if not YEAR_FIRST <= moment.year <= YEAR_LAST:
        raise RefusedError(
            "bad_timestamp", f"year {moment.year} is outside {YEAR_FIRST} to {YEAR_LAST}", field
        )
    return moment


def read_date(value: object, field: str) -> date:
    """A calendar day written YYYY-MM-DD.

    Raises:
        RefusedError: bad_timestamp.
    """
    moment, _ = read_time(value, field)
    return moment.date()
