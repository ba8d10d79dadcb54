"""price-join: DuckDB's ASOF JOIN of the same usage to the same prices."""

from __future__ import annotations

from typing import Any

import duckdb
from clock import Clock, serve


def join(
    clock: Clock, *, scratch: str, cost: str, equal: str, memory_limit: str, threads: int
) -> dict[str, Any]:
    """Sum `cost` over usage joined under the condition `equal` to the newest price not after it."""
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    with duckdb.connect(scratch, read_only=True, config=settings) as connection:
        with clock:
            rows, total = connection.execute(f"""
                select count(*), sum({cost})
                from usage
                asof left join prices
                    on {equal} and usage.started_at >= prices.valid_from_at
                """).fetchall()[0]
        return {"rows": rows, "cost": f"{total or 0:.12f}"}


if __name__ == "__main__":
    serve(join=join)
