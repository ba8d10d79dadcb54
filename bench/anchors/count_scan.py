"""checks: one scan that counts rows and distinct ids."""

from __future__ import annotations

from typing import Any

import duckdb
from clock import Clock, serve


def scan(clock: Clock, *, home: str, memory_limit: str, threads: int) -> dict[str, Any]:
    """Count the usage records and their ids."""
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    connection = duckdb.connect(f"{home}/warehouse.duckdb", read_only=True, config=settings)
    with connection, clock:
        rows, ids = connection.execute(
            "select count(*), count(distinct usage_record_id) from marts.usage_records"
        ).fetchall()[0]
    return {"records": rows, "ids": ids}


if __name__ == "__main__":
    serve(scan=scan)
