"""What sources were asked for and did not give, in audit.extract_gaps."""

from __future__ import annotations

from datetime import datetime

import duckdb

from orchestration.landing.source_report import SourceReport


def record_gaps(
    connection: duckdb.DuckDBPyConnection, report: SourceReport, as_of: datetime
) -> None:
    """Note the gaps of one source: new ones open, those met again stay, those filled are closed.

    A part that was read to its end has no other gap than those of this report.
    """
    if not (report.gaps or report.read):
        return
    connection.execute("begin")
    still_open = []
    for gap in report.gaps:
        key = [report.source, gap.part, gap.from_at, gap.code]
        found = connection.execute(
            "select first_seen_at from audit.extract_gaps where source = ? and part = ? "
            "and from_at is not distinct from ? and code = ? and closed_at is null",
            key,
        ).fetchone()
        connection.execute(
            "delete from audit.extract_gaps where source = ? and part = ? "
            "and from_at is not distinct from ? and code = ? and closed_at is null",
            key,
        )
        connection.execute(
            "insert into audit.extract_gaps values (?, ?, ?, ?, ?, ?, ?, ?, ?, null)",
            [
                report.source,
                gap.part,
                gap.from_at,
                gap.to_at,
                gap.code,
                gap.reason,
                gap.is_final,
                found[0] if found else as_of,
                as_of,
            ],
        )
        still_open.append((gap.part, gap.from_at, gap.code))
    _close_filled(connection, report, still_open, as_of)
    connection.execute("commit")


def _close_filled(
    connection: duckdb.DuckDBPyConnection,
    report: SourceReport,
    still_open: list[tuple[str, datetime | None, str]],
    as_of: datetime,
) -> None:
    # Whoever reached a part could use the source.
    parts = {*report.read, *(gap.part for gap in report.gaps), *(["source"] if report.read else [])}
    rows = connection.execute(
        "select part, from_at, code from audit.extract_gaps "
        "where source = ? and closed_at is null and not is_final",
        [report.source],
    ).fetchall()
    for part, from_at, code in rows:
        if part in parts and (part, from_at, code) not in still_open:
            connection.execute(
                "update audit.extract_gaps set closed_at = ? where source = ? and part = ? "
                "and from_at is not distinct from ? and code = ? and closed_at is null",
                [as_of, report.source, part, from_at, code],
            )
