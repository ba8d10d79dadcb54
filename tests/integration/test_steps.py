"""What a run answers when a step is taken alone, fails, or meets bad files: exit code, readers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from integration.homes import Home, example_rows, query

from orchestration.config import ConfigurationError
from orchestration.warehouse.expectations import ChecksNotRunError

LATER = {"request_id": "chatcmpl-later", "startTime": "2026-10-31T23:00:00Z"}


@pytest.fixture
def home(example_home: Home, tmp_path: Path) -> Home:
    """The example as published in version 1, to be changed."""
    return example_home.copy(tmp_path / "home")


def later_row() -> dict[str, object]:
    row = next(row for row in example_rows() if row["call_type"] == "acompletion")
    return row | LATER | {"endTime": "2026-10-31T23:00:05Z"}


def published_version(home: Home) -> str:
    return home.published.resolve().name


def count_later(database: Path) -> int:
    ((count,),) = query(
        database, "select count(*) from marts.usage_records where request_id = 'chatcmpl-later'"
    )
    return count


def test_each_step_alone_does_its_part_and_no_more(home: Home) -> None:
    own = home.path / "warehouse.duckdb"
    home.drop_rows("later.jsonl", [later_row()])

    loaded = home.run(only="load")
    assert (loaded.status, loaded.exit_code) == ("done", 0)
    assert loaded.load is not None
    assert loaded.load.total("rows_loaded") == 1
    assert count_later(own) == 0

    built = home.run(only="build")
    assert (built.status, built.exit_code) == ("done", 0)
    assert (count_later(own), count_later(home.published)) == (1, 0)

    # What was not checked since it changed is not published, whoever asks for it.
    early = home.run(only="publish")
    assert (early.status, early.exit_code) == ("failed", 1)
    assert "not checked since" in early.problems[0]
    assert count_later(home.published) == 0

    checked = home.run(only="check")
    assert (checked.status, checked.exit_code, checked.problems) == ("done", 0, [])
    assert count_later(home.published) == 0

    published = home.run(only="publish")
    assert (published.status, published.exit_code, published.version) == ("published", 0, 2)
    assert count_later(home.published) == 1


def test_extract_and_export_alone_have_nothing_to_do_yet(home: Home) -> None:
    for step in ("extract", "export"):
        outcome = home.run(only=step)
        assert (outcome.status, outcome.exit_code) == ("done", 0)
    with pytest.raises(ConfigurationError, match="--only bake: expected one of extract, load"):
        home.run(only="bake")


def test_failed_hard_check_stops_the_publish_and_readers_keep_the_last_version(
    home: Home,
) -> None:
    before = home.published.read_bytes()
    home.write(
        "delete from marts.usage_records where request_id = "
        "(select min(request_id) from marts.usage_records)"
    )

    checked = home.run(only="check")
    published = home.run(only="publish")

    assert (checked.status, checked.exit_code) == ("failed", 1)
    assert any("every_attempt_is_one_record" in problem for problem in checked.problems)
    assert any("spend_is_conserved" in problem for problem in checked.problems)
    assert (published.status, published.exit_code) == ("failed", 1)
    assert "hard checks failed: activity_is_conserved" in published.problems[0]
    assert "costs_are_conserved (1 rows)" in published.problems[0]
    assert published_version(home) == "tollbook-1.duckdb"
    assert home.published.read_bytes() == before
    failed = home.query(
        "select \"check\" from audit.check_results where severity = 'hard' and not passed"
    )
    assert {check for (check,) in failed} >= {"every_attempt_is_one_record", "spend_is_conserved"}


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (
            "insert into marts.usage_records select * from marts.usage_records limit 1",
            "every_attempt_is_one_record",
        ),
        (
            "update marts.daily_spend set gateway_cost = gateway_cost + 1e-18 "
            "where gateway_cost = (select max(gateway_cost) from marts.daily_spend)",
            "spend_is_conserved",
        ),
        (
            "update marts.daily_spend set output_text_tokens = output_text_tokens + 1 "
            "where rowid = (select max(rowid) from marts.daily_spend where requests > 0)",
            "costs_are_conserved",
        ),
        (
            "update marts.usage_records set input_text_uncached_tokens = 1 + "
            "input_text_uncached_tokens where list_cost = "
            "(select max(list_cost) from marts.usage_records)",
            "units_are_disjoint",
        ),
        (
            "update marts.usage_records set started_at = timestamp '2025-01-01' where "
            "usage_record_id = (select min(usage_record_id) from marts.usage_records "
            "where cost_status = 'priced')",
            "prices_held_at_the_moment_of_use",
        ),
        (
            "update marts.price_snapshots set valid_to_at = timestamp '9999-12-31' "
            "where valid_to_at < timestamp '9999-12-31'",
            "price_validity_does_not_overlap",
        ),
        (
            "delete from raw.litellm__spend_logs where _source_line = 1",
            "every_row_is_accounted_for",
        ),
        (
            "update intermediate.int_chargeback__days set requests = requests + 1 "
            "where usage_date = (select min(usage_date) from intermediate.int_chargeback__days)",
            "chargeback_loses_no_usage",
        ),
        (
            "update marts.chargeback set total_cost = total_cost + 0.000000000000000001 "
            "where total_cost = (select max(total_cost) from marts.chargeback)",
            "chargeback_is_conserved",
        ),
        (
            "update marts.chargeback set period_status = 'closed' "
            "where total_cost = (select max(total_cost) from marts.chargeback)",
            "closed_periods_stand",
        ),
        (
            "update intermediate.int_wallet__usage set debit_cost = 1 + debit_cost "
            "where debit_cost = (select max(debit_cost) from intermediate.int_wallet__usage)",
            "wallet_usage_is_conserved",
        ),
        (
            "insert into marts.wallet_ledger by name select 'usage/w' as entry_id, "
            "'w' as wallet_id, 'a' as account_id, '2026-10' as billing_month, -1 as amount, "
            "'usage_debit' as entry_type, timestamp '2026-10-01' as occurred_at, "
            "timestamp '2026-10-01' as happened_at, "
            "timestamp '2026-10-01' as window_from_at, 'USD' as currency, 0 as balance_after, "
            "false as has_payment, 'usage' as origin, true as is_wallet_known",
            "every_debit_is_booked_once",
        ),
        (
            "insert into marts.wallet_balances by name select 'w' as wallet_id, "
            "'a' as account_id, 0.01 as balance_amount, 'USD' as currency, 'ok' as status, "
            "0 as refused_requests, timestamp '2026-10-01' as as_of_at",
            "balances_are_sums_of_the_ledger",
        ),
    ],
)
def test_each_invariant_finds_what_it_stands_for(
    example_home: Home, tmp_path: Path, damage: str, check: str
) -> None:
    from orchestration.warehouse.connection import open_warehouse
    from orchestration.warehouse.invariants import check_invariants

    home = Home.create(tmp_path / "home")
    shutil.copyfile(example_home.path / "warehouse.duckdb", home.path / "warehouse.duckdb")
    home.write(damage)

    with open_warehouse(home.runtime) as connection:
        failed = {
            result.check: result for result in check_invariants(connection) if not result.passed
        }

    assert check in failed
    assert failed[check].failing_rows > 0
    assert failed[check].failing_keys


def test_checks_that_cannot_run_publish_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of the last run, all passed, must not stand in for those of this one."""

    def fail(**_arguments: object) -> None:
        raise ChecksNotRunError("the checks could not run")

    monkeypatch.setattr("orchestration.warehouse.expectations.run_expectations", fail)
    home.drop_rows("later.jsonl", [later_row()])

    outcome = home.run()
    alone = home.run(only="publish")

    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert any("the checks could not run" in problem for problem in outcome.problems)
    assert (alone.status, alone.exit_code) == ("failed", 1)
    assert published_version(home) == "tollbook-1.duckdb"


def test_failed_model_fails_the_run_and_the_next_run_recovers(
    home: Home, example_home: Home
) -> None:
    home.drop_rows("later.jsonl", [later_row()])
    home.write("alter table raw.app__requests rename column _load_batch_id to batch_of_yesterday")

    outcome = home.run()

    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert "batch_of_yesterday" in " ".join(outcome.problems)
    assert published_version(home) == "tollbook-1.duckdb"
    # Half a build is not published by its later steps either, not even after a check.
    home.run(only="check")
    alone = home.run(only="publish")
    assert (alone.status, alone.exit_code) == ("failed", 1)
    assert query(home.published, "select count(*) from marts.usage_records") == [(636,)]

    home.write("alter table raw.app__requests rename column batch_of_yesterday to _load_batch_id")
    recovered = home.run()

    assert (recovered.status, recovered.exit_code, recovered.version) == ("published", 0, 2)
    assert count_later(home.published) == 1
    before = query(example_home.published, "select sum(list_cost) from marts.usage_records")
    after = query(
        home.published,
        "select sum(list_cost) from marts.usage_records where request_id <> 'chatcmpl-later'",
    )
    assert after == before


def test_rejected_and_mostly_refused_files_are_published_with_exit_code_3(home: Home) -> None:
    rows = [later_row() | {"request_id": f"chatcmpl-later-{number}"} for number in range(10)]
    home.drop("litellm_prod/torn.parquet", b"PAR1 and then nothing")
    home.drop_rows("poor.jsonl", [rows[0] | {"spend": -1}, *rows[1:]])
    home.drop_rows("later.jsonl", [later_row()])

    outcome = home.run()

    assert (outcome.status, outcome.exit_code, outcome.version) == ("published", 3, 2)
    assert len(outcome.problems) == 2
    assert any("litellm_prod/torn.parquet: rejected: " in problem for problem in outcome.problems)
    assert "litellm_prod/poor.jsonl: 1 of 10 rows quarantined" in outcome.problems
    assert count_later(home.published) == 1
    refused = query(home.published, "select file_name, reason_code from audit.quarantine")
    assert refused == [("litellm_prod/poor.jsonl", "negative_spend")]
