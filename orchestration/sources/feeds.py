"""A feed: one list of an API, read a window of UTC days at a time, page after page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from orchestration.sources.http_client import Access, Params, RequestRefusedError
from orchestration.sources.source_error import SourceError

DAY = timedelta(days=1)
# What an API without a limit of its own is asked for at first; `since` of the source changes it.
DEFAULT_HISTORY = timedelta(days=366)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Whole UTC days, half-open."""

    start: date
    end: date

    @property
    def start_at(self) -> datetime:
        """Its first moment; naive UTC."""
        return _midnight(self.start)

    @property
    def end_at(self) -> datetime:
        """The moment behind its last; naive UTC."""
        return _midnight(self.end)

    @property
    def start_unix(self) -> int:
        """Its first second since 1970."""
        return int(self.start_at.replace(tzinfo=UTC).timestamp())

    @property
    def end_unix(self) -> int:
        """The second behind its last since 1970."""
        return int(self.end_at.replace(tzinfo=UTC).timestamp())

    def __str__(self) -> str:
        last = self.end - DAY
        return self.start.isoformat() if last == self.start else f"{self.start} to {last}"


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001  # naive UTC


class PageShapeError(SourceError):
    """A page that does not look as documented: the API changed, or something else answers."""


class TooDenseError(SourceError):
    """More than one page may hold was asked for: ask for less at a time."""


class TooOldError(SourceError):
    """A window the API no longer, or never, has: it is not asked for again."""


@dataclass(frozen=True, slots=True)
class Feed:
    """How one list is asked for, and how its pages follow each other.

    Attributes:
        name: Begins the names of its files, and stands in every line about it.
        kind: The file kind its pages are.
        path: Below the base URL.
        first: (window, limit) to the parameters of the first page.
        following: (page, the parameters it was asked with) to those of the next; None at the end.
            Raises PageShapeError.
        rows: The rows of a page. Raises PageShapeError.
        limit, least_limit: What a page is asked to hold; halved down to the second where it is
            refused as too dense. Equal: never halved.
        has_running_day: Whether the day that is not over is asked for too.
        end_parameter: The parameter that is left out while a window is not over, as a moment to
            come is refused.
        by_month: Whether months that are over are asked for as a whole, once more after their end.
        history: How far back the API has something; None: without a limit.
        weekly_reach: How far back the weekly re-read goes, where that is more than `lateness`.
        volatile: Fields of a row or page that change by themselves and are no news.
        explain: What a refusal (status 400 to 422) means, if the API says so in its code.
        is_optional: Whether some accounts do not have it: status 404 is no news.
    """

    name: str
    kind: str
    path: str
    first: Callable[[Window, int], Params]
    following: Callable[[Mapping[str, Any], Params], Params | None]
    rows: Callable[[Mapping[str, Any]], list[Any]]
    limit: int
    least_limit: int
    has_running_day: bool = False
    end_parameter: str = ""
    by_month: bool = True
    history: timedelta | None = None
    weekly_reach: timedelta = timedelta(0)
    volatile: frozenset[str] = frozenset()
    explain: Callable[[RequestRefusedError, Window], SourceError | None] = field(
        default=lambda _error, _window: None
    )
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class PagedApi:
    """One system: how it is reached, and its feeds."""

    access: Access
    feeds: tuple[Feed, ...]


def listed(page: Mapping[str, Any], name: str) -> list[Any]:
    """The list of that name.

    Raises:
        PageShapeError: there is none.
    """
    rows = page.get(name)
    if not isinstance(rows, list):
        raise PageShapeError(f"a page has no list '{name}'")
    return rows


def with_parameter(params: Params, name: str, value: str) -> Params:
    """The parameters with one of them set, in place or behind the others."""
    kept = tuple(pair for pair in params if pair[0] != name)
    return (*kept, (name, value))


def following_by_token(page: Mapping[str, Any], asked: Params) -> Params | None:
    """The next page by `has_more` and `next_page`, as OpenAI and Anthropic write them.

    Raises:
        PageShapeError: there is more, and no token to ask for it.
    """
    more, token = page.get("has_more"), page.get("next_page")
    if not isinstance(more, bool):
        raise PageShapeError("a page does not say whether it has_more")
    if not more:
        return None
    if not isinstance(token, str) or not token:
        raise PageShapeError("a page says has_more and names no next_page")
    return with_parameter(asked, "page", token)
