"""`tollbook verify`: every hash and every total of a packet, anew from its own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from orchestration.warehouse.connection import quoted
from orchestration.warehouse.packet import (
    MANIFEST,
    SELF,
    SIGN_OFF,
    SUMS,
    as_json,
    contradictions,
    file_sha256,
    guarded,
    packet_totals,
    sums_text,
    table_totals,
)


@dataclass(slots=True)
class Verdict:
    """What a packet's own files say.

    Attributes:
        packet_sha256: Hash of its manifest: compare it with periods.packet_sha256.
        problems: One line each, naming the file; none where all holds.
    """

    account_id: str = ""
    billing_month: str = ""
    packet_sha256: str = ""
    files: int = 0
    tables: int = 0
    totals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def verify_packet(folder: Path) -> Verdict:
    """Recompute every hash and total of a packet from its own files."""
    verdict = Verdict()
    manifest = _read_manifest(folder, verdict)
    if manifest is None:
        return verdict
    verdict.account_id = manifest["account_id"]
    verdict.billing_month = manifest["billing_month"]
    verdict.totals = manifest["totals"]
    intact = _check_files(folder, manifest, verdict)
    _check_sign_off(folder, manifest, verdict)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, told in sorted(manifest["tables"].items()):
            if {f"{name}.parquet", f"{name}.csv"} <= intact:
                _check_table(connection, folder, name, told, verdict)
                verdict.tables += 1
        if not verdict.problems:
            _check_totals(connection, folder, manifest, verdict)
    return verdict


def _read_manifest(folder: Path, verdict: Verdict) -> dict[str, Any] | None:
    """The manifest, if it is what it was when it was written: it states its own hash."""
    path = folder / MANIFEST
    if not path.is_file():
        verdict.problems.append(f"{MANIFEST}: missing; name the folder of a packet")
        return None
    content = path.read_bytes()
    manifest: dict[str, Any] = {}
    try:
        manifest = json.loads(content)
        told = manifest.pop(SELF)
        is_sound = (
            told == hashlib.sha256(as_json(manifest)).hexdigest()
            and as_json({**manifest, SELF: told}) == content
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        is_sound = False
    if not is_sound:
        verdict.problems.append(f"{MANIFEST}: changed since it was written")
        return None
    verdict.packet_sha256 = hashlib.sha256(content).hexdigest()
    return manifest


def _check_files(folder: Path, manifest: dict[str, Any], verdict: Verdict) -> set[str]:
    """Names of the files whose bytes are those of the manifest."""
    intact = set()
    for name, told in sorted(manifest["files"].items()):
        path = folder / name
        if not path.is_file() or path.is_symlink():
            verdict.problems.append(f"{name}: missing")
        elif file_sha256(path) != told["sha256"] or path.stat().st_size != told["bytes"]:
            verdict.problems.append(f"{name}: changed: its sha256 is not that of the manifest")
        else:
            intact.add(name)
    verdict.files = len(intact) + 1
    expected = sums_text(manifest["files"], verdict.packet_sha256)
    sums = folder / SUMS
    if not sums.is_file() or sums.read_bytes() != expected:
        verdict.problems.append(f"{SUMS}: missing or changed: it does not list the packet's files")
    known = {*manifest["files"], MANIFEST, SUMS}
    for path in sorted(folder.iterdir()):
        if path.name not in known:
            verdict.problems.append(f"{path.name}: not a file of this packet")
    return intact


def _check_sign_off(folder: Path, manifest: dict[str, Any], verdict: Verdict) -> None:
    """The sign-off says the same as the manifest."""
    path = folder / SIGN_OFF
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        # Said already: its hash is another.
        return
    if any(manifest.get(name) != value for name, value in told.items()):
        verdict.problems.append(f"{SIGN_OFF}: says another thing than the manifest")


def _check_table(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    name: str,
    told: Mapping[str, Any],
    verdict: Verdict,
) -> None:
    """Rows and sums of the Parquet file are those told, and the CSV file holds the same rows."""
    parquet = f"read_parquet({quoted(str(folder / f'{name}.parquet'))})"
    found = table_totals(connection, parquet_view(connection, name, parquet))
    if found["rows"] != told["rows"]:
        verdict.problems.append(
            f"{name}.parquet: {found['rows']} rows, the manifest {told['rows']}"
        )
    for column, amount in found["sums"].items():
        if amount != told["sums"].get(column):
            verdict.problems.append(
                f"{name}.parquet: {column} adds up to {amount}, the manifest says "
                f"{told['sums'].get(column)}"
            )
    differing = _rows_that_differ(connection, folder / f"{name}.csv", f"packet_{name}")
    if differing:
        verdict.problems.append(f"{name}.csv: {differing} rows are not those of {name}.parquet")


def parquet_view(connection: duckdb.DuckDBPyConnection, name: str, parquet: str) -> str:
    """The rows of a Parquet file under the name that a packet's table has."""
    relation = f"packet_{name}"
    connection.execute(f"create or replace temp view {relation} as select * from {parquet}")
    return relation


def _rows_that_differ(connection: duckdb.DuckDBPyConnection, csv: Path, relation: str) -> int:
    """Rows of one that the other lacks, compared as the texts that stand in CSV."""
    names = [name for name, *_ in connection.execute(f"describe {relation}").fetchall()]
    texts = ", ".join(f'coalesce(cast("{name}" as varchar), \'\') as "{name}"' for name in names)
    ours = f"select {texts} from (select {guarded(connection, relation)} from {relation})"
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    theirs = (
        f"select {texts} from read_csv({quoted(str(csv))}, header = true, auto_detect = false, "
        f"delim = ',', quote = '\"', escape = '\"', columns = {{{columns}}})"
    )
    ((rows,),) = connection.execute(
        f"select count(*) from (({ours} except all {theirs}) union all "
        f"({theirs} except all {ours}))"
    ).fetchall()
    return rows


def _check_totals(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    manifest: dict[str, Any],
    verdict: Verdict,
) -> None:
    found = packet_totals(connection)
    if found != manifest["totals"]:
        verdict.problems.append(f"{MANIFEST}: its totals are not those of the tables")
    verdict.problems += [f"{folder.name}: {problem}" for problem in contradictions(found)]
