"""dbt in this process: which days to build, the build itself, and what it answered."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.config import Runtime

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunner

PROJECT = Path(__file__).resolve().parents[2]
# Above this many touched days, one pass over everything is cheaper than literal ranges.
MOST_TOUCHED_DAYS = 400
# State that stands from a build until its snapshot is published, so that a run that failed its
# checks or was killed in between is not taken for one with nothing to do.
UNPUBLISHED = "unpublished_build"
# State of the marts, so that a step alone publishes neither half a build nor what was not checked.
MARTS = "marts"
BUILDING, BUILT, CHECKED = "building", "built", "checked"
_RAW_USAGE = "litellm__spend_logs"
_RAW_PRICES = "price_catalog__entries"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What the next build covers.

    Attributes:
        touched_days: UTC days to rebuild (YYYY-MM-DD); None means every day.
        reason: Why every day, in words; empty otherwise.
        fingerprint: Hash of settings, seeds, models and engine the marts depend on.
        context_thresholds: Input sizes at which some catalog changes its price.
        has_news: Whether raw holds anything the marts do not know.
    """

    touched_days: tuple[str, ...] | None
    reason: str
    fingerprint: str
    context_thresholds: tuple[int, ...]
    has_news: bool


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One dbt node's outcome.

    Attributes:
        status: success, pass, warn, error, fail or skipped.
        failures: Failing rows of a test.
    """

    unique_id: str
    status: str
    seconds: float
    message: str
    failures: int


class BuildFailedError(RuntimeError):
    """dbt could not run, or a node or hard test failed; one line names the first."""


def plan_build(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, *, full_refresh: bool = False
) -> BuildPlan:
    """Which days the marts must be built for, from the ledger and the settings."""
    touched = connection.execute(
        "select table_name, cast(touched_date as varchar) from audit.touched_days order by all"
    ).fetchall()
    days = tuple(sorted({day for table, day in touched if table == _RAW_USAGE}))
    fingerprint = inputs_fingerprint(runtime)
    reason = ""
    if full_refresh:
        reason = "asked for"
    elif read_state(connection, "fingerprint") != fingerprint:
        reason = "settings, models or engine changed, or nothing was built yet"
    elif any(table == _RAW_PRICES for table, _ in touched):
        reason = "a price catalog was loaded"
    elif len(days) > MOST_TOUCHED_DAYS:
        reason = f"{len(days)} days were touched"
    return BuildPlan(
        touched_days=None if reason else days,
        reason=reason,
        fingerprint=fingerprint,
        context_thresholds=_thresholds(connection),
        has_news=bool(touched) or bool(reason),
    )


def _thresholds(connection: duckdb.DuckDBPyConnection) -> tuple[int, ...]:
    rows = connection.execute("""
        select distinct context_above_tokens
        from raw.price_catalog__prices
        where context_above_tokens > 0
        order by 1
        """).fetchall()
    return tuple(row[0] for row in rows) or (200_000,)


def inputs_fingerprint(runtime: Runtime) -> str:
    """A hash of what the marts depend on besides landing: settings, seeds, models, engine."""
    digest = hashlib.sha256()
    settings = runtime.settings
    digest.update(settings.pricing.model_dump_json().encode())
    digest.update(settings.privacy.model_dump_json().encode())
    digest.update(settings.quality.model_dump_json().encode())
    digest.update((PROJECT / "dbt_project.yml").read_bytes())
    digest.update(duckdb.__version__.encode())
    for folder in (PROJECT / "models", PROJECT / "dbt_project" / "macros", runtime.seeds):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.suffix in (".sql", ".csv", ".yml"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def read_state(connection: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """What an earlier run remembered under a name."""
    rows = connection.execute("select value from audit.state where name = ?", [name]).fetchall()
    return rows[0][0] if rows else None


def write_state(connection: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    """Remember something for the next run."""
    connection.execute("delete from audit.state where name = ?", [name])
    connection.execute("insert into audit.state values (?, ?)", [name, value])


def note_unchecked(connection: duckdb.DuckDBPyConnection) -> None:
    """Remember that raw changed under checked marts."""
    if read_state(connection, MARTS) == CHECKED:
        write_state(connection, MARTS, BUILT)


def note_checked(connection: duckdb.DuckDBPyConnection) -> None:
    """Remember that the checks ran on the marts as they are; on half a build they say nothing."""
    if read_state(connection, MARTS) != BUILDING:
        write_state(connection, MARTS, CHECKED)


def build_variables(runtime: Runtime, plan: BuildPlan) -> dict[str, Any]:
    """The dbt variables of one build."""
    settings = runtime.settings
    return {
        "as_of": runtime.as_of.isoformat(sep=" "),
        "touched_days": None if plan.touched_days is None else list(plan.touched_days),
        "context_thresholds": list(plan.context_thresholds),
        "price_list_order": list(settings.pricing.list_order),
        "price_backcast": settings.pricing.backcast,
        "lost_after_minutes": int(settings.quality.lost_after.total_seconds() // 60),
    }


@contextmanager
def dbt_environment(runtime: Runtime) -> Iterator[None]:
    """The variables that profiles.yml reads, for the time of one dbt call."""
    warehouse = runtime.settings.warehouse
    values = {
        "TOLLBOOK_DATABASE": str(runtime.database),
        "TOLLBOOK_MEMORY_LIMIT": warehouse.memory_limit,
        "TOLLBOOK_THREADS": str(warehouse.threads),
        "TOLLBOOK_TEMP": str(runtime.home / "tmp"),
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def manifest_path(runtime: Runtime) -> Path:
    """Where dbt keeps the parsed project of this home."""
    return runtime.home / "dbt" / "manifest.json"


def ensure_manifest(runtime: Runtime) -> Path:
    """Parse the project if it was never parsed, or changed since; the manifest's path."""
    path = manifest_path(runtime)
    folders = ("models", "dbt_project", "tests/dbt", "seeds")
    files = [file for folder in folders for file in (PROJECT / folder).rglob("*")]
    newest = max(
        file.stat().st_mtime for file in (PROJECT / "dbt_project.yml", *files) if file.is_file()
    )
    if not path.is_file() or path.stat().st_mtime < newest:
        invoke_dbt(runtime, ["parse"], variables={})
    return path


def invoke_dbt(
    runtime: Runtime,
    arguments: list[str],
    *,
    variables: dict[str, Any],
    on_node: Callable[[str, int, int], None] | None = None,
) -> list[NodeResult]:
    """One dbt command in this process; quiet, with everything it writes below HOME/dbt.

    Raises:
        BuildFailedError: dbt raised, or could not be started.
    """
    runner = _runner(on_node)
    target = runtime.home / "dbt"
    target.mkdir(parents=True, exist_ok=True)
    command = [
        *("--quiet", "--no-use-colors", "--log-level", "none", "--log-level-file", "none"),
        *arguments,
        *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT / "dbt_project")),
        *("--target-path", str(target), "--log-path", str(target)),
        *("--vars", json.dumps(variables)),
    ]
    with dbt_environment(runtime):
        try:
            result = runner.invoke(command)
        finally:
            _release_database()
    if result.exception is not None:
        first = str(result.exception).strip().splitlines()
        raise BuildFailedError(f"dbt {arguments[0]}: {' '.join(first[:3])}")
    return [
        NodeResult(
            unique_id=node.node.unique_id,
            status=str(node.status),
            seconds=float(node.execution_time),
            message=str(node.message or ""),
            failures=int(node.failures or 0),
        )
        for node in getattr(result.result, "results", ()) or ()
    ]


def _release_database() -> None:
    """Close the connection that dbt-duckdb otherwise keeps for the life of the process."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    DuckDBConnectionManager.close_all_connections()


# dbt's events of a finished node, and the field that says of how many.
_NODE_COUNTS = {
    "LogModelResult": "total",
    "LogSeedResult": "total",
    "LogSnapshotResult": "total",
    "LogTestResult": "num_models",
}


def _runner(on_node: Callable[[str, int, int], None] | None) -> dbtRunner:
    from dbt.cli.main import dbtRunner

    def listen(event: Any) -> None:
        count = _NODE_COUNTS.get(event.info.name)
        if on_node is not None and count is not None:
            data = event.data
            on_node(data.node_info.node_name, data.index, getattr(data, count))

    return dbtRunner(callbacks=[listen])


def build_marts(
    runtime: Runtime,
    plan: BuildPlan,
    *,
    on_node: Callable[[str, int, int], None] | None = None,
    select: list[str] | None = None,
) -> list[NodeResult]:
    """Build every model for the planned days and run the data tests beside them.

    Raises:
        BuildFailedError: dbt itself failed; a failing node is in the results.
    """
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    if plan.touched_days is None:
        arguments.append("--full-refresh")
    if select:
        # A test that also reads what is not selected would look at something old, or nothing.
        arguments += ["--select", *select, "--indirect-selection", "cautious"]
    return invoke_dbt(runtime, arguments, variables=build_variables(runtime, plan), on_node=on_node)


def failed_nodes(results: list[NodeResult]) -> list[NodeResult]:
    """The nodes that stop a publish."""
    return [node for node in results if node.status in ("error", "fail")]


def remember_build(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, plan: BuildPlan
) -> None:
    """Note that the marts now cover what raw holds, and when something is next due."""
    connection.execute("begin")
    connection.execute("delete from audit.touched_days")
    write_state(connection, "fingerprint", plan.fingerprint)
    write_state(connection, UNPUBLISHED, "true")
    write_state(connection, MARTS, BUILT)
    write_state(connection, "as_of", runtime.as_of.isoformat())
    due = _next_due(connection, runtime)
    write_state(connection, "next_due_at", due or "9999-12-31T00:00:00")
    connection.execute("commit")


def _next_due(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> str | None:
    """The earliest moment at which an unchanged landing folder gives other marts."""
    minutes = int(runtime.settings.quality.lost_after.total_seconds() // 60)
    rows = connection.execute(f"""
        select min(due_at) from (
            select next_due_at as due_at from marts.source_freshness
            union all
            select occurred_at + interval {minutes} minute from raw.app__requests
            union all
            select hour_at + interval {minutes + 60} minute from raw.gateway__counts
        )
        where due_at > timestamp '{runtime.as_of.isoformat(sep=" ")}'
        """).fetchall()
    return rows[0][0].isoformat() if rows[0][0] else None


def write_sources(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> None:
    """Put the configured sources where models can read them."""
    connection.execute("delete from reference.sources")
    for source in runtime.settings.sources:
        interval = source.expected_interval
        connection.execute(
            "insert into reference.sources values (?, ?, ?, ?)",
            [
                source.name,
                source.kind,
                source.gateway_name,
                None if interval is None else int(interval.total_seconds() // 60),
            ],
        )
