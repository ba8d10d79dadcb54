"""Allow-listed rows of gateway logs in landing: JSON lines, and beside them what they were.

Beside each file lies a hidden note: how many rows were received, the hash of what was received,
and the hashes of the rows that landed. By these, a row that was landed once does not land again,
whatever became of the file. A note that is missing is written anew from its file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from orchestration.landing.write import land

_MOMENT = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(
    r"(?P<stem>[a-z_]+)-(?P<first>[0-9]{8}T[0-9]{12})-(?P<last>[0-9]{8}T[0-9]{12})"
    r"-(?P<digest>[0-9a-f]{12})\.jsonl"
)
# Behind every re-read a note is of no use.
_KEPT_FOR = timedelta(days=60)
# Rows of one file: bounds what one load transaction holds.
FILE_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row to land.

    Attributes:
        fields: Its allow-listed fields.
        started_at: Its event; naive UTC.
        row_hash: Hash of these fields.
    """

    fields: Mapping[str, Any]
    started_at: datetime
    row_hash: str

    @classmethod
    def of(cls, fields: Mapping[str, Any], started_at: datetime) -> LogRow:
        """A row with its hash."""
        return cls(fields, started_at, _hash(fields))


def _hash(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_ENCODER = msgspec.json.Encoder(decimal_format="number", order="sorted")


def _encoded(fields: Mapping[str, Any]) -> bytes:
    """One line of JSON; a number keeps the digits it came with."""
    try:
        return _ENCODER.encode(fields)
    except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError):
        # Half of a surrogate pair: the loader is to see it, and to refuse the row.
        return json.dumps(fields, sort_keys=True, default=str, ensure_ascii=True).encode()


class LogFolder:
    """The landed rows of one file kind of one source."""

    def __init__(self, folder: Path, stem: str, as_of: datetime) -> None:
        self._folder = folder
        self._stem = stem
        self._as_of = as_of
        self._spans: list[tuple[datetime, datetime, str]] = []
        self._notes: dict[str, dict[str, Any]] = {}
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        noted = {name[1:-5] for name in names if name.startswith(".") and name.endswith(".note")}
        for name in names:
            match = _NAME.match(name)
            if match is None or match["stem"] != stem:
                continue
            if match[0] not in noted and name == match[0]:
                self._note_anew(name)
            self._take_up(match)
        for name in noted:
            match = _NAME.fullmatch(name)
            if match is not None and match["stem"] == stem:
                self._take_up(match)
        self._spans = sorted(set(self._spans))
        self.landed: list[str] = []
        self.rows = 0

    def _take_up(self, match: re.Match[str]) -> None:
        first, last = (datetime.strptime(match[n], _MOMENT) for n in ("first", "last"))  # noqa: DTZ007
        self._spans.append((first, last, match[0]))

    @property
    def watermark(self) -> datetime | None:
        """The last event that was landed; naive UTC."""
        return max((last for _, last, _ in self._spans), default=None)

    def known_hashes(self, start: datetime, end: datetime) -> set[str]:
        """Hashes of landed rows of every file with a row in [start, end]."""
        found: set[str] = set()
        for first, last, name in self._spans:
            if first <= end and last >= start:
                found.update(self._noted(name).get("landed", ()))
        return found

    def known_ids(self) -> set[str]:
        """Ids of landed rows, where rows are asked for by id."""
        return {each for _, _, name in self._spans for each in self._noted(name).get("ids", ())}

    def _noted(self, name: str) -> dict[str, Any]:
        if name not in self._notes:
            path = self._folder / f".{name}.note"
            try:
                self._notes[name] = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                self._notes[name] = {}
        return self._notes[name]

    def write(self, rows: Iterable[LogRow], *, received: Mapping[str, Any]) -> None:
        """Land rows in files of bounded size, in order of their events."""
        ordered = sorted(rows, key=lambda row: (row.started_at, row.row_hash))
        for place in range(0, len(ordered), FILE_ROWS):
            self._write_file(ordered[place : place + FILE_ROWS], received)

    def _write_file(self, rows: list[LogRow], received: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_old_notes()
        observed_at = f"{self._as_of.isoformat()}Z"
        lines = [_encoded({**row.fields, "observed_at": observed_at}) for row in rows]
        body = b"\n".join(lines) + b"\n"
        # A clock that runs ahead must not make the next run believe it has read that far.
        first, last = (min(rows[n].started_at, self._as_of).strftime(_MOMENT) for n in (0, -1))
        digest = hashlib.sha256(body).hexdigest()[:12]
        name = f"{self._stem}-{first}-{last}-{digest}.jsonl"
        part = self._folder / f".{name}.{os.getpid()}.part"
        part.write_bytes(body)
        land(part, self._folder / name)
        self._write_note(name, rows, received)
        match = _NAME.fullmatch(name)
        if match is not None:
            self._take_up(match)
        self.landed.append(f"{self._folder.name}/{name}")
        self.rows += len(rows)

    def _write_note(self, name: str, rows: list[LogRow], received: Mapping[str, Any]) -> None:
        ids = [row.fields.get("id") for row in rows]
        note = {
            **received,
            "landed": [row.row_hash for row in rows],
            "ids": [each for each in ids if isinstance(each, str)],
        }
        path = self._folder / f".{name}.note"
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(note) + "\n", encoding="utf-8")
        part.replace(path)

    def _note_anew(self, name: str) -> None:
        """The note of a file whose writer was killed before it could write it."""
        rows = []
        for line in (self._folder / name).read_text(encoding="utf-8").splitlines():
            fields = json.loads(line, parse_float=Decimal)
            fields.pop("observed_at", None)
            rows.append(LogRow.of(fields, self._as_of))
        self._write_note(name, rows, {})

    def _remove_old_notes(self) -> None:
        for _, last, name in self._spans:
            if last < self._as_of - _KEPT_FOR:
                (self._folder / f".{name}.note").unlink(missing_ok=True)
