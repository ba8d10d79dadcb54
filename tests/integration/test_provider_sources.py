"""Provider pages and cloud bills from landing to what readers see."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from fixtures.provider_pages import (
    anthropic_bucket,
    anthropic_page,
    aws_line,
    completions,
    cost_line,
    cost_report_line,
    gcp_row,
    openai_bucket,
    openai_page,
)
from fixtures.spend_logs import lines
from integration.homes import Home

from orchestration.warehouse.connection import open_warehouse


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of provider files alone, after one whole run."""
    home = Home.create(tmp_path_factory.mktemp("providers") / "home")
    known = cost_line(amount={"value": "0.06", "currency": "usd"})
    strange = cost_line(line_item="a new thing", amount={"value": -2, "currency": "usd"})
    home.drop("openai_costs/day.json", openai_page(openai_bucket(known, strange)))
    more = {"has_more": True, "next_page": "page_x"}
    home.drop("openai_usage/part.json", openai_page(openai_bucket(completions()), **more))
    report = anthropic_page(anthropic_bucket(cost_report_line()))
    home.drop("anthropic_costs/day.json", report)
    # AWS writes one export in several files.
    home.drop("aws_cur2/june-00001.jsonl", lines(aws_line()))
    second = {"identity_line_item_id": "line-2", "line_item_usage_type": "Claude-output-tokens"}
    home.drop("aws_cur2/june-00002.jsonl", lines(aws_line(**second)))
    home.drop("gcp_billing/rows.jsonl", lines(gcp_row()))
    outcome = home.run()
    assert (outcome.status, outcome.problems) == ("published", [])
    return home


def ask(home: Home, sql: str) -> list[tuple]:
    with open_warehouse(home.runtime) as connection:
        return connection.execute(sql).fetchall()


def test_costs_of_every_provider_stand_in_one_shape(home: Home) -> None:
    costs = ask(
        home,
        """
        select provider, model, unit, line_kind, amount, quantity, is_mapped
        from intermediate.int_provider_costs__unified
        order by provider, amount, model
        """,
    )

    text, written = "input_text_uncached_tokens", "output_text_tokens"
    assert costs == [
        ("anthropic", "claude-opus-5-5", written, "usage", Decimal("1.2345"), None, True),
        ("aws", "Claude", written, "usage", Decimal("0.0045"), Decimal(1500), True),
        ("aws", "Claude4.6Sonnet", text, "usage", Decimal("0.0045"), Decimal(1500), True),
        ("google", None, None, "credit", Decimal("-0.0004"), None, True),
        ("google", "Gemini 2.5 Flash", text, "usage", Decimal("0.0036"), Decimal(12000), True),
        ("openai", None, None, "usage", Decimal(-2), Decimal(400000), False),
        ("openai", "gpt-4o-mini-2024-07-18", text, "usage", Decimal("0.06"), Decimal(400000), True),
    ]


def test_usage_of_an_unfinished_chain_is_shown_and_marked(home: Home) -> None:
    usage = ask(
        home,
        """
        select unit, quantity, is_complete
        from intermediate.int_provider_usage__unified order by unit
        """,
    )

    assert usage == [
        ("input_cached_read_tokens", Decimal(40), False),
        ("input_text_uncached_tokens", Decimal(60), False),
        ("output_text_tokens", Decimal(10), False),
        ("requests", Decimal(2), False),
    ]


def test_readers_see_what_is_missing_and_what_nobody_knows(home: Home) -> None:
    found = home.query("""
        select exception_type, subject_id, amount_at_stake, severity, blocking
        from marts.exceptions
        where exception_type in ('incomplete_page_chain', 'unmapped_line_item')
        order by 1
        """)

    span = "openai_usage/completions/2026-06-15T00:00:00Z/2026-06-16T00:00:00Z"
    assert found == [
        ("incomplete_page_chain", span, None, "error", True),
        ("unmapped_line_item", "openai/a new thing", Decimal(2), "error", True),
    ]


def test_freshness_covers_the_folders_of_providers(home: Home) -> None:
    rows = home.query("""
        select source, rows_loaded, status from marts.source_freshness
        where rows_loaded > 0 order by source
        """)

    kinds = ("anthropic_costs", "aws_cur2", "gcp_billing", "openai_costs", "openai_usage")
    assert [(source, count) for source, count, _ in rows] == [
        (kind, 2 if kind in ("aws_cur2", "openai_costs") else 1) for kind in kinds
    ]
    assert {status for _, _, status in rows} == {"unscheduled"}


def test_a_chain_that_is_finished_later_settles_its_exception(home: Home, tmp_path: Path) -> None:
    later = home.copy(tmp_path / "home")
    page = openai_page(openai_bucket(completions(input_tokens=200)))
    later.drop("openai_usage/whole.observed-20261121T000000Z.json", page)
    # A bill of one day takes the place of that of the month, and of its days.
    night = {"line_item_usage_start_date": "2026-06-16T23:00:00Z"}
    later.drop("aws_cur2/day.jsonl", lines(aws_line(**night, line_item_usage_end_date=None)))

    later.run()

    assert later.query("""
        select subject_id from marts.exceptions where exception_type = 'incomplete_page_chain'
        """) == [("aws_cur2/000000000001/2026-06-01T00:00:00Z/2026-07-01T00:00:00Z",)]
    assert ask(
        later,
        """
        select quantity, is_complete from intermediate.int_provider_usage__unified
        where unit = 'input_text_uncached_tokens'
        """,
    ) == [(Decimal(160), True)]
