"""One PostgreSQL server for the session; every test has databases of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
from fixtures.litellm_database import (
    AGES,
    Server,
    columns_of,
    create_tables,
    insert_sql,
    running_server,
    session,
    spend_log,
)

from orchestration.config import Runtime, read_runtime
from orchestration.defs.steps import RunLog, Steps
from orchestration.landing.extract import SourceReport
from orchestration.warehouse.connection import open_warehouse

NOON = datetime.fromisoformat("2026-11-01T12:00:00")
_CONFIG = """
warehouse: {{memory_limit: 1GB, threads: 2}}
landing: {{after_load: {after_load}}}
sources:
  - {{name: live, kind: litellm_postgres, gateway: litellm, dsn: "${{TOLLBOOK_TEST_DSN}}"}}
{more}
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    """Retries wait for nothing; that they are made is part of the tests."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@dataclass
class Gateway:
    """A LiteLLM database and a home that reads it."""

    server: Server
    database: str
    home: Path
    as_of: datetime = NOON
    columns: frozenset[str] = frozenset()

    def read_columns(self) -> None:
        found = columns_of(self.server, self.database, "LiteLLM_SpendLogs")
        self.columns = frozenset(found)

    def log(self, *numbers: int, start: datetime = NOON, **changes: Any) -> None:
        """Insert spend logs."""
        with session(self.server, self.database) as run:
            for number in numbers:
                row = spend_log(number, start=start, **changes)
                run(insert_sql("LiteLLM_SpendLogs", row, set(self.columns)))

    def execute(self, *statements: str) -> None:
        self.server.execute(*statements, database=self.database)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.server.query(sql, self.database)

    def configure(
        self, dsn: str | None = None, *, after_load: str = "scrub", more: str = ""
    ) -> None:
        os.environ["TOLLBOOK_TEST_DSN"] = dsn or self.server.dsn(self.database)
        text = _CONFIG.format(after_load=after_load, more=more)
        (self.home / "tollbook.yml").write_text(text)

    def runtime(self) -> Runtime:
        as_of = self.as_of.isoformat() + "Z"
        return read_runtime(config=self.home / "tollbook.yml", home=self.home, as_of=as_of)

    def steps(self, progress: Callable[[str], None] = lambda _line: None) -> Steps:
        return Steps(runtime=self.runtime(), run="test", log=RunLog(), progress=progress)

    def extract(self, depth: str = "hourly") -> SourceReport:
        (report,) = self.steps().extract(depth=depth).sources
        return report

    def load(self) -> list[Any]:
        return self.steps().load().batches

    def raw(self, sql: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.runtime()) as connection:
            return connection.execute(sql).fetchall()

    def landed(self) -> list[Path]:
        folder = self.home / "landing"
        files = (path for path in folder.rglob("*") if path.is_file())
        return sorted(path for path in files if not path.name.startswith("."))


@pytest.fixture
def make_gateway(server: Server, tmp_path: Path) -> Callable[..., Gateway]:
    def make(age: str = AGES[-1]) -> Gateway:
        database = f"litellm_{os.getpid()}_{next(_numbers)}"
        create_tables(server, database, age)
        home = tmp_path / database
        home.mkdir()
        gateway = Gateway(server, database, home)
        gateway.read_columns()
        gateway.configure()
        return gateway

    return make


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway()
