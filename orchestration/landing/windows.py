"""Which windows of a feed a run asks for: what was never read whole, and what may have changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from orchestration.landing.page_files import PageFolder
from orchestration.sources.feeds import DAY, DEFAULT_HISTORY, Feed, Window

# A month is asked for as a whole once its figures had this long to settle.
MONTH_SETTLES = timedelta(days=3)


def wanted_windows(
    feed: Feed,
    folder: PageFolder,
    *,
    as_of: datetime,
    since: datetime | None,
    reach: timedelta,
) -> list[Window]:
    """The windows to ask for: those never read whole, then those to read again, oldest first.

    Months that are over are read as a whole, once more some days after their end; the days since
    then one by one. What was read is read again while it ended within `reach` before the clock.
    """
    first = _first_day(feed, as_of, since)
    unread: list[Window] = []
    again: list[Window] = []
    for start, end in _months(first, as_of.date()):
        month = Window(start, end)
        is_settled = datetime(end.year, end.month, end.day) + MONTH_SETTLES <= as_of  # noqa: DTZ001
        if feed.by_month and is_settled:
            candidates = [month]
        else:
            candidates = [
                day for day in _days(month) if day.start >= first and _has_begun(feed, day, as_of)
            ]
        for window in candidates:
            if not _is_read(folder, feed, window):
                unread.append(window)
            elif _is_in_reach(window, as_of, reach):
                again.append(window)
    return [*unread, *again]


def _first_day(feed: Feed, as_of: datetime, since: datetime | None) -> date:
    oldest = (as_of - feed.history).date() if feed.history is not None else None
    first = since.date() if since is not None else (as_of - DEFAULT_HISTORY).date()
    if oldest is not None:
        first = max(first, oldest)
    return first.replace(day=1) if feed.by_month and since is None else first


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    start = first
    while start <= last:
        end = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield start, end
        start = end


def _days(month: Window) -> Iterator[Window]:
    day = month.start
    while day < month.end:
        yield Window(day, day + DAY)
        day += DAY


def _has_begun(feed: Feed, day: Window, as_of: datetime) -> bool:
    return day.start_at <= as_of if feed.has_running_day else day.end_at <= as_of


def _is_in_reach(window: Window, as_of: datetime, reach: timedelta) -> bool:
    return as_of - reach < window.end_at


def _is_read(folder: PageFolder, feed: Feed, window: Window) -> bool:
    """Whether a chain has all its pages, begun when the window was over."""
    chain = folder.complete(feed.name, window)
    return chain is not None and chain.observed_at >= window.end_at
