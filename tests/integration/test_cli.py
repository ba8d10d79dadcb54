"""The command line as its users meet it: commands, exit codes, one-line errors, and retries."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from orchestration import terminal
from orchestration.cli import invoke
from orchestration.config import SOURCE_KINDS, Settings, read_runtime, read_settings
from orchestration.landing.kinds import ROW_KINDS
from orchestration.sources.records import RecordContext
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.load import LoadReport, load_landing
from orchestration.warehouse.reading import has_news
from orchestration.warehouse.retry import CODES, NOT_KEPT, kept_fields
from orchestration.warehouse.schema import create_schema

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("tollbook")
TABLES = REPOSITORY.parent / "shared" / "tables.md"
AS_OF = "2026-11-02T00:00:00Z"
LATER = "2026-11-09T00:00:00Z"
KEY = "a" * 64
NOVEMBER_7 = datetime.fromisoformat("2026-11-07T10:00:00")
DECEMBER = datetime.fromisoformat("2026-12-01T00:00:00")
PRICES = {
    "gpt-x": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 0.000001,
        "output_cost_per_token": 0.000002,
    }
}


def log_row(request_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "call_type": "acompletion",
        "api_key": KEY,
        "spend": 0.0002,
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "startTime": "2026-11-01T10:00:00Z",
        "endTime": "2026-11-01T10:00:01Z",
        "model": "gpt-x",
        "model_group": "gpt-x",
        "custom_llm_provider": "openai",
        "status": "success",
        "team_id": "team-a",
        "metadata": {
            "user_api_key_team_alias": "Research",
            "usage_object": {"prompt_tokens": 100, "completion_tokens": 50},
        },
        **changes,
    }


LOG_ROWS = (
    log_row("r-1"),
    log_row("r-2", team_id='=HYPERLINK("http://x","y")', metadata={}),
    log_row("r-3", team_id="  -2+3\x1b[31m", metadata={}),
    # Refused on AS_OF, accepted a week later.
    log_row("r-4", startTime="2026-11-07T10:00:00Z", endTime="2026-11-07T10:00:01Z"),
    log_row("r-5", prompt_tokens=-1, messages=[{"role": "user", "content": "CANARY"}]),
    # What was refused holds more than its allow-listed part.
    log_row("r-6", spend="CANARY in a column that slipped", api_key="sk-CANARYrawkey12345"),
)


@dataclass
class Home:
    """A folder that `tollbook init` wrote, with its home directory below it."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def drop(self, name: str, content: str | bytes) -> Path:
        path = self.data / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        rest = time.time() - 60
        os.utime(path, (rest, rest))
        return path

    def arguments(self, *arguments: str, as_of: str = AS_OF) -> list[str]:
        config = str(self.folder / "tollbook.yml")
        return ["--config", config, "--home", str(self.data), *arguments, "--as-of", as_of]

    def program(self, *arguments: str, as_of: str = AS_OF) -> subprocess.CompletedProcess[str]:
        """The installed program, in a process of its own."""
        return subprocess.run(
            [str(PROGRAM), *self.arguments(*arguments, as_of=as_of)],
            capture_output=True,
            text=True,
            check=False,
        )

    def news(self, as_of: str = AS_OF) -> str | None:
        config = self.folder / "tollbook.yml"
        return has_news(read_runtime(config=config, home=self.data, as_of=as_of))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the pipeline's own file."""
        with duckdb.connect(str(self.data / "warehouse.duckdb")) as connection:
            return connection.execute(sql).fetchall()

    def load(self, as_of: str = AS_OF) -> LoadReport:
        """The load step alone, in this process."""
        config = self.folder / "tollbook.yml"
        runtime = read_runtime(config=config, home=self.data, as_of=as_of)
        with open_warehouse(runtime) as connection:
            create_schema(connection)
            return load_landing(connection, runtime, progress=lambda _line: None)

    def batch_of(self, name: str) -> str:
        found = self.query(
            f"select load_batch_id from audit.load_batches where file_name = '{name}'"
        )
        return found[0][0]


@dataclass(frozen=True)
class Said:
    """What one command line answered."""

    code: int
    out: str
    err: str


Tollbook = Callable[..., Said]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOLLBOOK_CONFIG", "TOLLBOOK_HOME", "TOLLBOOK_SEEDS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tollbook(capsys: pytest.CaptureFixture[str]) -> Tollbook:
    """One command line in this process."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = invoke(arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Home, list[subprocess.CompletedProcess[str]]]:
    """A home after `init`, a run over nothing, and a run over files of which some are refused."""
    home = Home(tmp_path_factory.mktemp("cli") / "mine")
    init = subprocess.run(
        [str(PROGRAM), "init", str(home.folder)], capture_output=True, text=True, check=False
    )
    empty = home.program("run")
    home.drop("litellm_files/logs.jsonl", "".join(json.dumps(row) + "\n" for row in LOG_ROWS))
    home.drop("litellm_files/broken.jsonl", b"\xff\xfe\x00n\x00o")
    home.drop("price_catalog/litellm_prices.observed-20261001T000000Z.json", json.dumps(PRICES))
    home.drop("unknown_source/x.jsonl", "{}")
    return home, [init, empty, home.program("run")]


@pytest.fixture(scope="module")
def built(runs: tuple[Home, list[subprocess.CompletedProcess[str]]]) -> Home:
    """The home after both runs; only to be read."""
    return runs[0]


@pytest.fixture
def mine(built: Home, tmp_path: Path) -> Home:
    """A copy of the home that a test may change."""
    shutil.copytree(built.folder, tmp_path / "mine", symlinks=True)
    return Home(tmp_path / "mine")


# ---------------------------------------------------------------- init, then run


def test_a_run_right_after_init_works(runs: tuple[Home, list[Any]]) -> None:
    home, (init, empty, _) = runs

    assert (init.returncode, init.stderr) == (0, "")
    assert "tollbook run --config" in init.stdout
    assert empty.returncode == 0, empty.stderr
    assert "Tollbook published version 1 as of 2026-11-02T00:00:00Z" in empty.stdout
    assert "Spend by provider: no usage yet" in empty.stdout
    assert (home.data / ".gitignore").read_text() == "*\n"


def test_a_run_ends_with_its_summary_and_names_what_was_refused(
    runs: tuple[Home, list[Any]],
) -> None:
    _, (_, _, second) = runs
    lines = second.stdout.splitlines()

    assert second.returncode == 3, second.stderr
    assert "Rows: 7 in = 4 loaded + 0 already known + 3 quarantined, from 3 files" in lines
    assert any(line.startswith("  refused: litellm_files/broken.jsonl: rejected") for line in lines)
    assert "  refused: litellm_files/logs.jsonl: 3 of 6 rows quarantined" in lines
    assert "  no source's folder, left alone: unknown_source/x.jsonl" in lines
    assert "Wallet: no wallet is configured" in lines
    assert "Reconciliation: no invoice has been loaded yet" in lines
    assert "  tollbook quarantine list" in lines
    assert len(lines) <= 52
    assert max(map(len, lines[:30])) <= 100
    for step, counted in (
        ("load", "rows loaded"),
        ("build", "models and tests"),
        ("check", "checks"),
        ("publish", "rows written"),
    ):
        assert re.search(rf"^  {step} +[0-9.]+ s +[0-9,]+ {counted}$", second.stdout, re.MULTILINE)


def test_a_summary_shows_spend_and_escapes_what_data_say(runs: tuple[Home, list[Any]]) -> None:
    _, (_, _, second) = runs

    cells = [line.split() for line in second.stdout.splitlines()]

    assert ["openai", "3", "0.000600", "0.000600", "0.000600", "0"] in cells
    assert ["Research", "1", "0.000200", "0.000200", "0.000200", "0"] in cells
    assert "\x1b" not in second.stdout
    assert "  -2+3\\x1b[31m" in second.stdout


def test_progress_goes_to_standard_error_in_dated_lines(runs: tuple[Home, list[Any]]) -> None:
    _, (_, _, second) = runs

    lines = second.stderr.splitlines()

    assert (
        lines[0].partition("Z  ")[2]
        == "starting: new in landing: litellm_files/broken.jsonl and 2 more"
    )
    times = [datetime.fromisoformat(line[:19]) for line in lines]
    assert times == sorted(times)


def test_init_never_overwrites_and_says_what_it_kept(tmp_path: Path, tollbook: Tollbook) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "tollbook.yml").write_text("# my own\n")

    said = tollbook("init", str(folder))

    assert said.code == 0
    assert (folder / "tollbook.yml").read_text() == "# my own\n"
    assert f"kept     {folder / 'tollbook.yml'}" in said.out
    assert (folder / "data" / "landing" / "litellm_files").is_dir()


def test_the_template_shows_every_setting_with_its_default() -> None:
    text = (REPOSITORY / "tollbook.example.yml").read_text()
    shown = {}
    for line in text.splitlines():
        name, colon, _ = line.removeprefix("# ").partition(":")
        if line.startswith("# ") and colon and name in Settings.model_fields:
            shown |= yaml.safe_load(line.removeprefix("# "))

    assert set(shown) == set(Settings.model_fields) - {"sources"}
    del shown["alerts"]
    defaults = Settings().model_dump()
    for name, value in Settings.model_validate(shown).model_dump().items():
        assert value == (defaults[name] if name != "seeds" else "seeds"), name


def test_the_template_has_an_example_of_every_source_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (REPOSITORY / "tollbook.example.yml").read_text()
    for name in re.findall(r"\$\{([A-Z_]+)\}", text):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LITELLM_DATABASE_URL", "postgresql://reader:x@db.example.com:5432/litellm")
    path = tmp_path / "tollbook.yml"
    path.write_text(text.replace("  # - {", "  - {").replace("# alerts:", "alerts:"))

    settings = read_settings(path)

    # Closes and statements are what Tollbook writes itself: nobody has a source of them.
    ours = {"closes", "statements"}
    assert {source.kind for source in settings.sources} == set(SOURCE_KINDS) - ours


@pytest.mark.shared
@pytest.mark.skipif(not TABLES.exists(), reason="the reference material is not beside the checkout")
def test_seeds_have_exactly_the_columns_of_the_contract() -> None:
    templates = REPOSITORY / "orchestration" / "templates" / "seeds"
    section = TABLES.read_text().partition("## T2.")[2].partition("## T3.")[0]
    expected = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 and (templates / f"{cells[0]}.csv").exists():
            expected[cells[0]] = _columns(cells[1])

    found = {path.stem: _header(path) for path in templates.iterdir()}

    assert found == expected


def _header(path: Path) -> list[str]:
    lines = (line for line in path.read_text().splitlines() if not line.startswith("#"))
    return next(lines).split(",")


def _columns(cell: str) -> list[str]:
    """Names of a T2 cell, without what stands in brackets or after a full stop."""
    plain, depth = "", 0
    for character in cell.replace("**", ""):
        depth += (character == "(") - (character == ")")
        plain += character if depth == 0 and character != ")" else ""
    plain = plain.partition(". ")[0].replace(" or ", ",")
    return [name.strip() for name in plain.split(",")]


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["run", "--nonsense"], "--nonsense"),
        (["run", "--only", "nonsense"], "'--only'"),
        (["query"], "SQL"),
        (["query", "select 1", "--format", "xml"], "'--format'"),
        (["status", "--fail-on", "weather"], "'--fail-on'"),
        (["quarantine", "show"], "BATCH"),
        (["run", "--as-of", "yesterday"], "--as-of"),
        (["run", "--home"], "--home"),
        (["run"], "nothere.yml"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    built: Home, tmp_path: Path, tollbook: Tollbook, arguments: list[str], named: str
) -> None:
    config = built.folder / "tollbook.yml" if named != "nothere.yml" else tmp_path / "nothere.yml"

    said = tollbook("--config", str(config), *arguments)

    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith("tollbook: ")
    assert named in said.err


@pytest.mark.parametrize(
    ("text", "where", "fix"),
    [
        ("quality: {quarantine_shar: 0.1}\n", ":1: quality.quarantine_shar", "spelling"),
        ("landing:\n  after_load: burn\n", ":2: landing.after_load", "'scrub' or 'keep'"),
        (
            "sources:\n  - {name: a, kind: price_catalog}\n  - {name: b, kind: nonsense}\n",
            ":3: sources[1]",
            "known kinds",
        ),
        (
            "sources:\n  - name: pg\n    kind: litellm_postgres\n    dsn: ${NOT_SET_HERE}\n",
            ":4: sources[0].dsn",
            "export NOT_SET_HERE=",
        ),
        (
            "sources:\n  - {name: o, kind: openai_admin, api_key: sk-literal}\n",
            ":2: sources[0].api_key",
            "${NAME}",
        ),
        ("sources: [\n", "line 2", "not YAML"),
    ],
)
def test_a_wrong_setting_is_named_with_file_line_key_and_fix(
    tmp_path: Path, tollbook: Tollbook, text: str, where: str, fix: str
) -> None:
    config = tmp_path / "tollbook.yml"
    config.write_text(text)

    said = tollbook("run", "--config", str(config), "--home", str(tmp_path / "data"))

    assert said.code == 2
    assert said.err.count("\n") == 1
    assert str(config) in said.err
    assert where in said.err
    assert fix in said.err
    assert "sk-literal" not in said.err
    assert not (tmp_path / "data").exists()


def test_global_options_stand_before_or_after_the_command(built: Home, tollbook: Tollbook) -> None:
    config, home = str(built.folder / "tollbook.yml"), str(built.data)

    before = tollbook("--config", config, "--home", home, "status")
    after = tollbook("status", f"--home={home}", "--config", config)
    between = tollbook("quarantine", "--home", home, "list", "--config", config)

    assert before.code == after.code == between.code == 0
    assert before.out == after.out
    assert "litellm_files" in between.out


@pytest.mark.parametrize("arguments", [[], ["-h"], ["run", "--help"], ["quarantine"]])
def test_help_names_the_global_options(tollbook: Tollbook, arguments: list[str]) -> None:
    said = tollbook(*arguments)

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: tollbook")
    assert "--as-of" in said.out


def test_version(tollbook: Tollbook) -> None:
    assert tollbook("--version").out.startswith("tollbook 0.")


# ---------------------------------------------------------------- what fails


def test_an_unexpected_error_is_one_line_and_its_details_lie_in_a_file(
    built: Home, tmp_path: Path, tollbook: Tollbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "-".join(["CANARY", "7"])

    def fail(_runtime: object) -> None:
        raise RuntimeError(f"boom\nBearer {secret}")

    monkeypatch.setattr("orchestration.warehouse.reading.read_status", fail)
    arguments = ["status", "--config", str(built.folder / "tollbook.yml"), "--home", str(tmp_path)]

    said = tollbook(*arguments)

    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "tollbook status: RuntimeError: boom" in said.err
    details = Path(said.err.strip().rpartition("details: ")[2])
    assert details.is_relative_to(tmp_path)
    assert "Traceback" in details.read_text()
    assert secret not in said.err + details.read_text()
    assert "Traceback" in tollbook(*arguments, "--debug").err


def test_a_busy_warehouse_is_said_in_one_line(mine: Home) -> None:
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    database = str(mine.data / "warehouse.duckdb")
    with subprocess.Popen(
        [sys.executable, "-c", hold, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        said = mine.program("run", "--wait", "1s")

        holder.communicate("\n")
    assert said.returncode == 1
    assert "skipped" in said.stderr
    assert said.stderr.count("\n") == 1
    assert "another process is writing it" in said.stderr


def test_a_hard_check_that_fails_ends_with_1_and_keeps_the_last_version(mine: Home) -> None:
    mine.query("delete from raw.litellm__spend_logs where request_id = 'r-1'")
    before = (mine.data / "published" / "tollbook.duckdb").resolve()

    first = mine.program("run", "--full-refresh")

    assert (first.returncode, first.stdout) == (1, "")
    assert "hard check every_row_is_accounted_for" in first.stderr
    assert "Nothing was published. Details: " in first.stderr
    assert "Traceback" not in first.stderr
    assert (mine.data / "published" / "tollbook.duckdb").resolve() == before
    # Nothing lies in landing, and yet the failure is not forgotten.
    assert mine.news() == "the last build was not published"


class FakeOutcome(types.SimpleNamespace):
    """As much of a RunOutcome as the command line reads."""


def fake_pipeline(monkeypatch: pytest.MonkeyPatch, **outcome: Any) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    values = {
        "status": "done",
        "exit_code": 0,
        "extract": None,
        "load": None,
        "problems": [],
        "version": None,
        "seconds": {},
        "handled": {},
    }

    def run_pipeline(_runtime: object, **given: Any) -> FakeOutcome:
        calls.append(given)
        return FakeOutcome(**{**values, **outcome})

    module = types.ModuleType("orchestration.defs.run")
    module.run_pipeline = run_pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "orchestration.defs.run", module)
    return calls


def test_run_hands_its_options_to_the_pipeline(
    built: Home, tollbook: Tollbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pipeline(monkeypatch)

    said = tollbook(*built.arguments("run", "--only", "build", "--full-refresh"))

    assert said.code == 0
    assert said.out.startswith("Tollbook step build done in ")
    assert (calls[0]["only"], calls[0]["full_refresh"]) == ("build", True)


def test_a_failed_run_names_every_reason_and_exits_with_1(
    built: Home, tollbook: Tollbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = ["model a: error: x", "hard check b: \x1b[31m3 rows"]
    fake_pipeline(monkeypatch, status="failed", exit_code=1, problems=problems)

    said = tollbook(*built.arguments("run", "--full-refresh"))

    assert (said.code, said.out) == (1, "")
    assert "tollbook: model a: error: x\n" in said.err
    assert "tollbook: hard check b: \\x1b[31m3 rows\n" in said.err


# ---------------------------------------------------------------- is there news


def test_nothing_new_ends_at_once_without_heavy_imports(mine: Home) -> None:
    heavy = {"dagster", "dbt", "great_expectations", "pandas"}
    code = (
        "import sys; from orchestration.cli import invoke; code = invoke(sys.argv[1:]); "
        f"print(code, sorted({heavy!r} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *mine.arguments("run")],
        capture_output=True,
        text=True,
        check=True,
    )

    first, last = done.stdout.splitlines()
    assert first.startswith("Nothing new as of 2026-11-02T00:00:00Z; version 2 of ")
    assert last == "0 []"
    noted = mine.query("select step, rows, status from audit.runs order by started_at desc limit 1")
    assert noted == [("run", 0, "nothing_new")]


def _add_file(home: Home) -> None:
    home.drop("litellm_files/more.jsonl", "{}")


def _add_stray(home: Home) -> None:
    home.drop("elsewhere/more.jsonl", "{}")
    home.drop("elsewhere/invoice.json", "{}")


def _touch_day(home: Home) -> None:
    home.query("insert into audit.touched_days values ('litellm__spend_logs', date '2026-11-01')")


def _change_pricing(home: Home) -> None:
    with (home.folder / "tollbook.yml").open("a") as stream:
        stream.write("pricing: {backcast: false}\n")


def _change_seed(home: Home) -> None:
    with (home.folder / "seeds" / "teams.csv").open("a") as stream:
        stream.write("team-a,Team A,,,,true\n")


def _add_source(home: Home) -> None:
    path = home.folder / "tollbook.yml"
    path.write_text(
        path.read_text().replace("sources:\n", "sources:\n  - {name: owners, kind: owners}\n")
    )


def _unpublish(home: Home) -> None:
    (home.data / "published" / "tollbook.duckdb").unlink()


def _build_later(home: Home) -> None:
    home.query("insert into audit.runs values ('x', 'build', timestamp '2099-01-01', 1, 1, 'done')")


def _lose_batches(home: Home) -> None:
    (home.data / "ledger_head.json").write_text('{"batch_number": 99, "sha256": ""}')


def _fall_due(home: Home) -> None:
    home.query("update audit.state set value = '2026-11-01T23:00:00' where name = 'next_due_at'")


def _remove_warehouse(home: Home) -> None:
    (home.data / "warehouse.duckdb").unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _home: None, None),
        (_add_stray, None),
        (_add_file, "new in landing: litellm_files/more.jsonl"),
        (_touch_day, "days of loaded usage are not built yet"),
        (_change_pricing, "settings, seeds, models or engine changed"),
        (_change_seed, "settings, seeds, models or engine changed"),
        (_add_source, "the sources of tollbook.yml changed"),
        (_unpublish, "nothing is published yet"),
        (_build_later, "the last build was not published"),
        (_lose_batches, "the warehouse has lost"),
        (_fall_due, "something was due at 2026-11-01T23:00:00Z"),
        (_remove_warehouse, "there is no warehouse yet"),
    ],
)
def test_news_has_a_reason_in_words(
    mine: Home, change: Callable[[Home], None], reason: str | None
) -> None:
    change(mine)

    found = mine.news()

    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_an_earlier_clock_is_news(mine: Home) -> None:
    assert mine.news("2026-11-01T23:59:59Z") == "the clock was set back from 2026-11-02T00:00:00Z"


# ---------------------------------------------------------------- status


def test_status_shows_sources_exceptions_checks_and_runs(built: Home, tollbook: Tollbook) -> None:
    said = tollbook(*built.arguments("status"))

    assert (said.code, said.err) == (0, "")
    cells = [line.split() for line in said.out.splitlines()]
    source = next(row for row in cells if row[:1] == ["litellm_files"])
    assert source[1:4] == ["unscheduled", "2026-11-01", "10:00"]
    assert source[-3:] == ["3", "3", "1"]
    assert "Checks as of 2026-11-02T00:00:00Z: " in said.out
    assert "load, build, check" in said.out


def test_status_before_the_first_publish_says_so(tmp_path: Path, tollbook: Tollbook) -> None:
    tollbook("init", str(tmp_path))

    said = tollbook(*Home(tmp_path).arguments("status", "--fail-on", "blocking"))

    assert said.code == 0
    assert "nothing is published yet; `tollbook run`" in said.out


def test_status_fails_on_an_open_blocking_exception(mine: Home, tollbook: Tollbook) -> None:
    published = (mine.data / "published" / "tollbook.duckdb").resolve()
    published.chmod(0o640)
    with duckdb.connect(str(published)) as connection:
        connection.execute("update marts.exceptions set status = 'decided'")
    assert tollbook(*mine.arguments("status", "--fail-on", "blocking")).code == 0
    with duckdb.connect(str(published)) as connection:
        connection.execute(
            "insert into marts.exceptions (exception_type, severity, blocking, currency, status) "
            "values ('unpriced_usage', 'error', true, 'USD', 'open')"
        )

    said = tollbook(*mine.arguments("status", "--fail-on", "blocking"))

    assert said.code == 1
    assert ["unpriced_usage", "error", "yes", "1", "unknown", "1"] in [
        line.split() for line in said.out.splitlines()
    ]
    assert tollbook(*mine.arguments("status")).code == 0


# ---------------------------------------------------------------- query


def test_a_table_shows_exact_money_and_escapes_control_characters(
    built: Home, tollbook: Tollbook
) -> None:
    sql = "select team_id, gateway_cost * 3 as cost from marts.usage_records order by request_id"

    said = tollbook(*built.arguments("query", sql))

    lines = said.out.splitlines()
    assert lines[0].split() == ["team_id", "cost"]
    assert lines[2].split() == ["team-a", "0.0006"]
    assert "  -2+3\\x1b[31m" in lines[4]


def test_a_table_is_capped_with_a_note(built: Home, tollbook: Tollbook) -> None:
    said = tollbook(*built.arguments("query", "select i from range(500) as t(i)"))

    lines = said.out.splitlines()
    assert lines[-2:] == ["199", "(the first 200 rows; --format csv gives all)"]


def test_a_wide_row_is_shown_column_by_column_and_uncut(built: Home, tollbook: Tollbook) -> None:
    said = tollbook(
        *built.arguments("query", f"select *, '{'x' * 300}' as long from marts.daily_spend")
    )

    assert said.out.startswith("-- row 1\n")
    assert "x" * 300 in said.out


def test_csv_neutralises_formulas_and_leaves_numbers_alone(built: Home, tollbook: Tollbook) -> None:
    sql = (
        'select team_id, -gateway_cost as "=cost", -1 as n, null as nothing, started_at '
        "from marts.usage_records order by request_id"
    )

    safe = tollbook(*built.arguments("query", sql, "--format", "csv")).out.splitlines()
    raw = tollbook(*built.arguments("query", sql, "--format", "csv", "--raw")).out.splitlines()

    assert safe[0] == "team_id,'=cost,n,nothing,started_at"
    assert safe[1] == "team-a,-0.000200000000000000,-1,,2026-11-01 10:00:00"
    assert safe[2].startswith('"\'=HYPERLINK(""http://x"",""y"")",-0.0002')
    assert safe[3].startswith("'  -2+3\x1b[31m,")
    assert raw[0].startswith("team_id,=cost")
    assert raw[3].startswith("  -2+3\x1b[31m,")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=1", "'=1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\0x", "'\0x"),
        ("  =1", "'  =1"),
        (" \u00a0=1", "' \u00a0=1"),
        ("a=1", "a=1"),
        ("'=1", "'=1"),
        ("", ""),
        ("   ", "   "),
    ],
)
def test_formula_starts(text: str, safe: str) -> None:
    assert terminal.without_formula(text) == safe


def test_json_keeps_every_digit_and_escapes_control_characters(
    built: Home, tollbook: Tollbook
) -> None:
    sql = (
        "select cast('12345678901234567890.123456789012345678' as decimal(38, 18)) as amount, "
        "started_at, usage_date, chr(155) || chr(8238) as marks, 'nan'::double as d, "
        "1 as a, 2 as a from marts.usage_records limit 1"
    )

    said = tollbook(*built.arguments("query", sql, "--format", "json"))

    assert said.out.isascii()
    assert json.loads(said.out) == [
        {
            "amount": "12345678901234567890.123456789012345678",
            "started_at": "2026-11-01T10:00:00",
            "usage_date": "2026-11-01",
            "marks": "\x9b\u202e",
            "d": "nan",
            "a": 1,
            "a_2": 2,
        }
    ]


def test_an_empty_answer_is_an_answer(built: Home, tollbook: Tollbook) -> None:
    sql = "select 1 as a where false"

    assert tollbook(*built.arguments("query", sql)).out == "a\n-\n(no rows)\n"
    assert tollbook(*built.arguments("query", sql, "--format", "csv")).out == "a\n"
    assert json.loads(tollbook(*built.arguments("query", sql, "--format", "json")).out) == []


def test_parquet_keeps_decimals_and_needs_an_output(
    built: Home, tmp_path: Path, tollbook: Tollbook
) -> None:
    sql = "select sum(gateway_cost) as cost from marts.usage_records"
    path = tmp_path / "cost.parquet"

    refused = tollbook(*built.arguments("query", sql, "--format", "parquet"))
    said = tollbook(*built.arguments("query", sql, "--format", "parquet", "-o", str(path)))

    assert refused.code == 2
    assert "--output FILE" in refused.err
    assert (said.code, said.out) == (0, f"1 rows in {path}\n")
    assert pq.read_table(path).to_pylist() == [{"cost": Decimal("0.000600000000000000")}]


def test_output_files_appear_whole_or_not_at_all(
    built: Home, tmp_path: Path, tollbook: Tollbook
) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    failing = "select cast(if(i = 50000, 'x', '1') as int) from range(100000) as t(i)"

    tollbook(*built.arguments("query", "select 1 as a", "--format", "csv", "-o", str(good)))
    said = tollbook(*built.arguments("query", failing, "--format", "csv", "-o", str(bad)))
    nowhere = tollbook(*built.arguments("query", "select 1", "-o", str(tmp_path / "no" / "x")))

    assert good.read_text() == "a\n1\n"
    assert said.code == 2
    assert list(tmp_path.iterdir()) == [good]
    assert nowhere.code == 2
    assert "--output" in nowhere.err


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "syntax error"),
        ("select nope from marts.exceptions", '"nope" not found'),
        ("", "expected one query, found 0"),
        ("select 1; drop table marts.exceptions", "expected one query, found 2"),
        ("drop table marts.exceptions", "read-only"),
        ("insert into marts.exceptions select * from marts.exceptions", "read-only"),
        ("with d as (delete from marts.exceptions returning *) select * from d", "read-only"),
        ("create table marts.x as select 1", "read-only"),
        ("set threads = 4", "locked"),
        ("set lock_configuration = false", "locked"),
        ("reset memory_limit", "locked"),
        ("copy (select 1) to '{folder}/leak.csv'", "read-only"),
        ("select * from read_csv('/etc/passwd')", "disabled by configuration"),
        ("select * from read_text('{folder}/tollbook.yml')", "disabled by configuration"),
        ("select * from glob('/etc/*')", "disabled by configuration"),
        ("attach '{folder}/data/warehouse.duckdb' as w", "read-only"),
        ("install httpfs", "read-only"),
        ("export database '{folder}/leak'", "read-only"),
    ],
)
def test_the_session_of_a_query_is_locked(
    built: Home, tollbook: Tollbook, sql: str, words: str
) -> None:
    said = tollbook(*built.arguments("query", sql.replace("{folder}", str(built.folder))))

    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert not list(built.folder.glob("leak*"))


def test_a_reader_that_stops_early_is_no_error(built: Home) -> None:
    arguments = built.arguments("query", "select i from range(1000000) as t(i)", "--format", "csv")

    with subprocess.Popen(
        [str(PROGRAM), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"i\n"
        process.stdout.close()
        complaint = process.stderr.read()

    assert (process.returncode, complaint) == (0, b"")


def test_a_query_before_the_first_publish_names_the_fix(tmp_path: Path, tollbook: Tollbook) -> None:
    tollbook("init", str(tmp_path))

    said = tollbook(*Home(tmp_path).arguments("query", "select 1"))

    assert said.code == 2
    assert "`tollbook run`" in said.err


# ---------------------------------------------------------------- quarantine


def test_list_names_rejected_files_and_refused_rows(built: Home, tollbook: Tollbook) -> None:
    said = tollbook(*built.arguments("quarantine", "list"))

    assert said.code == 0
    assert "litellm_files/broken.jsonl: rejected\n  encoding: " in said.out
    assert "litellm_files/logs.jsonl: 3 of 6 rows refused" in said.out
    assert "future_timestamp      line 4\n" in said.out


def test_list_can_be_narrowed(built: Home, tollbook: Tollbook) -> None:
    by_code = tollbook(*built.arguments("quarantine", "list", "--code", "future_timestamp")).out
    by_source = tollbook(*built.arguments("quarantine", "list", "--source", "price_catalog")).out

    assert "negative_tokens" not in by_code
    assert "broken.jsonl" not in by_code
    assert "future_timestamp" in by_code
    assert by_source.startswith("Nothing is in quarantine")


def test_show_gives_allow_listed_fields_and_nothing_else(built: Home, tollbook: Tollbook) -> None:
    batch = built.batch_of("litellm_files/logs.jsonl")

    one = tollbook(*built.arguments("quarantine", "show", batch[:8], "6")).out
    every = tollbook(*built.arguments("quarantine", "show", batch)).out

    assert "line 6: " in one
    assert "line 4" not in one
    assert "_not_kept          " in one.replace("_not_kept", "_not_kept ", 1) or "_not_kept" in one
    assert "r-4" in every
    assert "content_dropped" in every
    assert "CANARY" not in every


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["zz"], "no load batch begins with"),
        (["{batch}", "1"], "line 1 of litellm_files/logs.jsonl"),
    ],
)
def test_show_of_what_is_not_there(
    built: Home, tollbook: Tollbook, arguments: list[str], words: str
) -> None:
    batch = built.batch_of("litellm_files/logs.jsonl")

    said = tollbook(
        *built.arguments(
            "quarantine", "show", *(each.replace("{batch}", batch) for each in arguments)
        )
    )

    assert said.code == 2
    assert words in said.err


_ACCOUNTED = """
    select b.rows_in, b.rows_loaded, b.rows_already_known, b.rows_quarantined, b.codes,
        (select count(*) from raw.litellm__spend_logs where _load_batch_id = b.load_batch_id),
        (select count(*) from audit.quarantine as q where q.load_batch_id = b.load_batch_id)
    from audit.load_batches as b
    where b.file_name = 'litellm_files/logs.jsonl'
"""


def test_a_retry_with_a_later_clock_moves_the_row_and_the_equation_holds(
    mine: Home, tollbook: Tollbook
) -> None:
    before = mine.query(_ACCOUNTED)[0]

    said = tollbook(*mine.arguments("quarantine", "retry", as_of=LATER))

    after = mine.query(_ACCOUNTED)[0]
    assert before == (6, 3, 0, 3, before[4], 3, 3)
    assert after == (6, 4, 0, 2, after[4], 4, 2)
    assert "future_timestamp" in before[4]
    assert "future_timestamp" not in after[4]
    assert "litellm_files/logs.jsonl: 1 loaded, 2 still refused" in said.out
    assert "negative_tokens" in said.out
    row = mine.query(
        "select started_at, team_name, spend, usage_prompt_tokens, _source_line "
        "from raw.litellm__spend_logs where request_id = 'r-4'"
    )
    assert row == [(NOVEMBER_7, "Research", Decimal("0.0002"), 100, 4)]
    touched = mine.query("select cast(touched_date as varchar) from audit.touched_days")
    assert touched == [("2026-11-07",)]


def test_a_retry_before_its_time_changes_nothing(mine: Home, tollbook: Tollbook) -> None:
    before = mine.query(_ACCOUNTED)
    batch = mine.batch_of("litellm_files/logs.jsonl")

    said = tollbook(*mine.arguments("quarantine", "retry", "--batch", batch[:6]))

    assert said.code == 0
    assert "0 loaded, 3 still refused" in said.out
    assert mine.query(_ACCOUNTED) == before
    assert mine.news() is None


def test_a_retry_rewrites_the_evidence_of_its_file(mine: Home, tollbook: Tollbook) -> None:
    tollbook(*mine.arguments("quarantine", "retry", as_of=LATER))
    evidence = mine.data / "landing" / "litellm_files" / "logs.jsonl.scrubbed.parquet"

    table = pq.read_table(evidence)
    note = json.loads((table.schema.metadata or {})[b"tollbook"])

    assert table.column("request_id").to_pylist() == ["r-1", "r-2", "r-3", "r-4"]
    assert [row[0] for row in note["quarantine"]] == [5, 6]
    assert note["batch"]["rows_loaded"] == 4


def test_a_rebuild_from_landing_repeats_a_retry(mine: Home, tollbook: Tollbook) -> None:
    tollbook(*mine.arguments("quarantine", "retry", as_of=LATER))
    before = mine.query(_ACCOUNTED)
    for name in ("warehouse.duckdb", "ledger_head.json"):
        (mine.data / name).unlink()

    mine.load(as_of=LATER)

    assert mine.query(_ACCOUNTED) == before


def test_a_row_that_raw_knows_by_now_counts_as_already_known(
    mine: Home, tollbook: Tollbook
) -> None:
    mine.drop("litellm_files/again.jsonl", json.dumps(LOG_ROWS[3]) + "\n")
    mine.load(as_of=LATER)

    tollbook(*mine.arguments("quarantine", "retry", as_of=LATER))

    assert mine.query(_ACCOUNTED)[0][:4] == (6, 3, 1, 2)


def test_a_rejected_file_is_read_again_after_a_retry(mine: Home, tollbook: Tollbook) -> None:
    batch = mine.batch_of("litellm_files/broken.jsonl")

    said = tollbook(*mine.arguments("quarantine", "retry", "--batch", batch))

    assert "litellm_files/broken.jsonl: will be read again" in said.out
    assert mine.news() == "new in landing: litellm_files/broken.jsonl"


def test_a_rejected_file_that_is_gone_keeps_its_entry(mine: Home, tollbook: Tollbook) -> None:
    batch = mine.batch_of("litellm_files/broken.jsonl")
    (mine.data / "landing" / "litellm_files" / "broken.jsonl").unlink()

    said = tollbook(*mine.arguments("quarantine", "retry", "--batch", batch))

    assert "no longer in landing" in said.out
    assert mine.batch_of("litellm_files/broken.jsonl") == batch


# ---------------------------------------------------------------- what is kept of a refused row


def read(row: dict[str, Any], **context: Any) -> Any:
    kind = ROW_KINDS["litellm_spend_logs"]
    return kind.read(row, RecordContext(as_of=DECEMBER, **context))


def keep(row: dict[str, Any], **context: Any) -> dict[str, Any]:
    kind = ROW_KINDS["litellm_spend_logs"]
    text = kept_fields(kind, row, RecordContext(as_of=DECEMBER, **context))
    return json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(
    "row",
    [
        log_row("r"),
        log_row("r", spend=Decimal("0.123456789012345678901234567890"), prompt_tokens="100"),
        log_row("r", request_tags=["env:prod", "User-Agent: curl", "x"], user="u", end_user="c"),
        log_row("r", request_tags='["env:prod"]', metadata='{"status": "success", "x": "y"}'),
        log_row("r", api_key="sk-rawkey1234567890", api_base="https://u:p@host/v1?key=1"),
        log_row("sk-id-that-is-a-key-1234", messages=[{"content": "hello"}], surprise=1),
        log_row("r", request_tags="[", metadata="{"),
        log_row("r", startTime=NOVEMBER_7, metadata=None, cache_hit="False"),
        log_row(
            "r",
            metadata={
                "spend_logs_metadata": {"Cost-Center": "CC-1", "note": "CANARY"},
                "error_information": {"error_class": "Timeout", "traceback": "CANARY"},
                "cost_breakdown": {"service_tier": "flex", "x": 1},
                "usage_object": {
                    "prompt_tokens": 100,
                    "service_tier": "priority",
                    "prompt_tokens_details": {
                        "cached_tokens": 10,
                        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 5},
                    },
                    "completion_tokens_details": {"reasoning_tokens": 7},
                    "server_tool_use": {"web_search_requests": 2},
                    "audio_length_seconds": 1.5,
                    "batch_usage_by_model": {"gpt-x": {"prompt_tokens": 100}},
                    "CANARY": 1,
                },
            },
        ),
        log_row("r", metadata={"usage_object": {"CANARY": 1}}),
    ],
)
def test_a_kept_row_reads_the_same_as_the_row_itself(row: dict[str, Any]) -> None:
    kept = keep(row)
    codes = set(kept.pop(CODES, []))

    again = read(kept)

    assert NOT_KEPT not in kept
    original = read(row)
    assert again.values == original.values
    assert again.children == original.children
    assert again.codes | codes == original.codes
    assert "CANARY" not in json.dumps(kept, default=str)


def test_what_may_be_content_is_not_kept() -> None:
    prose = "Write a poem about the sea and about the ships upon it"
    row = log_row(prose, model=prose, spend=prose, end_user="x" * 300, team_id={"a": prose})

    kept = keep({**row, "metadata": {"user_api_key_alias": prose}})

    assert prose not in json.dumps(kept, default=str)
    assert kept[NOT_KEPT] == [
        "end_user",
        "metadata.user_api_key_alias",
        "model",
        "request_id",
        "spend",
        "team_id",
    ]


def test_personal_fields_are_kept_as_the_settings_say() -> None:
    row = log_row(
        "r",
        user="u-1",
        requester_ip_address="10.0.0.1",
        metadata={"user_agent": "curl", "user_api_key_user_id": "u-1"},
    )

    dropped = json.dumps(keep(row, keep_user_id=False), default=str)
    kept = json.dumps(keep(row, keep_client_ip=True, keep_user_agent=True), default=str)

    assert not any(text in dropped for text in ("u-1", "10.0.0.1", "curl"))
    assert all(text in kept for text in ("u-1", "10.0.0.1", "curl"))


# ---------------------------------------------------------------- the terminal


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_without_a_terminal_speaks_up_while_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "HEARTBEAT_SECONDS", 0.3)
    stream = io.StringIO()

    with terminal.Progress(stream) as progress:
        progress("load 1 of 2: \x1b[31ma")
        progress("load 2 of 2: b")
        progress("build 1 of 9: c")
        time.sleep(1.0)

    lines = [line.partition("Z  ")[2] for line in stream.getvalue().splitlines()]
    assert lines[:2] == ["load 1 of 2: \\x1b[31ma", "build 1 of 9: c"]
    assert lines[2].startswith("build 1 of 9: c (")


def test_progress_on_a_terminal_is_one_moving_line() -> None:
    stream = Screen()

    with terminal.Progress(stream) as progress:
        progress("load [bold]1[/bold] of 2")
        time.sleep(0.2)

    assert "load [bold]1[/bold] of 2" in stream.getvalue()
    assert "Z  load" not in stream.getvalue()


def test_csv_on_a_terminal_escapes_control_characters() -> None:
    stream = Screen()

    terminal.write_csv(["a"], [("x\x1b[31m",), ("tab\t",)], stream, is_raw=False)

    assert stream.getvalue() == "a\nx\\x1b[31m\ntab\\t\n"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (Decimal("1234567.0000005"), "1,234,567.000000"),
        (Decimal("0.0000015"), "0.000002"),
        (Decimal("12345678901234567890.123456789012345678"), "12,345,678,901,234,567,890.123457"),
    ],
)
def test_money_is_rounded_half_even_to_six_places(amount: Decimal | None, shown: str) -> None:
    assert terminal.money(amount) == shown


def test_tables_stay_aligned_under_wide_characters() -> None:
    lines = terminal.table(["name", "n"], [["日本", "1"], ["abcd", "10"]], right="lr")

    assert lines == ["name   n", "----  --", "日本   1", "abcd  10"]
