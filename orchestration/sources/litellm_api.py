"""LiteLLM's log by REST: `/spend/logs/v2` in spans whose count is not cut off.

Its pages have no stable order among rows of one time, and its count stops at 10,000; so a span is
read whole or halved, its rows counted, and the rows of both its bounds met twice.
Source: LiteLLM proxy code, release 1.109.1, read 2026-11-21.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestration.core.refusals import with_hashed_secrets
from orchestration.sources.feeds import PageShapeError, listed
from orchestration.sources.http_client import Access, Params, bearer
from orchestration.sources.litellm_postgres import (
    FREE_FORM,
    METADATA_KEYS,
    METADATA_PARTS,
    PLAIN,
    TIMES,
    Privacy,
)
from orchestration.sources.litellm_spend_logs import OWNER_NAMES
from orchestration.sources.log_api import LogApi, LogPage, clean, scalars
from orchestration.sources.records import read_key_id

# Every question scans the log's table: one at a time, and not without a pause.
PACE = timedelta(milliseconds=200)
PAGE_ROWS = 1_000
# The gateway's own count stops here.
MOST_ROWS = 10_000
_MOMENT = "%Y-%m-%d %H:%M:%S"
_OWNERS = frozenset(name for names in OWNER_NAMES.values() for name in names)


def log_api(key: str, base_url: str, privacy: Privacy) -> LogApi:
    """The log of the gateway at an address."""
    access = Access(
        system="LiteLLM",
        base_url=base_url,
        headers=bearer(key),
        secrets=(key,),
        pace=PACE,
        key_fix="set api_key to a key of a user with role proxy_admin_viewer",
        permission_fix="give the key's user the role proxy_admin_viewer",
    )
    return LogApi(
        access=access,
        kind="litellm_spend_logs",
        stem="spend_logs",
        path="/spend/logs/v2",
        page_rows=PAGE_ROWS,
        most_rows=MOST_ROWS,
        page=page,
        read=read,
        allowed=lambda row: allowed(row, privacy),
        started_at=started_at,
    )


def page(first: datetime, last: datetime, number: int, rows: int) -> Params:
    """The parameters of a page, in order of time."""
    return (
        ("start_date", first.strftime(_MOMENT)),
        ("end_date", last.strftime(_MOMENT)),
        ("page", str(number)),
        ("page_size", str(rows)),
        ("sort_by", "startTime"),
        ("sort_order", "asc"),
    )


def read(document: Mapping[str, Any]) -> LogPage:
    """One page.

    Raises:
        PageShapeError: it has no rows, or does not say how many there are.
    """
    total = document.get("total")
    if not isinstance(total, int):
        raise PageShapeError("a page does not say its total")
    is_capped = document.get("total_is_capped") is True or total > MOST_ROWS
    return LogPage(listed(document, "data"), total, is_capped)


def started_at(row: Mapping[str, Any]) -> datetime:
    """When the request began; naive UTC.

    Raises:
        PageShapeError: the row does not say.
    """
    try:
        moment = datetime.fromisoformat(row["startTime"])
    except (KeyError, TypeError, ValueError):
        raise PageShapeError("a row has no startTime") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def allowed(row: Mapping[str, Any], privacy: Privacy) -> dict[str, Any]:
    """What of a row is kept: the columns that are read from the database too."""
    kept = {name: row.get(name) for name in (*PLAIN, *TIMES)}
    if privacy.user_id:
        kept["user"] = row.get("user")
    if privacy.client_ip:
        kept["requester_ip_address"] = row.get("requester_ip_address")
    kept = {name: _scalar(value) for name, value in kept.items()}
    kept["request_tags"] = _tags(row.get("request_tags"), privacy)
    kept["metadata"] = _metadata(row.get("metadata"), privacy)
    kept["api_base"] = _bare_url(row.get("api_base"))
    kept = {name: clean(value) for name, value in kept.items() if value not in (None, {}, [])}
    request_id, key = row.get("request_id"), row.get("api_key")
    kept["request_id"] = with_hashed_secrets(str(request_id)) if request_id is not None else None
    kept["api_key"] = read_key_id(str(key) if key else None)[0] or ""
    kept["spend"] = _scalar(row.get("spend"))
    return kept


def _scalar(value: Any) -> Any:
    """A text, number or truth value; anything else has no place in such a column."""
    return value if isinstance(value, str | int | float | Decimal) else None


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def _tags(value: Any, privacy: Privacy) -> list[str]:
    tags = _decoded(value)
    if not isinstance(tags, list):
        return []
    texts = [tag for tag in tags if isinstance(tag, str)]
    # LiteLLM adds the caller's user agent as a tag of its own.
    return [tag for tag in texts if privacy.user_agent or not tag.startswith("User-Agent:")]


def _metadata(value: Any, privacy: Privacy) -> dict[str, Any]:
    metadata = _decoded(value)
    if not isinstance(metadata, dict):
        return {}
    personal = ["user_api_key_user_id"] if privacy.user_id else []
    personal += ["user_agent"] if privacy.user_agent else []
    kept = {name: metadata.get(name) for name in (*METADATA_KEYS, *personal)}
    for name, parts in METADATA_PARTS.items():
        part = metadata.get(name)
        if isinstance(part, dict):
            kept[name] = {each: part[each] for each in parts if each in part}
    kept[FREE_FORM] = scalars(metadata.get(FREE_FORM), _OWNERS)
    return {name: value for name, value in kept.items() if value not in (None, {})}


def _bare_url(value: Any) -> str | None:
    """An address without user, password, query and fragment."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.partition("@")[0], "", ""))
