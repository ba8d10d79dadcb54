"""extract-postgres, our side: the extract step of a new home, up to files in landing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from clock import Clock, serve

from orchestration.config import read_runtime
from orchestration.landing.extract import extract
from orchestration.warehouse.known import KnownRows

_CONFIG = """
sources:
  - {name: live, kind: litellm_postgres, gateway: litellm, dsn: "${TOLLBOOK_BENCH_DSN}",
     statement_timeout: 10m}
"""
AS_OF = "2026-09-30T00:00:00Z"


def land(clock: Clock, *, home: str, dsn: str) -> dict[str, Any]:
    """Ask for every spend log there is and land it."""
    folder = Path(home)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["TOLLBOOK_BENCH_DSN"] = dsn
    (folder / "tollbook.yml").write_text(_CONFIG)
    runtime = read_runtime(config=folder / "tollbook.yml", home=folder, as_of=AS_OF)
    with clock:
        report = extract(
            runtime,
            lambda source: KnownRows(runtime, source),
            depth="sync",
            progress=lambda _line: None,
        )
    problems = report.problems
    files = sorted(runtime.landing.rglob("*.parquet"))
    clock.phases["landed_mb"] = sum(file.stat().st_size for file in files) / 1e6
    rows = [pq.read_table(file, columns=["request_id", "total_tokens"]) for file in files]
    return {
        "rows": sum(each.num_rows for each in rows),
        "tokens": sum(sum(each.column("total_tokens").to_pylist()) for each in rows),
        **({"problems": problems} if problems else {}),
    }


if __name__ == "__main__":
    serve(land=land)
