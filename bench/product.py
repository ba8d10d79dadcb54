"""The product's side of every bench: its own functions, timed in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import generate
from clock import Clock, serve

from orchestration.config import Runtime, read_runtime
from orchestration.defs.steps import RunLog, Steps
from orchestration.landing.kinds import ROW_KINDS
from orchestration.warehouse import publish as publishing
from orchestration.warehouse import staged, transform
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.ledger import Batch, Ledger
from orchestration.warehouse.schema import create_schema

# Every home is run at this moment, after the last price date of any data set.
AS_OF = "2026-09-30T00:00:00Z"
_STAGED_AT_ONCE = 2_000_000


def runtime_of(home: str) -> Runtime:
    """The runtime of a bench home."""
    return read_runtime(config=Path(home) / "tollbook.yml", home=Path(home), as_of=AS_OF)


def _steps(home: str) -> Steps:
    return Steps(runtime=runtime_of(home), run="bench", log=RunLog(), progress=lambda _line: None)


# ---------------------------------------------------------------- facts


def raw_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Rows, exact sums and a checksum of the loaded spend logs."""
    rows, spend, tokens, ids = connection.execute("""
        select count(*), sum(spend), sum(total_tokens), sum(hash(request_id) % 1000000007)
        from raw.litellm__spend_logs
        """).fetchall()[0]
    cents = f"{spend or 0:.2f}"
    return {"rows": rows, "cents": cents, "tokens": tokens, "ids": str(ids)}


def mart_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Records and exact sums of the marts, those that repeat another left out."""
    records, spend, list_cost, tokens = connection.execute("""
        select count(*), sum(gateway_cost), sum(list_cost),
            sum(input_total_tokens + output_total_tokens)
        from marts.usage_records where duplicate_of is null
        """).fetchall()[0]
    requests, daily_cost = connection.execute(
        "select sum(requests), sum(list_cost) from marts.daily_spend"
    ).fetchall()[0]
    return {
        "records": records,
        "requests": requests,
        "spend": _plain(spend),
        "list_cost": _plain(list_cost),
        "daily_list_cost": _plain(daily_cost),
        "tokens": tokens,
    }


def _plain(amount: Any) -> str:
    return f"{amount or 0:.12f}"


# ---------------------------------------------------------------- preparing a home


def stage(clock: Clock, *, home: str, logs: list[dict[str, Any]]) -> dict[str, Any]:
    """Fill raw as the loader would: parsed by SQL, then the loader's own deduplication and ledger.

    This is how histories come about that nobody wants to parse again for each measurement.
    """
    runtime = runtime_of(home)
    with open_warehouse(runtime) as connection:
        create_schema(connection)
        ledger = Ledger(connection)
        for part in logs:
            _stage_part(connection, ledger, runtime, _logs(part))
        connection.execute("checkpoint")
        with clock:
            return raw_facts(connection)


def _logs(fields: dict[str, Any]) -> generate.Logs:
    moments = {k: datetime.fromisoformat(v) for k, v in fields.items() if k == "price_from"}
    return generate.Logs(**{**fields, **moments})


def _stage_part(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, runtime: Runtime, logs: generate.Logs
) -> None:
    kind = ROW_KINDS["litellm_spend_logs"]
    name = f"litellm/staged-{logs.first}-{logs.rows}.jsonl"
    for first in range(logs.first, logs.first + logs.rows, _STAGED_AT_ONCE):
        rows = min(_STAGED_AT_ONCE, logs.first + logs.rows - first)
        chunk = replace(logs, first=first, rows=rows)
        for table in (kind.table, *kind.children):
            staged.create_incoming(connection, table)
        connection.execute(
            f"insert into incoming_{kind.table.name} by name {generate.raw_sql(chunk)}"
        )
        (rows_in,) = connection.execute(
            f"select count(*) from incoming_{kind.table.name}"
        ).fetchall()[0]
        batch = Batch(
            source="litellm",
            gateway="litellm",
            kind=kind.name,
            file_name=f"{name}.{first}",
            file_sha256=f"{first:064x}",
            loaded_at=runtime.as_of,
            rows_in=rows_in,
        ).identified()
        staged.commit_again(connection, ledger, batch, quarantined=[], flags=[])


# ---------------------------------------------------------------- steps


def _set_up(steps: Steps) -> None:
    """The empty tables, which a home is given once in its life."""
    with open_warehouse(steps.runtime) as connection:
        create_schema(connection)


def load(clock: Clock, *, home: str) -> dict[str, Any]:
    """Load what lies in landing: hash, parse, validate, quarantine, ledger, checkpoint."""
    steps = _steps(home)
    _set_up(steps)
    with clock:
        report = steps.load()
    with open_warehouse(steps.runtime) as connection:
        return {
            "lines": report.total("rows_in"),
            "quarantined": report.total("rows_quarantined"),
            **raw_facts(connection),
        }


def load_and_roll_up(clock: Clock, *, home: str) -> dict[str, Any]:
    """Load, then the exact spend of each day, as the peers do it."""
    steps = _steps(home)
    _set_up(steps)
    loaded, rolled = Clock(), Clock()
    with clock:
        with loaded:
            steps.load()
        with rolled, open_warehouse(steps.runtime) as connection:
            days = connection.execute("""
                select cast(started_at as date) as day, sum(spend)
                from raw.litellm__spend_logs group by all order by all
                """).fetchall()
    for name, part in (("load", loaded), ("roll_up", rolled)):
        clock.phases |= {name: part.wall, f"{name}_cpu": part.cpu}
    return {"days": {str(day): _plain(spend) for day, spend in days}}


def build(clock: Clock, *, home: str, full_refresh: bool = False) -> dict[str, Any]:
    """Build the marts with dbt and its data tests; dbt is imported before the clock starts."""
    import dbt.cli.main  # noqa: F401  # its import is hour-cold's subject

    steps = _steps(home)
    with clock:
        nodes = steps.build(full_refresh=full_refresh)
    clock.phases.update({node.unique_id.split(".")[2]: node.seconds for node in nodes})
    with open_warehouse(steps.runtime) as connection:
        return mart_facts(connection)


def check(clock: Clock, *, home: str) -> dict[str, Any]:
    """All hard checks and expectations, after their libraries are imported."""
    from orchestration.warehouse import expectations  # noqa: F401
    from orchestration.warehouse.expectation_suites import suites  # noqa: F401

    _import_expectations()
    steps = _steps(home)
    with clock:
        results = steps.check()
    failed = [r.check for r in results if not r.passed and r.severity == "hard"]
    return {"checks": len(results), "failed": failed}


def _import_expectations() -> None:
    import great_expectations  # noqa: F401


def publish(clock: Clock, *, home: str) -> dict[str, Any]:
    """Write, verify and flip a snapshot."""
    steps = _steps(home)
    with clock:
        publication = steps.publish()
    return {"version": publication.version, "rows": publication.tables["marts.usage_records"][0]}


def prepare_publish(clock: Clock, *, home: str) -> dict[str, Any]:
    """Load, build and check what is new, so that a snapshot is due; the days that changed."""
    steps = _steps(home)
    with clock:
        steps.load()
        with open_warehouse(steps.runtime) as connection:
            days = connection.execute("""
                select cast(touched_date as varchar) from audit.touched_days
                where table_name = 'litellm__spend_logs' order by 1
                """).fetchall()
        steps.build()
        steps.check()
    return {"days": [day for (day,) in days]}


def run(clock: Clock, *, home: str, record: str = "") -> dict[str, Any]:
    """One hourly run as `tollbook run` does it, in this process; `record` names a file for its SQL.

    The imports come before the clock, so that a second call in one worker is a warm run.
    """
    from orchestration.defs.run import run_pipeline

    runtime = runtime_of(home)
    statements: list[tuple[int, str]] = []
    with _recording(statements), clock:
        outcome = run_pipeline(runtime)
    if outcome.exit_code:
        raise RuntimeError(f"the run ended with {outcome.exit_code}: {outcome.problems[:3]}")
    if record:
        Path(record).write_text(json.dumps(statements))
    clock.phases.update(outcome.seconds)
    with open_warehouse(runtime) as connection:
        return mart_facts(connection)


@contextmanager
def _recording(statements: list[tuple[int, str]]) -> Iterator[None]:
    """Keep every statement that dbt sends to DuckDB, with the number of its cursor."""
    from dbt.adapters.duckdb.environments.local import DuckDBConnectionWrapper, DuckDBCursorWrapper

    numbers: dict[int, int] = {}
    execute, close = DuckDBCursorWrapper.execute, DuckDBConnectionWrapper.close

    def executing(self: Any, sql: str, bindings: Any = None) -> Any:
        number = numbers.setdefault(id(self), len(statements))
        if bindings is None:
            statements.append((number, sql))
        return execute(self, sql, bindings)

    def closing(self: Any) -> Any:
        # An identity may come again once its object is gone.
        number = numbers.pop(id(self.cursor()), None)
        if number is not None:
            statements.append((number, _CLOSE))
        return close(self)

    DuckDBCursorWrapper.execute, DuckDBConnectionWrapper.close = executing, closing
    try:
        yield
    finally:
        DuckDBCursorWrapper.execute, DuckDBConnectionWrapper.close = execute, close


_CLOSE = "-- close"


def hour_sql(clock: Clock, *, home: str, statements: str) -> dict[str, Any]:
    """The same hour without Dagster, dbt, checks and publish: the load, then dbt's statements."""
    steps = _steps(home)
    texts = json.loads(Path(statements).read_text())
    with clock:
        steps.load()
        with open_warehouse(steps.runtime) as connection:
            plan = transform.plan_build(connection, steps.runtime)
            _replay(connection, texts)
            transform.remember_build(connection, steps.runtime, plan)
            connection.execute("checkpoint")
    clock.phases["load"] = steps.log.seconds["load"]
    clock.phases["build"] = clock.wall - steps.log.seconds["load"]
    with open_warehouse(steps.runtime) as connection:
        return mart_facts(connection)


def _replay(connection: duckdb.DuckDBPyConnection, statements: list[tuple[int, str]]) -> None:
    cursors: dict[int, duckdb.DuckDBPyConnection] = {}
    for number, text in statements:
        if text == _CLOSE:
            cursors.pop(number).close()
            continue
        if number not in cursors:
            cursors[number] = connection.cursor()
        cursors[number].execute(text).fetchall()


# ---------------------------------------------------------------- wallets

# Debits of an hour end with it; the first hour of the ledger.
_LEDGER_FROM = "timestamp '2025-01-01'"
_LEDGER = (
    "int_wallet__expiring_debits",
    "int_wallet__changes",
    "wallet_ledger",
    "int_wallet__days",
    "wallet_months",
)


def fill_ledger(clock: Clock, *, home: str, wallets: int, hours: int) -> dict[str, Any]:
    """Give a built home wallets with a debit in every hour, and draw their ledger."""
    runtime = runtime_of(home)
    with open_warehouse(runtime) as connection:
        connection.execute(f"""
            insert into reference.accounts by name
            select 'account-' || n as account_id, 'A' as name, 'USD' as currency,
                'UTC' as time_zone, 'wallet-' || n as wallet_id
            from range({wallets}) as t (n)
            """)
        connection.execute(f"""
            insert into reference.wallets by name
            select 'wallet-' || n as wallet_id, 'USD' as currency, 1 as credit_value,
                1000 as opening_balance, {_LEDGER_FROM} as opening_at, 'none' as debit_rounding,
                60 as debit_interval_minutes
            from range({wallets}) as t (n)
            """)
        for first in range(0, hours, 1_000):
            _use_hours(connection, wallets=wallets, hours=range(first, min(hours, first + 1_000)))
        plan = transform.plan_build(connection, runtime, full_refresh=True)
        transform.write_build_plan(connection, runtime, plan)
    with clock:
        _draw(runtime, plan, "int_wallets__described", "int_wallets__closed", *_LEDGER)
    with open_warehouse(runtime) as connection:
        connection.execute("delete from audit.touched_days")
        connection.execute("checkpoint")
        return _ledger_facts(connection)


def ledger_hour(clock: Clock, *, home: str, wallets: int, hour: int) -> dict[str, Any]:
    """One more hour of every wallet: the time of the statements that draw it."""
    runtime = runtime_of(home)
    with open_warehouse(runtime) as connection:
        day = _use_hours(connection, wallets=wallets, hours=range(hour, hour + 1))
        plan = transform.plan_build(connection, runtime)
        plan = replace(plan, touched_days=(day,), has_new_prices=False, has_new_seeds=False)
        transform.write_build_plan(connection, runtime, plan)
    with _timing(clock):
        _draw(runtime, plan, *_LEDGER)
    with open_warehouse(runtime) as connection:
        connection.execute("delete from audit.touched_days")
        return _ledger_facts(connection)


def _use_hours(connection: duckdb.DuckDBPyConnection, *, wallets: int, hours: range) -> str:
    """Usage of every wallet in these hours, as its daily model has it; the last of their days."""
    connection.execute(f"""
        insert into intermediate.int_wallet__usage by name
        select
            cast(at_hour as date) as usage_date,
            'account-' || account as account_id,
            at_hour as window_at,
            60 as window_minutes,
            strftime(at_hour, '%Y-%m') as billing_month,
            'USD' as currency,
            false as is_before_opening,
            1 as records,
            0 as records_without_cost,
            cast((account * 7919 + hour * 104729) % 1000 + 1 as decimal(20, 6))
            * cast(0.000001 as decimal(18, 12)) as debit_cost,
            debit_cost as billed_cost,
            at_hour as last_started_at,
            at_hour as last_served_at,
            0 as refused_requests
        from (
            select hour, account, {_LEDGER_FROM} + hour * interval 1 hour as at_hour
            from range({hours.start}, {hours.stop}) as h (hour), range({wallets}) as a (account)
        ) as hours
        """)
    (day,) = connection.execute(
        f"select cast(cast({_LEDGER_FROM} + {hours.stop - 1} * interval 1 hour as date) as varchar)"
    ).fetchall()[0]
    connection.execute("insert into audit.touched_days values ('litellm__spend_logs', ?)", [day])
    return day


def _draw(runtime: Runtime, plan: transform.BuildPlan, *models: str) -> None:
    results = transform.invoke_dbt(
        runtime,
        ["run", "--select", *models],
        variables=transform.build_variables(runtime, plan),
    )
    failed = [node.message for node in results if node.status != "success"]
    if failed or len(results) != len(models):
        raise RuntimeError(f"dbt drew {len(results)} models: {failed[:1]}")


@contextmanager
def _timing(clock: Clock) -> Iterator[None]:
    """Time the statements that dbt sends to DuckDB, and nothing else of it."""
    from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

    execute = DuckDBCursorWrapper.execute

    def executing(self: Any, sql: str, bindings: Any = None) -> Any:
        with clock:
            return execute(self, sql, bindings)

    DuckDBCursorWrapper.execute = executing
    try:
        yield
    finally:
        DuckDBCursorWrapper.execute = execute


def _ledger_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    entries, balances = connection.execute(
        "select count(*), sum(balance_after) from marts.wallet_ledger"
    ).fetchall()[0]
    return {"entries": entries, "balances": _plain(balances)}


# ---------------------------------------------------------------- what a home holds


def facts(clock: Clock, *, home: str) -> dict[str, Any]:
    """What the marts of a home add up to."""
    with open_warehouse(runtime_of(home)) as connection, clock:
        return mart_facts(connection)


def fingerprints(clock: Clock, *, home: str) -> dict[str, Any]:
    """A hash of the rows of every mart, without the lineage that follows how files were split."""
    lineage = {"load_batch_id", "source_file", "source_line", "evidence_hash"}
    found = {}
    with open_warehouse(runtime_of(home)) as connection, clock:
        for mart in ("usage_records", "daily_spend", "price_sets", "exceptions"):
            columns = [
                name
                for (name,) in connection.execute(
                    "select column_name from duckdb_columns() "
                    "where schema_name = 'marts' and table_name = ? order by column_index",
                    [mart],
                ).fetchall()
                if name not in lineage
            ]
            listed = ", ".join(f'"{name}"' for name in columns)
            found[mart] = list(
                publishing.fingerprint(connection, f"(select {listed} from marts.{mart})")
            )
    return found


def exact(clock: Clock, *, home: str, runs: int, threads: list[int]) -> dict[str, Any]:
    """Distinct totals of the same questions, asked again and again with other thread counts."""
    totals = set()
    with open_warehouse(runtime_of(home)) as connection, clock:
        for number in range(runs):
            connection.execute(f"set threads = {threads[number % len(threads)]}")
            totals.add(
                tuple(
                    connection.execute("""
                    select sum(list_cost), sum(gateway_cost), sum(billed_cost), sum(rolled_up)
                    from (
                        select list_cost, gateway_cost, billed_cost,
                            sum(list_cost) over (
                                partition by usage_date, team_id, provider, endpoint,
                                    service_tier, status
                            ) as rolled_up
                        from marts.usage_records
                    )
                    """).fetchall()[0]
                )
            )
    return {"distinct_totals": len(totals), "totals": [str(total) for total in sorted(totals)][:3]}


def storage(clock: Clock, *, home: str) -> dict[str, Any]:
    """Bytes of raw and marts, table by table, and the usage records they hold."""
    by_table: dict[str, int] = {}
    with open_warehouse(runtime_of(home)) as connection, clock:
        connection.execute("checkpoint")
        block = connection.execute("select block_size from pragma_database_size()").fetchall()[0][0]
        for schema, table in connection.execute(
            "select schema_name, table_name from duckdb_tables() where not temporary order by all"
        ).fetchall():
            blocks = connection.execute(
                "select count(distinct block_id) from pragma_storage_info(?) where block_id >= 0",
                [f"{schema}.{table}"],
            ).fetchall()[0][0]
            by_table[f"{schema}.{table}"] = blocks * block
        records = connection.execute("select count(*) from marts.usage_records").fetchall()[0][0]
    kept = {k: v for k, v in by_table.items() if k.split(".")[0] in ("raw", "marts")}
    return {
        "records": records,
        "bytes": sum(kept.values()),
        "file_bytes": (Path(home) / "warehouse.duckdb").stat().st_size,
        "tables": dict(sorted(by_table.items(), key=lambda item: -item[1])[:12]),
    }


def price_join(clock: Clock, *, scratch: str, sql: str) -> dict[str, Any]:
    """The product's own join of usage to prices, on the narrow tables of the bench."""
    with duckdb.connect(scratch, read_only=True, config={"threads": "2"}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        with clock:
            rows, cost = connection.execute(sql).fetchall()[0]
    return {"rows": rows, "cost": _plain(cost)}


def price_sets_of_days(clock: Clock, *, home: str, sql: str) -> dict[str, Any]:
    """Make anew what the model of usage joins: the price sets of every day of use."""
    database = str(Path(home) / "warehouse.duckdb")
    with duckdb.connect(database, read_only=True, config={"threads": "2"}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        with clock:
            connection.execute(f"create temporary table made as {sql}")
        return {"rows": connection.execute("select count(*) from made").fetchall()[0][0]}


def question(clock: Clock, *, database: str, sql: str) -> dict[str, Any]:
    """A query over the published file in a reader's session."""
    from orchestration.warehouse.connection import open_reader

    with open_reader(Path(database)) as connection:
        with clock:
            rows = connection.execute(sql).fetchall()
        return {"rows": len(rows), "answer": sorted(map(str, rows))[:1000]}


if __name__ == "__main__":
    serve(
        stage=stage,
        load=load,
        load_and_roll_up=load_and_roll_up,
        build=build,
        check=check,
        publish=publish,
        prepare_publish=prepare_publish,
        run=run,
        hour_sql=hour_sql,
        fill_ledger=fill_ledger,
        ledger_hour=ledger_hour,
        facts=facts,
        fingerprints=fingerprints,
        exact=exact,
        storage=storage,
        price_join=price_join,
        price_sets_of_days=price_sets_of_days,
        question=question,
    )
