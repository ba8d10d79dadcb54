"""When the daily and weekly re-reads of a source are due."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

_DAY = timedelta(days=1)


class LongRereads:
    """When they were last done, by source; without that note they are done once more."""

    def __init__(self, home: Path, source: str) -> None:
        self._path = home / "extract" / f"{source}.json"
        try:
            self._noted: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._noted = {}

    def due_depth(self, depth: str, as_of: datetime) -> str:
        """How far back an hourly run reads: as far as the longest re-read that is due."""
        if depth != "hourly":
            return depth
        if self._is_due("weekly", as_of, 7 * _DAY):
            return "weekly"
        return "daily" if self._is_due("daily", as_of, _DAY) else "hourly"

    def _is_due(self, depth: str, as_of: datetime, interval: timedelta) -> bool:
        try:
            done = datetime.fromisoformat(self._noted[depth])
        except (KeyError, TypeError, ValueError):
            return True
        return not done <= as_of < done + interval

    def remember(self, depth: str, as_of: datetime) -> None:
        """Note a re-read that was done to its end; the longer contains the shorter."""
        done = {"daily": ("daily",), "weekly": ("daily", "weekly")}.get(depth, ())
        if not done:
            return
        self._noted |= dict.fromkeys(done, as_of.isoformat())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._noted, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(self._path)
