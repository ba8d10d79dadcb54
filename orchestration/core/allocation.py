"""Amounts rounded for a document so that its lines add up to its total."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext


def round_total(amounts: Sequence[Decimal], *, places: int) -> Decimal:
    """The exact sum of amounts, rounded once, half to even."""
    with localcontext(prec=60):
        return sum(amounts, Decimal(0)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)


def round_lines(amounts: Sequence[Decimal], *, places: int) -> list[Decimal]:
    """Amounts at so many places that add up to their rounded total, by largest remainder.

    Each is rounded down; what the total has more goes, one last place each, to those that lost
    most, the earlier first.
    """
    with localcontext(prec=60):
        step = Decimal(1).scaleb(-places)
        rounded = [amount.quantize(step, ROUND_FLOOR) for amount in amounts]
        missing = int((round_total(amounts, places=places) - sum(rounded, Decimal(0))) / step)
        lost = sorted(range(len(amounts)), key=lambda each: rounded[each] - amounts[each])
        for each in lost[:missing]:
            rounded[each] += step
        return rounded
