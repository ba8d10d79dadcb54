"""A server that speaks every API, and a home whose sources point at it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
from fixtures.api_server import KEYS, NOON, ApiServer

from orchestration.config import Runtime, read_runtime
from orchestration.defs.steps import RunLog, Steps
from orchestration.landing.source_report import SourceReport
from orchestration.warehouse.connection import open_warehouse

KINDS = {
    "openai": "openai_admin",
    "anthropic": "anthropic_admin",
    "stripe": "stripe",
    "razorpay": "razorpay",
    "litellm": "litellm_api",
    "openrouter": "openrouter_activity",
    "generations": "openrouter_generations",
    "cloudflare": "cloudflare_ai_gateway",
}
MORE = {"cloudflare": "account: acc, gateway_id: edge", "litellm": "gateway: litellm"}


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    """Retries wait for nothing; that they are made is part of the tests."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer().running() as running:
        yield running


@dataclass
class Home:
    """A home with one or more API sources."""

    server: ApiServer
    folder: Path
    as_of: datetime = NOON

    def configure(self, *sources: str, more: str = "") -> None:
        """Write settings for sources named by their system, or given as a line of YAML."""
        lines = [each if each.startswith("{") else self.entry(each) for each in sources]
        listed = "\n".join(f"  - {line}" for line in lines)
        for system, key in KEYS.items():
            os.environ[f"TOLLBOOK_TEST_{system.upper()}"] = key
        text = f"warehouse: {{memory_limit: 1GB, threads: 2}}\nsources:\n{listed}\n{more}"
        (self.folder / "tollbook.yml").write_text(text)

    def entry(self, system: str, more: str = "since: 2026-10-30") -> str:
        owner = "openrouter" if system == "generations" else system
        key = "${TOLLBOOK_TEST_" + owner.upper() + "}"
        more = ", ".join(filter(None, (more, MORE.get(system))))
        return (
            f'{{name: {system}, kind: {KINDS[system]}, api_key: "{key}", '
            f'base_url: "{self.server.url}", requests_per_minute: 600000, {more}}}'
        )

    def runtime(self) -> Runtime:
        as_of = self.as_of.isoformat() + "Z"
        return read_runtime(
            config=self.folder / "tollbook.yml", home=self.folder / "data", as_of=as_of
        )

    def steps(self, progress: Callable[[str], None] = lambda _line: None) -> Steps:
        return Steps(runtime=self.runtime(), run="test", log=RunLog(), progress=progress)

    def extract(self, depth: str = "hourly") -> SourceReport:
        (report,) = self.steps().extract(depth=depth).sources
        return report

    def load(self) -> list[Any]:
        return self.steps().load().batches

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.runtime()) as connection:
            return connection.execute(sql).fetchall()

    def gaps(self) -> list[tuple[Any, ...]]:
        """Open gaps as (source, part, code)."""
        return self.query(
            "select source, part, code from audit.extract_gaps where closed_at is null order by all"
        )

    def landed(self) -> dict[str, str]:
        """Every landed file by its path below landing, with the hash of its bytes."""
        folder = self.folder / "data" / "landing"
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != ".asked.json"
        }


@pytest.fixture
def make_home(server: ApiServer, tmp_path: Path, empty_warehouse: Path) -> Callable[..., Home]:
    def make(name: str, *sources: str) -> Home:
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        # Its tables take longer to create than everything else a test does.
        shutil.copy(empty_warehouse, folder / "data" / "warehouse.duckdb")
        home = Home(server, folder)
        home.configure(*sources)
        return home

    return make
