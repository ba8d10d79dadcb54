"""Data files and prepared homes below one folder, each made once and named by what made it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import generate
from generate import Logs
from harness import Children

# Set far enough back that the loader does not wait for a file to settle.
_LONG_AGO = 1_750_000_000
# Parts of the product whose change makes a built home worthless.
_SOURCES = ("orchestration", "models", "dbt_project")
_CONFIG = """\
warehouse: {{path: warehouse.duckdb, memory_limit: {memory_limit}, threads: {threads}}}
sources:
  - {{name: litellm, kind: litellm_spend_logs}}
landing: {{after_load: keep}}
"""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where benches keep their data.

    Attributes:
        folder: Everything lies below it.
        children: Starts the processes that prepare homes.
        memory_limit, threads: What the product and every anchor may use.
    """

    folder: Path
    children: Children
    memory_limit: str = "4GB"
    threads: int = 2

    # ------------------------------------------------------------ files

    def logs(self, logs: Logs, ending: str) -> Path:
        """A file of generated rows."""
        name = _digest(_source_of("generate.py"), asdict(logs))
        path = self.folder / "data" / f"logs-{logs.first}-{logs.rows}-{name}.{ending}"
        return self._made(path, lambda: generate.write_logs(path, logs))

    def genuine(self, source: Path, megabytes: int) -> Path:
        """The genuine rows, repeated under new ids to about so many megabytes."""
        name = _digest(_source_of("generate.py"), str(source), megabytes)
        path = self.folder / "data" / f"genuine-{megabytes}-{name}.jsonl"
        return self._made(path, lambda: generate.write_genuine(path, source, megabytes * 10**6))

    def catalogs(self, logs: Logs) -> Path:
        """A folder of price catalogs for the days of the rows."""
        name = _digest(_source_of("generate.py"), str(logs.price_from), logs.price_dates)
        path = self.folder / "data" / f"catalogs-{name}"
        return self._made(
            path,
            lambda: generate.write_catalogs(path, first=logs.price_from, dates=logs.price_dates),
        )

    def _made(self, path: Path, make: Callable[[], None]) -> Path:
        if not path.exists():
            say(f"  generating {path.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            make()
        return path

    # ------------------------------------------------------------ homes

    def new_home(self, name: str, *, memory_limit: str = "", threads: int = 0) -> Path:
        """An empty home with its tollbook.yml; what lay there before is gone."""
        home = self.folder / "scratch" / name
        shutil.rmtree(home, ignore_errors=True)
        (home / "landing" / "litellm").mkdir(parents=True)
        text = _CONFIG.format(
            memory_limit=memory_limit or self.memory_limit, threads=threads or self.threads
        )
        (home / "tollbook.yml").write_text(text)
        return home

    def raw_home(self, logs: Logs) -> Path:
        """A prepared home whose raw holds the rows and their price catalogs; nothing is built."""
        return self._prepared("raw", [logs], self._fill_raw)

    def built_home(self, logs: Logs) -> Path:
        """The same after a whole run: built, checked and published."""
        return self._prepared("built", [logs], self._fill_built)

    def copy(self, home: Path, name: str) -> Path:
        """A scratch copy of a prepared home."""
        target = self.folder / "scratch" / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(home, target, symlinks=True)
        return target

    def drop(self, file: Path, home: Path, name: str = "") -> None:
        """Put a log file into a home's landing folder, as one that has been at rest for long."""
        target = home / "landing" / "litellm" / (name or file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, target)
        os.utime(target, (_LONG_AGO, _LONG_AGO))

    def discard(self, home: Path) -> None:
        """Remove a scratch home."""
        shutil.rmtree(home, ignore_errors=True)

    def _prepared(self, what: str, parts: list[Logs], fill: Callable[[Path, Logs], None]) -> Path:
        name = _digest(
            _source_of("generate.py"),
            [asdict(part) for part in parts],
            self._product_digest(),
            self.memory_limit,
            self.threads,
        )
        path = self.folder / "homes" / f"{what}-{parts[0].rows}-{name}"
        if not path.exists():
            say(f"  preparing {path.name}")
            home = self.new_home(f"preparing-{what}")
            fill(home, parts[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            home.rename(path)
        return path

    def _fill_raw(self, home: Path, logs: Logs) -> None:
        target = home / "landing" / "price_catalog"
        target.mkdir(parents=True)
        for file in sorted(self.catalogs(logs).iterdir()):
            os.link(file, target / file.name)
            os.utime(target / file.name, (_LONG_AGO, _LONG_AGO))
        self.children.act("product.py", "load", home=home)
        self.children.act("product.py", "stage", home=home, logs=[asdict(logs)])

    def _fill_built(self, home: Path, logs: Logs) -> None:
        shutil.rmtree(home)
        shutil.copytree(self.raw_home(logs), home)
        self.children.act("product.py", "run", home=home)

    def _product_digest(self) -> str:
        digest = hashlib.sha256()
        for folder in _SOURCES:
            for path in sorted((self.children.project / folder).rglob("*")):
                if path.suffix in (".py", ".sql", ".yml"):
                    digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


def _source_of(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:10]


def say(line: str) -> None:
    """One line of progress on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
