"""Anthropic's usage and cost reports: which pages to ask for, grouped by everything there is.

Source: Anthropic Admin API reference, usage report and cost report, read 2026-11-21.
"""

from __future__ import annotations

import re
from datetime import timedelta

from orchestration.sources.feeds import (
    Feed,
    PagedApi,
    TooDenseError,
    TooOldError,
    Window,
    following_by_token,
    listed,
)
from orchestration.sources.http_client import Access, Params, RequestRefusedError
from orchestration.sources.source_error import SourceError

BASE_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
# Once a minute is asked for, with short bursts where a report has several pages.
PACE = timedelta(seconds=2)
# Days on one page, at most.
DAYS = 31
USAGE_GROUPS = (
    "account_id",
    "api_key_id",
    "context_window",
    "inference_geo",
    "model",
    "service_account_id",
    "service_tier",
    "workspace_id",
)
COST_GROUPS = ("workspace_id", "description")


def paged_api(key: str, base_url: str | None) -> PagedApi:
    """The organization that an admin key belongs to."""
    access = Access(
        system="Anthropic",
        base_url=base_url or BASE_URL,
        headers={"x-api-key": key, "anthropic-version": VERSION},
        secrets=(key,),
        pace=PACE,
        key_fix="set api_key to an admin key of the organization (sk-ant-admin...)",
        permission_fix="let an admin of the organization create the key",
    )
    path = "/v1/organizations"
    return PagedApi(
        access,
        (
            _feed(
                "usage_messages",
                "anthropic_usage",
                f"{path}/usage_report/messages",
                groups=USAGE_GROUPS,
            ),
            _feed("cost_report", "anthropic_costs", f"{path}/cost_report", groups=COST_GROUPS),
        ),
    )


def _feed(name: str, kind: str, path: str, *, groups: tuple[str, ...]) -> Feed:
    return Feed(
        name=name,
        kind=kind,
        path=path,
        first=lambda window, limit: first_page(groups, window, limit),
        following=following_by_token,
        rows=lambda page: [row for bucket in listed(page, "data") for row in _results(bucket)],
        limit=DAYS,
        least_limit=1,
        # A window without a completed day is refused.
        has_running_day=False,
        volatile=frozenset({"next_page"}),
        explain=explain,
    )


def _results(bucket: object) -> list[object]:
    return listed(bucket if isinstance(bucket, dict) else {}, "results")


def first_page(groups: tuple[str, ...], window: Window, limit: int) -> Params:
    """The parameters of a window's first page."""
    return (
        ("starting_at", f"{window.start_at.isoformat()}Z"),
        ("ending_at", f"{window.end_at.isoformat()}Z"),
        ("bucket_width", "1d"),
        *(("group_by[]", group) for group in groups),
        ("limit", str(limit)),
    )


_TOO_OLD = re.compile(r"too (?:old|far)|earlier than|older than|no longer available", re.IGNORECASE)
_TOO_DENSE = re.compile(r"too (?:many|large|dense|much)|reduce|limit", re.IGNORECASE)


def explain(error: RequestRefusedError, window: Window) -> SourceError | None:
    """What a refusal means, by what the API calls it."""
    if _TOO_OLD.search(error.words):
        return TooOldError(f"Anthropic has nothing as old as {window} any more")
    if _TOO_DENSE.search(error.words):
        return TooDenseError(f"Anthropic refuses {window} even day by day: too much on one page")
    return None
