"""The snapshot that readers use: complete, verified, read-only, and flipped in one step."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.config import Runtime
from orchestration.warehouse.connection import quoted

PUBLISHED_SCHEMAS = ("marts", "exports", "audit", "reference")
# Bookkeeping of the pipeline that says nothing to a reader.
_PRIVATE = {"audit.touched_days", "audit.state"}
# DuckDB 1.2 and later open this; BI drivers lag behind the engine.
STORAGE_VERSION = "v1.2.0"
KEPT_VERSIONS = 3
LINK = "tollbook.duckdb"
_VERSION = re.compile(r"tollbook-([0-9]+)\.duckdb\Z")
_ORDER = {
    "marts.usage_records": "usage_date, gateway, started_at, request_id, occurrence",
    "marts.audit_trail": "usage_date, gateway, started_at, request_id, occurrence",
}


class PublishRefusedError(RuntimeError):
    """The snapshot differs from its source; readers keep the last good version."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published: its number, file, and (rows, fingerprint) by table."""

    version: int
    path: Path
    tables: dict[str, tuple[int, str]]


def publish(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> Publication:
    """Copy the published schemas into a new version, verify it, and flip the link to it.

    A kill at any point leaves the link on a complete version; the half-written one is removed by
    the next publish.

    Raises:
        PublishRefusedError: the copy does not equal its source.
    """
    versions = runtime.published / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(versions)
    version = max(_numbers(versions), default=0) + 1
    part = versions / f"tollbook-{version}.duckdb.part"
    tables = _write(connection, part)
    part.chmod(0o440)
    _sync(part)
    path = part.with_suffix("")
    part.rename(path)
    _sync(versions)
    _write_manifest(runtime.published, version, tables)
    _flip(runtime.published, path)
    _retire(versions, version)
    return Publication(version=version, path=path, tables=tables)


def _numbers(versions: Path) -> list[int]:
    matches = (_VERSION.match(path.name) for path in versions.iterdir())
    return [int(match[1]) for match in matches if match]


def _remove_leftovers(versions: Path) -> None:
    for path in versions.iterdir():
        # A folder is a reader's spill space beside the version it has open.
        if not _VERSION.match(path.name) and not path.is_dir():
            path.unlink()


def _write(connection: duckdb.DuckDBPyConnection, part: Path) -> dict[str, tuple[int, str]]:
    source = connection.execute("select current_database()").fetchall()[0][0]
    connection.execute(
        f"attach {quoted(str(part))} as snapshot (storage_version {quoted(STORAGE_VERSION)})"
    )
    try:
        names = _table_names(connection, source)
        for schema in sorted({name.partition(".")[0] for name in names}):
            connection.execute(f"create schema snapshot.{schema}")
        tables = {name: _copy_table(connection, source, name) for name in names}
        _copy_views(connection, source)
        connection.execute("checkpoint snapshot")
    finally:
        connection.execute("detach snapshot")
    return tables


def _named(name: str) -> str:
    """The name as an SQL identifier; a catalog is called like its file."""
    return '"' + name.replace('"', '""') + '"'


def _table_names(connection: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    rows = connection.execute(
        "select schema_name || '.' || table_name from duckdb_tables() "
        "where database_name = ? and schema_name in (select unnest(?)) order by 1",
        [source, list(PUBLISHED_SCHEMAS)],
    ).fetchall()
    return [name for (name,) in rows if name not in _PRIVATE]


def _copy_table(connection: duckdb.DuckDBPyConnection, source: str, name: str) -> tuple[int, str]:
    order = _ORDER.get(name, "all")
    original = f"{_named(source)}.{name}"
    connection.execute(f"create table snapshot.{name} as select * from {original} order by {order}")
    _copy_comments(connection, source, name)
    written = fingerprint(connection, f"snapshot.{name}")
    if written != fingerprint(connection, original):
        raise PublishRefusedError(f"{name}: the snapshot differs from the warehouse")
    return written


def _copy_comments(connection: duckdb.DuckDBPyConnection, source: str, name: str) -> None:
    schema, _, table = name.partition(".")
    described = connection.execute(
        "select comment from duckdb_tables() where database_name = ? and schema_name = ? "
        "and table_name = ? and comment is not null",
        [source, schema, table],
    ).fetchall()
    for (comment,) in described:
        connection.execute(f"comment on table snapshot.{name} is {quoted(comment)}")
    _copy_column_comments(connection, source, schema, table)


def _copy_column_comments(
    connection: duckdb.DuckDBPyConnection, source: str, schema: str, relation: str
) -> None:
    columns = connection.execute(
        "select column_name, comment from duckdb_columns() where database_name = ? "
        "and schema_name = ? and table_name = ? and comment is not null",
        [source, schema, relation],
    ).fetchall()
    for column, comment in columns:
        connection.execute(
            f"comment on column snapshot.{schema}.{relation}.{_named(column)} is {quoted(comment)}"
        )


def fingerprint(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[int, str]:
    """Row count and a hash of a relation's rows that does not depend on their order."""
    rows, digest = connection.execute(
        f"select count(*), coalesce(sum(hash(t)), 0) from {relation} as t"
    ).fetchall()[0]
    return rows, str(digest)


def _copy_views(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Recreate published views without the catalog's name, which a reader's file has not."""
    views = connection.execute(
        "select schema_name, view_name, sql, comment from duckdb_views() "
        "where database_name = ? and schema_name in (select unnest(?)) and not internal",
        [source, list(PUBLISHED_SCHEMAS)],
    ).fetchall()
    # A catalog's name stands before a schema; an alias that happens to be equal does not.
    schemas = "|".join(PUBLISHED_SCHEMAS)
    catalog = re.compile(rf'(?<![\w."])"?{re.escape(source)}"?\.(?="?(?:{schemas})"?\.)')
    connection.execute("use snapshot")
    try:
        for schema, view, sql, comment in views:
            connection.execute(catalog.sub("", sql))
            if comment:
                connection.execute(f"comment on view {schema}.{view} is {quoted(comment)}")
            _copy_column_comments(connection, source, schema, view)
    finally:
        connection.execute(f"use {_named(source)}")


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


def _retire(versions: Path, version: int) -> None:
    """Keep the last three; whoever has an older one open keeps it until closing."""
    for number in _numbers(versions):
        if number <= version - KEPT_VERSIONS:
            (versions / f"tollbook-{number}.duckdb").unlink()
