"""Whether a record belongs to a month its account has closed, by the seeds alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestration.config import ConfigurationError
from orchestration.core.refusals import shown
from orchestration.landing.seed_files import seed_lines

# The most specific scope wins (contract, table T1), and in it the one that names the provider.
_SCOPES = (
    ("key", "api_key_id"),
    ("project", "project_id"),
    ("team", "team_id"),
    ("organization", "organization_id"),
    ("gateway", None),
)
UNASSIGNED = "unassigned"
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])\Z")


@dataclass(frozen=True, slots=True)
class _Scope:
    account_id: str
    provider: str
    valid_from: str
    valid_to: str


def closed_period_test(seeds: Path, gateway: str) -> Callable[[Mapping[str, Any]], bool] | None:
    """A test for records of one gateway; None where no account has closed anything.

    Raises:
        ConfigurationError: accounts.csv names an unknown time zone or no month.
    """
    ends = _ends_of_closed_time(seeds)
    if not ends:
        return None
    scopes = _read_scopes(seeds / "account_scopes.csv", gateway)

    def is_closed(values: Mapping[str, Any]) -> bool:
        end = ends.get(_account_of(values, scopes))
        return end is not None and values["started_at"] < end

    return is_closed


def closed_until(seeds: Path) -> datetime | None:
    """From when on no account has closed anything, naive UTC; None where none has at all.

    Raises:
        ConfigurationError: accounts.csv names an unknown time zone or no month.
    """
    return max(_ends_of_closed_time(seeds).values(), default=None)


def _ends_of_closed_time(seeds: Path) -> dict[str, datetime]:
    path = seeds / "accounts.csv"
    return {
        row["account_id"]: _end_of_closed_time(row, path)
        for row in read_seed(path)
        if row.get("account_id") and row.get("closed_through")
    }


def _end_of_closed_time(account: Mapping[str, str], path: Path) -> datetime:
    """The first moment after the account's last closed month; naive UTC."""
    where = f"{path}: account {shown(account['account_id'])}"
    month = _MONTH.match(account["closed_through"])
    if month is None:
        raise ConfigurationError(f"{where}: closed_through: write a month like 2026-05")
    try:
        zone = ZoneInfo(account.get("time_zone") or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(f"{where}: time_zone: write an IANA name like UTC") from error
    year, number = int(month[1]), int(month[2])
    following = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return following.astimezone(UTC).replace(tzinfo=None)


def _read_scopes(path: Path, gateway: str) -> dict[tuple[str, str], list[_Scope]]:
    """The gateway's scopes by type and id, those that name a provider first."""
    scopes: dict[tuple[str, str], list[_Scope]] = {}
    for row in read_seed(path):
        if row.get("gateway") not in ("", None, gateway):
            continue
        scope_type = row.get("scope_type") or ""
        scope_id = "" if scope_type == "gateway" else row.get("scope_id") or ""
        scope = _Scope(
            account_id=row.get("account_id") or "",
            provider=row.get("provider") or "",
            valid_from=row.get("valid_from_date") or "",
            valid_to=row.get("valid_to_date") or "9999-12-31",
        )
        scopes.setdefault((scope_type, scope_id), []).append(scope)
    for several in scopes.values():
        several.sort(key=lambda scope: not scope.provider)
    return scopes


def _account_of(values: Mapping[str, Any], scopes: Mapping[tuple[str, str], list[_Scope]]) -> str:
    day = values["started_at"].date().isoformat()
    provider = values.get("custom_llm_provider") or ""
    for scope_type, column in _SCOPES:
        scope_id = "" if column is None else values.get(column)
        if scope_id is None or (column is not None and scope_id == ""):
            continue
        for scope in scopes.get((scope_type, scope_id), ()):
            if scope.provider in ("", provider) and scope.valid_from <= day < scope.valid_to:
                return scope.account_id
    return UNASSIGNED


def read_seed(path: Path) -> list[dict[str, str]]:
    """The rows of one seed file as text; a missing file is empty."""
    if not path.is_file():
        return []
    known = path.stat()
    return _read_seed(path, known.st_ino, known.st_mtime_ns, known.st_size)


# Every file that is loaded asks for the same seeds, which change between runs and not in one.
@lru_cache(maxsize=8)
def _read_seed(path: Path, *_version: int) -> list[dict[str, str]]:
    lines = seed_lines(path)
    _, header = next(lines, (1, []))
    return [dict(zip(header, cells, strict=False)) for _, cells in lines]
