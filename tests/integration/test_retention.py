"""Retention: old records lose what tells people apart, old landed logs go, every amount stays."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from integration.homes import Home, differing, example_rows, query

from orchestration.cli import DONE, invoke
from orchestration.config import ConfigurationError, RetentionSettings, read_settings
from orchestration.defs.code_location import build_code_location
from orchestration.defs.resources import tollbook_resource
from orchestration.landing.retained import note_detail_from, read_detail_from
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.retention import overdue_rows

# Detail of the example's October ends then, and its landed logs go.
LATER = "2028-12-15T00:00:00Z"
DETAIL = "user_id, customer_id, session_id, trace_id, client_ip, user_agent"


@pytest.fixture(scope="module")
def retained(example_home: Home, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Home]:
    """(before, after) of a home with one recent record beside the example's old ones."""
    before = example_home.copy(tmp_path_factory.mktemp("retention") / "before")
    row = next(row for row in example_rows() if row["call_type"] == "acompletion")
    recent = {
        "request_id": "chatcmpl-recent",
        "startTime": "2026-11-19T10:00:00Z",
        "endTime": "2026-11-19T10:00:01Z",
        "user": "recent@example.org",
    }
    before.drop_rows("recent.jsonl", [row | recent])
    assert before.run().status == "published"
    after = before.copy(tmp_path_factory.mktemp("retention") / "after")
    assert tollbook(after, "retention") == DONE
    return before, after


def tollbook(home: Home, *arguments: str, as_of: str = LATER) -> int:
    options = ["--config", str(home.path / "tollbook.yml"), "--home", str(home.path)]
    return invoke([*arguments, *options, "--as-of", as_of])


def money(home: Home) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        "select usage_date, gateway, team_id, api_key_id, model, sum(requests), sum(gateway_cost), "
        "sum(list_cost) from marts.daily_spend group by all order by all",
    )


def details(home: Home) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        f"select started_at < '2026-11-15', count({DETAIL.replace(', ', '), count(')}) "
        "from marts.usage_records group by 1 order by 1",
    )


def logs(home: Home) -> set[str]:
    return {path.name for path in (home.path / "landing" / "litellm_prod").iterdir()}


@pytest.mark.long
def test_old_records_lose_their_detail_and_keep_every_amount(retained: tuple[Home, Home]) -> None:
    before, after = retained

    assert money(after) == money(before)
    (recent_before, old_before), (recent_after, old_after) = details(before), details(after)
    assert any(old_before[1:])
    assert old_after[1:] == (0,) * len(old_after[1:])
    assert recent_after == recent_before
    assert len(list((after.path / "published" / "versions").glob("*.duckdb"))) == 1


@pytest.mark.long
def test_old_logs_leave_landing_and_prices_stay(retained: tuple[Home, Home]) -> None:
    before, after = retained

    # Everything in this home was landed more than thirteen months before that day.
    assert len(logs(before)) == 4
    assert logs(after) == set()
    prices = [each.name for each in (before.path / "landing" / "price_catalog").iterdir()]
    assert [each.name for each in (after.path / "landing" / "price_catalog").iterdir()] == prices
    files = "select count(*) from audit.load_batches"
    assert after.query(files) == before.query(files)


@pytest.mark.long
def test_what_is_sent_again_comes_without_detail_and_is_known(
    retained: tuple[Home, Home], tmp_path: Path
) -> None:
    home = retained[1].copy(tmp_path / "home")
    marts = home.marts()
    late = example_rows()[:40]

    home.drop_rows("again.jsonl", late)
    assert tollbook(home, "run") in (0, 3)

    ((known, loaded),) = home.query(
        "select rows_already_known, rows_loaded from audit.load_batches "
        "where file_name like '%again.jsonl'"
    )
    assert (known, loaded) == (len(late), 0)
    assert set(differing(home.marts(), marts)) <= {"source_freshness", "exceptions"}


@pytest.mark.long
def test_a_home_says_how_much_is_overdue(retained: tuple[Home, Home]) -> None:
    before, after = retained

    for home, is_overdue in ((before, True), (after, False)):
        later = Home(home.path, LATER)
        with open_warehouse(later.runtime) as connection:
            assert (overdue_rows(connection, later.runtime) > 0) is is_overdue


@pytest.mark.parametrize(
    ("span", "as_of", "midnight"),
    [
        ("25 months", "2026-11-21T14:00:00", "2024-10-21"),
        ("13 months", "2026-03-31T00:00:00", "2025-02-28"),
        ("1 year", "2024-02-29T23:59:59", "2023-02-28"),
        ("90 days", "2026-03-01T12:00:00", "2025-12-01"),
    ],
)
def test_a_span_is_counted_in_calendar_months(span: str, as_of: str, midnight: str) -> None:
    settings = RetentionSettings(detail=span)

    assert settings.detail_from(datetime.fromisoformat(as_of)) == datetime.fromisoformat(midnight)


@pytest.mark.parametrize("span", ["soon", "0 months", "1.5 years", "12"])
def test_a_span_that_is_none_is_refused_with_its_key(span: str, tmp_path: Path) -> None:
    config = tmp_path / "tollbook.yml"
    config.write_text(f"retention: {{detail: '{span}'}}\n")

    with pytest.raises(ConfigurationError, match=r"retention.*detail.*25 months or 90 days"):
        read_settings(config)


@pytest.mark.long
def test_detail_never_comes_back_when_the_span_grows(tmp_path: Path) -> None:
    later, earlier = (datetime.fromisoformat(f"2026-{month}-01") for month in ("03", "01"))

    assert note_detail_from(tmp_path, later) == later
    assert note_detail_from(tmp_path, earlier) == later
    assert read_detail_from(tmp_path) == later


@pytest.mark.long
def test_the_weekly_job_does_the_same_and_publishes(example_home: Home, tmp_path: Path) -> None:
    home = Home(example_home.copy(tmp_path / "home").path, LATER)
    before = money(home)
    tollbook = tollbook_resource(home.runtime, as_of=home.runtime.as_of.isoformat())
    job = build_code_location(home.runtime, tollbook).definitions.resolve_job_def("retention")

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)

    assert result.success
    assert money(home) == before
    ((_, *counts),) = details(home)
    assert counts == [0] * len(counts)
