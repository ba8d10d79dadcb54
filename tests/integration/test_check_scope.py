"""Checks look again at what a run could have changed, and find what a full audit finds."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from integration.homes import Home, example_rows

from orchestration.warehouse.check_scope import (
    EVERYTHING,
    Scope,
    in_days,
    note_findings,
    note_passed,
    plan_checks,
    read_remembered,
)
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.expectations import CheckResult, run_expectations
from orchestration.warehouse.invariants import check_invariants

DAY = "2026-10-20"
# Requests of applications are matched with records up to two days off, on days that have any.
NEAR_DAYS = {"2026-10-18", "2026-10-19", DAY, "2026-10-21", "2026-10-22"}


@pytest.fixture(scope="module")
def built(example_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The example, published, then one more hour loaded and built but not checked."""
    home = example_home.copy(tmp_path_factory.mktemp("scope") / "home")
    row = next(row for row in example_rows() if row["call_type"] == "acompletion")
    times = {"startTime": f"{DAY}T10:00:00Z", "endTime": f"{DAY}T10:00:05Z"}
    fresh = [row | times | {"request_id": f"chatcmpl-hour-{number}"} for number in range(5)]
    # One comes again with other tokens, and one has no price: both are warnings on this day.
    fresh.append(fresh[0] | {"api_key": "f" * 64})
    fresh.append(row | times | {"request_id": "chatcmpl-odd", "model": "odd", "model_group": "odd"})
    home.drop_rows("hour.jsonl", fresh)
    home.load_and_build()
    return home


@pytest.fixture
def home(built: Home, tmp_path: Path) -> Home:
    return built.copy(tmp_path / "home")


def planned(home: Home, *, later: timedelta = timedelta(0)) -> Scope:
    with open_warehouse(home.runtime) as connection:
        return plan_checks(connection, home.runtime.as_of + later)


def is_about_the_day(scope: Scope) -> bool:
    return scope.days is not None and DAY in scope.days and set(scope.days) <= NEAR_DAYS


def check(home: Home, scope: Scope) -> list[CheckResult]:
    with open_warehouse(home.runtime) as connection:
        remembered = read_remembered(connection, scope)
        results = check_invariants(connection, scope)
    return results + run_expectations(
        database=home.path / "warehouse.duckdb",
        docs_folder=home.path / "checks",
        as_of=home.runtime.as_of,
        scope=scope,
        remembered=remembered,
    )


def failed(home: Home, scope: Scope) -> set[str]:
    return {each.check for each in check(home, scope) if not each.passed}


def hard_failed(home: Home, scope: Scope) -> set[str]:
    with open_warehouse(home.runtime) as connection:
        return {each.check for each in check_invariants(connection, scope) if not each.passed}


def test_an_hour_puts_its_own_days_in_question(built: Home) -> None:
    scope = planned(built)

    assert scope.reason == ""
    assert is_about_the_day(scope)


def test_days_in_question_and_remembered_ones_give_what_a_full_audit_gives(built: Home) -> None:
    bounded = check(built, planned(built))
    full = check(built, EVERYTHING)

    assert [dataclasses.replace(each, by_day=[]) for each in bounded] == [
        dataclasses.replace(each, by_day=[]) for each in full
    ]
    # The warnings of other days are among them, and so are those of this one.
    unpriced = next(each for each in bounded if each.check == "every usage is priced")
    assert unpriced.failing_rows > sum(each.rows for each in unpriced.by_day) > 0


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            f"delete from marts.usage_records where usage_date = '{DAY}' and request_id = "
            "'chatcmpl-hour-1'",
            "every_attempt_is_one_record",
        ),
        (
            f"update marts.daily_spend set gateway_cost = gateway_cost + 1e-18 "
            f"where usage_date = '{DAY}' and gateway_cost > 0",
            "spend_is_conserved",
        ),
        (
            f"update marts.daily_spend set requests = requests + 1 where usage_date = '{DAY}'",
            "costs_are_conserved",
        ),
        (
            "update marts.usage_records set input_text_uncached_tokens = 1 + "
            "input_text_uncached_tokens where request_id = 'chatcmpl-hour-2'",
            "units_are_disjoint",
        ),
        (
            "update marts.usage_records set price_set_id = 'none' "
            "where request_id = 'chatcmpl-hour-3'",
            "prices_held_at_the_moment_of_use",
        ),
        (
            "update audit.load_batches set rows_loaded = rows_loaded + 1, rows_in = rows_in + 1 "
            "where file_name like '%hour.jsonl'",
            "every_row_is_accounted_for",
        ),
    ],
)
def test_damage_on_the_days_in_question_is_found(home: Home, damage: str, found: str) -> None:
    scope = planned(home)
    home.write(damage)

    assert found in hard_failed(home, scope)


@pytest.mark.parametrize(
    ("damage", "reason", "found"),
    [
        (
            "delete from marts.usage_records where usage_date = '2026-10-03' and request_id = "
            "(select min(request_id) from marts.usage_records where usage_date = '2026-10-03')",
            "marts.usage_records has",
            "every_attempt_is_one_record",
        ),
        (
            "insert into marts.daily_spend by name "
            "select * from marts.daily_spend where usage_date = '2026-10-03' limit 1",
            "marts.daily_spend has",
            "costs_are_conserved",
        ),
        (
            "delete from raw.litellm__spend_logs where started_at < '2026-10-03'",
            "raw holds",
            "every_row_is_accounted_for",
        ),
        (
            "update marts.price_sets set valid_from_at = valid_from_at + interval 20 day",
            "price sets in use changed",
            "prices_held_at_the_moment_of_use",
        ),
    ],
)
def test_damage_on_other_days_trips_a_guard_and_the_audit_finds_it(
    home: Home, damage: str, reason: str, found: str
) -> None:
    home.write(damage)

    scope = planned(home)

    assert scope.days is None
    assert reason in scope.reason
    assert found in hard_failed(home, scope)


def test_a_week_later_or_with_the_clock_set_back_everything_is_in_question(built: Home) -> None:
    assert is_about_the_day(planned(built, later=timedelta(days=6, hours=23)))
    assert "last audit" in planned(built, later=timedelta(days=7)).reason
    assert "last audit" in planned(built, later=timedelta(seconds=-1)).reason


def test_days_stay_in_question_until_their_hard_checks_hold(home: Home) -> None:
    original = home.query(f"select * from marts.daily_spend where usage_date = '{DAY}'")
    home.write(f"update marts.daily_spend set requests = requests + 1 where usage_date = '{DAY}'")
    outcome = home.run(only="check")
    assert outcome.exit_code == 1
    # Asked for once more, it is an audit; behind a build, it is the same day again.
    home.write("update audit.state set value = 'built' where name = 'marts'")
    assert is_about_the_day(planned(home))

    home.write(f"update marts.daily_spend set requests = requests - 1 where usage_date = '{DAY}'")
    assert home.query(f"select * from marts.daily_spend where usage_date = '{DAY}'") == original
    assert home.run(only="check").exit_code == 0
    home.write("update audit.state set value = 'built' where name = 'marts'")
    assert planned(home).days == ()


def test_a_check_asked_for_by_itself_is_an_audit(home: Home) -> None:
    assert home.run(only="check").exit_code == 0

    assert planned(home).reason == "asked for"


def test_a_catalog_or_a_full_refresh_puts_everything_in_question(home: Home) -> None:
    home.load_and_build(full_refresh=True)

    assert planned(home).reason == "every day was built"


def test_what_was_found_is_replaced_when_a_day_is_checked_again(home: Home) -> None:
    scope = planned(home)
    results = check(home, scope)
    found = {each.check: each.by_day for each in results}
    with open_warehouse(home.runtime) as connection:
        for _ in range(2):
            note_findings(connection, scope, found)
            note_passed(connection, scope, home.runtime.as_of)
        counted = connection.execute(
            "select count(*), sum(failing_rows) from audit.check_days where usage_date = $day",
            {"day": DAY},
        ).fetchall()
        totals = connection.execute(
            'select sum("rows") from audit.day_totals where table_name = $name',
            {"name": "marts.usage_records"},
        ).fetchall()
        records = connection.execute("select count(*) from marts.usage_records").fetchall()

    assert counted[0][0] == sum(
        str(found_on.day) == DAY for each in results for found_on in each.by_day
    )
    assert totals == records


def test_days_become_literal_half_open_ranges() -> None:
    assert in_days("t", None) == "true"
    assert in_days("t", []) == "false"
    assert in_days("t", ["2026-10-02", "2026-10-01", "2026-10-05"]) == (
        "((t >= timestamp '2026-10-01' and t < timestamp '2026-10-03') or "
        "(t >= timestamp '2026-10-05' and t < timestamp '2026-10-06'))"
    )
