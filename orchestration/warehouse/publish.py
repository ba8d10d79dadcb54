"""The snapshot that readers use: complete, verified, read-only, and flipped in one step.

Three files take turns. The oldest, if no process holds it open, gets what changed since it was
published; while somebody does, a copy of the newest gets it, and the held file leaves the rotation.
Only what cannot be derived from either is written whole.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.config import Runtime
from orchestration.warehouse import spare
from orchestration.warehouse.pending import PUBLISH, clear_days
from orchestration.warehouse.schema import create_audit_table
from orchestration.warehouse.snapshot import (
    Part,
    Parts,
    PublishRefusedError,
    Relation,
    changed_parts,
    current_parts,
    fingerprint,
    relations,
    source_catalog,
    write_changes,
)

KEPT_VERSIONS = 3
LINK = "tollbook.duckdb"
# Above this share of rows to replace, writing the whole file in order is cheaper and tidier.
_WHOLE_SHARE = 0.5
_VERSION = re.compile(r"tollbook-([0-9]+)\.duckdb\Z")
_BOOKS = ("pending_days", "snapshots", "snapshot_parts")


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published.

    Attributes:
        version: Its number, one above the last.
        path: Its file.
        tables: (rows, fingerprint) by table.
        derived_from: Version whose content the file had before; None if it was written whole.
        rows_written: Rows that were replaced or added.
    """

    version: int
    path: Path
    tables: dict[str, tuple[int, str]]
    derived_from: int | None = None
    rows_written: int = 0


@dataclass(frozen=True, slots=True)
class _Base:
    """The version that the new one starts from, and what it held; nothing for an empty file."""

    version: int | None
    held: Parts


def publish(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, *, is_whole: bool = False
) -> Publication:
    """Bring a file to what the published schemas hold, verify it, and flip the link to it.

    Args:
        is_whole: Start from an empty file, in whose free space nothing of an earlier one is left.

    A kill at any point leaves the link on a complete version; the half-written file bears no
    version's name and is removed by the next publish.

    Raises:
        PublishRefusedError: the file does not equal its source.
    """
    versions = runtime.published / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    for name in _BOOKS:
        create_audit_table(connection, name)
    _remove_leftovers(versions)
    version = max(_numbers(versions), default=0) + 1
    part = versions / f"tollbook-{version}.duckdb.part"
    tables = relations(connection, source_catalog(connection))
    wanted = current_parts(connection, tables, _last_parts(connection))
    base = _write(connection, part, tables, wanted, is_whole=is_whole)
    part.chmod(0o440)
    _sync(part)
    _write_books(connection, version, part, wanted, kept=_numbers(versions))
    path = part.with_suffix("")
    part.rename(path)
    _sync(versions)
    totals = {name: _total(parts) for name, parts in wanted.items()}
    _write_manifest(runtime.published, version, totals)
    _flip(runtime.published, path)
    _retire(versions, version)
    return Publication(
        version=version,
        path=path,
        tables=totals,
        derived_from=base.version,
        rows_written=_rows(wanted, changed_parts(wanted, base.held)),
    )


def _numbers(versions: Path) -> list[int]:
    matches = (_VERSION.match(path.name) for path in versions.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def _file(versions: Path, version: int) -> Path:
    return versions / f"tollbook-{version}.duckdb"


def _remove_leftovers(versions: Path) -> None:
    for path in versions.iterdir():
        # A folder is a reader's spill space beside the version it has open.
        if not _VERSION.match(path.name) and not path.is_dir():
            path.unlink()


# ---------------------------------------------------------------- writing


def _write(
    connection: duckdb.DuckDBPyConnection,
    part: Path,
    tables: dict[str, Relation],
    wanted: Parts,
    *,
    is_whole: bool,
) -> _Base:
    """Write the file, from an earlier version where that gives the same; what it started from."""
    base = _Base(None, {}) if is_whole else _take_base(connection, part, wanted)
    try:
        write_changes(connection, part, tables, wanted, base.held)
    except (duckdb.Error, PublishRefusedError):
        _discard(part)
        if base.version is None:
            raise
        # The earlier version was not what its entry says; nothing of it is used.
        base = _Base(None, {})
        try:
            write_changes(connection, part, tables, wanted, base.held)
        except (duckdb.Error, PublishRefusedError):
            _discard(part)
            raise
    return base


def _take_base(connection: duckdb.DuckDBPyConnection, part: Path, wanted: Parts) -> _Base:
    """Put the version to start from in the place of `part`, if there is one worth it."""
    versions = part.parent
    numbers = _numbers(versions)
    known = _known_versions(connection, versions, numbers)
    linked = (versions.parent / LINK).resolve()
    worth = {}
    for version in known:
        held = _read_parts(connection, version)
        if _rows(wanted, changed_parts(wanted, held)) <= _WHOLE_SHARE * _all_rows(wanted):
            worth[version] = held
    spares = [
        _file(versions, version)
        for version in numbers[: -spare.NEVER_TAKEN]
        if version in worth and _file(versions, version) != linked
    ]
    taken = spare.take_spare(spares, part)
    if taken is not None:
        version = int(taken.stem.rpartition("-")[2])
    elif worth:
        version = max(worth)
        spare.clone(_file(versions, version), part)
    else:
        return _Base(None, {})
    return _Base(version, worth[version])


def _discard(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.wal")):
        path.unlink(missing_ok=True)


def _rows(wanted: Parts, changed: dict[str, set[str]]) -> int:
    return sum(
        wanted[name][part].rows
        for name, parts in changed.items()
        for part in parts & wanted[name].keys()
    )


def _all_rows(wanted: Parts) -> int:
    return sum(part.rows for parts in wanted.values() for part in parts.values())


def _total(parts: dict[str, Part]) -> tuple[int, str]:
    """Rows and fingerprint of a table, as `fingerprint` would find them."""
    return (
        sum(part.rows for part in parts.values()),
        str(sum(part.fingerprint for part in parts.values())),
    )


# ---------------------------------------------------------------- what is known of versions


def _known_versions(
    connection: duckdb.DuckDBPyConnection, versions: Path, numbers: list[int]
) -> list[int]:
    """Versions whose file is still the very one that was written and verified."""
    rows = connection.execute(
        "select version, file_size, file_changed_ns from audit.snapshots"
    ).fetchall()
    written = {version: (size, changed) for version, size, changed in rows}
    found = []
    for version in numbers:
        status = _file(versions, version).stat()
        if written.get(version) == (status.st_size, status.st_mtime_ns):
            found.append(version)
    return found


def _last_parts(connection: duckdb.DuckDBPyConnection) -> Parts:
    ((version,),) = connection.execute("select max(version) from audit.snapshot_parts").fetchall()
    return _read_parts(connection, version) if version is not None else {}


def _read_parts(connection: duckdb.DuckDBPyConnection, version: int) -> Parts:
    parts: Parts = defaultdict(dict)
    for name, part, rows, amount, digest in connection.execute(
        'select table_name, part, "rows", amount, fingerprint '
        "from audit.snapshot_parts where version = ?",
        [version],
    ).fetchall():
        parts[name][part] = Part(rows, amount, int(digest))
    return dict(parts)


def _write_books(
    connection: duckdb.DuckDBPyConnection,
    version: int,
    part: Path,
    wanted: Parts,
    *,
    kept: list[int],
) -> None:
    """Note what the version holds, before it gets its name: a kill in between loses nothing."""
    status = part.stat()
    rows = [
        (name, key, each.rows, None if each.amount is None else str(each.amount), each.fingerprint)
        for name, parts in wanted.items()
        for key, each in parts.items()
    ]
    names, keys, counts, amounts, digests = zip(*rows, strict=True) if rows else ((),) * 5
    others = f"version not in ({', '.join(map(str, kept))})" if kept else "true"
    connection.execute("begin")
    connection.execute(f"delete from audit.snapshots where {others}")
    connection.execute(f"delete from audit.snapshot_parts where {others}")
    connection.execute(
        "insert into audit.snapshots values (?, ?, ?)",
        [version, status.st_size, status.st_mtime_ns],
    )
    connection.execute(
        """
        insert into audit.snapshot_parts
        select $version, unnest($names), unnest($keys), unnest($counts), unnest($amounts),
            unnest($digests)
        """,
        {
            "version": version,
            "names": list(names),
            "keys": list(keys),
            "counts": list(counts),
            "amounts": list(amounts),
            "digests": [str(digest) for digest in digests],
        },
    )
    clear_days(connection, PUBLISH)
    connection.execute("commit")


# ---------------------------------------------------------------- the flip


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_manifest(published: Path, version: int, tables: dict[str, tuple[int, str]]) -> None:
    content = {
        "version": version,
        "tables": {
            name: {"rows": rows, "fingerprint": digest}
            for name, (rows, digest) in sorted(tables.items())
        },
    }
    temporary = published / "manifest.json.part"
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(published / "manifest.json")


def _flip(published: Path, path: Path) -> None:
    link = published / LINK
    temporary = published / f"{LINK}.part"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.relative_to(published))
    temporary.replace(link)
    _sync(published)


def retire_older(runtime: Runtime) -> None:
    """Keep the newest version alone; whoever has an older one open keeps it until closing."""
    versions = runtime.published / "versions"
    for number in _numbers(versions)[:-1]:
        _file(versions, number).unlink()


def _retire(versions: Path, version: int) -> None:
    """Keep the last three; whoever has an older one open keeps it until closing."""
    for number in _numbers(versions):
        if number <= version - KEPT_VERSIONS:
            _file(versions, number).unlink()


__all__ = ["LINK", "Publication", "PublishRefusedError", "fingerprint", "publish"]
