"""Closed periods: the account's last closed month, in its own zone, by the most specific scope."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.config import ConfigurationError
from orchestration.warehouse.closed_periods import closed_period_test

ACCOUNTS = "account_id,name,currency,time_zone,closed_through\n"
SCOPES = "account_id,gateway,scope_type,scope_id,provider,valid_from_date,valid_to_date\n"


def is_closed(folder: Path, accounts: str, scopes: str, moment: str, **values: Any) -> bool:
    (folder / "accounts.csv").write_text(ACCOUNTS + accounts)
    (folder / "account_scopes.csv").write_text(SCOPES + scopes)
    test = closed_period_test(folder, "litellm")
    return test is not None and test({"started_at": datetime.fromisoformat(moment), **values})


def test_nothing_is_closed_without_accounts(tmp_path: Path) -> None:
    assert closed_period_test(tmp_path, "litellm") is None
    assert not is_closed(tmp_path, "a,A,USD,UTC,\n", "", "2026-01-01")


@pytest.mark.parametrize(
    ("zone", "last", "first"),
    [
        ("UTC", "2026-05-31 23:59:59.999999", "2026-06-01 00:00"),
        ("America/New_York", "2026-06-01 03:59:59.999999", "2026-06-01 04:00"),
        ("Asia/Kolkata", "2026-05-31 18:29:59.999999", "2026-05-31 18:30"),
        ("", "2026-05-31 23:59:59.999999", "2026-06-01 00:00"),
    ],
)
def test_a_month_ends_by_the_clock_of_its_account(
    zone: str, last: str, first: str, tmp_path: Path
) -> None:
    accounts, scopes = f"a,A,USD,{zone},2026-05\n", "a,litellm,gateway,,,2020-01-01,\n"

    assert is_closed(tmp_path, accounts, scopes, last)
    assert not is_closed(tmp_path, accounts, scopes, first)


def test_december_is_followed_by_january(tmp_path: Path) -> None:
    accounts, scopes = "a,A,USD,UTC,2025-12\n", "a,,gateway,,,,\n"

    assert is_closed(tmp_path, accounts, scopes, "2025-12-31 23:59:59")
    assert not is_closed(tmp_path, accounts, scopes, "2026-01-01 00:00")


def test_the_most_specific_scope_decides(tmp_path: Path) -> None:
    accounts = "open,O,USD,UTC,\nshut,S,USD,UTC,2026-05\n"
    scopes = (
        "shut,litellm,gateway,,,2020-01-01,\n"
        "open,litellm,team,t,,2020-01-01,\n"
        "shut,litellm,key,k,,2020-01-01,\n"
    )

    def closed(**values: Any) -> bool:
        return is_closed(tmp_path, accounts, scopes, "2026-05-01", **values)

    assert closed()
    assert not closed(team_id="t")
    assert closed(team_id="t", api_key_id="k")
    assert closed(team_id="other", api_key_id=None)


def test_a_scope_that_names_the_provider_comes_before_one_that_does_not(tmp_path: Path) -> None:
    accounts = "open,O,USD,UTC,\nshut,S,USD,UTC,2026-05\n"
    scopes = "open,litellm,gateway,,,,\nshut,litellm,gateway,,anthropic,,\n"

    def closed(provider: str | None) -> bool:
        return is_closed(tmp_path, accounts, scopes, "2026-05-01", custom_llm_provider=provider)

    assert closed("anthropic")
    assert not closed("openai")
    assert not closed(None)


def test_a_scope_holds_from_its_first_day_to_before_its_last(tmp_path: Path) -> None:
    accounts = "a,A,USD,UTC,2026-05\n"
    scopes = "a,litellm,gateway,,,2026-04-01,2026-05-01\n"

    days = ("2026-03-31 23:59", "2026-04-01 00:00", "2026-04-30 23:59", "2026-05-01 00:00")
    found = [is_closed(tmp_path, accounts, scopes, day) for day in days]

    assert found == [False, True, True, False]


def test_scopes_of_other_gateways_do_not_count(tmp_path: Path) -> None:
    scopes = "a,other,gateway,,,,\n"

    assert not is_closed(tmp_path, "a,A,USD,UTC,2026-05\n", scopes, "2026-05-01")


@pytest.mark.parametrize(
    ("accounts", "fix"),
    [
        ("a,A,USD,Mars/Base,2026-05\n", "time_zone: write an IANA name"),
        ("a,A,USD,UTC,May 2026\n", "closed_through: write a month like 2026-05"),
        ("a,A,USD,UTC,2026-13\n", "closed_through: write a month like 2026-05"),
    ],
)
def test_a_seed_that_cannot_be_meant_names_the_fix(accounts: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=fix):
        is_closed(tmp_path, accounts, "", "2026-05-01")
