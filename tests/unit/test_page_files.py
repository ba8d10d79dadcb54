"""Names of pages, chains that wait for a difference, and what a killed writer leaves behind."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.landing.observed import stated_observation
from orchestration.landing.page_files import Chain, ChainWriter, PageFolder, read_page_name
from orchestration.sources.feeds import Window

DAY = Window(date(2026, 11, 4), date(2026, 11, 5))
NOON = datetime.fromisoformat("2026-11-05T12:00:00")


def page(*rows: Any, behind: str | None = None) -> dict[str, Any]:
    return {"data": list(rows), "next_page": behind}


def land(folder: PageFolder, at: datetime, *pages: dict[str, Any], is_whole: bool = True) -> list:
    chain = Chain("costs", DAY, at)
    writer = ChainWriter(
        folder, chain, before=folder.newest("costs", DAY), volatile=frozenset({"next_page"})
    )
    for each in pages:
        writer.add(json.dumps(each).encode(), each)
    if is_whole:
        writer.finish()
    return writer.landed


def test_a_name_says_feed_window_moment_and_number() -> None:
    chain = Chain("costs", DAY, NOON)

    name = chain.page_name(12)

    assert name == "costs-20261104-20261105.observed-20261105T120000Z__p0012.json"
    assert read_page_name(f"openai/openai_costs/{name}") == (chain, 12)
    assert stated_observation(name, None) == NOON


@pytest.mark.parametrize(
    "name",
    [
        "costs.json",
        "costs-20261104-20261105__p0001.json",
        "costs-20261304-20261105.observed-20261105T120000Z__p0001.json",
        "costs-20261104-20261105.observed-20261105T120000Z__p0001.json.part",
    ],
)
def test_other_names_are_no_pages(name: str) -> None:
    assert read_page_name(name) is None


def test_equal_pages_in_any_order_and_with_other_tokens_are_no_news(tmp_path: Path) -> None:
    folder = PageFolder(tmp_path)
    land(folder, NOON, page({"a": 1}, {"b": 2.5}, behind="x"), page({"c": 3}))

    again = land(
        folder, NOON + timedelta(hours=1), page({"b": 2.5}, {"a": 1}, behind="y"), page({"c": 3})
    )

    assert again == []
    assert folder.complete("costs", DAY) == Chain("costs", DAY, NOON)


@pytest.mark.parametrize(
    "pages",
    [
        [page({"a": 1}), page({"b": 3})],
        [page({"a": 1})],
        [page({"a": 1}), page({"b": 2}), page({"c": 3})],
        [page({"a": "1"}), page({"b": 2})],
        [page({"a": 1}, {"a": 1}), page({"b": 2})],
    ],
)
def test_a_chain_that_differs_anywhere_lands_all_its_pages(
    pages: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = PageFolder(tmp_path)
    land(folder, NOON, page({"a": 1}), page({"b": 2}))
    later = Chain("costs", DAY, NOON + timedelta(hours=1))

    landed = land(folder, later.observed_at, *pages)

    assert len(landed) == len(pages)
    assert [json.loads(body) for body in folder.pages(later)] == pages
    assert PageFolder(tmp_path).complete("costs", DAY) == later


def test_a_chain_without_its_end_is_unfinished_for_every_later_look(tmp_path: Path) -> None:
    land(PageFolder(tmp_path), NOON, page({"a": 1}), is_whole=False)

    later = PageFolder(tmp_path)

    assert later.unfinished("costs", DAY) == Chain("costs", DAY, NOON)
    assert later.complete("costs", DAY) is None
    assert later.begun_at("costs", DAY, NOON) == NOON + timedelta(seconds=1)


def test_an_unfinished_chain_that_proves_whole_is_ended_where_it_lies(tmp_path: Path) -> None:
    land(PageFolder(tmp_path), NOON, page({"a": 1}), is_whole=False)
    folder = PageFolder(tmp_path)

    landed = land(folder, NOON + timedelta(hours=1), page({"a": 1}))

    assert landed == []
    assert PageFolder(tmp_path).complete("costs", DAY) == Chain("costs", DAY, NOON)
    assert not list(tmp_path.glob(".*"))


def test_what_the_ledger_knows_counts_though_its_files_are_gone(tmp_path: Path) -> None:
    name = "openai/openai_costs/" + Chain("costs", DAY, NOON).page_name(1)

    folder = PageFolder(tmp_path / "none", [name])

    assert folder.complete("costs", DAY) == Chain("costs", DAY, NOON)
    assert len(land(folder, NOON + timedelta(hours=1), page({"a": 1}))) == 1
