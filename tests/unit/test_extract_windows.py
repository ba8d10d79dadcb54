"""Which windows are asked for: what was never read whole, and what may have changed since."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.landing.page_files import Chain, PageFolder
from orchestration.landing.windows import wanted_windows
from orchestration.sources.feeds import Feed, Window

NOON = datetime.fromisoformat("2026-11-05T12:00:00")
FEED = Feed(
    name="costs",
    kind="openai_costs",
    path="/",
    first=lambda _window, _limit: (),
    following=lambda _page, _asked: None,
    rows=lambda _page: [],
    limit=31,
    least_limit=1,
)
HOURS = timedelta(hours=3)


def days(first: str, last: str) -> list[Window]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [
        Window(start + timedelta(days=n), start + timedelta(days=n + 1))
        for n in range((end - start).days + 1)
    ]


def read(folder: Path, *windows: Window, at: datetime = NOON) -> PageFolder:
    names = [Chain("costs", window, at).page_name(1) for window in windows]
    return PageFolder(folder, names)


def wanted(folder: PageFolder, feed: Feed = FEED, **changes: object) -> list[Window]:
    settings = {"as_of": NOON, "since": datetime(2026, 10, 1), "reach": HOURS}  # noqa: DTZ001
    return wanted_windows(feed, folder, **{**settings, **changes})  # type: ignore[arg-type]


OCTOBER = Window(date(2026, 10, 1), date(2026, 11, 1))


def test_a_month_that_is_over_is_one_window_and_days_follow(tmp_path: Path) -> None:
    assert wanted(PageFolder(tmp_path)) == [OCTOBER, *days("2026-11-01", "2026-11-04")]


def test_the_running_day_is_asked_for_where_the_api_has_it(tmp_path: Path) -> None:
    feed = replace(FEED, has_running_day=True)

    assert wanted(PageFolder(tmp_path), feed)[-1] == days("2026-11-05", "2026-11-05")[0]


def test_a_month_is_not_settled_before_its_third_day(tmp_path: Path) -> None:
    as_of = datetime.fromisoformat("2026-11-03T23:59:59")

    found = wanted(PageFolder(tmp_path), as_of=as_of)

    assert OCTOBER not in found
    assert found == days("2026-10-01", "2026-11-02")


def test_a_month_read_day_by_day_is_read_once_more_as_a_whole(tmp_path: Path) -> None:
    folder = read(tmp_path, *days("2026-10-01", "2026-11-04"))

    assert wanted(folder) == [OCTOBER]


@pytest.mark.parametrize(
    ("reach", "again"),
    [
        (timedelta(hours=12), []),
        (timedelta(hours=13), days("2026-11-04", "2026-11-04")),
        (timedelta(hours=48), days("2026-11-03", "2026-11-04")),
        (timedelta(days=7), [OCTOBER, *days("2026-11-01", "2026-11-04")]),
    ],
)
def test_what_ended_within_the_lateness_is_read_again(
    reach: timedelta, again: list[Window], tmp_path: Path
) -> None:
    folder = read(tmp_path, OCTOBER, *days("2026-11-01", "2026-11-04"))

    assert wanted(folder, reach=reach) == again


def test_what_was_never_read_comes_before_what_is_read_again(tmp_path: Path) -> None:
    first, *others = days("2026-11-01", "2026-11-04")
    folder = read(tmp_path, OCTOBER, first, *others[:1], *others[2:])

    assert wanted(folder, reach=timedelta(days=2)) == [others[1], others[2]]


def test_a_day_read_while_it_ran_is_read_again_when_it_is_over(tmp_path: Path) -> None:
    (today,) = days("2026-11-05", "2026-11-05")
    folder = read(tmp_path, OCTOBER, *days("2026-11-01", "2026-11-04"), today)
    feed = replace(FEED, has_running_day=True)
    later = datetime.fromisoformat("2026-11-09T12:00:00")

    found = wanted(folder, feed, as_of=later)

    assert found == days("2026-11-05", "2026-11-09")


def test_what_the_api_no_longer_has_is_not_asked_for(tmp_path: Path) -> None:
    feed = replace(FEED, by_month=False, history=timedelta(days=3))

    assert wanted(PageFolder(tmp_path), feed) == days("2026-11-02", "2026-11-04")


def test_without_since_a_year_is_asked_for_from_the_first_of_a_month(tmp_path: Path) -> None:
    found = wanted(PageFolder(tmp_path), since=None)

    assert found[0] == Window(date(2025, 11, 1), date(2025, 12, 1))
    assert len(found) == 12 + 4
