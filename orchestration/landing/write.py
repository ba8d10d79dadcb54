"""Files written into landing: whole or not at all, never over another, named by their content."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from orchestration.landing.files import EVIDENCE_SUFFIX, SETTLE_SECONDS

# Rows of one landed file: bounds what one load transaction holds.
FILE_ROWS = 250_000
_PART = ".part"
# Its functions are made at run time, unseen by a type checker.
pc: Any = pyarrow.compute
_MOMENT = "%Y%m%dT%H%M%S%f"
_WINDOW = re.compile(r"-([0-9]{8}T[0-9]{12})-([0-9]{8}T[0-9]{12})-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True, slots=True)
class Landed:
    """One file written into landing.

    Attributes:
        name: Path below the source's folder.
        size: Bytes.
    """

    name: str
    rows: int
    size: int


class LandingWriter:
    """Writes tables into Parquet files of one folder; a file appears when it is whole.

    A name holds the first and last event of its rows, none later than `as_of`, and the hash of its
    bytes: the same bytes land under the same name, and two windows never meet under one.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        event_at: str,
        as_of: datetime,
        file_rows: int = FILE_ROWS,
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._event_at = event_at
        self._as_of = as_of
        self._file_rows = file_rows
        self._part = folder / f".{stem}.{os.getpid()}{_PART}"
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self.landed: list[Landed] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What was read whole is worth keeping, also where the next page could not be read.
        if error_type is None or issubclass(error_type, Exception):
            self.finish()
        else:
            self._abandon()

    def write(self, rows: pa.Table) -> None:
        """Add rows; a full file is finished and another begun."""
        if not rows.num_rows:
            return
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self._writer = pq.ParquetWriter(
                self._part, rows.schema, compression="zstd", compression_level=1
            )
        self._writer.write_table(rows)
        self._rows += rows.num_rows
        span = pc.min_max(rows.column(self._event_at)).as_py()
        # A clock that runs ahead must not make the next run believe it has read that far.
        low, high = (min(_naive(span[end]), self._as_of) for end in ("min", "max"))
        self._first = low if self._first is None else min(self._first, low)
        self._last = high if self._last is None else max(self._last, high)
        if self._rows >= self._file_rows:
            self.finish()

    def finish(self) -> None:
        """Give the file its name, once its bytes are on the disk."""
        if self._writer is None or self._first is None or self._last is None:
            return
        self._writer.close()
        with self._part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:12]
        window = f"{self._first.strftime(_MOMENT)}-{self._last.strftime(_MOMENT)}"
        target = self._folder / f"{self._stem}-{window}-{digest}.parquet"
        size = self._part.stat().st_size
        land(self._part, target)
        self.landed.append(Landed(f"{self._folder.name}/{target.name}", self._rows, size))
        self._writer, self._rows, self._first, self._last = None, 0, None, None

    def _abandon(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._part.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        """Remove what a killed writer of this stem left behind."""
        for path in self._folder.glob(f".{self._stem}.*{_PART}"):
            process = path.name.split(".")[-2]
            if not (process.isdigit() and Path(f"/proc/{process}").exists()):
                path.unlink(missing_ok=True)


def land(part: Path, target: Path) -> None:
    """Give a written file its name, once its bytes are on the disk; never over another."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    # It appears whole: the loader need not wait until it has come to rest.
    at_rest = time.time() - 2 * SETTLE_SECONDS
    os.utime(part, (at_rest, at_rest))
    with suppress(FileExistsError):
        # A link, unlike a rename, never replaces what has the name already.
        os.link(part, target)
    part.unlink()
    _sync_folder(target.parent)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_event(name: str) -> datetime | None:
    """The last event of a file of ours, by its name, also when its evidence took its place."""
    match = _WINDOW.search(name)
    return datetime.strptime(match[2], _MOMENT) if match else None  # noqa: DTZ007  # naive UTC


def unscrubbed(folder: Path) -> Iterator[Path]:
    """Our files of a folder that still lie there as they were written."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if _WINDOW.search(path.name) and not path.name.endswith(EVIDENCE_SUFFIX):
            yield path
