"""A tollbook.yml that is broken, ambiguous or tells a secret: one line that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.config import ConfigurationError, read_duration, read_settings


def complaint(folder: Path, content: str | bytes) -> str:
    path = folder / "tollbook.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(path)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}:")


@pytest.mark.parametrize("written", ["9" * 12 + "d", "9" * 400 + "w"])
def test_a_duration_beyond_all_calendars_is_told(written: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be as long"):
        read_duration(written)
    message = complaint(tmp_path, f"quality:\n  sync_delay: {written}\n")
    assert message.startswith("2: quality.sync_delay: a duration cannot be as long as ")
    assert len(message) < 300


def test_a_byte_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    assert complaint(tmp_path, b"# first\nseeds: caf\xe9\n").startswith("2: a byte that is not")


@pytest.mark.parametrize("text", ["sources: &a [*a]\n", "exports:\n  - &b {kind: x, more: *b}\n"])
def test_an_anchor_that_holds_itself_is_refused(text: str, tmp_path: Path) -> None:
    assert "holds itself" in complaint(tmp_path, text)


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert complaint(tmp_path, "seeds: " + "[" * 20_000 + "\n")


def test_an_anchor_that_is_only_used_twice_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "tollbook.yml"
    path.write_text("quality: {sync_delay: &five 5m, lost_after: *five}\n")

    settings = read_settings(path)

    assert settings.quality.sync_delay == settings.quality.lost_after


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seeds: a\nseeds: b\n", "2: seeds: written twice, first on line 1"),
        (
            "quality:\n  lost_after: 24h\n  capture_rate: 0.9\n  lost_after: 48h\n",
            "4: lost_after: written twice, first on line 2",
        ),
        (
            "sources:\n  - {name: a, kind: invoices, kind: decisions}\n",
            "2: kind: written twice, first on line 2",
        ),
    ],
)
def test_a_key_that_is_written_twice_is_refused(text: str, says: str, tmp_path: Path) -> None:
    assert complaint(tmp_path, text).startswith(says)


@pytest.mark.parametrize(
    "setting",
    [
        "private_key: hunter2",
        "access_token: hunter2",
        "client-secret: hunter2",
        "accessToken: hunter2",
        "passphrase: hunter2",
        "credentials: [hunter2]",
        "password: 123456",
        "api_key: 'hunter2${SOME}'",
        "api_key: '${SOME}hunter2'",
        "url: 'https://me:hunter2@example.org/'",
        "url: 'https://me:hunter2${SOME}@example.org/'",
        "conninfo: 'host=db password=hunter2 user=me'",
    ],
)
def test_a_literal_secret_is_refused_under_any_name(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME", "thing")

    message = complaint(tmp_path, f"exports:\n  - kind: snowflake\n    {setting}\n")

    assert message.startswith("3: exports[0].")
    assert "never written here" in message
    assert "hunter2" not in message
    assert "123456" not in message


def test_a_password_in_a_dsn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "db")
    source = "sources:\n  - {name: a, kind: litellm_postgres, dsn: "

    message = complaint(tmp_path, source + '"postgresql://me:hunter2@${HOST}/x"}\n')

    assert message.startswith("2: sources[0].dsn: a secret is never written here")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "setting",
    [
        "private_key: '${SOME}'",
        "url: 'https://me:${SOME}@example.org/'",
        "url: 'https://example.org:8443/path'",
        "dsn: 'postgresql://me:${SOME}@db/x'",
        "primary_keys: [id]",
        "monkey: banana",
        "is_token: false",
        "partition_key:",
    ],
)
def test_what_tells_no_secret_is_accepted(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME", "thing")
    path = tmp_path / "tollbook.yml"
    path.write_text(f"exports:\n  - kind: snowflake\n    {setting}\n")

    assert read_settings(path).exports[0]["kind"] == "snowflake"
