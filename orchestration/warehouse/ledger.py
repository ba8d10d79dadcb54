"""The batch ledger: one entry for every landed file, written with its rows."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from orchestration.core.refusals import Refusal
from orchestration.landing.files import LandedFile
from orchestration.sources.records import RefusedInvoice
from orchestration.warehouse import privacy

HEAD_FILE = "ledger_head.json"


@dataclass(frozen=True, slots=True)
class Batch:
    """One ledger entry; the columns of audit.load_batches."""

    source: str
    gateway: str
    kind: str
    file_name: str
    file_sha256: str
    loaded_at: datetime
    load_batch_id: str = ""
    status: str = "loaded"
    reason_code: str | None = None
    reason: str | None = None
    rows_in: int = 0
    rows_loaded: int = 0
    rows_already_known: int = 0
    rows_quarantined: int = 0
    rows_flagged: int = 0
    codes: str = ""
    min_event_at: datetime | None = None
    max_event_at: datetime | None = None
    batch_number: int = 0
    file_size: int = 0
    file_changed_ns: int = 0
    observed_at: datetime | None = None
    evidence_name: str | None = None
    evidence_size: int | None = None
    evidence_changed_ns: int | None = None

    def identified(self) -> Batch:
        """The entry with its id, which follows from gateway, kind, name and bytes alone."""
        text = "\x1f".join((self.gateway, self.kind, self.file_name, self.file_sha256))
        return replace(self, load_batch_id=hashlib.sha256(text.encode()).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One refused row: where it stood, why, its hash, and its allow-listed fields as JSON."""

    line_number: int
    refusal: Refusal
    row_sha256: str
    fields: str


_COLUMNS = tuple(each.name for each in dataclasses.fields(Batch))


class Ledger:
    """Reads and writes audit.load_batches and what hangs on it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._known = self._read_known()

    def _read_known(self) -> set[tuple[str, int, int]]:
        rows = self._connection.execute("""
            select file_name, file_size, file_changed_ns
            from audit.load_batches
            where evidence_name is null
            union all
            select evidence_name, evidence_size, evidence_changed_ns
            from audit.load_batches
            where evidence_name is not null
            """).fetchall()
        return set(rows)

    def is_known(self, name: str, size: int, changed_ns: int) -> bool:
        """Whether this very file, unchanged, has an entry.

        A file that was replaced by its evidence and lies there again is not known: its content
        has to go once more.
        """
        return (name, size, changed_ns) in self._known

    def find_same_file(self, batch: Batch) -> Batch | None:
        """The entry of the same bytes under the same name, unless it was rejected."""
        return self._find(
            "gateway = ? and file_name = ? and file_sha256 = ? and status <> 'rejected'",
            [batch.gateway, batch.file_name, batch.file_sha256],
        )

    def find_same_bytes(self, batch: Batch, kinds: Sequence[str]) -> Batch | None:
        """The loaded entry of the same bytes for the same gateway and kind, if there is one."""
        listed = ", ".join("?" for _ in kinds)
        return self._find(
            f"gateway = ? and file_sha256 = ? and status = 'loaded' and kind in ({listed})",
            [batch.gateway, batch.file_sha256, *kinds],
        )

    def find_observation(self, batch: Batch, observed_at: datetime) -> Batch | None:
        """The loaded entry of the same bytes observed at the same time, if there is one."""
        return self._find(
            "gateway = ? and file_sha256 = ? and status = 'loaded' and observed_at = ?",
            [batch.gateway, batch.file_sha256, observed_at],
        )

    def see_again(self, batch: Batch, file: LandedFile) -> Batch:
        """Note under which size and time the file of an entry lies in landing now."""
        self._connection.execute(
            "update audit.load_batches set file_size = ?, file_changed_ns = ? "
            "where load_batch_id = ?",
            [file.size, file.changed_ns, batch.load_batch_id],
        )
        self._known.add((file.name, file.size, file.changed_ns))
        return replace(batch, file_size=file.size, file_changed_ns=file.changed_ns)

    def find(self, load_batch_id: str) -> Batch | None:
        """The entry with this id."""
        return self._find("load_batch_id = ?", [load_batch_id])

    def find_unscrubbed(self, kinds: tuple[str, ...]) -> list[Batch]:
        """Entries of content-bearing kinds whose file has not been replaced yet."""
        listed = ", ".join("?" for _ in kinds)
        where = f"evidence_name is null and status <> 'rejected' and kind in ({listed})"
        rows = self._connection.execute(
            f"select {', '.join(_COLUMNS)} from audit.load_batches where {where}", list(kinds)
        ).fetchall()
        return [Batch(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]

    def _find(self, where: str, values: list[Any]) -> Batch | None:
        rows = self._connection.execute(
            f"select {', '.join(_COLUMNS)} from audit.load_batches where {where} "
            "order by batch_number limit 1",
            values,
        ).fetchall()
        return Batch(**dict(zip(_COLUMNS, rows[0], strict=True))) if rows else None

    def write(self, batch: Batch, *, refused_invoices: tuple[RefusedInvoice, ...] = ()) -> None:
        """Write one entry that has no rows, in a transaction of its own."""
        self._connection.execute("begin")
        try:
            self.insert(batch)
            self.insert_refused_invoices(batch, refused_invoices)
            if refused_invoices:
                # An exception lists them, so the marts have news although nothing was loaded.
                self._connection.execute(
                    "insert into audit.touched_days values ('refused_invoices', ?)",
                    [batch.loaded_at.date()],
                )
            self._connection.execute("commit")
        except BaseException:
            self._connection.execute("rollback")
            raise

    def insert(self, batch: Batch) -> None:
        """Write one entry within the caller's transaction; the next number is given to it.

        A file that was rejected before keeps one entry, the newest.
        """
        self._connection.execute(
            "delete from audit.load_batches where load_batch_id = ? or (gateway = ? "
            "and file_name = ? and file_sha256 = ? and status = 'rejected')",
            [batch.load_batch_id, batch.gateway, batch.file_name, batch.file_sha256],
        )
        number = self._connection.execute(
            "select coalesce(max(batch_number), 0) + 1 from audit.load_batches"
        ).fetchall()[0][0]
        values = [getattr(batch, name) for name in _COLUMNS if name != "batch_number"]
        names = [name for name in _COLUMNS if name != "batch_number"]
        marks = ", ".join("?" for _ in values)
        self._connection.execute(
            f"insert into audit.load_batches (batch_number, {', '.join(names)}) "
            f"values ({number}, {marks})",
            values,
        )
        self._known.add((batch.file_name, batch.file_size, batch.file_changed_ns))

    def insert_quarantine(self, batch: Batch, rows: list[Quarantined]) -> None:
        """Write the refused rows of a batch within the caller's transaction."""
        if not rows:
            return
        forgotten = privacy.read_from(self._connection)
        reasons = [f"{row.refusal.field}: {row.refusal.reason}".removeprefix(": ") for row in rows]
        self._append(
            "audit.quarantine",
            {
                "load_batch_id": [batch.load_batch_id] * len(rows),
                "source": [batch.source] * len(rows),
                "file_name": [batch.file_name] * len(rows),
                "line_number": [row.line_number for row in rows],
                "reason_code": [row.refusal.code for row in rows],
                "reason": reasons,
                "row_sha256": [row.row_sha256 for row in rows],
                "fields": [privacy.clean_fields(row.fields, forgotten) for row in rows],
            },
        )

    def insert_refused_invoices(self, batch: Batch, invoices: tuple[RefusedInvoice, ...]) -> None:
        """Write the invoices a file was refused for, within the caller's transaction."""
        self._connection.execute(
            "delete from audit.refused_invoices where load_batch_id = ?", [batch.load_batch_id]
        )
        for each in invoices:
            self._connection.execute(
                "insert into audit.refused_invoices values (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    batch.load_batch_id,
                    each.vendor,
                    each.invoice_number,
                    each.reason_code,
                    each.currency,
                    each.dated_at,
                    each.stated_amount,
                    each.computed_amount,
                ],
            )

    def insert_flags(self, batch: Batch, codes: list[tuple[int, str]]) -> None:
        """Write (line, code) of a batch's flagged rows within the caller's transaction."""
        ordered = sorted(set(codes))
        self._append(
            "audit.row_flags",
            {
                "load_batch_id": [batch.load_batch_id] * len(ordered),
                "line_number": [line for line, _ in ordered],
                "code": [code for _, code in ordered],
            },
        )

    def _append(self, table: str, columns: dict[str, list[Any]]) -> None:
        if not all(columns.values()):
            return
        # Imported where there is something to write: a look at the ledger stays quick.
        import pyarrow as pa

        types = {name: pa.int64() if name == "line_number" else pa.string() for name in columns}
        rows = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
        self._connection.register("arriving_notes", rows)
        self._connection.execute(f"insert into {table} by name select * from arriving_notes")
        self._connection.unregister("arriving_notes")

    def record_evidence(self, batch: Batch, path: Path, name: str) -> Batch:
        """Note what now lies in landing in place of the file."""
        status = path.lstat()
        self._connection.execute(
            "update audit.load_batches set evidence_name = ?, evidence_size = ?, "
            "evidence_changed_ns = ? where load_batch_id = ?",
            [name, status.st_size, status.st_mtime_ns, batch.load_batch_id],
        )
        self._known.discard((batch.file_name, batch.file_size, batch.file_changed_ns))
        self._known.add((name, status.st_size, status.st_mtime_ns))
        return replace(
            batch,
            evidence_name=name,
            evidence_size=status.st_size,
            evidence_changed_ns=status.st_mtime_ns,
        )

    def head(self) -> tuple[int, str]:
        """The highest batch number and a hash over all entries up to it."""
        rows = self._connection.execute(
            "select batch_number, load_batch_id from audit.load_batches order by batch_number"
        ).fetchall()
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        return (rows[-1][0] if rows else 0), digest

    def write_head(self, home: Path) -> None:
        """Keep the head outside the database: a truncated WAL opens silently short."""
        number, digest = self.head()
        path = home / HEAD_FILE
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps({"batch_number": number, "sha256": digest}) + "\n")
        temporary.replace(path)

    def missing_batches(self, home: Path) -> int:
        """How many entries the database has lost since the head was last written."""
        try:
            noted = json.loads((home / HEAD_FILE).read_text())
        except (OSError, ValueError):
            return 0
        return max(0, int(noted.get("batch_number", 0)) - self.head()[0])
