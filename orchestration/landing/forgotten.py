"""People who are to be forgotten: noted beside the landed files, by salted hashes alone.

The note outlives the warehouse, so that neither a rebuild nor a source that still names somebody
brings the name back.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Hidden, so that it is no landed file.
NOTES = ".forgotten.json"
# What stands in the place of a forgotten person's id.
FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Who is to be forgotten.

    Attributes:
        salt: Precedes an id when it is hashed.
        hashes: sha256 of salt and id, as hex.
    """

    salt: str = ""
    hashes: frozenset[str] = frozenset()

    def hash_of(self, person: str) -> str:
        """What is noted of an id."""
        return hashlib.sha256(f"{self.salt}{person}".encode()).hexdigest()

    def without(self, value: Any) -> Any:
        """A JSON value with every text that is a forgotten id replaced."""
        if not self.hashes:
            return value
        if isinstance(value, str):
            return FORGOTTEN if self.hash_of(value) in self.hashes else value
        if isinstance(value, dict):
            return {name: self.without(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.without(each) for each in value]
        return value


def read_forgotten(landing: Path) -> Forgotten:
    """Who is noted in a landing folder; nobody where there is no note."""
    try:
        noted = json.loads((landing / NOTES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Forgotten()
    return Forgotten(noted["salt"], frozenset(noted["hashes"]))


def note_forgotten(landing: Path, person: str) -> Forgotten:
    """Note one more person; on the disk before anything depends on it."""
    known = read_forgotten(landing)
    known = known if known.salt else Forgotten(salt=secrets.token_hex(16))
    known = replace(known, hashes=known.hashes | {known.hash_of(person)})
    landing.mkdir(parents=True, exist_ok=True)
    part = landing / f"{NOTES}.part"
    with part.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps({"salt": known.salt, "hashes": sorted(known.hashes)}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(landing / NOTES)
    return known
