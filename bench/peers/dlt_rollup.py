"""peers: dlt into DuckDB with its Parquet loader, repeated rows left out at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
from clock import Clock, serve


def _rows(file: str) -> Iterator[dict[str, Any]]:
    with Path(file).open(encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            # Nested objects as text: otherwise dlt makes a table of each.
            row["metadata"] = json.dumps(row["metadata"])
            row["request_tags"] = json.dumps(row["request_tags"])
            row["spend"] = repr(row["spend"])
            yield row


def load(clock: Clock, *, file: str, folder: str) -> dict[str, Any]:
    """Load the lines, then add up the days of the distinct rows."""
    database = f"{folder}/dlt.duckdb"
    with clock:
        pipeline = dlt.pipeline(
            pipeline_name="bench",
            pipelines_dir=f"{folder}/state",
            destination=dlt.destinations.duckdb(database),
            dataset_name="logs",
        )
        pipeline.run(_rows(file), table_name="spend_logs", loader_file_format="parquet")
        with duckdb.connect(database) as connection:
            days = connection.execute("""
                select substring(cast(start_time as varchar), 1, 10) as day,
                    sum(cast(spend as decimal(38, 18)))
                from (
                    select distinct request_id, start_time, api_key, updated_at, spend
                    from logs.spend_logs
                )
                group by all order by all
                """).fetchall()
    return {"days": {day: f"{amount:.12f}" for day, amount in days}}


if __name__ == "__main__":
    serve(load=load)
