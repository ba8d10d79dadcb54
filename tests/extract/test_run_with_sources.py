"""`tollbook run` with a live source: what is said, which exit code, what readers get."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import duckdb
import pytest
from fixtures.spend_logs import row as spend_log_row

from orchestration.cli import invoke
from orchestration.config import ConfigurationError, read_settings
from orchestration.defs.code_location import build_code_location
from orchestration.defs.resources import tollbook_resource

NOON = datetime.fromisoformat("2026-11-01T12:00:00")
FILES = "  - {name: files, kind: litellm_spend_logs, gateway: other}"


def run(gateway: Any, *arguments: str) -> int:
    home = str(gateway.home)
    as_of = gateway.as_of.isoformat() + "Z"
    config = f"{home}/tollbook.yml"
    return invoke(["run", *arguments, "--home", home, "--config", config, "--as-of", as_of])


def published(gateway: Any, sql: str) -> list[tuple[Any, ...]]:
    file = gateway.home / "published" / "tollbook.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def roll_up(gateway: Any, day: str, key: str, requests: int, spend: str) -> None:
    gateway.execute(
        'insert into "LiteLLM_DailyUserSpend" (id, user_id, date, api_key, model, spend, '
        "api_requests, prompt_tokens, completion_tokens) values "
        f"('{day} {key}', 'u', '{day}', '{key}', 'm', {spend}, {requests}, {100 * requests}, "
        f"{50 * requests})"
    )


def test_a_run_publishes_what_was_logged_and_finds_what_was_only_counted(
    gateway: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """28 October is the first day of the log; 30 October is settled on 2 November."""
    key, other = "a" * 64, "b" * 64
    for day in (28, 29, 30):
        start = datetime(2026, 10, day, 12)  # noqa: DTZ001  # naive UTC
        gateway.log(2 * day, 2 * day + 1, start=start, api_key=key, spend=0.5)
        roll_up(gateway, f"2026-10-{day}", key, 2, "1.0")
        roll_up(gateway, f"2026-10-{day}", other, 3, "0.75")
    statuses = (
        "select day(usage_date), left(api_key_id, 1), status, difference_amount "
        "from marts.gateway_reconciliation where usage_date < '2026-11-01' order by all"
    )
    settled = [
        (28, "a", "before_history", 0),
        (28, "b", "before_history", Decimal("0.75")),
        (29, "a", "matched", 0),
        (29, "b", "missing_usage", Decimal("0.75")),
    ]

    assert run(gateway) == 0
    said = capsys.readouterr().out
    assert "Source live: 6 litellm_daily_spend, 6 litellm_spend_logs" in said
    assert published(gateway, "select count(*), sum(gateway_cost) from marts.usage_records") == [
        (6, Decimal(3))
    ]
    open_days = [(30, "a", "pending", 0), (30, "b", "pending", Decimal("0.75"))]
    assert published(gateway, statuses) == settled + open_days
    assert published(
        gateway,
        "select failing_rows, amount_at_stake, failing_keys from audit.check_results "
        "where \"check\" = 'gateway logs hold what the gateway counted'",
    ) == [(1, Decimal("0.75"), f"litellm/2026-10-29/{other}")]
    assert run(gateway) == 0
    assert "Nothing new" in capsys.readouterr().out

    # Before the day is settled its missing calls turn up in the log; those of the 29th never do.
    gateway.as_of += timedelta(days=1)
    start = datetime(2026, 10, 30, 13)  # noqa: DTZ001  # naive UTC
    gateway.log(90, 91, 92, start=start, api_key=other, spend=0.25)
    roll_up(gateway, "2026-11-01", key, 1, "1.0")
    steps = gateway.steps()
    steps.extract()
    steps.load()
    steps.build()
    open_days = [(30, "a", "matched", 0), (30, "b", "matched", 0)]
    assert gateway.raw(statuses) == settled + open_days


@pytest.mark.long
def test_a_gateway_without_traffic_is_not_stale_and_one_that_does_not_answer_is(
    gateway: Any, server: Any
) -> None:
    status = "select status, last_loaded_at from marts.source_freshness where source = 'live'"
    gateway.log(1)
    assert run(gateway) == 0
    gateway.as_of += timedelta(hours=1)

    assert run(gateway) == 0
    assert published(gateway, status) == [("fresh", NOON)]

    os.environ["TOLLBOOK_TEST_DSN"] = server.dsn("no_such_database")
    gateway.as_of += timedelta(hours=1)
    assert run(gateway) == 3
    assert published(gateway, status) == [("stale", NOON)]


def test_one_step_alone_asks_and_lands(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.log(1)

    assert run(gateway, "--only", "extract") == 0

    assert "Source live: 1 litellm_spend_logs" in capsys.readouterr().out
    assert [path.suffix for path in gateway.landed()] == [".parquet"]
    assert gateway.raw(
        "select step, rows, status from audit.runs where step like 'extract%' order by step"
    ) == [("extract", 1, "done"), ("extract live", 1, "done")]


@pytest.mark.long
def test_a_source_that_fails_is_named_and_the_rest_is_published(
    gateway: Any, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.configure(server.dsn("no_such_database"), more=FILES)
    path = gateway.home / "landing" / "files" / "a.jsonl"
    path.parent.mkdir(parents=True)
    log = spend_log_row(1, startTime="2026-10-30T10:00:00Z", endTime="2026-10-30T10:00:01Z")
    path.write_text(json.dumps(log) + "\n")
    rest = time.time() - 60
    os.utime(path, (rest, rest))

    code = run(gateway)

    said = capsys.readouterr()
    assert code == 3
    assert said.err.count("tollbook: live: the server has no database of that name") == 1
    assert "not read: the server has no database" in said.out
    assert published(gateway, "select count(*) from marts.usage_records") == [(1,)]


@pytest.mark.long
def test_a_source_that_fails_where_there_is_no_news_fails_the_run(
    gateway: Any, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.log(1)
    assert run(gateway) == 0
    os.environ["TOLLBOOK_TEST_DSN"] = server.dsn("no_such_database")
    capsys.readouterr()

    assert run(gateway) == 1
    assert run(gateway, "--only", "extract") == 1

    assert capsys.readouterr().err.count("no database of that name") == 2


def test_the_orchestrator_knows_the_step_and_records_what_a_source_answered(
    gateway: Any, server: Any
) -> None:
    gateway.log(1)
    gateway.configure(more='  - {name: gone, kind: litellm_postgres, dsn: "${TOLLBOOK_TEST_DSN}_"}')
    runtime = gateway.runtime()
    tollbook = tollbook_resource(runtime, as_of=runtime.as_of.isoformat())
    location = build_code_location(runtime, tollbook)
    job = location.definitions.resolve_job_def("extract")

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)

    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    answered = {
        evaluation.asset_key.path[-1]: evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }
    assert result.success
    assert made == {"landing/live", "landing/gone"}
    assert answered == {"live": True, "gone": False}
    hourly = location.definitions.resolve_job_def("hourly").asset_layer
    graph = location.definitions.resolve_asset_graph()
    raw = dg.AssetKey(["raw", "litellm__keys"])
    assert dg.AssetKey(["landing", "live"]) in hourly.selected_asset_keys
    assert dg.AssetKey(["landing", "live"]) in graph.get(raw).parent_keys


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: a, kind: litellm_postgres}", "needs dsn"),
        ('{name: a, kind: litellm_postgres, dsn: "${TOLLBOOK_TEST_DSN}"}', "postgresql://USER"),
        ('{name: a, kind: litellm_postgres, dsn: "postgresql://u:p@h/d"}', "never written here"),
        (
            '{name: a, kind: litellm_postgres, dsn: "${TOLLBOOK_TEST_URL}", since: soon}',
            "since",
        ),
        (
            '{name: a, kind: litellm_postgres, dsn: "${TOLLBOOK_TEST_URL}", '
            "statement_timeout: quick}",
            "statement_timeout",
        ),
    ],
)
def test_settings_of_a_connection_are_checked_before_it_is_used(
    entry: str, said: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLBOOK_TEST_DSN", "mysql://u:CANARY@h/d")
    monkeypatch.setenv("TOLLBOOK_TEST_URL", "postgresql://u:CANARY@h/d")
    config = tmp_path / "tollbook.yml"
    config.write_text(f"sources:\n  - {entry}\n")

    with pytest.raises(ConfigurationError) as refused:
        read_settings(config)

    assert said in str(refused.value)
    assert "CANARY" not in str(refused.value)
    assert "\n" not in str(refused.value)
