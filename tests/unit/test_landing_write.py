"""Files written into landing: whole or absent, never one over another, named by their content."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.landing.files import list_landing
from orchestration.landing.write import LandingWriter, last_event, unscrubbed

NOON = datetime.fromisoformat("2026-11-01T12:00:00")


def rows(*minutes: int) -> pa.Table:
    moments = [NOON + timedelta(minutes=minute) for minute in minutes]
    return pa.table({"at": pa.array(moments, pa.timestamp("us")), "n": list(minutes)})


def writer(folder: Path, *, file_rows: int = 100) -> LandingWriter:
    return LandingWriter(
        folder, "logs", event_at="at", as_of=NOON + timedelta(hours=1), file_rows=file_rows
    )


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with writer(tmp_path) as logs:
        logs.write(rows(1, 2))
        assert list(unscrubbed(tmp_path)) == []
        logs.write(rows(3))

    (path,) = tmp_path.iterdir()
    assert pq.read_table(path).column("n").to_pylist() == [1, 2, 3]
    assert (logs.landed[0].rows, logs.landed[0].size) == (3, path.stat().st_size)


def test_a_name_says_when_and_what(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with writer(tmp_path / name) as logs:
            logs.write(rows(5, 1))
    (one,), (other,) = (list((tmp_path / name).iterdir()) for name in ("a", "b"))

    assert one.name == other.name
    assert one.name.startswith("logs-20261101T120100000000-20261101T120500000000-")
    assert last_event(one.name) == NOON + timedelta(minutes=5)
    assert last_event(one.name + ".scrubbed.parquet") == NOON + timedelta(minutes=5)
    assert last_event("dropped-by-a-person.parquet") is None


def test_what_lies_there_is_never_written_over(tmp_path: Path) -> None:
    with writer(tmp_path) as logs:
        logs.write(rows(1))
    (path,) = tmp_path.iterdir()
    before = path.stat()

    with writer(tmp_path) as logs:
        logs.write(rows(1))

    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_event_ahead_of_the_clock_does_not_move_the_name(tmp_path: Path) -> None:
    with writer(tmp_path) as logs:
        logs.write(rows(0, 600))

    (path,) = tmp_path.iterdir()
    assert last_event(path.name) == NOON + timedelta(hours=1)


def test_many_rows_take_several_files(tmp_path: Path) -> None:
    with writer(tmp_path, file_rows=2) as logs:
        for minute in range(5):
            logs.write(rows(minute))

    assert [each.rows for each in logs.landed] == [2, 2, 1]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_was_read_before_an_error_is_kept_and_an_interrupt_leaves_nothing(
    tmp_path: Path,
) -> None:
    def write_and_raise(error: BaseException) -> None:
        with writer(tmp_path / type(error).__name__) as logs:
            logs.write(rows(1))
            raise error

    with pytest.raises(ValueError, match="page"):
        write_and_raise(ValueError("page"))
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(KeyboardInterrupt())

    assert len(list((tmp_path / "ValueError").iterdir())) == 1
    assert list((tmp_path / "KeyboardInterrupt").iterdir()) == []


def test_the_remains_of_a_killed_writer_are_removed_and_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "live" / "litellm_spend_logs"
    folder.mkdir(parents=True)
    (folder / ".logs.99999999.part").write_bytes(b"half")

    assert list_landing(tmp_path, ()).files == ()
    with writer(folder) as logs:
        logs.write(rows(1))

    assert [path.suffix for path in folder.iterdir()] == [".parquet"]
