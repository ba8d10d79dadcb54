"""Which forecast of a month stands in budgets and overview: both, on years nobody has seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from statistics import median

SEEDS = range(12)
FIRST, HELD_BACK, LAST = date(2025, 11, 1), date(2026, 1, 1), date(2027, 1, 1)


def generated_year(seed: int) -> dict[date, float]:
    """Daily spend with a weekly rhythm, growth, noise, a spike now and then and a quiet holiday."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    weekend = chance.uniform(0.1, 0.9)
    growth = chance.uniform(-0.001, 0.004)
    spend = {}
    for number in range((LAST - FIRST).days):
        day = FIRST + timedelta(number)
        level = 100 * (1 + growth) ** number * chance.lognormvariate(0, 0.2)
        level *= weekend if day.weekday() >= 5 else 1
        level *= 0.3 if (day.month, day.day) >= (12, 24) else 1
        level *= 3 if chance.random() < 0.01 else 1
        spend[day] = level
    return spend


def month_of(today: date) -> tuple[date, date]:
    first = today.replace(day=1)
    return first, (first + timedelta(32)).replace(day=1)


def run_rate(spend: dict[date, float], today: date) -> float:
    """Month-to-date over days elapsed, for all days of the month."""
    first, following = month_of(today)
    gone = [spend[first + timedelta(n)] for n in range((today - first).days + 1)]
    return sum(gone) / len(gone) * (following - first).days


def weekday_mean(spend: dict[date, float], today: date) -> float:
    """As budgets and overview reckon it: macro weekday_means."""
    first, following = month_of(today)
    means = [0.0] * 7
    for back in range(1, 15):
        day = today - timedelta(back)
        means[day.weekday()] += spend[day] / 2
    before = sum(spend[first + timedelta(n)] for n in range((today - first).days))
    later = (today + timedelta(n) for n in range(1, (following - today).days))
    return (
        before + max(spend[today], means[today.weekday()]) + sum(means[d.weekday()] for d in later)
    )


def errors(
    method: Callable[[dict[date, float], date], float], years: Sequence[dict[date, float]]
) -> list[float]:
    """Relative errors of the month's sum, forecast from every day of the held-back year."""
    found = []
    for spend in years:
        for number in range((LAST - HELD_BACK).days):
            today = HELD_BACK + timedelta(number)
            first, following = month_of(today)
            actual = sum(spend[first + timedelta(n)] for n in range((following - first).days))
            found.append(abs(method(spend, today) - actual) / actual)
    return found


def test_the_forecast_that_ships_has_the_smaller_median_error() -> None:
    years = [generated_year(seed) for seed in SEEDS]

    simple, shipped = median(errors(run_rate, years)), median(errors(weekday_mean, years))

    assert shipped < simple
    assert shipped < 0.05


def test_it_wins_for_most_series_not_only_on_the_whole() -> None:
    years = [generated_year(seed) for seed in SEEDS]

    won = [median(errors(weekday_mean, [y])) < median(errors(run_rate, [y])) for y in years]

    assert sum(won) >= 10
