"""From an API into raw: killed halfway and run again, the rows are those of an undisturbed run."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fixtures.api_pages import fill
from fixtures.api_server import NOON

from orchestration.landing import log_files, page_files
from orchestration.warehouse.schema import raw_tables

FILE_KINDS = {
    "openai": ("openai_usage", "openai_costs"),
    "anthropic": ("anthropic_usage", "anthropic_costs"),
    "stripe": ("stripe",),
    "razorpay": ("razorpay",),
    "litellm": ("litellm_spend_logs",),
    "openrouter": ("openrouter_activity", "openrouter_credits"),
    "cloudflare": ("cloudflare_ai_gateway",),
}


class KilledError(BaseException):
    """As if the process had been killed."""


def rows_of(home: Any) -> dict[str, list[str]]:
    """Every row of raw as text, without where it was seen first."""
    found = {}
    for table in raw_tables():
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        rows = home.query(f"select {names} from raw.{table.name}")
        found[table.name] = sorted(map(str, rows))
    return {name: rows for name, rows in found.items() if rows}


def kill_after(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    """Let the process die where it would land one file more."""
    land: Callable[..., None] = page_files.land
    landed: list[str] = []

    def count(part: Any, target: Any) -> None:
        if len(landed) == files:
            raise KilledError
        landed.append(target.name)
        land(part, target)

    monkeypatch.setattr(page_files, "land", count)
    monkeypatch.setattr(log_files, "land", count)


@pytest.mark.parametrize("system", FILE_KINDS)
def test_killed_and_run_again_ends_in_the_same_raw_tables(
    system: str, server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server)
    # Several files to a span of logs, so that there is a middle to be killed in.
    monkeypatch.setattr(log_files, "FILE_ROWS", 25)
    whole, home = make_home("whole", system), make_home("killed", system)
    whole.extract()
    loaded = whole.load()
    files = len([name for name in whole.landed() if not re.search(r"/\.", name)])

    for place in {1, files // 2}:
        with monkeypatch.context() as patched:
            kill_after(patched, place)
            with pytest.raises(KilledError):
                home.extract()
        home.load()
    home.extract()
    home.load()
    home.extract()
    home.load()

    assert {batch.status for batch in loaded} <= {"loaded", "already_known"}
    assert rows_of(whole)
    assert rows_of(home) == rows_of(whole)


def test_a_log_that_was_loaded_and_scrubbed_is_not_landed_again(
    server: Any, make_home: Any
) -> None:
    fill(server)
    home = make_home("home", "litellm")
    home.extract("sync")
    home.load()
    landed = home.landed()

    again = home.extract("sync")

    assert any(name.endswith(".scrubbed.parquet") for name in landed)
    assert again.files == []
    counts = "select count(*), count(distinct request_id) from raw.litellm__spend_logs"
    assert home.query(counts) == [(120, 120)]


def test_a_day_that_changes_and_changes_back_is_known_as_it_is_now(
    server: Any, make_home: Any
) -> None:
    fill(server)
    home = make_home("home", "openai")
    yesterday = NOON.date() - timedelta(days=1)
    amount = server.buckets["costs"][yesterday][0]["amount"]
    home.extract()
    home.load()
    server.buckets["costs"][yesterday][0]["amount"] = {"value": 9.75, "currency": "usd"}
    home.as_of = server.now = NOON + timedelta(hours=1)
    home.extract("daily")
    home.load()
    server.buckets["costs"][yesterday][0]["amount"] = amount
    home.as_of = server.now = NOON + timedelta(hours=2)
    home.extract("daily")

    batches = home.load()

    costs = [each for each in batches if each.kind == "openai_costs"]
    assert [(each.rows_in, each.rows_already_known) for each in costs] == [(1, 1)]
    seen = home.query(f"""
        select content_sha256
        from raw.provider__observations
        where kind = 'openai_costs' and window_start_at = timestamp '{yesterday}'
        order by observed_at
        """)
    assert len(seen) == 3
    assert seen[0] == seen[2] != seen[1]
