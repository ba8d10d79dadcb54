"""What `tollbook doctor` looks at: sources, folders, files and seeds; it changes none of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.core.refusals import without_secrets
from orchestration.landing.examine import (
    Finding,
    Verdict,
    examine_landing,
    examine_sources,
    guarded,
)
from orchestration.landing.seed_files import read_seeds
from orchestration.warehouse.connection import open_reader
from orchestration.warehouse.reading import PUBLISHED_FILE, published_version
from orchestration.warehouse.retention import overdue_rows
from orchestration.warehouse.transform import OUR_SEEDS

_MIB = 2**20
# Below the first a run cannot be expected to end; below the second somebody should look.
_LEAST_FREE_BYTES = 100 * _MIB
_AMPLE_FREE_BYTES = 1024 * _MIB
_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \(PID (?P<process>[0-9]+)\)")
_SHOWN_SEED_PROBLEMS = 10


def examine(runtime: Runtime) -> Iterator[Finding]:
    """How everything a run needs stands, in the order a run needs it; no line holds a secret."""
    looks = (
        guarded("home", _examine_home(runtime)),
        guarded("space", _examine_space(runtime)),
        examine_sources(runtime),
        guarded("landing", examine_landing(runtime)),
        guarded("seeds", _examine_seeds(runtime)),
        guarded("warehouse", _examine_warehouse(runtime)),
        guarded("published", _examine_published(runtime)),
    )
    for finding in chain.from_iterable(looks):
        yield Finding(finding.subject, finding.verdict, without_secrets(finding.text))


def _examine_home(runtime: Runtime) -> Iterator[Finding]:
    home = runtime.home
    if not home.exists():
        parent = _nearest(home)
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            yield Finding("home", Verdict.ok, f"{home} is not there yet; the first run creates it")
        else:
            text = f"{home} is not there and {parent} cannot be written; create it or pass --home"
            yield Finding("home", Verdict.failed, text)
        return
    folders = {"home": home, "landing": runtime.landing, "published": runtime.published}
    # Where the history of runs lies; `dagster dev` shows it.
    folders["dagster"] = home / "dagster"
    for subject, folder in folders.items():
        if subject != "home" and not folder.exists():
            continue
        if not folder.is_dir():
            text = f"{folder} is no folder; move it away"
            yield Finding(subject, Verdict.failed, text)
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            text = f"{folder} cannot be read and written; chown or chmod it for this user"
            yield Finding(subject, Verdict.failed, text)
        else:
            yield Finding(subject, Verdict.ok, f"{folder} can be read and written")


def _nearest(path: Path) -> Path:
    """The path, or the closest of its parents that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _examine_space(runtime: Runtime) -> Iterator[Finding]:
    free = shutil.disk_usage(_nearest(runtime.home)).free
    database = runtime.database
    # A version that is published anew lies beside the old one and the warehouse for a while.
    wanted = max(_AMPLE_FREE_BYTES, database.stat().st_size if database.is_file() else 0)
    text = f"{free // _MIB:,} MiB free below {runtime.home}"
    if free < _LEAST_FREE_BYTES:
        yield Finding("space", Verdict.failed, f"{text}; free {wanted // _MIB:,} MiB")
    elif free < wanted:
        text = f"{text}; a run may need {wanted // _MIB:,} MiB for a new version"
        yield Finding("space", Verdict.warning, text)
    else:
        yield Finding("space", Verdict.ok, text)


def _examine_seeds(runtime: Runtime) -> Iterator[Finding]:
    try:
        seeds = read_seeds(runtime.seeds, fallback=OUR_SEEDS)
    except ConfigurationError as error:
        yield Finding("seeds", Verdict.failed, str(error))
        return
    problems = [str(each) for seed in seeds.values() for each in seed.problems]
    for problem in problems[:_SHOWN_SEED_PROBLEMS]:
        yield Finding("seeds", Verdict.warning, problem)
    if len(problems) > _SHOWN_SEED_PROBLEMS:
        more = f"{len(problems) - _SHOWN_SEED_PROBLEMS:,} more; correct these and ask again"
        yield Finding("seeds", Verdict.warning, more)
    if not problems:
        rows = sum(len(seed.rows) for seed in seeds.values())
        text = f"{rows:,} rows of {runtime.seeds} and ours"
        if not runtime.seeds.is_dir():
            text = f"no folder {runtime.seeds}; ours are used"
        yield Finding("seeds", Verdict.ok, text)


def _examine_warehouse(runtime: Runtime) -> Iterator[Finding]:
    database = runtime.database
    if not database.exists():
        text = f"{database} is not there yet; the first run creates it"
        yield Finding("warehouse", Verdict.ok, text)
        return
    try:
        # Not the locked session of readers: that one would not say who holds the file.
        with duckdb.connect(str(database), read_only=True, config={"threads": "1"}) as connection:
            tables = _count_tables(connection)
            overdue = _count_overdue(connection, runtime)
    except duckdb.Error as error:
        yield _unopened(error)
        return
    if overdue:
        text = f"{overdue:,} rows hold detail for longer than {runtime.settings.retention.detail}"
        yield Finding("retention", Verdict.warning, f"{text}; `tollbook retention` takes it out")
    if not os.access(database, os.W_OK):
        text = f"{database} cannot be written; chown or chmod it for this user"
        yield Finding("warehouse", Verdict.failed, text)
        return
    yield Finding("warehouse", Verdict.ok, f"{database} opens; {tables} tables and views")


def _count_overdue(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> int:
    try:
        return overdue_rows(connection, runtime)
    except duckdb.CatalogException:
        # Nothing was loaded yet, or by an earlier version that the next run brings up to date.
        return 0


def _unopened(error: duckdb.Error) -> Finding:
    holder = _HOLDER.search(str(error))
    if holder is not None:
        program = Path(holder["program"]).name
        text = f"held by process {holder['process']} ({program}); runs wait until it ends"
        return Finding("warehouse", Verdict.warning, text)
    text = f"{_one_line(error)}; restore it from a back-up, or move it away and run again"
    return Finding("warehouse", Verdict.failed, text)


def _examine_published(runtime: Runtime) -> Iterator[Finding]:
    path = runtime.published / PUBLISHED_FILE
    if not path.exists():
        if path.is_symlink():
            text = f"{path} leads to a version that is gone; `tollbook run --only publish`"
            yield Finding("published", Verdict.failed, text)
        else:
            text = "nothing yet; `tollbook run` publishes"
            yield Finding("published", Verdict.ok, text)
        return
    try:
        with open_reader(path) as connection:
            tables = _count_tables(connection)
    except duckdb.Error as error:
        text = f"{_one_line(error)}; `tollbook run --only publish` writes a new version"
        yield Finding("published", Verdict.failed, text)
        return
    version = published_version(runtime)
    number = version[0] if version else 0
    yield Finding("published", Verdict.ok, f"version {number} opens; {tables} tables and views")


def _count_tables(connection: duckdb.DuckDBPyConnection) -> int:
    sql = "select count(*) from information_schema.tables"
    row = connection.execute(sql).fetchone()
    return row[0] if row else 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
