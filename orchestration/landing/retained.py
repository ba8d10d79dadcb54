"""How long detail is kept: noted beside the landed files, so that a rebuild keeps to it."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

# Hidden, so that it is no landed file.
NOTES = ".retention.json"


def read_detail_from(landing: Path) -> datetime | None:
    """Naive UTC midnight from which on records keep their detail; None: all of them do."""
    try:
        noted = json.loads((landing / NOTES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return datetime.fromisoformat(noted["detail_from"])


def note_detail_from(landing: Path, moment: datetime) -> datetime:
    """Note from when on detail is kept; never earlier than noted before. What holds now."""
    known = read_detail_from(landing)
    if known is not None and known >= moment:
        return known
    landing.mkdir(parents=True, exist_ok=True)
    part = landing / f"{NOTES}.part"
    with part.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps({"detail_from": moment.isoformat()}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(landing / NOTES)
    return moment
