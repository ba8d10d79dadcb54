"""When a file was observed: what it says itself, else what was noted at first sight."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.core.values import read_time

# Hidden, so that it is no landed file; beside the files, so that a rebuild finds it.
_NOTES = ".observed.jsonl"
# The pages of one chain bear their number behind it: `….observed-20261121T120000Z__p0001.json`.
_IN_NAME = re.compile(
    r"\.observed-([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z"
    r"(?:\.|__p[0-9]{4,}\.)"
)


def stated_observation(name: str, document: Any) -> datetime | None:
    """The observation time in the file's name, else its top-level `observed_at`; naive UTC.

    Raises:
        RefusedError: bad_timestamp for a stated time that is none.
    """
    match = _IN_NAME.search(name)
    if match:
        year, month, day, hour, minute, second = match.groups()
        return read_time(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z", "file name")[0]
    if isinstance(document, dict) and document.get("observed_at") is not None:
        return read_time(document["observed_at"], "observed_at")[0]
    return None


def first_seen(landing: Path, sha256: str, as_of: datetime) -> datetime:
    """When these bytes were first loaded: noted beside the files before anything depends on it."""
    path = landing / _NOTES
    noted = _read_notes(path).get(sha256)
    if noted is not None:
        return noted
    with path.open("a", encoding="utf-8") as stream:
        # A note that a kill cut short has no line feed; this one begins on a line of its own.
        stream.write("\n" if stream.tell() else "")
        stream.write(json.dumps({"sha256": sha256, "observed_at": as_of.isoformat()}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return as_of


def _read_notes(path: Path) -> dict[str, datetime]:
    notes: dict[str, datetime] = {}
    if not path.is_file():
        return notes
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            note = json.loads(line)
            moment = datetime.fromisoformat(note["observed_at"])
            notes.setdefault(note["sha256"], moment)
        except (ValueError, KeyError, TypeError):
            # The last line of a killed run may be cut; it had not been used yet.
            continue
    return notes
