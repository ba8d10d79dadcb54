"""The five-minute job: new usage visible soon, and the same marts as without it in the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from integration.homes import Home, differing, example_rows, hash_marts, query

from orchestration.cli import invoke
from orchestration.config import ConfigurationError
from orchestration.defs.code_location import build_code_location
from orchestration.defs.resources import tollbook_resource
from orchestration.defs.run import run_sync
from orchestration.defs.steps import HardCheckFailedError
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.reading import has_news, has_sync_news

DAY = "2026-10-20"


@pytest.fixture
def home(example_home: Home, tmp_path: Path) -> Home:
    return example_home.copy(tmp_path / "home")


def usage(number: int, *, day: str = DAY, **changes: Any) -> dict[str, Any]:
    row = next(row for row in example_rows() if row["call_type"] == "acompletion")
    times = {"startTime": f"{day}T10:00:00Z", "endTime": f"{day}T10:00:05Z"}
    return row | times | {"request_id": f"chatcmpl-sync-{number}"} | changes


def visible(home: Home) -> int:
    ((count,),) = query(
        home.published,
        "select count(*) from marts.usage_records where request_id like 'chatcmpl-sync-%'",
    )
    return count


def test_new_usage_is_visible_and_the_next_run_makes_the_rest_of_it(
    home: Home, example_home: Home, tmp_path: Path
) -> None:
    before = query(home.published, "from marts.exceptions order by all")
    rows = [usage(1), usage(2, day="2026-10-02"), usage(1, api_key="f" * 64)]
    home.drop_rows("live.jsonl", rows)

    outcome = run_sync(home.runtime)

    assert (outcome.status, outcome.exit_code, outcome.problems) == ("published", 0, [])
    assert visible(home) == 3
    spend = "select sum(requests), sum(gateway_cost) from marts.daily_spend"
    assert query(home.published, spend) == home.query(
        "select count(*) filter (endpoint is not null), sum(gateway_cost) "
        "from marts.usage_records where duplicate_of is null"
    ) or query(home.published, spend) == home.query(spend)
    assert query(home.published, "from marts.exceptions order by all") == before
    # What it did not build is the news of the next run, which then has everything.
    assert has_news(home.runtime) == "days of loaded usage are not built yet"
    assert has_sync_news(home.runtime) is None
    assert home.run().status == "published"
    assert query(home.published, "from marts.exceptions order by all") != before
    assert has_news(home.runtime) is None
    whole = Home.create(tmp_path / "whole")
    whole.drop_example()
    whole.drop_rows("live.jsonl", rows)
    whole.run()
    assert differing(hash_marts(home.published), whole.marts()) == []


def test_without_news_nothing_is_published_and_that_is_recorded(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    code = invoke(["sync", "--config", str(home.path / "tollbook.yml"), "--home", str(home.path)])

    assert code == 0
    assert "Nothing new" in capsys.readouterr().out
    assert home.published.resolve().name == "tollbook-1.duckdb"
    assert home.query("select count(*) from audit.runs where status = 'nothing_new'") == [(1,)]


def test_command_says_what_it_did(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.drop_rows("live.jsonl", [usage(1)])
    arguments = ["--config", str(home.path / "tollbook.yml"), "--home", str(home.path)]

    assert invoke(["sync", *arguments, "--as-of", home.as_of]) == 0
    assert "published version 2" in capsys.readouterr().out
    assert invoke(["sync", *arguments, "--wait", "soon"]) == 2
    assert "--wait: expected a duration" in capsys.readouterr().err


def test_a_build_of_every_day_is_left_to_the_run(home: Home) -> None:
    settings = home.path / "tollbook.yml"
    settings.write_text(settings.read_text() + "\nquality: {lost_after: 48h}\n")
    home.drop_rows("live.jsonl", [usage(1)])

    outcome = run_sync(home.runtime)

    assert (outcome.status, outcome.exit_code, outcome.version) == ("done", 0, None)
    assert "every day is due to be built" in outcome.problems[0]
    assert outcome.load is not None
    assert outcome.load.total("rows_loaded") == 1
    assert visible(home) == 0
    assert home.run().status == "published"
    assert visible(home) == 1


@pytest.mark.long
def test_a_failed_hard_check_publishes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.defs import steps

    genuine = steps.transform.build_marts

    def build_and_spoil(*arguments: Any, **options: Any) -> Any:
        nodes = genuine(*arguments, **options)
        home.write(f"update marts.daily_spend set requests = 9 where usage_date = '{DAY}'")
        return nodes

    monkeypatch.setattr(steps.transform, "build_marts", build_and_spoil)
    home.drop_rows("live.jsonl", [usage(1)])

    outcome = run_sync(home.runtime)

    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    assert any("costs_are_conserved" in problem for problem in outcome.problems)
    assert visible(home) == 0
    with pytest.raises(HardCheckFailedError):
        home.steps().publish()


@pytest.mark.long
def test_a_negative_cost_is_found_without_great_expectations(home: Home) -> None:
    from orchestration.warehouse.check_scope import EVERYTHING
    from orchestration.warehouse.expectations import check_hard

    home.write(
        "update marts.usage_records set list_cost = -1 where request_id = "
        "(select min(request_id) from marts.usage_records where cost_status = 'priced')"
    )

    with open_warehouse(home.runtime) as connection:
        results = check_hard(connection, as_of=home.runtime.as_of, scope=EVERYTHING)

    failed = [each.check for each in results if not each.passed]
    assert failed == ["money columns are never negative"]
    assert all(each.severity == "hard" for each in results)


# A sync in a process of its own, killed when the named step of it is reached.
KILLED = """
import os, sys
from pathlib import Path
from orchestration.config import read_runtime
from orchestration.defs import steps
from orchestration.defs.run import run_sync
home, name = Path(sys.argv[1]), sys.argv[2]
def fatal(*arguments, **options):
    os._exit(9)
owner, _, attribute = name.rpartition(".")
setattr({"transform": steps.transform, "publish": steps.publish}[owner], attribute, fatal)
run_sync(read_runtime(config=home / "tollbook.yml", home=home, as_of=sys.argv[3]))
"""


@pytest.mark.long
@pytest.mark.parametrize("step", ["transform.remember_sync", "publish.publish"])
def test_a_killed_sync_is_finished_by_the_next(home: Home, step: str) -> None:
    home.drop_rows("live.jsonl", [usage(1)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(home.path), step, home.as_of],
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == 9, killed.stderr
    assert visible(home) == 0
    assert has_sync_news(home.runtime) is not None

    outcome = run_sync(home.runtime)

    assert (outcome.status, outcome.exit_code) == ("published", 0)
    assert visible(home) == 1


def test_a_writer_that_finds_the_warehouse_taken_waits_and_then_skips(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    arguments = ["--config", str(home.path / "tollbook.yml"), "--home", str(home.path)]
    home.drop_rows("live.jsonl", [usage(1)])
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home.path / "warehouse.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        begun = time.monotonic()

        code = invoke(["sync", *arguments, "--as-of", home.as_of, "--wait", "3s"])

        assert time.monotonic() - begun >= 3
        holder.communicate("\n")
    assert code == 1
    assert "skipped" in capsys.readouterr().err
    # Once it is free the same command goes through.
    assert invoke(["sync", *arguments, "--as-of", home.as_of]) == 0
    assert visible(home) == 1


def definitions_of(home: Home) -> dg.Definitions:
    runtime = home.runtime
    resource = tollbook_resource(runtime, as_of=runtime.as_of.isoformat())
    return build_code_location(runtime, resource).definitions


@pytest.mark.long
def test_days_are_built_again_from_the_user_interface(home: Home) -> None:
    good = home.marts()
    home.write(f"update marts.usage_records set list_cost = 1 where usage_date = '{DAY}'")
    assert differing(home.marts(), good) != []
    job = definitions_of(home).resolve_job_def("rebuild_days")
    config = {"first_day": DAY, "last_day": DAY}

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, run_config={"ops": {"rebuild_these_days": {"config": config}}}
        )

    assert result.success
    assert differing(hash_marts(home.published), good) == []


def test_a_review_tells_the_event_that_started_it(home: Home) -> None:
    """A crossed quota, a change of route, a wallet's top-up; the months' review tells of months."""
    (home.path / "seeds" / "budgets.csv").write_text(
        "budget_id,scope_type,scope_id,period,amount,currency,thresholds,valid_from_date\n"
        "search,team,team-search,month,0.01,USD,1,2026-10-01\n"
    )
    topup = {"transaction_id": "t1", "wallet_id": "w1", "type": "purchase", "currency": "USD"}
    topup |= {"occurred_at": "2026-10-28T10:00:00Z", "amount": "25"}
    home.drop("wallet_transactions/w.jsonl", f"{json.dumps(topup)}\n")
    assert home.run().status == "published"
    end_of_week = Home(home.path, "2026-11-02T06:00:00Z")
    job = definitions_of(end_of_week).resolve_job_def("review")
    said = {}

    for kind in ("weekly", "month_end"):
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                instance=instance, run_config={"ops": {"tell_reviews": {"config": {"kind": kind}}}}
            )
        (event,) = result.asset_materializations_for_node("tell_reviews")
        said[kind] = str(event.metadata["what"].value).splitlines()

    def told(kind: str, event: str) -> bool:
        return any(event in line for line in said[kind])

    assert told("weekly", ", 2026-11-02: Spend of the week from 2026-10-26")
    assert told("weekly", ", 2026-10-01: budget_threshold: search/2026-10-01/1")
    assert told("weekly", ", 2026-10-01: fallback_route: ")
    assert told("weekly", ", 2026-10-28: purchase of wallet w1")
    assert not told("weekly", "Close of")
    assert said["month_end"]
    assert all("Close of 2026-10" in line for line in said["month_end"])


@pytest.mark.parametrize(
    ("first", "last"), [("2026-13-01", "2026-13-02"), ("2026-10-02", "2026-10-01"), ("x", "y")]
)
def test_days_that_are_none_are_refused(home: Home, first: str, last: str) -> None:
    with pytest.raises(ConfigurationError, match=r"day|month|isoformat"):
        home.steps().touch_days(first, last)


def test_schedule_skips_while_the_sync_before_is_at_work(home: Home) -> None:
    definitions = definitions_of(home)
    schedule = definitions.resolve_schedule_def("every_three_minutes")
    moment = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)

    with dg.DagsterInstance.local_temp() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=moment)
        free = schedule.evaluate_tick(context)
        job = definitions.resolve_job_def("sync")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        taken = schedule.evaluate_tick(context)

    assert len(free.run_requests or ()) == 1
    assert not taken.run_requests
    assert "has not ended" in str(taken.skip_message)


def test_sensor_starts_a_run_for_new_files_once(home: Home) -> None:
    sensor = definitions_of(home).resolve_sensor_def("landing_folder")

    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance)
        quiet = sensor.evaluate_tick(context)
        home.drop_rows("live.jsonl", [usage(1)])
        first, second = sensor.evaluate_tick(context), sensor.evaluate_tick(context)

    assert not quiet.run_requests
    assert [request.run_key for request in first.run_requests or ()] == [
        request.run_key for request in second.run_requests or ()
    ]
    assert len(first.run_requests or ()) == 1
