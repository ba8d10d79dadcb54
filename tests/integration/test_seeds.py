"""People's seeds from their files to the warehouse, through a whole run."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from integration.homes import REPOSITORY, Home

from orchestration.cli import invoke
from orchestration.landing.seed_tables import SEEDS

CONFIG = "sources:\n  - {name: litellm_prod, kind: litellm_spend_logs, gateway: litellm}\n"
FEES = (
    "wallet_id,currency,credit_value,opening_balance,opening_at\n"
    "w,EUR,0.000000000000000001,12345678901234567890.123456789012345678,2026-01-01T00:00:00Z\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with settings and an empty seeds folder of its own."""
    (tmp_path / "seeds").mkdir()
    (tmp_path / "tollbook.yml").write_text(CONFIG)
    return Home(tmp_path)


def seed(home: Home, name: str, text: str) -> None:
    (home.path / "seeds" / f"{name}.csv").write_text(text)


def test_a_users_seeds_are_tables_and_ours_are_not_among_them(home: Home) -> None:
    seed(home, "wallets", FEES)

    outcome = home.run()

    counts = {
        table.name: home.query(f"select count(*) from reference.{table.name}")[0][0]
        for table in SEEDS
    }
    assert (outcome.exit_code, outcome.problems) == (0, [])
    assert {name for name, count in counts.items() if count} == {
        "wallets",
        "unit_types",
        "provider_line_items",
    }
    assert home.query(
        "select opening_balance, credit_value, debit_rounding from reference.wallets"
    ) == [(Decimal("12345678901234567890.123456789012345678"), Decimal("1e-18"), "none")]
    assert list((home.path / "seeds").iterdir()) == [home.path / "seeds" / "wallets.csv"]
    assert not (REPOSITORY / "seeds" / "wallets.csv").read_text().count("12345678901234567890")


def test_refused_rows_are_named_and_the_rest_is_published(home: Home) -> None:
    seed(home, "teams", "team_id,team_name,active\na,A,true\nb,B,perhaps\n")

    outcome = home.run()

    assert (outcome.status, outcome.exit_code) == ("published", 3)
    assert outcome.problems == [
        f"{home.path}/seeds/teams.csv:3: active: bad_value: write true or false, found 'perhaps'"
    ]
    assert home.query("select team_id from reference.teams") == [("a",)]
    assert home.query("select seed, line_number, subject_id from reference.refused_seed_rows") == [
        ("teams", 3, "b")
    ]

    seed(home, "teams", "team_id,team_name,active\na,A,true\nb,B,false\n")
    healed = home.run()

    assert (healed.exit_code, healed.problems) == (0, [])
    assert home.query("select team_id from reference.teams order by 1") == [("a",), ("b",)]


def test_a_seed_without_a_required_column_stops_before_anything_is_begun(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    seed(home, "accounts", "account_id,name,currency\na,A,USD\n")

    code = invoke(["run", "--config", str(home.path / "tollbook.yml"), "--home", str(home.path)])

    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert said.endswith("accounts.csv:1: time_zone: missing_columns: required; add the column")
    assert not (home.path / "published").exists()


def test_a_seeds_folder_that_is_named_must_be_there(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    (home.path / "tollbook.yml").write_text(f"{CONFIG}seeds: reference\n")

    code = invoke(["run", "--config", str(home.path / "tollbook.yml"), "--home", str(home.path)])

    assert code == 2
    assert f"there is no folder {home.path / 'reference'}" in capsys.readouterr().err
