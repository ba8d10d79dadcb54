"""Cloudflare AI Gateway's log: which pages to ask for, and what of a row is kept.

Its retention is a number of rows, not a time: what it has already thrown away is not there, and
no answer says so. Source: Cloudflare API reference, AI Gateway logs, read 2026-11-21.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from orchestration.sources.feeds import PageShapeError, listed
from orchestration.sources.http_client import Access, Params, bearer
from orchestration.sources.log_api import LogApi, LogPage, clean, scalars

BASE_URL = "https://api.cloudflare.com"
# 1,200 requests in five minutes are allowed to a user, who makes others too.
PACE = timedelta(milliseconds=500)
PAGE_ROWS = 50
MOST_ROWS = 10_000
FIELDS = (
    "id",
    "created_at",
    "provider",
    "model",
    "model_type",
    "cached",
    "cost",
    "custom_cost",
    "tokens_in",
    "tokens_out",
    "duration",
    "status_code",
    "success",
    "step",
    "request_type",
    "request_content_type",
    "response_content_type",
)
# Names under which callers say whom a request is for; what else they write there is not kept.
METADATA = frozenset(
    {
        "team_id",
        "team",
        "environment",
        "env",
        "cost_center",
        "workflow",
        "feature",
        "project_id",
        "project",
        "customer_id",
        "customer",
        "user_id",
        "user",
        "ticket",
    }
)


def log_api(
    key: str, base_url: str | None, *, account: str, gateway: str, keeps_users: bool
) -> LogApi:
    """The log of one gateway of an account."""
    access = Access(
        system="Cloudflare",
        base_url=base_url or BASE_URL,
        headers=bearer(key),
        secrets=(key,),
        pace=PACE,
        key_fix="set api_key to an API token of the account",
        permission_fix="give the token the permission AI Gateway: Read",
    )
    return LogApi(
        access=access,
        kind="cloudflare_ai_gateway",
        stem="logs",
        path=f"/client/v4/accounts/{account}/ai-gateway/gateways/{gateway}/logs",
        page_rows=PAGE_ROWS,
        most_rows=MOST_ROWS,
        page=page,
        read=read,
        allowed=lambda row: allowed(row, keeps_users=keeps_users),
        started_at=started_at,
    )


def page(first: datetime, last: datetime, number: int, rows: int) -> Params:
    """The parameters of a page, in order of time."""
    return (
        ("start_date", f"{first.isoformat()}Z"),
        ("end_date", f"{last.isoformat()}Z"),
        ("order_by", "created_at"),
        ("order_by_direction", "asc"),
        ("page", str(number)),
        ("per_page", str(rows)),
    )


def read(document: Mapping[str, Any]) -> LogPage:
    """One page.

    Raises:
        PageShapeError: it has no rows, or does not say how many there are.
    """
    info = document.get("result_info")
    total = info.get("total_count") if isinstance(info, dict) else None
    if not isinstance(total, int):
        raise PageShapeError("a page has no result_info.total_count")
    return LogPage(listed(document, "result"), total, is_capped=total > MOST_ROWS)


def started_at(row: Mapping[str, Any]) -> datetime:
    """When the row was written; naive UTC.

    Raises:
        PageShapeError: the row does not say.
    """
    try:
        moment = datetime.fromisoformat(row["created_at"])
    except (KeyError, TypeError, ValueError):
        raise PageShapeError("a row has no created_at") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def allowed(row: Mapping[str, Any], *, keeps_users: bool) -> dict[str, Any]:
    """What of a row is kept."""
    kept = {
        name: row[name] for name in FIELDS if isinstance(row.get(name), str | int | float | Decimal)
    }
    path = row.get("path")
    if isinstance(path, str):
        kept["path"] = path.partition("?")[0]
    names = METADATA if keeps_users else METADATA - {"user_id", "user"}
    metadata = scalars(_decoded(row.get("metadata")), names)
    if metadata:
        # As text, the way Cloudflare writes it.
        kept["metadata"] = json.dumps(clean(metadata), sort_keys=True, default=str)
    return {name: clean(value) for name, value in kept.items()}


def _decoded(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
