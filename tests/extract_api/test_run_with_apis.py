"""`tollbook run` and `sync` with APIs: what is said, exit codes, what readers get."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from fixtures.api_pages import fill

from orchestration.cli import invoke


def tollbook(home: Any, *arguments: str) -> int:
    config, data = str(home.folder / "tollbook.yml"), str(home.folder / "data")
    as_of = home.as_of.isoformat() + "Z"
    return invoke([*arguments, "--config", config, "--home", data, "--as-of", as_of])


def test_a_run_asks_loads_and_publishes_and_one_source_that_fails_is_named(
    server: Any, make_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(server)
    home = make_home("home", "litellm", "stripe")
    server.fail("/v1/balance_transactions", "403")

    code = tollbook(home, "run")

    said = capsys.readouterr()
    assert code == 3
    assert "Source litellm: 120 litellm_spend_logs" in said.out
    assert said.err.count("tollbook: stripe: balance_transactions") == 1
    assert "(403); give the restricted key read on" in said.err
    assert "CANARY" not in said.out + said.err
    published = home.folder / "data" / "published" / "tollbook.duckdb"
    with duckdb.connect(str(published), read_only=True) as reader:
        assert reader.execute("select count(*) from marts.usage_records").fetchall() == [(120,)]
        assert reader.execute(
            "select source, part, code from audit.extract_gaps where closed_at is null"
        ).fetchall() == [("stripe", "balance_transactions", "forbidden")]
        assert reader.execute(
            "select source, status from marts.source_freshness order by source"
        ).fetchall() == [("litellm", "fresh"), ("stripe", "incomplete")]


def test_a_sync_asks_for_usage_alone(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "litellm", "stripe", "openai")

    assert tollbook(home, "run", "--only", "extract") == 0
    server.asked.clear()
    home.steps().extract(depth="sync")

    assert set(server.paths()) == {"/spend/logs/v2"}


def test_an_api_that_is_slow_is_seen_to_be_asked(
    server: Any, make_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(server)
    home = make_home("home", "stripe")
    said: list[str] = []

    home.steps(said.append).extract()

    assert any(line.startswith("extract: asking stripe") for line in said)
    assert any("events 2026-11-03, page 2" in line for line in said)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('{name: a, kind: litellm_api, api_key: "${TOLLBOOK_TEST_LITELLM}"}', "needs base_url"),
        (
            '{name: a, kind: cloudflare_ai_gateway, api_key: "${TOLLBOOK_TEST_CLOUDFLARE}"}',
            "needs account",
        ),
        ("{name: a, kind: openai_admin, api_key: sk-admin-CANARY}", "a secret is never written"),
        (
            '{name: a, kind: stripe, api_key: "${TOLLBOOK_TEST_STRIPE}", requests_per_minute: 0}',
            "requests_per_minute",
        ),
    ],
)
def test_settings_of_an_api_are_checked_before_it_is_asked(
    entry: str, said: str, server: Any, make_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home("home")
    home.configure(entry)

    assert tollbook(home, "run", "--only", "extract") == 2

    told = capsys.readouterr()
    assert said in told.err
    assert "CANARY" not in told.err
    assert server.asked == []
