"""People who are to be forgotten: noted beside the landed files, by salted hashes alone.

The note outlives the warehouse, so that neither a rebuild nor a source that still names somebody
brings the name back.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from orchestration.landing.files import EVIDENCE_SUFFIX, SETTLE_SECONDS

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


# ---------------------------------------------------------------- files as a source gave them

# Numbers keep the digits they were written with.
_JSON = msgspec.json.Encoder(decimal_format="number")
_ENDINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (bytes, bytes),
    ".gz": (gzip.decompress, gzip.compress),
    ".zst": (
        lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        zstandard.ZstdCompressor().compress,
    ),
}


def without_people(body: bytes, forgotten: Forgotten) -> bytes:
    """A page of JSON without forgotten people; the same bytes where it names none of them."""
    if not forgotten.hashes:
        return body
    value = json.loads(body, parse_float=Decimal)
    cleaned = forgotten.without(value)
    return body if cleaned == value else _JSON.encode(cleaned)


def rewrite_pages(landing: Path, person: str) -> int:
    """Replace a person's id in JSON files that lie as a source gave them; how many named it.

    The bytes of such a file change, so the next load looks at it once more and knows its rows.
    """
    quoted = json.dumps(person, ensure_ascii=False).encode()
    escaped = json.dumps(person).encode()
    changed = 0
    for path in sorted(landing.rglob("*")):
        ending = path.suffix if path.suffix in _ENDINGS else ""
        name = path.name.removesuffix(ending)
        is_json = name.endswith((".json", ".jsonl")) and not name.startswith(".")
        if not is_json or path.name.endswith(EVIDENCE_SUFFIX) or not path.is_file():
            continue
        unpack, pack = _ENDINGS[ending]
        try:
            content = unpack(path.read_bytes())
        except (OSError, EOFError, zstandard.ZstdError):
            # A damaged file was rejected: nothing of it was read.
            continue
        cleaned = content
        for each in (quoted, escaped):
            cleaned = cleaned.replace(each, json.dumps(FORGOTTEN).encode())
        if cleaned != content:
            _replace(path, pack(cleaned))
            changed += 1
    return changed


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    # It appears whole: the loader need not wait until it has come to rest.
    status = path.stat()
    at_rest = status.st_mtime - 2 * SETTLE_SECONDS
    os.utime(part, (at_rest, at_rest))
    part.replace(path)
