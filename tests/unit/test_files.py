"""Which files of the landing folder are taken, whose they are, and which are left alone."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from fixtures.loader_homes import touch

from orchestration.config import SourceSettings
from orchestration.core.refusals import RefusedError
from orchestration.landing import files
from orchestration.landing.files import (
    Listing,
    UnsettledFileError,
    hash_file,
    list_landing,
    open_regular,
)
from orchestration.landing.kinds import recognise
from orchestration.landing.observed import first_seen, stated_observation

SOURCES = (
    SourceSettings(name="gate", kind="litellm_spend_logs", gateway="litellm"),
    SourceSettings(name="cloud", kind="openai_admin"),
)


def put(landing: Path, name: str, data: bytes = b"x") -> Path:
    path = landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    touch(path)
    return path


def look(landing: Path) -> Listing:
    return list_landing(landing, SOURCES)


def test_a_missing_landing_folder_is_empty(tmp_path: Path) -> None:
    assert look(tmp_path / "landing") == Listing(files=(), strays=(), unsettled=())


def test_files_are_listed_by_name_with_their_source_and_kinds(tmp_path: Path) -> None:
    for name in ("gate/b.jsonl", "gate/a.csv.gz", "gate/owners/c.json", "invoices/d.csv"):
        put(tmp_path, name)

    found = {file.name: (file.source.name, file.kinds) for file in look(tmp_path).files}

    kinds = ("litellm_spend_logs", "owners", "gateway_counts", "litellm_daily_spend")
    assert found == {
        "gate/a.csv.gz": ("gate", kinds),
        "gate/b.jsonl": ("gate", kinds),
        "gate/owners/c.json": ("gate", ("owners",)),
        "invoices/d.csv": ("invoices", ("invoices",)),
    }
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    "name", ["loose.jsonl", "nobody/a.jsonl", "gate/invoices/a.csv", "gate/sub/deep/a.csv"]
)
def test_a_file_that_belongs_to_no_source_is_a_stray(name: str, tmp_path: Path) -> None:
    put(tmp_path, name)

    listing = look(tmp_path)

    assert (listing.files, listing.strays) == ((), (name,))


@pytest.mark.parametrize("name", [".hidden.jsonl", "a.jsonl.tmp", "a.part", ".dir/a.jsonl"])
def test_hidden_and_unfinished_files_are_not_seen(name: str, tmp_path: Path) -> None:
    put(tmp_path, f"gate/{name}")

    assert look(tmp_path) == Listing(files=(), strays=(), unsettled=())


@pytest.mark.parametrize(
    ("name", "form", "compression"),
    [
        ("a.jsonl", "jsonl", ""),
        ("a.JSON.GZ", "json", "gz"),
        ("a.csv.zst", "csv", "zst"),
        ("a.b.parquet", "parquet", ""),
        ("a.gz", "", ""),
        ("a.jsonl.bz2", "", ""),
        ("jsonl", "", ""),
        ("a.jsonl\n", "", ""),
    ],
)
def test_a_format_is_told_by_the_ending(
    name: str, form: str, compression: str, tmp_path: Path
) -> None:
    put(tmp_path, f"gate/{name}")

    (file,) = look(tmp_path).files

    assert (file.format, file.compression) == (form, compression)


def test_a_file_known_to_the_ledger_is_left_out(tmp_path: Path) -> None:
    path = put(tmp_path, "gate/a.jsonl")
    seen = []

    def is_known(*entry: object) -> bool:
        seen.append(entry)
        return True

    assert list_landing(tmp_path, SOURCES, is_known=is_known).files == ()
    assert seen == [("gate/a.jsonl", 1, path.stat().st_mtime_ns)]


def test_a_young_file_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "gate/old.jsonl")
    for name in ("a", "b"):
        os.utime(put(tmp_path, f"gate/{name}.jsonl"))
    waited: list[float] = []
    monkeypatch.setattr(files.time, "sleep", waited.append)

    listing = look(tmp_path)

    assert len(listing.files) == 3
    assert len(waited) == 1
    assert 0 < waited[0] <= files.SETTLE_SECONDS


def test_a_file_that_grows_meanwhile_is_left_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing, gone = put(tmp_path, "gate/a.jsonl"), put(tmp_path, "gate/b.jsonl")
    put(tmp_path, "gate/c.jsonl")
    os.utime(growing)

    def somebody_works(_seconds: float) -> None:
        growing.write_bytes(b"more")
        gone.unlink()

    monkeypatch.setattr(files.time, "sleep", somebody_works)

    listing = look(tmp_path)

    assert [file.name for file in listing.files] == ["gate/c.jsonl"]
    assert listing.unsettled == ("gate/a.jsonl",)


def test_a_time_in_the_future_does_not_hold_a_file_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.time, "sleep", lambda _seconds: None)
    path = put(tmp_path, "gate/a.jsonl")
    ahead = time.time() + 86400
    os.utime(path, (ahead, ahead))

    assert len(look(tmp_path).files) == 1


def test_a_change_after_the_listing_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, "gate/a.jsonl")
    (file,) = look(tmp_path).files
    file.refuse_change()

    path.write_bytes(b"other")

    with pytest.raises(UnsettledFileError):
        file.refuse_change()
    path.unlink()
    assert not file.is_unchanged()


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = put(tmp_path, "a", b"some bytes")

    assert hash_file(path) == hashlib.sha256(b"some bytes").hexdigest()


def test_links_folders_and_pipes_are_not_opened(tmp_path: Path) -> None:
    target = put(tmp_path, "target")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for name in ("link", "pipe", "folder"):
        with pytest.raises(RefusedError, match="not_regular_file"):
            open_regular(tmp_path / name)


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (("request_id", "spend", "startTime"), "litellm_spend_logs"),
        (("gateway", "hour_at", "requests"), "gateway_counts"),
        (("request_id", "startTime"), "litellm_spend_logs"),
        ((), "litellm_spend_logs"),
    ],
)
def test_a_kind_is_recognised_by_its_required_fields(fields: tuple[str, ...], kind: str) -> None:
    assert recognise(("litellm_spend_logs", "owners", "gateway_counts"), fields) == kind


# ---------------------------------------------------------------- when a catalog was observed


def test_the_name_tells_the_observation_before_the_content_does() -> None:
    stated = {"observed_at": "2026-05-01T00:00:00Z"}

    by_name = stated_observation("p.observed-20260401T093000Z.json", stated)
    by_content = stated_observation("p.json", stated)

    assert (f"{by_name}", f"{by_content}") == ("2026-04-01 09:30:00", "2026-05-01 00:00:00")
    assert stated_observation("observed-20260401.json", {"observed_at": None}) is None
    assert stated_observation("p.json", [stated]) is None


def test_an_observation_that_is_no_time_is_refused() -> None:
    for name, document in (("p.observed-20261301T000000Z.json", {}), ("p", {"observed_at": "x"})):
        with pytest.raises(RefusedError, match="bad_timestamp"):
            stated_observation(name, document)


def test_the_first_sight_of_a_catalog_is_noted_and_stays(tmp_path: Path) -> None:
    from datetime import datetime

    early, late = datetime(2026, 6, 1), datetime(2026, 7, 1)  # noqa: DTZ001  # naive UTC

    assert first_seen(tmp_path, "aa", early) == early
    assert first_seen(tmp_path, "aa", late) == early
    assert first_seen(tmp_path, "bb", late) == late


def test_a_note_cut_short_by_a_kill_counts_as_not_written(tmp_path: Path) -> None:
    from datetime import datetime

    moment = datetime(2026, 6, 1)  # noqa: DTZ001  # naive UTC
    (tmp_path / ".observed.jsonl").write_text('{"sha256": "aa", "observed_at": "2026-0')

    assert first_seen(tmp_path, "aa", moment) == moment
    assert first_seen(tmp_path, "aa", datetime(2026, 9, 1)) == moment  # noqa: DTZ001  # naive UTC
