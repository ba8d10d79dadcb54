"""EXPLAIN of every query an extraction asks, on a large LiteLLM_SpendLogs: `[ROWS] [DAYS]`.

Prints for each query what it reads by, how many rows it touches and how long it takes, and fails
where one scans the table.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postgres import Server, litellm_server

from orchestration.config import read_runtime
from orchestration.defs.steps import RunLog, Steps
from orchestration.sources.litellm_postgres import Database

_CONFIG = """
sources:
  - {name: live, kind: litellm_postgres, gateway: litellm, dsn: "${TOLLBOOK_PLANS_DSN}",
     since: 2026-09-29}
"""


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The queries that are asked for the time of the block."""
    asked: list[str] = []
    read = Database._read_once

    def listen(self: Database, sql: str) -> Any:
        asked.append(sql)
        return read(self, sql)

    Database._read_once = listen  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        Database._read_once = read  # type: ignore[method-assign]


def asked_by_two_runs(server: Server, dsn: str, home: Path) -> list[str]:
    """The queries of a first extraction and of one that re-reads, after a few rows changed."""
    os.environ["TOLLBOOK_PLANS_DSN"] = dsn
    (home / "tollbook.yml").write_text(_CONFIG)
    with recorded() as asked:
        for as_of in ("2026-09-29T23:05:00Z", "2026-09-29T23:10:00Z"):
            runtime = read_runtime(config=home / "tollbook.yml", home=home, as_of=as_of)
            steps = Steps(runtime=runtime, run="plans", log=RunLog(), progress=lambda _line: None)
            report = steps.extract()
            if report.problems:
                raise SystemExit("; ".join(report.problems))
            steps.load()
            server.execute(
                'update "LiteLLM_SpendLogs" set spend = spend + 1 where request_id in ('
                'select request_id from "LiteLLM_SpendLogs" order by "startTime" desc limit 3)',
                database="litellm",
            )
    return asked


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def explained(server: Server, sql: str, *, analyze: bool) -> dict[str, Any]:
    """The plan of a query, as EXPLAIN gives it in JSON."""
    options = "analyze, buffers, format json" if analyze else "format json"
    ((text,),) = server.query(f"explain ({options}) {sql}", "litellm")
    (found,) = json.loads(text) if isinstance(text, str) else text
    return found


def shape_of(sql: str) -> str:
    """A query without its literals: pages of one question are one line of the table."""
    return re.sub(r"'(?:[^']|'')*'|\b[0-9]+\b", "?", re.sub(r"\s+", " ", sql))


def main() -> int:
    """Print the table; 1 where a query scans LiteLLM_SpendLogs."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    days = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    scans = 0
    seen: set[str] = set()
    with (
        litellm_server(rows, days=days) as (server, dsn),
        tempfile.TemporaryDirectory() as folder,
    ):
        for sql in asked_by_two_runs(server, dsn, Path(folder)):
            if shape_of(sql) in seen or "LiteLLM_" not in sql or "pg_index" in sql:
                continue
            seen.add(shape_of(sql))
            found = explained(server, sql, analyze=True)
            tables = [each for each in nodes(found["Plan"]) if "Relation Name" in each]
            for each in tables:
                name = each["Relation Name"]
                scans += name == "LiteLLM_SpendLogs" and each["Node Type"] == "Seq Scan"
                print(
                    f"{name} | {each['Node Type']} {each.get('Index Name', '')} | "
                    f"{each['Actual Rows']:.0f} rows | "
                    f"{each['Shared Hit Blocks'] + each['Shared Read Blocks']} blocks | "
                    f"{found['Execution Time']:.0f} ms"
                )
                print(f"    {shape_of(sql)[-300:]}")
    print(f"{len(seen)} queries on {rows:,} rows; scans of LiteLLM_SpendLogs: {scans}")
    return 1 if scans else 0


if __name__ == "__main__":
    sys.exit(main())
