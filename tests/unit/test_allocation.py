"""Rounding lines to their total."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.allocation import round_lines, round_total


def test_the_last_cent_goes_to_the_line_that_lost_most() -> None:
    lines = [Decimal("0.333"), Decimal("0.333"), Decimal("0.334")]

    assert round_lines(lines, places=2) == [Decimal("0.33"), Decimal("0.33"), Decimal("0.34")]
    assert round_total([Decimal("0.005")], places=2) == Decimal("0.00")
    assert round_total([Decimal("0.015")], places=2) == Decimal("0.02")
    assert round_lines([Decimal("-0.015"), Decimal("7")], places=0) == [Decimal(0), Decimal(7)]


@given(
    st.lists(
        st.decimals(
            min_value=-(10**12), max_value=10**12, places=18, allow_nan=False, allow_infinity=False
        ),
        max_size=30,
    ),
    st.integers(0, 3),
)
def test_lines_add_up_and_none_is_off_by_a_whole_unit(lines: list[Decimal], places: int) -> None:
    rounded = round_lines(lines, places=places)

    assert sum(rounded, Decimal(0)) == round_total(lines, places=places)
    step = Decimal(1).scaleb(-places)
    assert all(abs(after - before) <= step for before, after in zip(lines, rounded, strict=True))
