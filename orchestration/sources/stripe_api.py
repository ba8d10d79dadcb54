"""Stripe's lists of events and balance transactions: which pages to ask for.

Only events that move money are asked for; others would bring people's data and nothing we use.
Source: Stripe API reference, events, balance transactions and pagination, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from orchestration.sources.feeds import (
    Feed,
    PagedApi,
    PageShapeError,
    Window,
    listed,
    with_parameter,
)
from orchestration.sources.http_client import Access, Params, bearer

BASE_URL = "https://api.stripe.com"
# Far below the hundred a second that Stripe allows.
PACE = timedelta(milliseconds=100)
ROWS = 100
# The API lists events of the last thirty days; one day less, as the oldest is already going.
EVENT_DAYS = timedelta(days=29)
EVENT_TYPES = (
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "payment_intent.succeeded",
    "refund.created",
    "refund.failed",
    "refund.updated",
)


def paged_api(key: str, base_url: str | None) -> PagedApi:
    """The Stripe account that a key belongs to."""
    access = Access(
        system="Stripe",
        base_url=base_url or BASE_URL,
        headers=bearer(key),
        secrets=(key,),
        pace=PACE,
        key_fix="set api_key to a restricted key of the account (rk_live_...)",
        permission_fix="give the restricted key read on events, charges, payment intents, "
        "checkout sessions, refunds, disputes and balance",
    )
    types = tuple(("types[]", each) for each in EVENT_TYPES)
    events = Feed(
        name="events",
        kind="stripe",
        path="/v1/events",
        first=lambda window, limit: (*first_page(window, limit), *types),
        following=following,
        rows=_rows,
        limit=ROWS,
        least_limit=ROWS,
        has_running_day=True,
        by_month=False,
        history=EVENT_DAYS,
        volatile=frozenset({"pending_webhooks"}),
    )
    balance = Feed(
        name="balance_transactions",
        kind="stripe",
        path="/v1/balance_transactions",
        first=first_page,
        following=following,
        rows=_rows,
        limit=ROWS,
        least_limit=ROWS,
        has_running_day=True,
        # From pending to available takes days, and weeks in some countries.
        weekly_reach=timedelta(days=30),
    )
    return PagedApi(access, (events, balance))


def first_page(window: Window, limit: int) -> Params:
    """The parameters of a window's first page: newest first, as Stripe lists everything."""
    return (
        ("created[gte]", str(window.start_unix)),
        ("created[lt]", str(window.end_unix)),
        ("limit", str(limit)),
    )


def _rows(page: Mapping[str, Any]) -> list[Any]:
    return listed(page, "data")


def following(page: Mapping[str, Any], asked: Params) -> Params | None:
    """The page behind the last object of this one.

    Raises:
        PageShapeError: there is more, and nothing to go on from.
    """
    rows, more = listed(page, "data"), page.get("has_more")
    if not isinstance(more, bool):
        raise PageShapeError("a page does not say whether it has_more")
    if not more:
        return None
    last = rows[-1].get("id") if rows and isinstance(rows[-1], dict) else None
    if not isinstance(last, str) or not last:
        raise PageShapeError("a page says has_more and its last row has no id")
    return with_parameter(asked, "starting_after", last)
