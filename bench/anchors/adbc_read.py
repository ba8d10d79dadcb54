"""extract-postgres: one query for the same columns, its batches read by ADBC and let go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as postgresql
import pyarrow.compute as pc
from clock import Clock, serve

from orchestration.sources.litellm_postgres import (
    Database,
    Dsn,
    Privacy,
    SpendLogs,
    identifier,
    inspect,
)


def columns_sql(dsn: str) -> str:
    """The columns that are landed, of the whole table, in no order and without a hash."""
    database = Database(dsn, statement_timeout=timedelta(minutes=10))
    logs = SpendLogs(database, inspect(database), Privacy())
    database.close()
    selected = ", ".join(f"{sql} as {identifier(name)}" for name, sql in logs._columns.items())
    return f"select {selected} from {logs._table} as s {logs._lateral}"


def read(clock: Clock, *, dsn: str) -> dict[str, Any]:
    """Fetch every batch; only a count and a sum of it are kept."""
    sql = columns_sql(dsn)
    rows = tokens = 0
    uri = Dsn.parse(dsn).uri
    with clock, postgresql.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("set extra_float_digits = 3")
        cursor.execute(sql)
        for batch in cursor.fetch_record_batch():
            rows += batch.num_rows
            tokens += pc.sum(batch.column("total_tokens")).as_py()
    return {"rows": rows, "tokens": tokens}


if __name__ == "__main__":
    serve(read=read)
