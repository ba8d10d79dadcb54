"""What a new price catalog, or a context met for the first time, makes a build do, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration.homes import Home, differing

from orchestration.warehouse import transform
from orchestration.warehouse.connection import open_warehouse

DAYS = range(1, 21)
# Days on which model a is used; b is used on all, c only from the second delivery on.
DAYS_OF_A = (1, 2, 3, 12, 15)


def row(day: int, model: str, *, tier: str | None = None, **fields: Any) -> dict[str, Any]:
    moment = f"2026-10-{day:02d}T10:00:00+00:00"
    return {
        "request_id": f"{model}-{day}-{tier}",
        "call_type": "acompletion",
        "api_key": "a" * 64,
        "spend": 0.001,
        "prompt_tokens": 1000,
        "completion_tokens": 0,
        "total_tokens": 1000,
        "startTime": moment,
        "endTime": moment,
        "model": model,
        "custom_llm_provider": "openai",
        "status": "success",
        "metadata": {"usage_object": {"service_tier": tier}} if tier else {},
        **fields,
    }


def price(amount: float) -> dict[str, Any]:
    return {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": amount,
        "output_cost_per_token": amount,
    }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Built once, then every record marked, so that a rebuilt one is known by its missing mark."""
    home = Home.create(tmp_path / "home")
    rows = [row(day, "b") for day in DAYS] + [row(day, "a") for day in DAYS_OF_A]
    home.drop_rows("first.jsonl", rows)
    home.drop_prices("20261001", {"a": price(1e-06), "b": price(2e-06), "c": price(3e-06)})
    home.load_and_build()
    home.write("update marts.usage_records set error_type = 'as it was'")
    return home


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


@pytest.mark.long
def test_a_catalog_rebuilds_the_days_whose_prices_it_changes(home: Home) -> None:
    home.drop_prices("20261010", {"a": price(5e-06), "b": price(2e-06), "c": price(3e-06)})
    steps = home.load_and_build()

    assert steps.log.plan is not None
    assert steps.log.plan.touched_days == ()
    assert rebuilt(home) == {12, 15}
    costs = home.query(
        "select day(usage_date), list_cost * 1000 from marts.usage_records where model = 'a' "
        "order by 1"
    )
    assert [(day, float(cost)) for day, cost in costs] == [
        (1, 1.0), (2, 1.0), (3, 1.0), (12, 5.0), (15, 5.0)
    ]  # fmt: skip
    assert equals_full_refresh(home)


@pytest.mark.long
def test_a_catalog_of_the_past_rebuilds_the_past(home: Home) -> None:
    """Learned last, observed first: what was cast back is priced by it now."""
    home.drop_prices("20260901", {"a": price(9e-06), "b": price(2e-06), "c": price(3e-06)})
    home.load_and_build()

    # What is in force is the same, but known to have begun earlier: another price by its id.
    assert rebuilt(home) == set(DAYS)
    home.drop_rows("early.jsonl", [row(1, "a", startTime="2026-09-30T10:00:00+00:00")])
    home.load_and_build()
    ((cost,),) = home.query(
        "select list_cost from marts.usage_records where usage_date < '2026-10-01'"
    )
    assert float(cost) == 0.009
    assert equals_full_refresh(home)


@pytest.mark.long
def test_a_context_met_first_is_priced_without_touching_others(home: Home) -> None:
    sets = home.query("select count(*) from marts.price_sets")[0][0]
    home.drop_rows("second.jsonl", [row(20, "c"), row(20, "b", tier="flex")])
    home.load_and_build()

    assert rebuilt(home) == {20}
    assert home.query("select count(*) from marts.price_sets")[0][0] > sets
    statuses = home.query("select distinct cost_status from marts.usage_records")
    assert statuses == [("priced",)]
    assert equals_full_refresh(home)


@pytest.mark.long
def test_a_context_goes_with_its_last_record(home: Home) -> None:
    """A correction says that the only calls of a on these days were of b."""
    corrected = [
        row(day, "a") | {"model": "b", "updated_at": "2026-10-25T00:00:00Z"} for day in DAYS_OF_A
    ]
    home.drop_rows("corrected.jsonl", corrected)
    home.load_and_build()

    assert rebuilt(home) == set(DAYS_OF_A)
    assert home.query("select distinct price_model from marts.price_sets") == [("b",)]
    assert equals_full_refresh(home)


@pytest.mark.long
def test_days_to_reprice_survive_a_build_that_stopped(home: Home) -> None:
    """The sets are committed before the records; a kill in between must not leave old costs."""
    home.drop_prices("20261010", {"a": price(5e-06), "b": price(2e-06), "c": price(3e-06)})
    home.steps().load()
    with open_warehouse(home.runtime) as connection:
        plan = transform.plan_build(connection, home.runtime)
    nodes = transform.build_marts(home.runtime, plan, select=["+price_sets"])
    assert transform.failed_nodes(nodes) == []
    assert rebuilt(home) == set()

    home.load_and_build()

    assert rebuilt(home) == {12, 15}
    assert equals_full_refresh(home)
