"""The Dagster side: a graph without loose ends, recorded runs, and runs that were killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from integration.homes import EXAMPLE, REPOSITORY, Home, differing, hash_marts

from orchestration.defs.assets import LEDGER_KEYS, PUBLISHED, RAW_KEYS, WAREHOUSE_POOL
from orchestration.defs.checks import check_names
from orchestration.defs.code_location import build_code_location
from orchestration.defs.resources import PROCESS_TAG, this_process, tollbook_resource
from orchestration.warehouse.invariants import INVARIANTS
from orchestration.warehouse.transform import CI_TAG

# ---------------------------------------------------------------- the graph


@pytest.fixture(scope="module")
def definitions(example_home: Home) -> dg.Definitions:
    runtime = example_home.runtime
    return build_code_location(runtime, tollbook_resource(runtime)).definitions


@pytest.fixture(scope="module")
def parents(definitions: dg.Definitions) -> dict[str, set[str]]:
    """Every asset of the graph with the assets it is made from, written layer/name."""
    graph = definitions.resolve_asset_graph()
    return {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }


@pytest.fixture(scope="module")
def manifest(example_home: Home) -> dict[str, Any]:
    return json.loads((example_home.path / "dbt" / "manifest.json").read_text())


def asset_of(node: dict[str, Any]) -> str:
    """The asset of a dbt model by its schema, of a dbt source by what its YAML names."""
    if node["resource_type"] == "source":
        return "/".join(node["config"]["meta"]["dagster"]["asset_key"])
    return f"{node['config']['schema']}/{node['name']}"


def test_every_model_is_made_from_what_dbt_says_it_reads(
    parents: dict[str, set[str]], manifest: dict[str, Any]
) -> None:
    nodes = manifest["nodes"] | manifest["sources"]
    models = {
        asset_of(node): {
            asset_of(nodes[each])
            for each in node["depends_on"]["nodes"]
            if nodes[each]["resource_type"] in ("model", "source", "seed", "snapshot")
        }
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
    }

    assert len(models) >= 33
    assert {asset: parents[asset] for asset in models} == models


def test_lineage_runs_from_landing_through_every_layer_to_what_is_published(
    parents: dict[str, set[str]], manifest: dict[str, Any], example_home: Home
) -> None:
    seeds = {asset_of(n) for n in manifest["nodes"].values() if n["resource_type"] == "seed"}
    layers = {
        "landing": set(),
        "raw": {"landing"},
        "audit": {"landing"},
        "reference": {"landing"},
        "staging": {"raw", "staging", "audit", "reference"},
        "intermediate": {"staging", "intermediate", "marts", "audit", "reference"},
        "marts": {"staging", "intermediate", "marts", "audit", "reference"},
        "exports": {"marts", "reference"},
        "published": {"marts", "exports", "audit", "reference"},
    }
    published = PUBLISHED.to_user_string()
    configured = {kind for s in example_home.runtime.settings.sources for kind in s.file_kinds}
    unfilled = {
        key.to_user_string() for key, kinds in RAW_KEYS.items() if not configured & set(kinds)
    }

    for asset, made_from in parents.items():
        layer = asset.partition("/")[0]
        assert {parent.partition("/")[0] for parent in made_from} <= layers[layer], asset
        is_start = layer == "landing" or asset in seeds or asset in unfilled
        assert made_from or is_start, f"{asset} is made from nothing"
    assert {asset for asset in parents if asset.startswith("marts/")} <= parents[published]
    unread = parents.keys() - {published} - set(upstream(published, parents))
    # Observations that no mart reads are kept as evidence; everything else leads to readers.
    assert {asset for asset in unread if not asset.startswith("raw/")} == set()
    assert not any("spend_logs" in asset or "price" in asset for asset in unread)


def upstream(asset: str, parents: dict[str, set[str]]) -> Iterator[str]:
    pending, seen = [asset], set()
    while pending:
        for parent in parents[pending.pop()] - seen:
            seen.add(parent)
            pending.append(parent)
            yield parent


def test_every_dbt_source_is_loaded_by_the_load_step(
    definitions: dg.Definitions, manifest: dict[str, Any], example_home: Home
) -> None:
    sources = {asset_of(node) for node in manifest["sources"].values()}
    loaded = {key.to_user_string() for key in (*RAW_KEYS, *LEDGER_KEYS)}
    job = definitions.resolve_job_def("load")
    tables = example_home.query(
        "select table_schema || '/' || table_name from information_schema.tables"
    )

    assert len(sources) >= 10
    assert sources <= loaded
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == loaded
    assert loaded <= {table for (table,) in tables}


def test_every_check_judges_an_asset_that_is_there(
    definitions: dg.Definitions, parents: dict[str, set[str]], manifest: dict[str, Any]
) -> None:
    """A check of a mistyped asset would load silently and guard nothing."""
    graph = definitions.resolve_asset_graph()
    checks = {key.name: key.asset_key.to_user_string() for key in graph.asset_check_keys}
    stated = {name: table.replace(".", "/") for name, (table, _, _) in check_names().items()}
    data_tests = {
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and node.get("attached_node")
        # Tests of the models alone are not run with the marts.
        if CI_TAG not in node["tags"]
    }

    assert set(checks.values()) <= parents.keys()
    assert {name: checks.get(name) for name in stated} == stated
    assert {invariant.name for invariant in INVARIANTS} <= checks.keys()
    assert data_tests <= checks.keys()
    judged = [checks[name] for name in stated]
    assert {"marts/usage_records", "marts/daily_spend", "audit/load_batches"} <= set(judged)


def test_publishing_waits_for_the_checks(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("hourly")
    structure = job.graph.dependency_structure
    waits_for = {
        output.node_name
        for output in structure.all_upstream_outputs_from_node("published__tollbook")
    }

    assert "check_warehouse" in waits_for


def test_whatever_writes_the_warehouse_shares_one_slot(
    definitions: dg.Definitions, example_home: Home
) -> None:
    job = definitions.resolve_job_def("hourly")
    pools = {node.name: node.definition.pool for node in job.nodes}

    assert set(pools) == {
        "load_landing_files",
        "build_models",
        "check_warehouse",
        "published__tollbook",
    }
    assert set(pools.values()) == {WAREHOUSE_POOL}
    with dg.DagsterInstance.from_config(str(example_home.path / "dagster")) as instance:
        assert instance.get_settings("concurrency")["pools"]["default_limit"] == 1


def test_jobs_schedules_and_the_sensor(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    steps = ("load", "build", "check", "publish")
    alone = ("hourly", *steps, "sync", "rebuild_days", "retention", "review")

    names = {job.name for job in repository.get_all_jobs() if job.name != "__ASSET_JOB"}
    assert names == set(alone)
    assert {
        (schedule.name, schedule.job_name, schedule.cron_schedule)
        for schedule in repository.schedule_defs
    } == {
        ("every_hour", "hourly", "5 * * * *"),
        ("every_three_minutes", "sync", "*/3 * * * *"),
        ("every_week", "retention", "35 3 * * SUN"),
        ("weekly_review", "review", "0 6 * * MON"),
        ("month_end_review", "review", "0 6 2 * *"),
    }
    (sensor,) = repository.sensor_defs
    assert (sensor.name, sensor.job_name) == ("landing_folder", "hourly")
    for name in alone:
        assert definitions.resolve_job_def(name).executor_def.name == "in_process"


# ---------------------------------------------------------------- recorded runs


def runs_of(home: Home) -> list[dg.DagsterRun]:
    """The recorded runs, newest first."""
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        return list(instance.get_runs())


def test_run_is_recorded_with_what_it_made_and_checked(
    example_home: Home, definitions: dg.Definitions
) -> None:
    (run,) = runs_of(example_home)
    graph = definitions.resolve_asset_graph()
    with dg.DagsterInstance.from_config(str(example_home.path / "dagster")) as instance:
        events = [
            record.event_log_entry for record in instance.get_records_for_run(run.run_id).records
        ]
    made = {
        event.dagster_event.asset_key
        for event in events
        if event.dagster_event and event.dagster_event.is_step_materialization
    }
    checked = {
        event.dagster_event.event_specific_data.asset_check_key: event.dagster_event
        for event in events
        if event.dagster_event
        and event.dagster_event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    }

    assert (run.job_name, run.status) == ("hourly", dg.DagsterRunStatus.SUCCESS)
    assert made == graph.materializable_asset_keys
    assert set(checked) == set(graph.asset_check_keys)
    failed = {key.name for key, event in checked.items() if not event.event_specific_data.passed}
    assert failed == {
        "request_ids_are_unique",
        "every_usage_is_priced",
        "no_usage_record_is_missing",
    }


def test_failed_run_is_recorded_as_failed(example_home: Home, tmp_path: Path) -> None:
    home = example_home.copy(tmp_path / "home")
    home.write("update marts.usage_records set list_cost = -1 where rowid = 3")

    home.run(only="check")

    newest, _ = runs_of(home)
    assert (newest.job_name, newest.status) == ("check", dg.DagsterRunStatus.FAILURE)
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        (evaluation,) = [
            record.event_log_entry.dagster_event.event_specific_data
            for record in instance.get_records_for_run(newest.run_id).records
            if record.event_log_entry.dagster_event
            and record.event_log_entry.dagster_event.event_type
            == dg.DagsterEventType.ASSET_CHECK_EVALUATION
            and record.event_log_entry.dagster_event.event_specific_data.check_name
            == "money_columns_are_never_negative"
        ]
    assert not evaluation.passed
    assert evaluation.metadata["failing_rows"].value == 1


def test_run_started_from_the_user_interface_names_its_process_and_takes_the_clock_as_it_is(
    example_home: Home, tmp_path: Path
) -> None:
    home = example_home.copy(tmp_path / "home")
    runtime = home.runtime
    job = build_code_location(runtime, tollbook_resource(runtime)).definitions.resolve_job_def(
        "check"
    )
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        result = job.execute_in_process(instance=instance)

    newest, _ = runs_of(home)
    assert result.success
    assert newest.tags[PROCESS_TAG] == this_process()
    ((checked_at,),) = home.query("select distinct checked_at from audit.check_results")
    assert abs(datetime.now(UTC).replace(tzinfo=None) - checked_at) < timedelta(minutes=5)


def test_definitions_load_in_a_fresh_process(example_home: Home) -> None:
    """What `dagster dev` does, with nothing but the environment to go by."""
    code = (
        "import dagster as dg\n"
        "from orchestration.definitions import definitions\n"
        "dg.Definitions.validate_loadable(definitions)\n"
        "print(len(definitions.resolve_asset_graph().materializable_asset_keys))\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TOLLBOOK_")
    }
    environment |= {
        "TOLLBOOK_CONFIG": str(EXAMPLE / "tollbook.yml"),
        "TOLLBOOK_HOME": str(example_home.path),
    }

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


# ---------------------------------------------------------------- killed runs

# A whole run in a process of its own that says where it is.
RUN = """
import sys
from pathlib import Path
from orchestration.config import read_runtime
from orchestration.defs.run import run_pipeline
home, as_of = Path(sys.argv[1]), sys.argv[2]
runtime = read_runtime(config=home / "tollbook.yml", home=home, as_of=as_of)
outcome = run_pipeline(runtime, progress=lambda line: print(line, flush=True))
print("ended", outcome.status, flush=True)
"""


def start_run(home: Home, until: str) -> subprocess.Popen[str]:
    """A run in a process of its own, stopped as soon as it reports a line that begins so."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(home.path), home.as_of], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    reported = ""
    for reported in process.stdout:
        if reported.startswith(until):
            process.send_signal(signal.SIGSTOP)
            return process
    raise AssertionError(f"the run never reported {until!r}; its last words: {reported!r}")


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.long
def test_runs_killed_in_load_build_and_publish_end_like_an_undisturbed_one(
    example_home: Home, tmp_path: Path
) -> None:
    home = Home.create(tmp_path / "home")
    home.drop_example()
    # The parsed project: what is killed here is the run, and parsing takes as long as the rest.
    (home.path / "dbt").mkdir()
    for name in ("manifest.json", "partial_parse.msgpack"):
        source = example_home.path / "dbt" / name
        target = home.path / "dbt" / name
        target.write_bytes(source.read_bytes())
        os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))

    ((files,),) = example_home.query("select count(*) from audit.load_batches")
    for line in (f"load 5 of {files}", "build 20 of", "publish: writing"):
        process = start_run(home, until=line)
        if line.startswith("build"):
            # A run at work is not a killed one: who comes second says so and leaves.
            second = home.run()
            assert (second.status, second.exit_code) == ("failed", 1)
            assert "is writing the warehouse; wait for that run to end" in second.problems[0]
        kill(process)
        assert not home.published.exists()
    outcome = home.run()

    assert (outcome.status, outcome.exit_code, outcome.problems) == ("published", 0, [])
    assert differing(home.marts(), example_home.marts()) == []
    assert differing(hash_marts(home.published), example_home.marts()) == []
    leftovers = home.query(
        "select table_name from information_schema.tables where table_name like '%__dbt_%'"
    )
    assert leftovers == []
    # Dagster shows three runs that failed and one that did not, none that seems to go on.
    assert [run.status for run in runs_of(home)] == [
        dg.DagsterRunStatus.SUCCESS,
        *[dg.DagsterRunStatus.FAILURE] * 3,
    ]
    # Each file was loaded once, whoever was killed in between.
    assert home.query("select count(*) from raw.litellm__spend_logs") == example_home.query(
        "select count(*) from raw.litellm__spend_logs"
    )
    statuses = home.query("select status, count(*) from audit.load_batches group by all")
    assert dict(statuses) == {"loaded": files}
