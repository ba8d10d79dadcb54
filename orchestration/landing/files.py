"""Which files lie in the landing folder, whose they are and what their bytes hash to."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestration.config import FILE_SOURCE_KINDS, MAPPED_KINDS, SourceSettings
from orchestration.core.refusals import RefusedError

# A file still being copied changes its size; one at rest for this long is taken.
SETTLE_SECONDS = 2.0
EVIDENCE_SUFFIX = ".scrubbed.parquet"
_FORMAT = re.compile(r"\.(jsonl|json|csv|parquet)(\.gz|\.zst)?\Z", re.IGNORECASE)
_IGNORED_SUFFIXES = (".tmp", ".part")
_FILE_KINDS = frozenset(
    {
        *FILE_SOURCE_KINDS,
        *MAPPED_KINDS,
        "litellm_spend_logs",
        "openrouter_activity",
        "stripe",
        "razorpay",
    }
)


class UnsettledFileError(Exception):
    """A file that is not at rest, or cannot be opened now; the next run tries again."""


@dataclass(frozen=True, slots=True)
class LandedFile:
    """One file of the landing folder.

    Attributes:
        path: Absolute path.
        name: Path below the landing folder, with forward slashes: the name people see.
        source: The source whose folder it lies in.
        kinds: The file kinds it may be, the assumed one first.
        size, changed_ns: What the file system said when it was listed.
    """

    path: Path
    name: str
    source: SourceSettings
    kinds: tuple[str, ...]
    size: int
    changed_ns: int

    @property
    def format(self) -> str:
        """jsonl, json, csv or parquet by the file's ending; empty when it is none of these."""
        match = _FORMAT.search(self.path.name)
        return match[1].lower() if match else ""

    @property
    def compression(self) -> str:
        """gz, zst or an empty string."""
        match = _FORMAT.search(self.path.name)
        return (match[2] or "").lower().lstrip(".") if match else ""

    def is_unchanged(self) -> bool:
        """Whether the file still has the size and time it was listed with."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.changed_ns)

    def refuse_change(self) -> None:
        """Make sure that what was read is what was hashed.

        Raises:
            UnsettledFileError: the file was changed in the meantime.
        """
        if not self.is_unchanged():
            raise UnsettledFileError(self.name)

    @property
    def is_evidence(self) -> bool:
        """Whether this is the allow-listed remainder of a file loaded before."""
        return self.path.name.endswith(EVIDENCE_SUFFIX)


@dataclass(frozen=True, slots=True)
class Listing:
    """What one look at the landing folder found.

    Attributes:
        files: Files at rest, by name.
        strays: Names that belong to no source, for a person to move.
        unsettled: Names still growing, left for the next run.
    """

    files: tuple[LandedFile, ...]
    strays: tuple[str, ...]
    unsettled: tuple[str, ...]


def list_landing(
    landing: Path,
    sources: Sequence[SourceSettings],
    *,
    is_known: Callable[[str, int, int], bool] = lambda _name, _size, _changed: False,
) -> Listing:
    """The files of every source's folder that `is_known` does not recognise.

    `is_known(name, size, changed_ns)` lets a caller skip what it has already loaded, so that a
    look costs a directory listing and not a read.
    """
    owners = {source.name: source for source in sources}
    files: list[LandedFile] = []
    strays: list[str] = []
    for path in _walk(landing):
        name = path.relative_to(landing).as_posix()
        try:
            found = _describe(path, name=name, owners=owners)
        except FileNotFoundError:
            # Taken away since the folder was listed.
            continue
        if found is None:
            strays.append(name.encode("utf-8", "backslashreplace").decode())
        elif not is_known(name, found.size, found.changed_ns):
            files.append(found)
    settled, unsettled = _settle(files)
    return Listing(files=tuple(settled), strays=tuple(strays), unsettled=tuple(unsettled))


def _walk(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name.endswith(_IGNORED_SUFFIXES):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def unfinished_files(folder: Path, *, seconds: float) -> list[Path]:
    """Files unchanged for that long that are left alone because their names say unfinished."""
    found = []
    for path in sorted(folder.rglob("*")):
        # One that is gone by now was finished.
        with suppress(FileNotFoundError):
            age = time.time() - path.lstat().st_mtime
            if path.name.endswith(_IGNORED_SUFFIXES) and age > seconds:
                found.append(path)
    return found


def _describe(path: Path, *, name: str, owners: dict[str, SourceSettings]) -> LandedFile | None:
    parts = name.split("/")
    if len(parts) < 2 or not _is_text(name):
        return None
    source = owners.get(parts[0])
    if source is None and parts[0] in _FILE_KINDS:
        source = SourceSettings(name=parts[0], kind=parts[0])
    if source is None:
        return None
    kinds = source.file_kinds
    if len(parts) > 2:
        if parts[1] not in kinds:
            return None
        kinds = (parts[1],)
    status = path.lstat()
    return LandedFile(
        path=path,
        name=name,
        source=source,
        kinds=kinds,
        size=status.st_size,
        changed_ns=status.st_mtime_ns,
    )


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8, as every text in the ledger is."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _settle(files: list[LandedFile]) -> tuple[list[LandedFile], list[str]]:
    """Wait out the settling time once, then keep the files whose size and time stayed."""
    youngest = max((file.changed_ns for file in files), default=0) / 1e9
    wait = youngest + SETTLE_SECONDS - time.time()
    if not files or wait <= 0:
        return files, []
    time.sleep(min(wait, SETTLE_SECONDS))
    settled: list[LandedFile] = []
    unsettled: list[str] = []
    for file in files:
        if file.is_unchanged():
            settled.append(file)
        elif file.path.exists():
            unsettled.append(file.name)
    return settled, unsettled


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex.

    Raises:
        RefusedError: not_regular_file for a link, folder, device or pipe.
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def open_regular(path: Path) -> IO[bytes]:
    """The file opened for reading, never through a link.

    Raises:
        RefusedError: not_regular_file for a link, folder, device or pipe.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise RefusedError("not_regular_file", "only regular files are read, never links")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
