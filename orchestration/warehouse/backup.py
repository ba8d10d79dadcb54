"""Rebuild, backup and restore: everything follows from landing, seeds, settings and the clock.

What a warehouse held is known by a digest of every mart, so that each of the three can say whether
what came out is what was there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.ledger import HEAD_FILE
from orchestration.warehouse.packet import as_json, file_sha256
from orchestration.warehouse.transform import read_state

MANIFEST = "backup.json"
CONFIG, SEEDS = "config", "seeds"
# What of a home nothing else can bring back; hidden notes in landing belong to it.
_KEPT = ("landing", "packets", "statements", "extract")
# Where a row was first seen, and when files were loaded, is what no rebuild repeats.
_LINEAGE = ("load_batch_id", "source", "source_file", "source_line")
_NOT_REPEATED = ("source_freshness",)

Digests = Mapping[str, str]
Progress = Callable[[str], None]


class BackupDamagedError(RuntimeError):
    """A backup is not what was written; one line names the first files."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written or read.

    Attributes:
        as_of: The clock of the build it was taken of.
        digests: What each mart held, by name.
    """

    folder: Path
    as_of: datetime | None
    files: int
    size: int
    digests: Digests


def mart_digests(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Rows of every mart and a digest of them that does not depend on their order or lineage."""
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "select table_name, column_name from duckdb_columns() "
        "where schema_name = 'marts' and database_name = current_database() "
        "and table_name in (select table_name from duckdb_tables() where schema_name = 'marts') "
        "order by table_name, column_index"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    return {
        table: _digest(connection, table, names)
        for table, names in columns.items()
        if table not in _NOT_REPEATED
    }


def _digest(connection: duckdb.DuckDBPyConnection, table: str, columns: list[str]) -> str:
    left_out = _LINEAGE if "source_line" in columns else ()
    kept = ", ".join(f'"{name}"' for name in columns if name not in left_out)
    rows, low, high = connection.execute(
        f"select count(*), coalesce(sum(md5_number_lower(line)), 0), "
        f"coalesce(sum(md5_number_upper(line)), 0) "
        f"from (select cast(t as varchar) as line from (select {kept} from marts.{table}) as t)"
    ).fetchall()[0]
    return f"{rows} rows, {low:x}-{high:x}"


def differing_marts(before: Digests, after: Digests) -> list[str]:
    """The marts whose rows are others than before."""
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


def built_as_of(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """The clock of the last build."""
    text = read_state(connection, "as_of")
    return datetime.fromisoformat(text) if text else None


# ---------------------------------------------------------------- rebuild


@dataclass(frozen=True, slots=True)
class SetAside:
    """The warehouse that a rebuild replaces, until the new one is known to be good."""

    database: Path
    head: Path
    digests: Digests
    as_of: datetime | None

    def restore(self, runtime: Runtime) -> None:
        """Put it back in its place."""
        self.database.replace(runtime.database)
        if self.head.exists():
            self.head.replace(runtime.home / HEAD_FILE)

    def remove(self) -> None:
        """It is not needed any more."""
        self.database.unlink(missing_ok=True)
        self.head.unlink(missing_ok=True)


def set_aside(runtime: Runtime) -> SetAside:
    """Move the warehouse out of the way; nothing of it is lost.

    Raises:
        ConfigurationError: there is none.
        WarehouseBusyError: another process writes it.
    """
    if not runtime.database.is_file():
        raise ConfigurationError(
            f"{runtime.database}: nothing was loaded yet; `tollbook run` builds it"
        )
    head = runtime.home / HEAD_FILE
    aside = runtime.database.with_name(f"{runtime.database.name}.before-rebuild")
    head_aside = head.with_name(f"{head.name}.before-rebuild")
    with open_warehouse(runtime) as connection:
        digests, as_of = mart_digests(connection), built_as_of(connection)
        connection.execute("checkpoint")
        # While this connection holds the file, nobody else begins to write it.
        runtime.database.replace(aside)
        if head.exists():
            head.replace(head_aside)
    return SetAside(aside, head_aside, digests, as_of)


# ---------------------------------------------------------------- backup and restore


def write_backup(runtime: Runtime, folder: Path, *, progress: Progress) -> Backup:
    """Copy what nothing else can bring back, with the sha256 of every file; whole or not at all.

    Raises:
        ConfigurationError: the folder holds something already.
        WarehouseBusyError: a run is writing the warehouse.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder}: holds something already; name a new folder")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with open_warehouse(runtime) as connection:
            for name in _KEPT:
                if (runtime.home / name).is_dir():
                    progress(f"backup: {name}")
                    shutil.copytree(runtime.home / name, part / name, ignore=_unfinished)
            _copy_settings(runtime, part)
            progress("backup: digests of the marts")
            digests, as_of = mart_digests(connection), built_as_of(connection)
        progress("backup: hashes of the files")
        files = {
            path.relative_to(part).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
            }
            for path in sorted(part.rglob("*"))
            if path.is_file()
        }
        content = {
            "as_of": as_of.isoformat() if as_of else None,
            "engine": duckdb.__version__,
            "files": files,
            "marts": dict(digests),
        }
        (part / MANIFEST).write_bytes(as_json(content))
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    size = sum(int(each["bytes"]) for each in files.values())
    return Backup(folder, as_of, len(files), size, digests)


def _unfinished(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".part", ".tmp"))]


def _copy_settings(runtime: Runtime, part: Path) -> None:
    """The settings as they are written, without what their variables hold, and the seeds."""
    (part / CONFIG).mkdir()
    shutil.copy2(runtime.config_file, part / CONFIG / "tollbook.yml")
    mappings = runtime.config_file.parent / "mappings"
    if mappings.is_dir():
        shutil.copytree(mappings, part / CONFIG / "mappings")
    if runtime.seeds.is_dir():
        shutil.copytree(runtime.seeds, part / SEEDS)


def read_backup(folder: Path) -> Backup:
    """A backup whose files are all what was written.

    Raises:
        ConfigurationError: the folder is no backup.
        BackupDamagedError: files are missing, changed or more.
    """
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        files, marts = dict(content["files"]), dict(content["marts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder}: not a backup: its {MANIFEST} is missing or damaged"
        ) from error
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / MANIFEST
    }
    problems = [f"{name}: missing" for name in sorted(files.keys() - found)]
    problems += [f"{name}: not of this backup" for name in sorted(found - files.keys())]
    problems += [
        f"{name}: changed"
        for name in sorted(found & files.keys())
        if file_sha256(folder / name) != files[name]["sha256"]
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BackupDamagedError(f"{folder}: {'; '.join(problems[:3])}{more}")
    as_of = content.get("as_of")
    return Backup(
        folder,
        datetime.fromisoformat(as_of) if as_of else None,
        len(files),
        sum(int(each["bytes"]) for each in files.values()),
        marts,
    )


def restore_settings(backup: Backup, config_file: Path) -> list[Path]:
    """Put the settings where they are to be used, unless some are there; what was written."""
    if config_file.exists():
        return []
    written = []
    for path in sorted((backup.folder / CONFIG).rglob("*")):
        name = path.relative_to(backup.folder / CONFIG)
        target = config_file if name == Path("tollbook.yml") else config_file.parent / name
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            written.append(target)
    return written


def restore_files(backup: Backup, runtime: Runtime, *, progress: Progress) -> list[Path]:
    """Copy a backup into an empty home, and its seeds where there are none; what was written.

    Raises:
        ConfigurationError: the home holds something already.
    """
    held = [name for name in (*_KEPT, "published") if _holds(runtime.home / name)]
    if held or runtime.database.exists():
        raise ConfigurationError(
            f"{runtime.home}: holds {', '.join(held) or runtime.database.name} already; "
            "name an empty --home"
        )
    runtime.home.mkdir(parents=True, exist_ok=True)
    written = []
    for name in _KEPT:
        if (backup.folder / name).is_dir():
            progress(f"restore: {name}")
            shutil.copytree(backup.folder / name, runtime.home / name, dirs_exist_ok=True)
            written.append(runtime.home / name)
    if (backup.folder / SEEDS).is_dir() and not runtime.seeds.exists():
        shutil.copytree(backup.folder / SEEDS, runtime.seeds)
        written.append(runtime.seeds)
    return written


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))
