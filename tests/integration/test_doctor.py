"""`tollbook doctor` and what lies on disk: every trouble is one line, and nothing is changed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import duckdb
import pytest
from integration.homes import Home

from orchestration.cli import invoke
from orchestration.landing import examine as examine_module
from orchestration.landing.examine import Finding, Verdict
from orchestration.warehouse import doctor

_HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
_KILLED = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("create table kept as select 1 as one")
os._exit(9)
"""
_IMPORTS = """
import sys
from orchestration.cli import invoke
code = invoke(["doctor", *sys.argv[1:]])
heavy = {"dagster", "dbt", "great_expectations", "pandas"} & sys.modules.keys()
sys.exit(f"imported {sorted(heavy)}" if heavy else code)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a folder for every source, a warehouse and a published version."""
    made = Home.create(tmp_path / "home")
    for source in made.runtime.settings.sources:
        (made.runtime.landing / source.name).mkdir(parents=True)
    made.write("create schema marts", "create table marts.daily_spend as select 1 as one")
    versions = made.runtime.published / "versions"
    versions.mkdir(parents=True)
    with duckdb.connect(str(versions / "tollbook-3.duckdb")) as connection:
        connection.execute("create table one as select 1 as one")
    made.published.symlink_to("versions/tollbook-3.duckdb")
    return made


def examine(home: Home) -> list[Finding]:
    return list(doctor.examine(home.runtime))


def troubles(home: Home) -> list[Finding]:
    return [each for each in examine(home) if each.verdict is not Verdict.ok]


def assert_one(found: list[Finding], subject: str, verdict: Verdict, *words: str) -> None:
    assert [(each.subject, each.verdict) for each in found] == [(subject, verdict)], found
    assert "\n" not in found[0].text
    assert all(word in found[0].text for word in words), found[0].text


def state(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found


def test_a_sound_home_is_well_and_nothing_heavy_is_imported(home: Home) -> None:
    before = state(home.path)
    options = ("--config", str(home.path / "tollbook.yml"), "--home", str(home.path))

    said = subprocess.run(
        [sys.executable, "-c", _IMPORTS, *options], capture_output=True, text=True, check=False
    )

    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert lines[-1].startswith("failed: 0, warning: 0, ok: ")
    sources = [each.name for each in home.runtime.settings.sources]
    assert all(any(line.startswith(f"ok       {name}: ") for line in lines) for name in sources)
    assert any("published: version 3 opens" in line for line in lines)
    assert state(home.path) == before


def test_a_home_that_is_not_there_yet_is_not_created(
    tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent" / "deep"

    code = invoke(["doctor", "--config", str(home.path / "tollbook.yml"), "--home", str(absent)])

    said = capsys.readouterr().out
    assert code == 0
    assert "the first run creates it" in said
    assert "warning  litellm_prod: no folder" in said
    assert not absent.parent.exists()


def test_a_file_in_the_place_of_a_folder_fails(home: Home) -> None:
    (home.runtime.landing / "app_requests").rmdir()
    (home.runtime.landing / "app_requests").write_text("")
    (home.path / "dagster").write_text("")

    dagster, source, stray = troubles(home)

    assert_one([dagster], "dagster", Verdict.failed, "is no folder")
    assert_one([source], "app_requests", Verdict.failed, "is no folder")
    assert_one([stray], "landing", Verdict.warning, "app_requests")


def test_a_folder_that_may_not_be_read_fails_and_the_rest_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(home.runtime.landing / "deep"))

    monkeypatch.setattr(examine_module, "list_landing", refuse)

    found = examine(home)

    bad = [each for each in found if each.verdict is not Verdict.ok]
    assert_one(bad, "landing", Verdict.failed, "deep cannot be read (Permission denied)", "chmod")
    assert found[-1].subject == "published"


def test_what_permissions_forbid_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != home.runtime.published and access(path, mode)
    )

    assert_one(troubles(home), "published", Verdict.failed, "cannot be read and written", "chmod")


def test_files_that_no_run_will_read_are_named_with_the_reason(home: Home) -> None:
    home.drop("unknown_source/logs.jsonl", "{}\n")
    unfinished = home.drop("litellm_prod/logs.jsonl.part", "{}\n")
    home.drop("litellm_prod/being_written.jsonl.part", "{}\n")
    long_ago = time.time() - 7200
    os.utime(unfinished, (long_ago, long_ago))

    strays, parts = troubles(home)

    assert_one([strays], "landing", Verdict.warning, "unknown_source/logs.jsonl", "litellm_prod")
    assert_one([parts], "landing", Verdict.warning, "litellm_prod/logs.jsonl.part", "unfinished")
    assert "being_written" not in parts.text


def test_a_source_without_its_folder_is_a_warning(home: Home) -> None:
    config = home.path / "tollbook.yml"
    config.write_text(
        config.read_text().replace("sources:\n", "sources:\n  - {name: bill, kind: aws_cur2}\n")
    )

    assert_one(troubles(home), "bill", Verdict.warning, "create it and drop files there")


def test_a_seed_row_that_is_refused_is_a_warning_and_a_broken_file_fails(home: Home) -> None:
    teams = home.path / "seeds" / "teams.csv"
    lines = teams.read_text().splitlines()
    teams.write_text("\n".join([*lines, lines[1] + ",too,many,cells"]) + "\n")
    assert_one(troubles(home), "seeds", Verdict.warning, f"{teams}:{len(lines) + 1}: ")

    teams.write_text("no,such,columns\n")

    assert_one(troubles(home), "seeds", Verdict.failed, str(teams))


def test_a_warehouse_another_process_writes_is_a_warning_with_its_number(home: Home) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(home.runtime.database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        found = troubles(home)

        holder.communicate("\n")
    assert_one(found, "warehouse", Verdict.warning, f"process {holder.pid} (python")


def test_a_warehouse_left_by_a_kill_opens_and_stays_as_it_is(home: Home) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(home.runtime.database)], check=False)
    assert home.runtime.database.with_name("warehouse.duckdb.wal").exists()
    before = state(home.path)

    assert troubles(home) == []

    assert state(home.path) == before


def test_files_that_are_no_databases_fail(home: Home) -> None:
    home.runtime.database.write_bytes(b"rubbish" * 4096)
    home.published.resolve().write_bytes(b"rubbish" * 4096)

    warehouse, published = troubles(home)

    assert_one([warehouse], "warehouse", Verdict.failed, "not a valid DuckDB", "restore")
    assert_one([published], "published", Verdict.failed, "--only publish")


def test_a_published_link_that_leads_nowhere_fails(home: Home) -> None:
    home.published.resolve().unlink()

    assert_one(troubles(home), "published", Verdict.failed, "gone", "--only publish")


@pytest.mark.parametrize(("mebibytes", "verdict"), [(500, Verdict.warning), (50, Verdict.failed)])
def test_a_disk_that_fills_up_is_told_before_it_is_full(
    mebibytes: int, verdict: Verdict, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ("total", "used", "free"))(2**40, 0, mebibytes * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)

    assert_one(troubles(home), "space", verdict, f"{mebibytes} MiB free")
