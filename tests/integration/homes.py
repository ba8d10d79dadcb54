"""Homes for tests: drop files, run steps, read the marts and compare them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.config import Runtime, read_runtime
from orchestration.defs.run import RunOutcome, run_pipeline
from orchestration.defs.steps import RunLog, Steps
from orchestration.warehouse import transform
from orchestration.warehouse.connection import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples"
SHARED = REPOSITORY.parent / "shared"
AS_OF = "2026-11-21T00:00:00Z"
SPEND_LOGS = "litellm_prod"
CATALOGS = "price_catalog"
# Where a row was first seen; the same rows in other files differ in these and in nothing else.
LINEAGE = ("load_batch_id", "source", "source_file", "source_line")
# A file at rest for longer than the loader's settling time is read at once.
AT_REST_SECONDS = 60


@dataclass(frozen=True)
class Home:
    """One home folder with the example's tollbook.yml and seeds."""

    path: Path
    as_of: str = AS_OF

    @classmethod
    def create(cls, path: Path) -> Home:
        path.mkdir(parents=True)
        text = (EXAMPLE / "tollbook.yml").read_text()
        (path / "tollbook.yml").write_text(text.replace("seeds: ../seeds\n", ""))
        shutil.copytree(REPOSITORY / "seeds", path / "seeds")
        return cls(path)

    def copy(self, path: Path) -> Home:
        """Everything there is, times included: a loaded file stays a known file."""
        shutil.copytree(self.path, path, symlinks=True)
        return Home(path, self.as_of)

    @property
    def runtime(self) -> Runtime:
        return read_runtime(config=self.path / "tollbook.yml", home=self.path, as_of=self.as_of)

    @property
    def published(self) -> Path:
        return self.path / "published" / "tollbook.duckdb"

    def drop(self, name: str, content: bytes | str) -> Path:
        """Write a file that has come to rest into the landing folder."""
        path = self.path / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        rest(path)
        return path

    def drop_rows(self, name: str, rows: Iterable[dict[str, Any]]) -> Path:
        lines = [json.dumps(row) for row in rows]
        return self.drop(f"{SPEND_LOGS}/{name}", "".join(f"{line}\n" for line in lines))

    def drop_prices(self, observed: str, entries: dict[str, Any]) -> Path:
        """A LiteLLM cost map observed at YYYYMMDD, midnight."""
        name = f"{CATALOGS}/litellm_prices.observed-{observed}T000000Z.json"
        return self.drop(name, json.dumps(entries))

    def drop_example(self, *parts: str) -> None:
        """The example's files, or those of the named folders."""
        for source in sorted((EXAMPLE / "landing").rglob("*")):
            name = source.relative_to(EXAMPLE / "landing")
            if source.is_file() and (not parts or name.parts[0] in parts):
                self.drop(name.as_posix(), source.read_bytes())

    def steps(self, progress: Callable[[str], None] = lambda _line: None) -> Steps:
        return Steps(runtime=self.runtime, run="test", log=RunLog(), progress=progress)

    def load_and_build(self, *, full_refresh: bool = False) -> Steps:
        steps = self.steps()
        steps.load()
        steps.build(full_refresh=full_refresh)
        return steps

    def run(self, **options: Any) -> RunOutcome:
        return run_pipeline(self.runtime, **options)

    def query(self, sql: str, parameters: object = None) -> list[tuple[Any, ...]]:
        """Rows of the pipeline's own file."""
        return query(self.path / "warehouse.duckdb", sql, parameters)

    def write(self, *statements: str) -> None:
        """Change the warehouse behind the pipeline's back."""
        with duckdb.connect(str(self.path / "warehouse.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)

    def marts(self) -> dict[str, str]:
        return hash_marts(self.path / "warehouse.duckdb")


def build_wallets(home: Home, *names: str, is_new: bool = False) -> None:
    """Load, and build these models with what they need, but usage records only in a new home."""
    home.steps().load()
    runtime = home.runtime
    transform.write_checked_seeds(runtime)
    with open_warehouse(runtime) as connection:
        plan = transform.plan_build(connection, runtime)
        assert plan.has_news
        transform.write_build_plan(connection, runtime, plan)
        variables = transform.build_variables(runtime, plan)
    left_out = [f"--exclude-resource-type={kind}" for kind in ("test", "unit_test")]
    if not is_new:
        left_out += ["--exclude", "+usage_records,resource_type:model"]
    results = transform.invoke_dbt(
        runtime, ["build", *left_out, "--select", *names], variables=variables
    )
    assert [node.message for node in results if node.status != "success"] == []


def rest(path: Path) -> None:
    moment = time.time() - AT_REST_SECONDS
    os.utime(path, (moment, moment))


def query(database: Path, sql: str, parameters: object = None) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(sql, parameters).fetchall()


def hash_marts(database: Path) -> dict[str, str]:
    """A hash of the ordered rows of every table and view of schema marts, without lineage."""
    columns: dict[str, set[str]] = {}
    for table, column in query(
        database,
        "select table_name, column_name from information_schema.columns "
        "where table_schema = 'marts' and table_catalog = current_database()",
    ):
        columns.setdefault(table, set()).add(column)
    return {table: _hash(database, table, names) for table, names in sorted(columns.items())}


def _hash(database: Path, table: str, columns: set[str]) -> str:
    # Only a table with source_line has lineage; elsewhere `source` is a fact of its own.
    lineage = [name for name in LINEAGE if "source_line" in columns and name in columns]
    left_out = f"exclude ({', '.join(lineage)})" if lineage else ""
    ((count, digest),) = query(
        database,
        "select count(*), sha256(coalesce(string_agg(line, chr(10) order by line), '')) "
        f"from (select cast(t as varchar) as line from (select * {left_out} from marts.{table}) t)",
    )
    return f"{count} rows {digest[:16]}"


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The marts in which two warehouses differ."""
    return sorted(
        table for table in one.keys() | other.keys() if one.get(table) != other.get(table)
    )


def example_rows() -> list[dict[str, Any]]:
    """The example's usage rows as its gateway wrote them, in the order of its files."""
    folder = EXAMPLE / "landing" / SPEND_LOGS
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        if ".jsonl" in path.name:
            rows += [json.loads(line) for line in content.splitlines() if line.strip()]
        else:
            rows += json.loads(content)["data"]
    return rows
