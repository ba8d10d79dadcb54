"""What a run must not do again: parse an unchanged project, or take long to note its events."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from integration.homes import Home, query

from orchestration.warehouse import transform
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.selection import (
    DUE_TAG,
    Need,
    needs_of,
    tag_nodes_of_some_days,
)


@pytest.fixture
def home(example_home: Home, tmp_path: Path) -> Home:
    return example_home.copy(tmp_path / "home")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The dbt commands given."""
    genuine, given = transform._invoke, []

    def invoke(runtime: Any, arguments: list[str], **options: Any) -> Any:
        given.append(arguments)
        return genuine(runtime, arguments, **options)

    monkeypatch.setattr(transform, "_invoke", invoke)
    return given


def parses(commands: list[list[str]]) -> int:
    return sum("parse" in command for command in commands)


def test_another_clock_and_other_days_do_not_parse_the_project_again(
    home: Home, commands: list[list[str]]
) -> None:
    runtime = home.runtime
    transform.read_manifest(runtime)
    before = parses(commands)
    with open_warehouse(runtime) as connection:
        plan = transform.plan_build(connection, runtime)

    for day in ("2026-10-05", "2026-10-06"):
        later = dataclasses.replace(runtime, as_of=runtime.as_of.replace(hour=int(day[-1])))
        days = dataclasses.replace(plan, touched_days=(day,), reason="")
        results = transform.build_marts(later, days, select=["source_freshness", "daily_spend"])
        assert {node.status for node in results} <= {"success", "pass"}

    assert parses(commands) == before
    ((lag,),) = home.query("select max(lag_minutes) from marts.source_freshness")
    transform.build_marts(later, days, select=["source_freshness"])
    assert home.query("select max(lag_minutes) from marts.source_freshness") == [(lag,)]


def test_the_clock_reaches_the_models_of_a_project_that_is_not_parsed_again(home: Home) -> None:
    runtime = home.runtime
    with open_warehouse(runtime) as connection:
        plan = dataclasses.replace(transform.plan_build(connection, runtime), touched_days=())
    sql = "select min(lag_minutes) from marts.source_freshness"
    transform.build_marts(runtime, plan, select=["source_freshness"])
    ((before,),) = home.query(sql)

    later = dataclasses.replace(runtime, as_of=runtime.as_of.replace(minute=7))
    transform.build_marts(later, plan, select=["source_freshness"])

    assert home.query(sql) == [(before + 7,)]


def test_an_hour_makes_only_views_anew_that_name_its_days_or_clock(home: Home) -> None:
    manifest = transform.read_manifest(home.runtime)
    with open_warehouse(home.runtime) as connection:
        plan = transform.plan_build(connection, home.runtime)
    day = dataclasses.replace(plan, touched_days=("2026-10-05",), reason="", has_new_seeds=False)

    ran = {node.unique_id for node in transform.build_marts(home.runtime, day)}

    nodes: dict[str, Any] = dict(manifest.nodes)
    models = {name: node for name, node in nodes.items() if name.startswith("model.")}
    views = {name for name, node in models.items() if node.config.materialized == "view"}
    # What only a price catalog changes is left out where none came.
    of_catalogs = {name for name, node in models.items() if "price_catalog" in node.tags}
    # So is what nobody feeds.
    idle = {f"model.tollbook.{name}" for name in idle_tables(home)}
    assert set(models) - views - of_catalogs - ran == idle
    told = ("in_touched_days", "in_owner_days", "as_of()")
    naming = {name for name in views if any(word in models[name].raw_code for word in told)}
    assert naming - of_catalogs <= ran
    standing = {name.split(".")[-1] for name in views - ran}
    assert {"stg_litellm__spend_logs", "int_usage__priced", "cost_lines"} <= standing

    def changes(name: str) -> bool:
        if name in of_catalogs | idle or name.startswith("seed."):
            return False
        # A view that stands still shows the new rows of the tables below it.
        return name not in standing_views or any(map(changes, models[name].depends_on.nodes))

    standing_views = views - ran
    tests = {name: node for name, node in nodes.items() if name.startswith("test.")}
    due = {
        name
        for name, node in tests.items()
        if not {"ci", "price_catalog"} & set(node.tags) and any(map(changes, node.depends_on.nodes))
    }
    assert ran & set(tests) == due
    tested = {name.split(".")[2] for name in due}
    assert "usage_records_has_one_row_per_grain" in tested
    assert "price_snapshots_has_one_row_per_grain" not in tested


def test_a_changed_setting_or_file_parses_the_project_again(
    home: Home, commands: list[list[str]]
) -> None:
    transform.read_manifest(home.runtime)
    settings = home.path / "tollbook.yml"
    settings.write_text(settings.read_text() + "\nquality: {lost_after: 48h}\n")
    before = parses(commands)
    transform.read_manifest(home.runtime)
    assert parses(commands) == before + 1

    seed = transform.checked_seeds_folder(home.runtime) / "teams.csv"
    seed.write_text(seed.read_text() + "\n")
    transform.read_manifest(home.runtime)
    assert parses(commands) == before + 2

    transform.read_manifest(home.runtime)
    assert parses(commands) == before + 2


# Says whether a new process had dbt parse the project.
NEW_PROCESS = """
import sys
from pathlib import Path
from orchestration.config import read_runtime
from orchestration.warehouse import transform
genuine = transform._invoke
def asked(runtime, arguments, **options):
    print("parsed" if "parse" in arguments else arguments, flush=True)
    return genuine(runtime, arguments, **options)
transform._invoke = asked
home = Path(sys.argv[1])
runtime = read_runtime(config=home / "tollbook.yml", home=home, as_of=sys.argv[2])
assert len(transform.read_manifest(runtime).nodes) > 300
print("read", flush=True)
"""


def test_a_new_process_uses_what_the_last_one_parsed(home: Home) -> None:
    said = []
    for clock in ("2026-11-21T01:00:00Z", "2026-11-21T02:00:00Z"):
        done = subprocess.run(
            [sys.executable, "-c", NEW_PROCESS, str(home.path), clock],
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.split())

    # The home was copied, so the first finds other paths; the clock alone is no reason.
    assert said == [["parsed", "read"], ["read"]]


def test_dagsters_own_storage_reads_what_a_run_recorded(home: Home) -> None:
    assert home.run(full_refresh=True).status == "published"

    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        run = instance.get_runs(limit=1)[0]
        events = instance.all_logs(run.run_id)
        published = instance.get_latest_materialization_event(
            dg.AssetKey(["published", "tollbook"])
        )

    assert run.status is dg.DagsterRunStatus.SUCCESS
    kinds = [event.dagster_event_type for event in events if event.is_dagster_event]
    assert kinds.count(dg.DagsterEventType.RUN_SUCCESS) == 1
    assert kinds.count(dg.DagsterEventType.ASSET_CHECK_EVALUATION) > 20
    assert published is not None
    assert published.run_id == run.run_id
    ((runs,),) = query(
        home.path / "warehouse.duckdb",
        f"select count(*) from audit.runs where run = '{run.run_id}' and status = 'done'",
    )
    assert runs == 4


def test_an_hour_leaves_alone_what_nobody_feeds(home: Home) -> None:
    idle = idle_tables(home)

    # The example has an invoice, a wallet and an app's requests, but no closes or provider pages.
    assert {"provider_reconciliation", "chargeback_adjustments", "contract_price_sets"} <= idle
    assert not {"invoice_reconciliation", "wallet_ledger", "request_reconciliation"} & idle
    for name in idle:
        relation = f"{'intermediate' if name.startswith('int_') else 'marts'}.{name}"
        assert home.query(f"select count(*) from {relation}") == [(0,)], name


def test_what_needs_rows_has_none_without_them(home: Home) -> None:
    """Of every table: none of its rows is left once what it says it needs is emptied."""
    manifest = transform.read_manifest(home.runtime)
    compiled = home.path / "dbt" / "compiled" / "tollbook"
    with open_warehouse(home.runtime) as connection:
        for name in sorted(tables_that_need_rows(manifest)):
            node = manifest.nodes[f"model.tollbook.{name}"]
            sql = (compiled / node.original_file_path).read_text()
            connection.execute("begin")
            for need in needed_tables(manifest, node):
                connection.execute(
                    f"update {need.relation} set {need.column} = null"
                    if need.column
                    else f"delete from {need.relation}"
                )
            rows = connection.execute(f"select count(*) from ({sql})").fetchall()
            connection.execute("rollback")
            assert rows == [(0,)], name


def idle_tables(home: Home) -> set[str]:
    """What an hour without new seeds does not run for want of rows."""
    manifest = transform.read_manifest(home.runtime)
    with open_warehouse(home.runtime) as connection:
        tag_nodes_of_some_days(
            manifest,
            has_new_seeds=False,
            excluded_tags=(),
            which_are_empty=partial(transform._empty_ones, connection),
        )
    due = {node.name for node in manifest.nodes.values() if DUE_TAG in node.tags}
    return tables_that_need_rows(manifest) - due


def tables_that_need_rows(manifest: Any) -> set[str]:
    return {
        node.name
        for node in manifest.nodes.values()
        if node.config.meta.get("rows_need") and node.config.materialized != "view"
    }


def needed_tables(manifest: Any, node: Any) -> set[Need]:
    """What a table needs, down to what is loaded, and the tables on the way there."""
    found = set(needs_of(manifest, node.unique_id))
    for name in node.config.meta["rows_need"]:
        parent = manifest.nodes.get(f"model.tollbook.{name}")
        if parent is not None and parent.config.materialized != "view":
            found.add(Need(parent.relation_name))
            if parent.config.meta.get("rows_need"):
                found |= needed_tables(manifest, parent)
    return found
