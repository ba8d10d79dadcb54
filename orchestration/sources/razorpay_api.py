"""Razorpay's lists of payments, refunds and settled entities: which pages to ask for.

Source: Razorpay API reference, payments, refunds and settlement recon, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from orchestration.sources.feeds import DAY, Feed, PagedApi, Window, listed, with_parameter
from orchestration.sources.http_client import Access, Params, basic
from orchestration.sources.source_error import SourceError

BASE_URL = "https://api.razorpay.com"
# The API names no limit; two a second have never met one.
PACE = timedelta(milliseconds=500)
ROWS = 100


def paged_api(key: str, base_url: str | None) -> PagedApi:
    """The account that a key, written KEY_ID:KEY_SECRET, belongs to.

    Raises:
        SourceError: the key has not these two parts.
    """
    user, colon, password = key.partition(":")
    if not (user and colon and password):
        raise SourceError("Razorpay: its api_key has two parts; write KEY_ID:KEY_SECRET")
    headers = basic(user, password)
    access = Access(
        system="Razorpay",
        base_url=base_url or BASE_URL,
        headers=headers,
        secrets=(key, user, password, headers["Authorization"].partition(" ")[2]),
        pace=PACE,
        key_fix="set api_key to KEY_ID:KEY_SECRET of a live key",
        permission_fix="use a key of an account with read access to payments and settlements",
    )
    return PagedApi(
        access,
        (
            _feed("payments", "/v1/payments", created_within),
            _feed("refunds", "/v1/refunds", created_within),
            _feed("settlement_recon", "/v1/settlements/recon/combined", settled_on),
        ),
    )


def _feed(name: str, path: str, first: Callable[[Window, int], Params]) -> Feed:
    return Feed(
        name=name,
        kind="razorpay",
        path=path,
        first=first,
        following=following,
        rows=_rows,
        limit=ROWS,
        least_limit=ROWS,
        has_running_day=name != "settlement_recon",
    )


def _rows(page: Mapping[str, Any]) -> list[Any]:
    return listed(page, "items")


def created_within(window: Window, limit: int) -> Params:
    """The first page of what was created in a window; both bounds are included."""
    return (
        ("from", str(window.start_unix)),
        ("to", str(window.end_unix - 1)),
        ("count", str(limit)),
        ("skip", "0"),
    )


def settled_on(window: Window, limit: int) -> Params:
    """The first page of what was settled on a day or, where the window is longer, in its month."""
    day = window.start
    days = (("day", f"{day.day:02d}"),) if window.end == day + DAY else ()
    return (
        ("year", f"{day.year:04d}"),
        ("month", f"{day.month:02d}"),
        *days,
        ("count", str(limit)),
        ("skip", "0"),
    )


def following(page: Mapping[str, Any], asked: Params) -> Params | None:
    """The page behind a full one: what is listed is counted, as no page says whether it is last."""
    given = dict(asked)
    rows = len(listed(page, "items"))
    if rows < int(given["count"]):
        return None
    return with_parameter(asked, "skip", str(int(given["skip"]) + rows))
