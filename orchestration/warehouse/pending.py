"""Days of usage that a build changed and that a later step has yet to take up."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

PUBLISH, CHECK = "publish", "check"
CONSUMERS = (PUBLISH, CHECK)
# What a sync built of some marts, the next whole build takes up for all.
BUILD = "build"
# Stands for all days, known or not.
EVERY_DAY = None


def note_days(
    connection: duckdb.DuckDBPyConnection,
    days: Iterable[str] | None,
    consumers: Iterable[str] = CONSUMERS,
) -> None:
    """Leave days (YYYY-MM-DD) to every later step; None leaves every day.

    Written before the build begins: one that is killed half-way has changed them as well.
    """
    listed = [EVERY_DAY] if days is None else list(days)
    for consumer in consumers:
        for day in listed:
            connection.execute(
                "insert into audit.pending_days select $consumer, cast($day as date) "
                "where not exists (select 1 from audit.pending_days where consumer = $consumer "
                "and usage_date is not distinct from cast($day as date))",
                {"consumer": consumer, "day": day},
            )


def pending_days(connection: duckdb.DuckDBPyConnection, consumer: str) -> set[str | None]:
    """The days left to a step; EVERY_DAY among them means all, and so does a missing ledger."""
    try:
        rows = connection.execute(
            "select cast(usage_date as varchar) from audit.pending_days where consumer = ?",
            [consumer],
        ).fetchall()
    except duckdb.CatalogException:
        return {EVERY_DAY}
    return {day for (day,) in rows}


def clear_days(connection: duckdb.DuckDBPyConnection, consumer: str) -> None:
    """Note that the step has taken up what was left to it."""
    connection.execute("delete from audit.pending_days where consumer = ?", [consumer])
