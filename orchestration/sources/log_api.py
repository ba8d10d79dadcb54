"""A gateway's log behind an API: asked for in spans of time that are small enough to be whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestration.core.refusals import without_secrets
from orchestration.sources.http_client import Access, Params


@dataclass(frozen=True, slots=True)
class LogPage:
    """What one page of a log says.

    Attributes:
        rows: As received, prompts included if the gateway sends them: never to be kept as they are.
        total: How many rows the span has, by the gateway's own count.
        is_capped: Whether the count is cut off, so that the span may have more.
    """

    rows: list[Any]
    total: int
    is_capped: bool


@dataclass(frozen=True, slots=True)
class LogApi:
    """How the log of one gateway is asked for, and what of a row may be kept.

    Attributes:
        kind: The file kind its rows are.
        stem: Begins the names of its files.
        path: Below the base URL.
        page_rows: Rows of a page, at most.
        most_rows: Rows of a span that is read; one with more is halved.
        page: (first second, last second, both included; page from 1) to parameters.
        read: A page. Raises PageShapeError.
        allowed: What of a row is kept: its allow-listed fields, free of credentials.
        started_at: The event of a row; naive UTC. Raises PageShapeError.
    """

    access: Access
    kind: str
    stem: str
    path: str
    page_rows: int
    most_rows: int
    page: Callable[[datetime, datetime, int, int], Params]
    read: Callable[[Mapping[str, Any]], LogPage]
    allowed: Callable[[Mapping[str, Any]], dict[str, Any]]
    started_at: Callable[[Mapping[str, Any]], datetime]


# The shortest span that can be asked for, and the longest that is.
SHORTEST, FIRST_SPAN, LONGEST = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def clean(value: Any) -> Any:
    """A value without what looks like a credential, at any depth."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, list):
        return [clean(each) for each in value]
    if isinstance(value, dict):
        return {key: clean(each) for key, each in value.items()}
    return value


def scalars(value: Any, names: frozenset[str]) -> dict[str, Any]:
    """The short entries of a free-form object that bear one of the names, however written."""
    if not isinstance(value, dict):
        return {}
    return {
        key: each
        for key, each in value.items()
        if key.strip().lower().replace("-", "_") in names
        and isinstance(each, str | int | float)
        and len(str(each)) <= 256
    }
