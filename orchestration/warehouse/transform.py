"""dbt in this process: which days to build, the build itself, and what it answered."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.landing.asked import read_asked
from orchestration.landing.seed_files import CheckedSeed, SeedProblem, read_seeds
from orchestration.sources.owners import OBSERVATIONS, OWNER_TABLES
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.pending import BUILD, clear_days, note_days
from orchestration.warehouse.selection import DUE_TAG, Need, tag_nodes_of_some_days

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).resolve().parents[2]
# The seeds of the bundled example; also those that stand in where a user has none of a kind.
OUR_SEEDS = PROJECT / "seeds"
# Above this many touched days, one pass over everything is cheaper than literal ranges.
MOST_TOUCHED_DAYS = 400
# State that stands from a build until its snapshot is published, so that a run that failed its
# checks or was killed in between is not taken for one with nothing to do.
UNPUBLISHED = "unpublished_build"
# State of the marts, so that a step alone publishes neither half a build nor what was not checked.
MARTS = "marts"
BUILDING, SYNCING, BUILT, CHECKED = "building", "syncing", "built", "checked"
# Models that a sync builds: whatever replaces days, and the two that go with them.
SYNCED = (
    "+config.incremental_strategy:touched_days",
    "+source_freshness",
    "+wallet_balances",
    "+wallet_months",
)
# Incremental strategies that replace days, and note those that a later step must take up.
BY_DAY = ("touched_days", "request_days")
# State that names the marts a build replaces by day and by nothing else, as a JSON list.
DAY_MARTS = "day_marts"
# Tag of the data tests that only a change of the models can break.
CI_TAG = "ci"
_THRESHOLDS = "context_thresholds"
# State by which the ledger of wallets draws again what a build that did not end had begun.
_UNFINISHED = "unfinished_build"
_RAW_USAGE = "litellm__spend_logs"
# Tables of raw whose rows become usage records; a day touched in one of them is built.
RAW_USAGE_TABLES = (_RAW_USAGE, "gateway__usage")
_RAW_PRICES = "price_catalog__entries"
_RAW_OWNERS = frozenset({OBSERVATIONS.name, *(table.raw_name for table in OWNER_TABLES)})
# Under these names price_sets and int_owners__resolved note the days on which records are priced
# or owned otherwise now.
_REPRICED, _REOWNED = "price_sets", "owners"
# Seeds that reach usage records through int_owners__resolved alone: a change of one rebuilds the
# days on which it makes a difference. A change of any other seed rebuilds every day.
OWNER_SEEDS = (
    "accounts",
    "account_scopes",
    "fx_rates",
    "key_owners",
    "provider_accounts",
    "teams",
)
OWNER_FINGERPRINT = "owner_fingerprint"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What the next build covers.

    Attributes:
        touched_days: UTC days to rebuild (YYYY-MM-DD); None means every day.
        reason: Why every day, in words; empty otherwise.
        fingerprint: Hash of settings, seeds, models and engine the marts depend on.
        context_thresholds: Input sizes at which some catalog changes its price.
        has_news: Whether raw holds anything the marts do not know.
        has_new_prices: Whether price sets known before may hold no more.
        has_new_owners: Whether records of days that were not touched may be owned otherwise now.
        owner_fingerprint: Hash of the seeds that say who owns what.
        has_new_seeds: Whether those seeds are to be loaded.
    """

    touched_days: tuple[str, ...] | None
    reason: str
    fingerprint: str
    context_thresholds: tuple[int, ...]
    has_news: bool
    has_new_prices: bool
    has_new_owners: bool
    owner_fingerprint: str
    has_new_seeds: bool


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One dbt node's outcome.

    Attributes:
        status: success, pass, warn, error, fail or skipped.
        failures: Failing rows of a test.
        relation: The table of a model, written schema.table.
        is_by_day: Whether the model replaces the touched days of its table and nothing else.
    """

    unique_id: str
    status: str
    seconds: float
    message: str
    failures: int
    relation: str = ""
    is_by_day: bool = False


class BuildFailedError(RuntimeError):
    """dbt could not run, or a node or hard test failed; one line names the first."""


def plan_build(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, *, full_refresh: bool = False
) -> BuildPlan:
    """Which days the marts must be built for, from the ledger and the settings."""
    touched = connection.execute(
        "select table_name, cast(touched_date as varchar) from audit.touched_days order by all"
    ).fetchall()
    days = tuple(sorted({day for table, day in touched if table in RAW_USAGE_TABLES}))
    thresholds = _thresholds(connection)
    fingerprint = inputs_fingerprint(runtime)
    has_new_catalog = any(table == _RAW_PRICES for table, _ in touched)
    owners = owner_seeds_fingerprint(runtime)
    has_new_seeds = read_state(connection, OWNER_FINGERPRINT) != owners
    reason = ""
    if full_refresh:
        reason = "asked for"
    elif read_state(connection, "fingerprint") != fingerprint:
        reason = "settings, models or engine changed, or nothing was built yet"
    elif read_state(connection, _THRESHOLDS) != json.dumps(thresholds):
        reason = "a price catalog changes prices at other sizes of input than any before"
    elif len(days) > MOST_TOUCHED_DAYS:
        reason = f"{len(days)} days were touched"
    return BuildPlan(
        touched_days=None if reason else days,
        reason=reason,
        fingerprint=fingerprint,
        context_thresholds=thresholds,
        has_news=bool(touched) or has_new_seeds or bool(reason),
        has_new_prices=has_new_catalog or bool(reason),
        has_new_owners=has_new_seeds
        or any(table in _RAW_OWNERS for table, _ in touched)
        or bool(reason),
        owner_fingerprint=owners,
        has_new_seeds=has_new_seeds,
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
    """A hash of what the marts depend on besides landing: settings, seeds, models, engine.

    Without the seeds that say who owns what: owner_seeds_fingerprint.
    """
    digest = hashlib.sha256()
    settings = runtime.settings
    digest.update(settings.pricing.model_dump_json().encode())
    digest.update(settings.privacy.model_dump_json().encode())
    digest.update(settings.quality.model_dump_json().encode())
    digest.update(str(settings.lateness.daily).encode())
    digest.update((PROJECT / "dbt_project.yml").read_bytes())
    digest.update(duckdb.__version__.encode())
    # Ours too: some stand in for a user's.
    folders = (PROJECT / "models", PROJECT / "dbt_project" / "macros", OUR_SEEDS, runtime.seeds)
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            is_of_owners = path.suffix == ".csv" and path.stem in OWNER_SEEDS
            if path.suffix in (".sql", ".csv", ".yml") and not is_of_owners:
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def owner_seeds_fingerprint(runtime: Runtime) -> str:
    """A hash of the seeds that reach usage records as owners alone."""
    digest = hashlib.sha256()
    for name in OWNER_SEEDS:
        path = runtime.seeds / f"{name}.csv"
        digest.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
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
    if read_state(connection, MARTS) not in (BUILDING, SYNCING):
        write_state(connection, MARTS, CHECKED)


def build_variables(runtime: Runtime, plan: BuildPlan) -> dict[str, Any]:
    """The dbt variables of one build: settings, and what changes with a catalog."""
    return {
        "context_thresholds": list(plan.context_thresholds),
        **_lasting_variables(runtime),
    }


def _lasting_variables(runtime: Runtime) -> dict[str, Any]:
    """The dbt variables that are settings: the same in every run until somebody changes them."""
    settings = runtime.settings
    return {
        "price_list_order": list(settings.pricing.list_order),
        "price_backcast": settings.pricing.backcast,
        "catalog_disagreement": str(settings.pricing.catalog_disagreement),
        "lost_after_minutes": int(settings.quality.lost_after.total_seconds() // 60),
        "daily_lateness_minutes": int(settings.lateness.daily.total_seconds() // 60),
        # Written out: with an exponent it would be a binary number to the engine.
        "cost_tolerance": f"{Decimal(str(settings.quality.cost_tolerance)):f}",
        "week_starts": settings.reporting.week_starts,
        "dispute_business_days": settings.disputes.business_days,
        "capture_rate": f"{Decimal(str(settings.quality.capture_rate)):f}",
        "invoice_tolerance": f"{Decimal(str(settings.quality.invoice_tolerance)):f}",
    }


def write_checked_seeds(runtime: Runtime) -> list[SeedProblem]:
    """Put what is sound in the user's seeds where dbt reads them; what was wrong with the rest.

    Every table of the contract is there, so that a file nobody wrote is an empty table.

    Raises:
        ConfigurationError: the folder that was named is absent, or a file cannot be read at all.
    """
    if not runtime.seeds.is_dir() and runtime.seeds != runtime.config_file.parent / "seeds":
        raise ConfigurationError(
            f"seeds: there is no folder {runtime.seeds}; create it, or correct `seeds:` in "
            f"{runtime.config_file} or TOLLBOOK_SEEDS"
        )
    seeds = read_seeds(runtime.seeds, fallback=OUR_SEEDS)
    folder = checked_seeds_folder(runtime)
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds.items():
        _write_seed(folder / f"{name}.csv", seed)
    return [problem for seed in seeds.values() for problem in seed.problems]


def _write_seed(path: Path, seed: CheckedSeed) -> None:
    text = seed.to_csv()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def checked_seeds_folder(runtime: Runtime) -> Path:
    """Where dbt finds the seeds of this home."""
    return runtime.home / "dbt" / "seeds"


def write_build_plan(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, plan: BuildPlan
) -> None:
    """Put where the models read it what differs from run to run (macro build_plan)."""
    write_state(connection, "build_plan", json.dumps(_told(runtime, plan)))


def _told(runtime: Runtime, plan: BuildPlan) -> dict[str, Any]:
    return {
        "as_of": runtime.as_of.isoformat(sep=" "),
        "is_every_day": plan.touched_days is None,
        "has_new_prices": plan.has_new_prices,
        "has_new_owners": plan.has_new_owners,
        "has_new_seeds": plan.has_new_seeds,
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
        "TOLLBOOK_SEEDS": str(checked_seeds_folder(runtime)),
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
    if not path.is_file() or _noted_parse(runtime) != _parse_key(runtime):
        write_checked_seeds(runtime)
        read_manifest(runtime)
    return path


# The parsed project of each home in this process, with the key of what it was parsed from.
_PARSED: dict[Path, tuple[str, Manifest]] = {}


def read_manifest(runtime: Runtime) -> Manifest:
    """The project as dbt parsed it; parsed anew only where a file or a setting of it changed.

    dbt's own check also throws a parse away when a variable differs, and some differ in every run.
    """
    key = _parse_key(runtime)
    known, manifest = _PARSED.get(runtime.home, ("", None))
    if manifest is None or known != key:
        if _noted_parse(runtime) == key and _kept_parse(runtime).is_file():
            manifest = _read_kept_parse(runtime)
        else:
            # The manifest is written too: Dagster reads it.
            manifest = _invoke(runtime, ["parse"], variables=_lasting_variables(runtime)).result
            _parse_note(runtime).write_text(key)
        _PARSED[runtime.home] = (key, manifest)
    # A run writes what it compiled into the nodes.
    return manifest.deepcopy()


def _kept_parse(runtime: Runtime) -> Path:
    """Where dbt keeps the parsed project for its next start."""
    return runtime.home / "dbt" / "partial_parse.msgpack"


def _read_kept_parse(runtime: Runtime) -> Manifest:
    """The project as dbt kept it: it would read the same, after a look at every file of its own."""
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    kept = _kept_parse(runtime).read_bytes()
    manifest = Manifest.from_msgpack(kept, decoder=extended_mashumuro_decoder)
    manifest.build_flat_graph()
    return manifest


def _parse_note(runtime: Runtime) -> Path:
    return runtime.home / "dbt" / "parsed_from.sha256"


def _noted_parse(runtime: Runtime) -> str | None:
    note = _parse_note(runtime)
    return note.read_text() if note.is_file() else None


def _parse_key(runtime: Runtime) -> str:
    """A hash of everything a parse depends on."""
    from importlib.metadata import version

    digest = hashlib.sha256()
    digest.update(repr((version("dbt-core"), version("dbt-duckdb"), str(PROJECT))).encode())
    digest.update(json.dumps(_lasting_variables(runtime), sort_keys=True).encode())
    folders = [PROJECT / name for name in ("models", "dbt_project", "tests/dbt")]
    files = [PROJECT / "dbt_project.yml"]
    for folder in (*folders, checked_seeds_folder(runtime)):
        files += sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        digest.update(str(path).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def invoke_dbt(
    runtime: Runtime,
    arguments: list[str],
    *,
    variables: dict[str, Any],
    on_node: Callable[[str, int, int], None] | None = None,
    manifest: Manifest | None = None,
) -> list[NodeResult]:
    """One dbt command in this process; quiet, with everything it writes below HOME/dbt.

    Raises:
        BuildFailedError: dbt raised, or could not be started.
    """
    result = _invoke(
        runtime,
        ["--no-write-json", *arguments],
        variables=variables,
        on_node=on_node,
        manifest=manifest or read_manifest(runtime),
    )
    return [
        NodeResult(
            unique_id=node.node.unique_id,
            status=str(node.status),
            seconds=float(node.execution_time),
            message=str(node.message or ""),
            failures=int(node.failures or 0),
            relation=f"{node.node.schema}.{getattr(node.node, 'alias', node.node.name)}",
            is_by_day=getattr(node.node.config, "incremental_strategy", None) in BY_DAY,
        )
        for node in getattr(result.result, "results", ()) or ()
    ]


def _invoke(
    runtime: Runtime,
    arguments: list[str],
    *,
    variables: dict[str, Any],
    on_node: Callable[[str, int, int], None] | None = None,
    manifest: Manifest | None = None,
) -> Any:
    """dbt's own answer to one command.

    Raises:
        BuildFailedError: dbt raised, or could not be started.
    """
    runner = _runner(on_node, manifest)
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
        command_name = next(each for each in arguments if not each.startswith("-"))
        what = " ".join(first[:3]) or type(result.exception).__name__
        raise BuildFailedError(f"dbt {command_name}: {what}")
    return result


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


def _runner(
    on_node: Callable[[str, int, int], None] | None, manifest: Manifest | None
) -> dbtRunner:
    from dbt.cli.main import dbtRunner

    def listen(event: Any) -> None:
        count = _NODE_COUNTS.get(event.info.name)
        if on_node is not None and count is not None:
            data = event.data
            on_node(data.node_info.node_name, data.index, getattr(data, count))

    return dbtRunner(manifest=manifest, callbacks=[listen])


def build_marts(
    runtime: Runtime,
    plan: BuildPlan,
    *,
    on_node: Callable[[str, int, int], None] | None = None,
    select: list[str] | None = None,
    is_tested: bool = True,
) -> list[NodeResult]:
    """Build every model for the planned days and run the data tests beside them.

    Raises:
        BuildFailedError: dbt itself failed; a failing node is in the results.
    """
    with open_warehouse(runtime) as connection:
        write_build_plan(connection, runtime, plan)
    # What only a change of the models can break is tested where models are changed.
    excluded = [CI_TAG] if plan.has_new_prices else [CI_TAG, "price_catalog"]
    manifest: Manifest | None = None
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    arguments += ["--exclude", *(f"tag:{tag}" for tag in excluded)]
    if plan.touched_days is None:
        arguments.append("--full-refresh")
    elif not plan.has_new_seeds:
        arguments += ["--exclude-resource-type", "seed"]
    if not is_tested:
        arguments += ["--exclude-resource-type", "test"]
    if select:
        # A test that also reads what is not selected would look at something old, or nothing.
        arguments += ["--select", *select, "--indirect-selection", "cautious"]
    elif plan.touched_days is not None:
        manifest = read_manifest(runtime)
        with open_warehouse(runtime) as connection:
            tag_nodes_of_some_days(
                manifest,
                has_new_seeds=plan.has_new_seeds,
                excluded_tags=excluded,
                which_are_empty=partial(_empty_ones, connection),
            )
        arguments += ["--select", f"tag:{DUE_TAG}", "--indirect-selection", "empty"]
    variables = build_variables(runtime, plan) | {"build_plan": _told(runtime, plan)}
    return invoke_dbt(runtime, arguments, variables=variables, on_node=on_node, manifest=manifest)


def _empty_ones(connection: duckdb.DuckDBPyConnection, needs: set[Need]) -> set[Need]:
    """Those of some relations and columns that hold nothing."""
    listed = sorted(needs, key=lambda need: (need.relation, need.column))
    if not listed:
        return set()
    checks = " union all ".join(
        f"select {place} where not exists (from {need.relation}"
        + (f" where {need.column} is not null)" if need.column else ")")
        for place, need in enumerate(listed)
    )
    return {listed[place] for (place,) in connection.execute(checks).fetchall()}


def model_docs(runtime: Runtime) -> Path:
    """The page about every model, column and test, with their lineage."""
    return runtime.home / "docs" / "index.html"


def write_model_docs(runtime: Runtime) -> None:
    """Write dbt's documentation as one page that needs no server.

    Raises:
        BuildFailedError: dbt failed.
    """
    _invoke(
        runtime,
        ["docs", "generate", "--static", "--no-compile"],
        variables=_lasting_variables(runtime),
        manifest=read_manifest(runtime),
    )
    page = model_docs(runtime)
    page.parent.mkdir(parents=True, exist_ok=True)
    (runtime.home / "dbt" / "static_index.html").replace(page)
    (runtime.home / "dbt" / "index.html").unlink(missing_ok=True)


def failed_nodes(results: list[NodeResult]) -> list[NodeResult]:
    """The nodes that stop a publish."""
    return [node for node in results if node.status in ("error", "fail")]


def note_building(
    connection: duckdb.DuckDBPyConnection, plan: BuildPlan, *, is_sync: bool = False
) -> None:
    """Note that the marts are about to change, on which days, and whether a build did not end."""
    is_unfinished = read_state(connection, MARTS) in (BUILDING, SYNCING)
    write_state(connection, _UNFINISHED, "true" if is_unfinished else "false")
    write_state(connection, MARTS, SYNCING if is_sync else BUILDING)
    note_days(connection, plan.touched_days)


def remember_build(
    connection: duckdb.DuckDBPyConnection,
    runtime: Runtime,
    plan: BuildPlan,
    nodes: Sequence[NodeResult] = (),
) -> None:
    """Note that the marts now cover what raw holds, and when something is next due."""
    connection.execute("begin")
    connection.execute("delete from audit.touched_days")
    _remember_day_marts(connection, nodes)
    write_state(connection, "fingerprint", plan.fingerprint)
    write_state(connection, OWNER_FINGERPRINT, plan.owner_fingerprint)
    write_state(connection, _THRESHOLDS, json.dumps(plan.context_thresholds))
    write_state(connection, UNPUBLISHED, "true")
    write_state(connection, MARTS, BUILT)
    write_state(connection, "as_of", runtime.as_of.isoformat())
    due = _next_due(connection, runtime)
    write_state(connection, "next_due_at", due or "9999-12-31T00:00:00")
    connection.execute("commit")


def remember_sync(connection: duckdb.DuckDBPyConnection, nodes: Sequence[NodeResult]) -> None:
    """Note that the marts of days cover what raw holds; the others are left to the next build."""
    names = ", ".join(f"'{name}'" for name in (*RAW_USAGE_TABLES, _REPRICED, _REOWNED))
    built = f"table_name in ({names})"
    days = connection.execute(
        f"select distinct cast(touched_date as varchar) from audit.touched_days where {built}"
    ).fetchall()
    connection.execute("begin")
    note_days(connection, [day for (day,) in days], consumers=(BUILD,))
    # A new catalog stays noted, and so do new owners: not every model that reads it was built.
    connection.execute(f"delete from audit.touched_days where {built}")
    _remember_day_marts(connection, nodes)
    write_state(connection, UNPUBLISHED, "true")
    write_state(connection, MARTS, BUILT)
    connection.execute("commit")


def take_up_synced_days(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the next build take up again, for all models, the days that syncs built of some."""
    connection.execute("begin")
    connection.execute(
        "insert into audit.touched_days select ?, usage_date from audit.pending_days "
        "where consumer = ? and usage_date not in (select touched_date from audit.touched_days "
        "where table_name = ?)",
        [_RAW_USAGE, BUILD, _RAW_USAGE],
    )
    clear_days(connection, BUILD)
    connection.execute("commit")


def touch_days(connection: duckdb.DuckDBPyConnection, days: Sequence[str]) -> None:
    """Have the next build take up these days (YYYY-MM-DD) again."""
    for day in days:
        connection.execute(
            "insert into audit.touched_days values (?, cast(? as date))", [_RAW_USAGE, day]
        )


def _remember_day_marts(connection: duckdb.DuckDBPyConnection, nodes: Sequence[NodeResult]) -> None:
    models = [node for node in nodes if node.unique_id.startswith("model.")]
    by_day = set(json.loads(read_state(connection, DAY_MARTS) or "[]"))
    by_day -= {node.relation for node in models}
    by_day |= {node.relation for node in models if node.is_by_day}
    write_state(connection, DAY_MARTS, json.dumps(sorted(by_day)))


def _next_due(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> str | None:
    """The earliest moment at which an unchanged landing folder gives other marts."""
    minutes = int(runtime.settings.quality.lost_after.total_seconds() // 60)
    as_of = f"timestamp '{runtime.as_of.isoformat(sep=' ')}'"
    rows = connection.execute(f"""
        select min(due_at) from (
            select next_due_at as due_at from marts.source_freshness
            union all
            select occurred_at + interval {minutes} minute from raw.app__requests
            union all
            select occurred_at + interval {minutes} minute from marts.request_reconciliation
            where match_status = 'pending'
            union all
            select due_at from marts.disputes where state = 'open'
            union all
            select
                hour_at + coalesce(hours, 1) * interval 1 hour + interval {minutes} minute
            from raw.gateway__counts
            union all
            -- A day later overview, forecasts and runways are others: by the zone of each account.
            select
                (
                    date_trunc('day', ({as_of} at time zone 'UTC') at time zone time_zone)
                    + interval 1 day
                ) at time zone time_zone at time zone 'UTC'
            from (
                select time_zone from reference.accounts
                union
                select 'UTC'
            )
            where exists (from marts.billing_overview)
        )
        where due_at > {as_of}
        """).fetchall()
    return rows[0][0].isoformat() if rows[0][0] else None


def write_sources(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> None:
    """Put the configured sources where models can read them."""
    connection.execute("delete from reference.sources")
    for source in runtime.settings.sources:
        interval = source.expected_interval
        connection.execute(
            "insert into reference.sources values (?, ?, ?, ?, ?)",
            [
                source.name,
                source.kind,
                source.gateway_name,
                None if interval is None else int(interval.total_seconds() // 60),
                read_asked(runtime.landing, source.name),
            ],
        )


def write_refused_seeds(connection: duckdb.DuckDBPyConnection, problems: list[SeedProblem]) -> None:
    """Put what was wrong with the seeds where models and readers see it."""
    connection.execute("delete from reference.refused_seed_rows")
    for problem in problems:
        connection.execute(
            "insert into reference.refused_seed_rows values (?, ?, ?, ?, ?, ?, ?)",
            [
                problem.seed,
                problem.line,
                problem.column,
                problem.code,
                problem.reason,
                problem.subject,
                problem.is_refused,
            ],
        )
