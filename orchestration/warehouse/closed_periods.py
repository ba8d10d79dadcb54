"""Whether a record belongs to a month its account has closed, by the seeds alone."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

# The most specific scope wins (contract, table T1).
_SCOPES = (
    ("key", "api_key_id"),
    ("project", "project_id"),
    ("team", "team_id"),
    ("organization", "organization_id"),
    ("gateway", None),
)
UNASSIGNED = "unassigned"


def closed_period_test(seeds: Path, gateway: str) -> Callable[[Mapping[str, Any]], bool] | None:
    """A test for records of one gateway; None where no account has closed anything."""
    accounts = {row["account_id"]: row for row in read_seed(seeds / "accounts.csv")}
    if not any(account.get("closed_through") for account in accounts.values()):
        return None
    scopes = [
        row
        for row in read_seed(seeds / "account_scopes.csv")
        if row.get("gateway") in ("", None, gateway)
    ]

    def is_closed(values: Mapping[str, Any]) -> bool:
        account = accounts.get(_account_of(values, scopes))
        if account is None or not account.get("closed_through"):
            return False
        started_at: datetime = values["started_at"].replace(tzinfo=UTC)
        month = started_at.astimezone(ZoneInfo(account.get("time_zone") or "UTC"))
        return month.strftime("%Y-%m") <= account["closed_through"]

    return is_closed


def _account_of(values: Mapping[str, Any], scopes: list[dict[str, str]]) -> str:
    day = values["started_at"].date().isoformat()
    for scope_type, column in _SCOPES:
        for scope in scopes:
            owner = None if column is None else values.get(column)
            if (
                scope.get("scope_type") == scope_type
                and (column is None or (owner and scope.get("scope_id") == owner))
                and (scope.get("valid_from_date") or "") <= day
                and day < (scope.get("valid_to_date") or "9999-12-31")
            ):
                return scope["account_id"]
    return UNASSIGNED


def read_seed(path: Path) -> list[dict[str, str]]:
    """The rows of one seed file; a missing file is empty."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))
