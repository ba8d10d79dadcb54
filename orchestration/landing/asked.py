"""When a source last answered a question for news: noted beside the files that it gave."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

# Hidden, so that it is no landed file.
_NOTE = ".asked.json"


def note_asked(landing: Path, source: str, as_of: datetime) -> None:
    """Note that a source answered, with or without news; never an earlier moment than before."""
    known = read_asked(landing, source)
    if known is not None and known >= as_of:
        return
    folder = landing / source
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_NOTE}.part"
    part.write_text(json.dumps({"asked_at": as_of.isoformat()}) + "\n", encoding="utf-8")
    part.replace(folder / _NOTE)


def read_asked(landing: Path, source: str) -> datetime | None:
    """When the source last answered, naive UTC; None where it never did, or the note is broken."""
    try:
        noted = json.loads((landing / source / _NOTE).read_text(encoding="utf-8"))
        return datetime.fromisoformat(noted["asked_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
