"""load-jsonl, peers: DuckDB reads the same lines into a table with explicit columns.

It checks nothing: no duplicate keys, no bounds, no exact money, no ledger. The metadata is read
as the one structure the rows have, which is a little dearer to parse and far cheaper to store
than its text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from clock import Clock, serve

COUNT, TEXT, MONEY = "bigint", "varchar", "decimal(38, 18)"
METADATA = """struct(
    user_api_key_alias varchar, user_api_key_team_alias varchar, user_api_key_project_id varchar,
    spend_logs_metadata struct(ticket varchar),
    error_information struct(error_code varchar, error_class varchar),
    usage_object struct(
        prompt_tokens bigint, completion_tokens bigint,
        prompt_tokens_details struct(
            cached_tokens bigint, cache_creation_tokens bigint,
            cache_creation_token_details struct(
                ephemeral_5m_input_tokens bigint, ephemeral_1h_input_tokens bigint)),
        completion_tokens_details struct(reasoning_tokens bigint)),
    cost_breakdown struct(service_tier varchar),
    attempted_retries bigint)"""
COLUMNS = {
    "request_id": TEXT,
    "call_type": TEXT,
    "api_key": TEXT,
    "spend": MONEY,
    "total_tokens": COUNT,
    "prompt_tokens": COUNT,
    "completion_tokens": COUNT,
    "startTime": "timestamp",
    "endTime": "timestamp",
    "request_duration_ms": COUNT,
    "model": TEXT,
    "model_group": TEXT,
    "custom_llm_provider": TEXT,
    "user": TEXT,
    "metadata": METADATA,
    "cache_hit": TEXT,
    "request_tags": "varchar[]",
    "team_id": TEXT,
    "organization_id": TEXT,
    "end_user": TEXT,
    "session_id": TEXT,
    "status": TEXT,
    "updated_at": "timestamp",
}


def reader(file: str) -> str:
    """The table function over a file of generated lines."""
    listed = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
    return f"read_json('{file}', format = 'newline_delimited', columns = {{{listed}}})"


def load(
    clock: Clock, *, file: str, database: str, memory_limit: str, threads: int
) -> dict[str, Any]:
    """Read the file into a table of a new database and checkpoint it."""
    Path(database).unlink(missing_ok=True)
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    with duckdb.connect(database, config=settings) as connection:
        connection.execute("set TimeZone = 'UTC'")
        with clock:
            connection.execute(f"create table logs as select * from {reader(file)}")
            connection.execute("checkpoint")
        return loaded_facts(connection)


def loaded_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The facts of the product's load, from the table `logs`: to the cent, as doubles were read."""
    (lines,) = connection.execute("select count(*) from logs").fetchall()[0]
    rows, spend, tokens, ids = connection.execute("""
        select count(*), sum(spend), sum(total_tokens), sum(hash(request_id) % 1000000007)
        from (select distinct request_id, updated_at, spend, total_tokens from logs)
        """).fetchall()[0]
    return {
        "lines": lines,
        "rows": rows,
        "cents": f"{spend:.2f}",
        "tokens": tokens,
        "ids": str(ids),
    }


if __name__ == "__main__":
    serve(load=load)
