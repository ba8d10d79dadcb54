"""What stays in landing of a file that may hold content: its allow-listed rows, nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.config import Runtime
from orchestration.core.refusals import FILE_NOTE_CODES, Refusal, RefusedError
from orchestration.landing.files import EVIDENCE_SUFFIX, LandedFile, open_regular
from orchestration.landing.forgotten import read_forgotten
from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.sources.records import RawTable
from orchestration.warehouse import privacy, staged
from orchestration.warehouse.connection import quoted
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined

_METADATA_KEY = b"tollbook"
_CONTENT_KINDS = tuple(kind.name for kind in ROW_KINDS.values() if kind.may_hold_content)


def scrub(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    file: LandedFile,
    runtime: Runtime,
    batch: Batch,
) -> Batch:
    """Replace a loaded file by its allow-listed rows, under the same ledger entry.

    The new file is complete before the old one goes, so a kill leaves one or both, never neither.
    """
    if batch.kind not in _kinds_to_scrub(runtime):
        return batch
    name = file.name + EVIDENCE_SUFFIX
    target = file.path.with_name(file.path.name + EVIDENCE_SUFFIX)
    _write(connection, batch, target)
    batch = ledger.record_evidence(batch, target, name)
    _remove_unchanged(file.path, batch)
    return batch


def finish_interrupted(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, runtime: Runtime
) -> None:
    """Scrub what a killed run had loaded and not yet replaced."""
    for batch in ledger.find_unscrubbed(_kinds_to_scrub(runtime)):
        replace_landed(connection, ledger, runtime, batch)


def _kinds_to_scrub(runtime: Runtime) -> tuple[str, ...]:
    """The kinds whose files do not stay as they are: content, and the names of forgotten people."""
    kinds = () if runtime.settings.landing.after_load == "keep" else _CONTENT_KINDS
    if read_forgotten(runtime.landing).hashes:
        kinds += privacy.kinds_with_people()
    return kinds


def replace_landed(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, runtime: Runtime, batch: Batch
) -> bool:
    """Replace the landed file of an entry by its allow-listed rows; whether it was there still."""
    path = runtime.landing / batch.file_name
    if not _is_unchanged(path, batch):
        return False
    target = path.with_name(path.name + EVIDENCE_SUFFIX)
    _write(connection, batch, target)
    ledger.record_evidence(batch, target, batch.file_name + EVIDENCE_SUFFIX)
    _remove_unchanged(path, batch)
    return True


def rewrite(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, runtime: Runtime, batch: Batch
) -> bool:
    """Write the evidence of a batch anew after its rows changed; whether it has any."""
    target = runtime.landing / (batch.evidence_name or "")
    if batch.evidence_name is None or not target.is_file():
        return False
    _write(connection, batch, target)
    ledger.record_evidence(batch, target, batch.evidence_name)
    return True


def _is_unchanged(path: Path, batch: Batch) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (batch.file_size, batch.file_changed_ns)


def _remove_unchanged(path: Path, batch: Batch) -> None:
    if _is_unchanged(path, batch):
        path.unlink()


def _write(connection: duckdb.DuckDBPyConnection, batch: Batch, target: Path) -> None:
    kind = ROW_KINDS[batch.kind]
    note = json.dumps(_note(connection, batch), sort_keys=True, default=str)
    reader = connection.sql(_rows_sql(kind, batch)).to_arrow_reader(50_000)
    schema = reader.schema.with_metadata({_METADATA_KEY: note.encode()})
    temporary = target.with_name(target.name + ".part")
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for block in reader:
            writer.write_batch(block.replace_schema_metadata(schema.metadata))
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(target)


def _rows_sql(kind: FileKind, batch: Batch) -> str:
    mine = f"_load_batch_id = {quoted(batch.load_batch_id)}"
    columns = ", ".join(f"r.{column.name}" for column in kind.table.columns)
    parts = "".join(f", parts_{child.name}.parts as _{child.name}" for child in kind.children)
    joins = "".join(
        f"""
        left join (
            select _source_line, list(struct_pack({_packed(child)})) as parts
            from raw.{child.name} where {mine} group by _source_line
        ) as parts_{child.name} on r._source_line = parts_{child.name}._source_line
        """
        for child in kind.children
    )
    return f"""
        select r._source_line, {columns}{parts}
        from raw.{kind.table.name} as r {joins}
        where r.{mine}
        order by r._source_line
        """


def _packed(table: RawTable) -> str:
    return ", ".join(f"{column.name} := {column.name}" for column in table.columns)


def _note(connection: duckdb.DuckDBPyConnection, batch: Batch) -> dict[str, Any]:
    refused = connection.execute(
        "select line_number, reason_code, reason, row_sha256, fields from audit.quarantine "
        "where load_batch_id = ? order by line_number",
        [batch.load_batch_id],
    ).fetchall()
    flags = connection.execute(
        "select line_number, code from audit.row_flags where load_batch_id = ? "
        "order by line_number, code",
        [batch.load_batch_id],
    ).fetchall()
    entry = dataclasses.asdict(batch)
    return {"batch": entry, "quarantine": refused, "flags": flags}


def restore(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, file: LandedFile
) -> Batch | None:
    """Load a scrubbed file again, as a rebuild does: rows, flags and quarantine as they were.

    None where the ledger has its entry, as after a copy that changed the file's time.

    Raises:
        RefusedError: bad_parquet for a damaged file, schema_mismatch for one of another kind.
    """
    try:
        with open_regular(file.path) as stream:
            table = pq.ParquetFile(stream).read()
        note = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        batch = _read_batch(note["batch"], file)
        quarantined = [
            Quarantined(line, Refusal(code, "", reason), sha256, fields)
            for line, code, reason, sha256, fields in note["quarantine"]
        ]
        flags = [(line, code) for line, code in note["flags"] if code not in FILE_NOTE_CODES]
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError("bad_parquet", "not a whole evidence file of this loader") from error
    known = ledger.find(batch.load_batch_id)
    if known is not None:
        ledger.record_evidence(known, file.path, file.name)
        return None
    _stage(connection, ROW_KINDS[batch.kind], table)
    return staged.commit_again(connection, ledger, batch, quarantined=quarantined, flags=flags)


def _read_batch(entry: dict[str, Any], file: LandedFile) -> Batch:
    """The entry as it was, under the names by which source and gateway go now.

    Raises:
        RefusedError: schema_mismatch, or bad_parquet where its counts do not add up.
    """
    names = {each.name for each in dataclasses.fields(Batch)}
    entry = {name: value for name, value in entry.items() if name in names}
    if entry["kind"] not in ROW_KINDS or entry["kind"] not in file.kinds:
        raise RefusedError("schema_mismatch", "evidence of a kind that does not belong here")
    for name in ("loaded_at", "min_event_at", "max_event_at", "observed_at"):
        if entry.get(name):
            entry[name] = datetime.fromisoformat(entry[name])
    batch = replace(
        Batch(**entry),
        source=file.source.name,
        gateway=file.source.gateway_name,
        file_name=file.name.removesuffix(EVIDENCE_SUFFIX),
        evidence_name=file.name,
        evidence_size=file.size,
        evidence_changed_ns=file.changed_ns,
    ).identified()
    parts = (batch.rows_loaded, batch.rows_already_known, batch.rows_quarantined)
    if batch.rows_in != sum(parts) or min(parts) < 0:
        raise RefusedError("bad_parquet", "its counts do not add up")
    return batch


def _stage(connection: duckdb.DuckDBPyConnection, kind: FileKind, table: pa.Table) -> None:
    """The rows as incoming ones; a column added since they were written is NULL in them.

    Raises:
        RefusedError: bad_parquet where a column has another type.
    """
    connection.register("arriving", table)
    try:
        for each in (kind.table, *kind.children):
            staged.create_incoming(connection, each)
        own = _listed_columns(kind.table, set(table.column_names), prefix="")
        connection.execute(
            f"insert into incoming_{kind.table.name} by name "
            f"select _source_line, {own} from arriving"
        )
        for child in kind.children:
            _stage_parts(connection, child, table)
    except (duckdb.ConversionException, duckdb.BinderException) as error:
        raise RefusedError("bad_parquet", "a column has another type than raw") from error
    finally:
        connection.unregister("arriving")


def _stage_parts(connection: duckdb.DuckDBPyConnection, child: RawTable, table: pa.Table) -> None:
    place = table.schema.get_field_index(f"_{child.name}")
    if place < 0:
        return
    struct = table.schema.field(place).type.value_type
    names = {struct.field(number).name for number in range(struct.num_fields)}
    connection.execute(f"""
        insert into incoming_{child.name} by name
        select _source_line, {_listed_columns(child, names, prefix="part.")}
        from (select _source_line, unnest(_{child.name}) as part from arriving)
        """)


def _listed_columns(table: RawTable, present: set[str], *, prefix: str) -> str:
    return ", ".join(
        f"{prefix}{column.name}" if column.name in present else f"null as {column.name}"
        for column in table.columns
    )
