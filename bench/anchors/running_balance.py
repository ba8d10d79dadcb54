"""ledger-hour: the balance after every entry of the ledger, reckoned anew in one window."""

from __future__ import annotations

from typing import Any

import duckdb
from clock import Clock, serve


def draw(clock: Clock, *, home: str, memory_limit: str, threads: int) -> dict[str, Any]:
    """Keep the balance after each entry, and give what the ledger comes to."""
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    with duckdb.connect(":memory:", config={**settings}) as connection:
        connection.execute(f"attach '{home}/warehouse.duckdb' as source (read_only)")
        with clock:
            connection.execute("""
                create table balances as
                select
                    wallet_id, entry_id,
                    sum(amount) over (
                        partition by wallet_id
                        order by occurred_at, origin <> 'opening', entry_id
                        rows unbounded preceding
                    ) as balance_after
                from source.marts.wallet_ledger
                """)
        entries, balances = connection.execute(
            "select count(*), sum(balance_after) from balances"
        ).fetchall()[0]
    return {"entries": entries, "balances": f"{balances or 0:.12f}"}


if __name__ == "__main__":
    serve(draw=draw)
