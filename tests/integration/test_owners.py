"""Who owns what, and what a change of it makes a build do: the days concerned, and no more."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from integration.homes import Home, differing

from orchestration.defs.run import run_sync
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.invariants import check_invariants

DAYS = range(1, 11)
OLD, NEW, OWNED, STRANGER = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
SEEDS: dict[str, str] = {
    "accounts": (
        "account_id,name,currency,time_zone\nhq,Head office,USD,UTC\nlab,Lab,EUR,Asia/Tokyo\n"
    ),
    "account_scopes": (
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,"
        "valid_from_date,valid_to_date\n"
        "hq,litellm,gateway,,,managed,rule,2026-01-01,\n"
        "lab,litellm,team,team-lab,,byok,charge,2026-01-01,\n"
    ),
    "provider_accounts": (
        "provider_account_id,provider,currency,time_zone,valid_from_date\n"
        "openai-hq,openai,USD,UTC,2026-01-01\n"
    ),
    "fx_rates": "rate_date,base_currency,quote_currency,rate,source\n"
    + "".join(f"2026-10-{day:02d},USD,EUR,0.5,test\n" for day in DAYS),
    "teams": "team_id,team_name,cost_center\nteam-shop,Shop,CC-1\nteam-lab,Lab,CC-2\n",
    "key_owners": (
        "api_key_id,team_id,cost_center,valid_from_date,valid_to_date\n"
        f"{OWNED},team-shop,CC-1,2026-01-01,\n"
    ),
}


def row(day: int, key: str, **fields: Any) -> dict[str, Any]:
    moment = f"2026-10-{day:02d}T16:00:00+00:00"
    return {
        "request_id": f"{key[:1]}-{day}",
        "call_type": "acompletion",
        "api_key": key,
        "spend": 0.003,
        "prompt_tokens": 1000,
        "completion_tokens": 0,
        "total_tokens": 1000,
        "startTime": moment,
        "endTime": moment,
        "model": "m",
        "custom_llm_provider": "openai",
        "status": "success",
        "metadata": {},
        **fields,
    }


def rows() -> list[dict[str, Any]]:
    return [row(day, key) for day in DAYS for key in (OWNED, OLD)] + [row(3, STRANGER)]


def owner_tables(observed: str, team: str) -> str:
    """The gateway's tables as they stood on a day: the new key, and the one it replaced."""
    at = f"{observed}T12:00:00Z"
    key = {"litellm_table": "LiteLLM_VerificationToken", "token": NEW, "key_alias": "bot"}
    replaced = {"litellm_table": "LiteLLM_DeprecatedVerificationToken", "token": OLD}
    return json.dumps(
        [
            {**key, "team_id": team, "observed_at": at},
            {**replaced, "active_token_id": NEW, "observed_at": at},
        ]
    )


def write_seed(home: Home, name: str, text: str) -> None:
    (home.path / "seeds" / f"{name}.csv").write_text(text)


def create(path: Path) -> Home:
    home = Home.create(path)
    for seed in (home.path / "seeds").glob("*.csv"):
        if seed.stem not in ("unit_types", "provider_line_items"):
            seed.unlink()
    for name, text in SEEDS.items():
        write_seed(home, name, text)
    prices = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-06}
    home.drop_prices("20260901", {"m": {**prices, "output_cost_per_token": 2e-06}})
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Built once, then every record marked, so that a rebuilt one is known by its missing mark."""
    home = create(tmp_path / "home")
    home.drop_rows("first.jsonl", rows())
    home.load_and_build()
    mark(home)
    return home


def mark(home: Home) -> None:
    home.write("update marts.usage_records set error_type = 'as it was'")


def rebuilt(home: Home) -> set[int]:
    found = home.query(
        "select distinct day(usage_date) from marts.usage_records where error_type is null"
    )
    return {day for (day,) in found}


def equals_full_refresh(home: Home) -> bool:
    home.write("update marts.usage_records set error_type = null")
    before = home.marts()
    home.load_and_build(full_refresh=True)
    return differing(before, home.marts()) == []


def owners(home: Home, key: str) -> list[tuple[Any, ...]]:
    return home.query(
        "select distinct team_id, cost_center, account_id, currency, owner_resolution "
        "from marts.usage_records where api_key_id = ? order by all",
        [key],
    )


def test_a_record_finds_its_owner_account_and_contract(home: Home) -> None:
    assert owners(home, OWNED) == [("team-shop", "CC-1", "hq", "USD", "key_owners")]
    assert owners(home, STRANGER) == [(None, None, "hq", "USD", "none")]
    assert home.query("select distinct provider_account_id from marts.usage_records") == [
        ("openai-hq",)
    ]


def test_a_changed_owner_map_rebuilds_the_days_it_concerns(home: Home) -> None:
    """From 5 to 7 October the key belonged to the lab, which owes in euros and Tokyo's days."""
    header, _, _ = SEEDS["key_owners"].partition("\n")
    spans = (
        "team-shop,CC-1,2026-01-01,2026-10-05",
        "team-lab,,2026-10-05,2026-10-07",
        "team-shop,CC-1,2026-10-07,",
    )
    lines = [header, *(f"{OWNED},{span}" for span in spans)]
    write_seed(home, "key_owners", "".join(f"{line}\n" for line in lines))

    steps = home.load_and_build()

    assert steps.log.plan is not None
    assert steps.log.plan.touched_days == ()
    assert rebuilt(home) == {5, 6}
    moved = home.query(
        "select day(billing_date), currency, list_cost, gateway_cost, logged_cost, billing_mode, "
        "billed_basis, cost_center from marts.usage_records where team_id = 'team-lab' order by 1"
    )
    assert moved == [
        (day + 1, "EUR", Decimal("0.001"), Decimal("0.0015"), Decimal("0.003"), "byok", "charge",
         "CC-2")
        for day in (5, 6)
    ]  # fmt: skip
    assert equals_full_refresh(home)


def test_the_gateways_own_tables_lead_from_a_rotated_key_to_its_owner(home: Home) -> None:
    home.drop("owners/one.json", owner_tables("2026-10-04", "team-shop"))
    home.load_and_build()

    # What was seen first of a key holds for the time before.
    assert rebuilt(home) == set(DAYS)
    assert owners(home, OLD) == [("team-shop", "CC-1", "hq", "USD", "rotated_key")]
    mark(home)
    home.drop("owners/two.json", owner_tables("2026-10-09", "team-lab"))
    home.load_and_build()

    assert rebuilt(home) == {9, 10}
    assert owners(home, OLD) == [
        ("team-lab", "CC-2", "lab", "EUR", "rotated_key"),
        ("team-shop", "CC-1", "hq", "USD", "rotated_key"),
    ]
    assert equals_full_refresh(home)


def test_news_about_nobody_who_used_anything_rebuilds_nothing(home: Home) -> None:
    write_seed(home, "teams", SEEDS["teams"] + "team-new,New,CC-3\n")
    home.load_and_build()

    assert rebuilt(home) == set()
    assert home.query("select count(*) from reference.teams") == [(3,)]


@pytest.mark.long
def test_an_exchange_rate_rebuilds_its_day(home: Home) -> None:
    scopes = SEEDS["account_scopes"] + "lab,litellm,key," + OLD + ",,managed,rule,2026-01-01,\n"
    write_seed(home, "account_scopes", scopes)
    home.load_and_build()
    assert rebuilt(home) == set(DAYS)
    mark(home)

    write_seed(home, "fx_rates", SEEDS["fx_rates"].replace("2026-10-04,USD,EUR,0.5,test\n", ""))
    home.load_and_build()

    assert rebuilt(home) == {4}
    assert home.query(
        "select cost_status, list_cost, gateway_cost, logged_cost from marts.usage_records "
        "where usage_date = '2026-10-04' and api_key_id = ?",
        [OLD],
    ) == [("unpriced", None, None, Decimal("0.003"))]
    assert equals_full_refresh(home)


@pytest.mark.long
def test_a_sync_makes_dropped_owners_visible_and_the_run_the_rest(home: Home) -> None:
    home.write("update marts.usage_records set error_type = null")
    assert home.run(full_refresh=True).status == "published"
    home.drop("owners/one.json", owner_tables("2026-10-04", "team-lab"))

    assert run_sync(home.runtime).status == "published"

    assert owners(home, OLD) == [("team-lab", "CC-2", "lab", "EUR", "rotated_key")]
    assert home.query("select count(*) from marts.key_owners where api_key_id = ?", [NEW]) == [(0,)]
    assert home.run().status == "published"
    assert home.query("select count(*) from marts.key_owners where api_key_id = ?", [NEW]) == [(1,)]
    assert equals_full_refresh(home)


@pytest.mark.long
def test_owners_are_the_same_in_whatever_order_and_pieces_things_arrive(
    home: Home, tmp_path: Path
) -> None:
    home.write("update marts.usage_records set error_type = null")
    tables = [owner_tables("2026-10-04", "team-shop"), owner_tables("2026-10-09", "team-lab")]
    for number, text in enumerate(tables):
        home.drop(f"owners/{number}.json", text)
    home.load_and_build()
    shuffled = random.Random(7).sample(rows(), len(rows()))  # noqa: S311

    other = create(tmp_path / "other")
    other.drop("owners/late.json", tables[1])
    other.drop_rows("one.jsonl", shuffled[:7])
    other.load_and_build()
    other.drop_rows("two.jsonl", shuffled[7:])
    other.drop("owners/early.json", tables[0])
    other.load_and_build()

    assert differing(home.marts(), other.marts()) == []


@pytest.mark.long
def test_usage_lost_from_an_activity_mart_is_found(home: Home) -> None:
    with open_warehouse(home.runtime) as connection:
        sound = {each.check: each.passed for each in check_invariants(connection)}
    home.write("update marts.team_daily_activity set billed_cost = 1 where team_id is null")

    with open_warehouse(home.runtime) as connection:
        checks = {each.check: each for each in check_invariants(connection)}

    assert set(sound.values()) == {True}
    assert checks["activity_is_conserved"].failing_keys[0] == "team/2026-10-01/USD"
    assert [name for name, each in checks.items() if not each.passed] == ["activity_is_conserved"]
