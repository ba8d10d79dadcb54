"""Contract prices, markup, charges and own keys, held against a calculation of its own."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from integration.homes import Home, differing, query

from orchestration.warehouse import transform
from orchestration.warehouse.connection import open_warehouse

UNITS = ("input_text_uncached_tokens", "input_cached_read_tokens", "output_text_tokens")
# Input by contract, the rest of OpenAI 15 % below the list; markup on it all, but for one team.
INPUT, DISCOUNT = Decimal("0.000000900"), Decimal("0.15")
RATE, MODEL_RATE, FEE = Decimal("0.10"), Decimal("0.25"), Decimal("0.0005")
SEEDS = {
    "contract_prices": [
        "contract_price_id,provider_account_id,provider,model,unit,unit_price,unit_size,"
        "discount_rate,currency,valid_from_at,valid_to_at",
        "openai-input,openai-brindlemoor,openai,,input_text_uncached_tokens,0.9,1000000,,USD,"
        "2026-01-01T00:00:00Z,",
        f"openai-all,openai-brindlemoor,openai,,,,1,{DISCOUNT},USD,2026-01-01T00:00:00Z,",
        "anthropic-later,anthropic-brindlemoor,anthropic,,,,1,0.5,USD,2027-01-01T00:00:00Z,",
    ],
    "markup_rules": [
        "rule_id,account_id,provider,model,markup_rate,fixed_fee,valid_from_date,valid_to_date",
        f"everything,brindlemoor,,,{RATE},,2026-01-01,",
        f"claude,brindlemoor,anthropic,claude-sonnet-4-5-20250929,{MODEL_RATE},{FEE},2026-01-01,",
    ],
    "account_scopes": [
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,"
        "valid_from_date,valid_to_date",
        "brindlemoor,litellm,gateway,,,managed,rule,2026-01-01,",
        "brindlemoor-lab,litellm,team,team-research,,managed,charge,2026-01-01,",
        "brindlemoor,litellm,gateway,,mistral,byok,rule,2026-01-01,",
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.create(tmp_path_factory.mktemp("billing") / "home")
    for name, lines in SEEDS.items():
        (home.path / "seeds" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    home.drop_example()
    outcome = home.run()
    assert outcome.status == "published", outcome.problems
    return home


def records(home: Home, where: str) -> list[dict[str, Any]]:
    """Records with the list prices of their moment."""
    names = [
        "usage_record_id", "model", "account_id", "provider", "billing_mode", "billed_basis",
        "cost_status", "requests", "gateway_cost", "list_cost", "provider_cost", "billed_cost",
        "markup_rate", "fixed_fee", "payee", "contract_price_id",
    ]  # fmt: skip
    columns = [f"u.{name}" for name in (*names, *UNITS)]
    columns += [f"p.{name}_price" for name in UNITS]
    rows = query(
        home.published,
        f"select {', '.join(columns)} from marts.usage_records as u "
        f"left join marts.price_sets as p on u.price_set_id = p.price_set_id where {where}",
    )
    return [
        dict(zip([each.partition(".")[2] for each in columns], row, strict=True)) for row in rows
    ]


def rounded(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("1e-18"), ROUND_HALF_UP)


def price_of(record: dict[str, Any], unit: str) -> Decimal:
    return record[f"{unit}_price"] or Decimal(0)


def only_text(home: Home, where: str) -> list[dict[str, Any]]:
    """Priced records of which every consumed unit is one of UNITS."""
    found = records(home, f"u.cost_status = 'priced' and {where}")
    return [
        each
        for each in found
        if sum((each[unit] or 0) * price_of(each, unit) for unit in UNITS) == each["list_cost"]
    ]


def test_openai_costs_what_the_contract_says_with_markup(home: Home) -> None:
    found = only_text(home, "u.provider = 'openai' and u.account_id = 'brindlemoor'")

    assert len(found) > 50
    for each in found:
        prices = {unit: rounded(price_of(each, unit) * (1 - DISCOUNT)) for unit in UNITS}
        prices["input_text_uncached_tokens"] = INPUT
        expected = sum((each[unit] or 0) * prices[unit] for unit in UNITS)
        assert each["provider_cost"] == expected, each
        assert each["billed_cost"] == rounded(expected * (1 + RATE)), each
        assert (each["payee"], each["contract_price_id"]) == ("openai", "openai-all")


def test_a_rule_for_a_model_stands_before_one_for_everything(home: Home) -> None:
    found = only_text(home, "u.provider = 'anthropic' and u.account_id = 'brindlemoor'")
    special = [each for each in found if each["model"] == "claude-sonnet-4-5-20250929"]

    assert special
    for each in found:
        assert each["provider_cost"] == each["list_cost"]
        rate, fee = (MODEL_RATE, FEE) if each in special else (RATE, Decimal(0))
        assert (each["markup_rate"], each["fixed_fee"]) == (rate, fee * each["requests"])
        assert each["billed_cost"] == rounded(each["list_cost"] * (1 + rate)) + each["fixed_fee"]


def test_a_charge_is_what_the_gateway_recorded_failures_included(home: Home) -> None:
    found = records(home, "u.account_id = 'brindlemoor-lab'")

    assert found
    for each in found:
        assert each["billed_cost"] == each["gateway_cost"]
        assert (each["billed_basis"], each["payee"]) == ("charge", "litellm")


def test_lines_still_add_up_and_a_second_build_changes_nothing(home: Home, tmp_path: Path) -> None:
    copy = home.copy(tmp_path / "home")
    runtime = copy.runtime
    with open_warehouse(runtime) as connection:
        plan = transform.plan_build(connection, runtime)
    names = ("assert_cost_lines_add_up_to_usage_records", "tag:ci,usage_records")
    results = transform.invoke_dbt(
        runtime,
        ["test", "--select", *names],
        variables=transform.build_variables(runtime, plan),
    )
    before = copy.marts()
    copy.load_and_build(full_refresh=True)

    assert {each.status for each in results} == {"pass"}
    assert any("cost_lines" in each.unique_id for each in results)
    assert differing(copy.marts(), before) == []
