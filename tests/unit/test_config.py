"""Settings: every wrong key is named with its line and the fix, and no secret is written down."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestration.config import (
    SOURCE_KINDS,
    ConfigurationError,
    Settings,
    SourceSettings,
    read_duration,
    read_runtime,
    read_settings,
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOLLBOOK_CONFIG", "TOLLBOOK_HOME", "TOLLBOOK_SEEDS"):
        monkeypatch.delenv(name, raising=False)


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "tollbook.yml").write_text(text)
    return read_settings(folder / "tollbook.yml")


def complaint(folder: Path, text: str) -> str:
    """The one line a wrong tollbook.yml is answered with, from its name on."""
    with pytest.raises(ConfigurationError) as refused:
        settings_of(folder, text)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


# ---------------------------------------------------------------- what is said of a wrong file


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "# nothing yet\n")

    assert settings == Settings()
    assert settings.landing.after_load == "scrub"
    assert settings.limits.line_bytes == 2**20
    assert settings.limits.field_characters == 4096
    assert settings.limits.inflated_bytes == 16 * 2**20


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    text = "pricing:\n  backcast: true\n\n  list_ordre: [litellm]\n"

    assert complaint(tmp_path, text) == (
        "tollbook.yml:4: pricing.list_ordre: unknown key; remove it or correct its spelling"
    )


def test_an_unknown_key_at_the_top_is_named_with_its_line(tmp_path: Path) -> None:
    assert complaint(tmp_path, "reporting: {}\nsauces: []\n").startswith("tollbook.yml:2: sauces: ")


def test_an_unknown_kind_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    text = "sources:\n  - {name: a, kind: stripe}\n  - name: b\n    kind: litelm\n"

    message = complaint(tmp_path, text)

    assert message.startswith("tollbook.yml:3: sources[1]: unknown kind 'litelm'; known kinds: ")
    assert all(kind in message for kind in SOURCE_KINDS)


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("warehouse: {threads: 0}", "tollbook.yml:1: warehouse.threads: "),
        ("warehouse:\n  threads: many", "tollbook.yml:2: warehouse.threads: "),
        ("quality:\n  quarantine_share: 1.5", "tollbook.yml:2: quality.quarantine_share: "),
        ("landing:\n\n  after_load: burn", "tollbook.yml:3: landing.after_load: "),
        ("lateness:\n  sync: soon", "tollbook.yml:2: lateness.sync: expected a duration"),
        ("sources:\n  - {kind: stripe}", "tollbook.yml:2: sources[0].name: "),
        ("sources: {name: a}", "tollbook.yml:1: sources: "),
        ("sources:\n  - {name: A-1, kind: stripe}", "tollbook.yml:2: sources[0]: name 'A-1' must"),
        ("- a", "tollbook.yml:1: expected `key: value` settings"),
        ("just text", "tollbook.yml:1: expected `key: value` settings"),
        ("a: [1\nb: 2", "tollbook.yml: line 2: not YAML: "),
        ("a:\n\t- b", "tollbook.yml: line 2: not YAML: "),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(text: str, beginning: str, tmp_path: Path) -> None:
    assert complaint(tmp_path, text).startswith(beginning)


def test_further_problems_are_counted(tmp_path: Path) -> None:
    assert complaint(tmp_path, "a: 1\nb: 2\nc: 3\n").endswith("(and 2 more)")


def test_every_kind_of_source_has_its_page() -> None:
    pages = Path(__file__).resolve().parents[2] / "docs" / "sources"
    table = [line for line in (pages / "README.md").read_text().splitlines() if ".md)" in line]

    listed = {kind: line for line in table for kind in SOURCE_KINDS if kind in line}

    assert [kind for kind in SOURCE_KINDS if kind not in listed] == []
    for kind, line in listed.items():
        named = re.findall(r"\(([./a-z0-9_]+\.md)\)", line)
        assert any(kind in (pages / name).read_text() for name in named), kind


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "sources:\n  - {name: a, kind: stripe}\n  - {name: a, kind: razorpay}\n"

    assert "two sources are named 'a'; give each its own name" in complaint(tmp_path, text)


def test_a_missing_file_is_answered_with_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read .*tollbook init"):
        read_settings(tmp_path / "tollbook.yml")


# ---------------------------------------------------------------- secrets and variables


@pytest.mark.parametrize("key", ["api_key", "dsn", "webhook_secret"])
def test_a_literal_secret_is_refused_and_not_repeated(key: str, tmp_path: Path) -> None:
    text = f"sources:\n  - name: a\n    kind: stripe\n    {key}: sk_live_abcdef123456\n"

    message = complaint(tmp_path, text)

    assert message.startswith(f"tollbook.yml:4: sources[0].{key}: a secret is never written here")
    assert "abcdef" not in message


def test_a_secret_of_an_export_is_refused_too(tmp_path: Path) -> None:
    text = "exports:\n  - {name: a, kind: snowflake, password: word}\n"

    assert complaint(tmp_path, text).startswith("tollbook.yml:2: exports[0].password: a secret")


def test_a_variable_that_is_not_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRIPE_API_KEY", raising=False)
    text = "sources:\n  - name: a\n    kind: stripe\n    api_key: ${STRIPE_API_KEY}\n"

    assert complaint(tmp_path, text) == (
        "tollbook.yml:4: sources[0].api_key: ${STRIPE_API_KEY} is not set; "
        "export STRIPE_API_KEY=..."
    )


def test_variables_are_filled_in_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_HOST", "127.0.0.1:9")
    monkeypatch.setenv("SOME_KEY", "a: [b]\n#\"'${SOME_HOST}")
    text = (
        "sources:\n  - {name: a, kind: stripe, api_key: '${SOME_KEY}',"
        " base_url: 'http://${SOME_HOST}/v1'}\n"
    )

    (source,) = settings_of(tmp_path, text).sources

    assert source.base_url == "http://127.0.0.1:9/v1"
    # What a variable holds is text, whatever it looks like.
    assert source.api_key == "a: [b]\n#\"'${SOME_HOST}"


def test_a_dollar_sign_alone_is_text(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "seeds: $HOME/{x}\n").seeds == "$HOME/{x}"


# ---------------------------------------------------------------- durations


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0s", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(days=1)),
        ("7 days", timedelta(days=7)),
        ("1 week", timedelta(weeks=1)),
        (" 2 hours ", timedelta(hours=2)),
        (timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(written: object, meant: timedelta) -> None:
    assert read_duration(written) == meant


@pytest.mark.parametrize(
    "written", ["5", 5, "m", "-5m", "1.5h", "5m30s", "5 months", "5M", None, ""]
)
def test_anything_else_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 5m"):
        read_duration(written)


# ---------------------------------------------------------------- sources


def test_a_source_observes_the_gateway_of_its_name_unless_it_says_otherwise() -> None:
    assert SourceSettings(name="a", kind="stripe").gateway_name == "a"
    assert SourceSettings(name="a", kind="stripe", gateway="g").gateway_name == "g"


def test_a_folder_that_people_fill_is_never_late() -> None:
    filled = SourceSettings(name="a", kind="litellm_spend_logs")
    pulled = SourceSettings(name="a", kind="litellm_postgres", dsn="postgresql://h/d")
    asked = SourceSettings(name="a", kind="stripe", api_key="x")

    assert filled.expected_interval is None
    assert pulled.expected_interval == timedelta(minutes=5)
    assert asked.expected_interval == timedelta(hours=1)
    assert filled.model_copy(update={"interval": timedelta(1)}).expected_interval == timedelta(1)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "A", "a b", "a.b", "../a", "a" * 64, "a\n"])
def test_a_source_is_named_so_that_its_name_can_be_a_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="lower case letters"):
        SourceSettings(name=name, kind="stripe")


# ---------------------------------------------------------------- the runtime


def test_options_come_before_variables_and_variables_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tollbook.yml").write_text("seeds: my\n")
    monkeypatch.chdir(tmp_path / "a")

    default = read_runtime()
    monkeypatch.setenv("TOLLBOOK_CONFIG", str(tmp_path / "b" / "tollbook.yml"))
    monkeypatch.setenv("TOLLBOOK_HOME", str(tmp_path / "h"))
    variable = read_runtime()
    option = read_runtime(config=Path("tollbook.yml"), home=Path("data"))

    assert (default.config_file, default.home) == (option.config_file, option.home)
    assert default.home == tmp_path / "a" / "data"
    assert (variable.home, variable.seeds) == (tmp_path / "h", tmp_path / "b" / "my")
    assert variable.database == tmp_path / "h" / "warehouse.duckdb"


def test_the_seeds_variable_comes_before_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tollbook.yml").write_text("seeds: my\n")
    monkeypatch.setenv("TOLLBOOK_SEEDS", "/elsewhere")

    assert read_runtime(config=tmp_path / "tollbook.yml").seeds == Path("/elsewhere")


def test_the_clock_is_read_in_utc_and_stands_still(tmp_path: Path) -> None:
    config = tmp_path / "tollbook.yml"
    config.write_text("")

    runtime = read_runtime(config=config, as_of="2026-10-31T14:00:00+02:00")

    assert runtime.as_of == datetime(2026, 10, 31, 12)  # noqa: DTZ001  # naive UTC
    assert read_runtime(config=config).as_of.tzinfo is None


@pytest.mark.parametrize("as_of", ["", "yesterday", "2026-13-01", "1999-01-01"])
def test_a_clock_that_is_none_is_answered_with_an_example(as_of: str, tmp_path: Path) -> None:
    config = tmp_path / "tollbook.yml"
    config.write_text("")

    with pytest.raises(ConfigurationError, match=r"--as-of: .*write it like 2026-10-31T12:00:00Z"):
        read_runtime(config=config, as_of=as_of)
