"""Sessions of DuckDB: what they must not do on their own account."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb

from orchestration.warehouse.connection import without_checkpoints

# Where the main module is no file, DuckDB takes Python for interactive.
SCRIPT = """
from pathlib import Path
from orchestration.warehouse.connection import open_reader
with open_reader(Path({path!r})) as connection:
    print(connection.execute("select current_setting('enable_progress_bar')").fetchall()[0][0])
"""


def test_a_long_statement_draws_no_bar_into_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "any.duckdb"
    duckdb.connect(str(path)).close()

    said = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(path=str(path))],
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout == "False\n"


def test_checkpoints_are_put_off_and_come_back() -> None:
    with duckdb.connect() as connection:
        (usual,) = connection.execute("select current_setting('checkpoint_threshold')").fetchall()

        with without_checkpoints(connection):
            (within,) = connection.execute(
                "select current_setting('checkpoint_threshold')"
            ).fetchall()

        (after,) = connection.execute("select current_setting('checkpoint_threshold')").fetchall()

    assert within != usual
    assert after == usual
