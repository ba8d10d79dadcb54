"""Published files taking turns: which older one may be written again, because nobody reads it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

# A version becomes a spare after two newer ones: whoever was just opening it has its lock by then.
NEVER_TAKEN = 2


def take_spare(candidates: Sequence[Path], part: Path) -> Path | None:
    """Rename the first candidate that no process holds open to `part`; its former path.

    The rename comes first, so that nobody can open the file any more by its version's name.
    """
    for path in candidates:
        if is_held(path):
            continue
        path.rename(part)
        if not is_held(part):
            part.chmod(0o640)
            return path
        part.rename(path)
    return None


def clone(path: Path, part: Path) -> None:
    """Copy a version, which may be held open by readers, to `part`."""
    shutil.copyfile(path, part)
    part.chmod(0o640)


def is_held(path: Path) -> bool:
    """Whether any process, this one included, has the file open.

    Linux answers by a write lease, which the kernel grants only on a file that is open nowhere
    else: it sees copies in progress as well as DuckDB sessions. Elsewhere, and on file systems
    without leases, it is DuckDB's own lock that is asked for.
    """
    if _is_open_here(path):
        return True
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (AttributeError, OSError):
        return _is_locked(path)
    finally:
        os.close(handle)
    return False


def _is_open_here(path: Path) -> bool:
    """Whether this process has the file open.

    Asked before anything opens it: a process's own locks never conflict with each other, and
    closing any handle of a file gives up all of them.
    """
    wanted = path.stat()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  # names are numbers, not paths
        try:
            found = os.fstat(int(name))
        except OSError:
            continue  # the handle of the listing itself
        if os.path.samestat(found, wanted):
            return True
    return False


def _is_locked(path: Path) -> bool:
    """Whether a reader or writer of DuckDB in another process holds its lock on the file."""
    mode = path.stat().st_mode & 0o777
    path.chmod(mode | 0o200)
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
        path.chmod(mode)
    return False
