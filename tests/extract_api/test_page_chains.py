"""Provider and payment APIs: every page lands as returned, once, and a killed run loses none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fixtures.api_pages import fill
from fixtures.api_server import NOON

SYSTEMS = ("openai", "anthropic", "stripe", "razorpay")


class KilledError(BaseException):
    """As if the process had been killed: nothing on its way out is tidied up."""


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_second_look_without_news_lands_nothing(system: str, server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", system)

    first = home.extract()
    landed = home.landed()
    second = home.extract()

    assert first.problems == second.problems == []
    assert sum(first.rows.values()) > 0
    assert sum(second.rows.values()) == 0
    assert home.landed() == landed
    assert home.gaps() == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_killed_at_any_request_and_run_again_lands_what_an_undisturbed_one_does(
    system: str, server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.landing.page_files import PageFolder

    fill(server)
    whole = make_home("whole", system)
    whole.extract()
    requests = len(server.asked)
    write = PageFolder.write

    files = len(whole.landed())
    for kill_at in (1, files // 2, files - 1):
        home = make_home(f"killed{kill_at}", system)
        written: list[int] = []

        def kill(
            folder: Any, *arguments: Any, at: int = kill_at, written: list[int] = written
        ) -> str:
            if len(written) == at:
                raise KilledError
            written.append(1)
            return write(folder, *arguments)

        monkeypatch.setattr(PageFolder, "write", kill)
        with pytest.raises(KilledError):
            home.extract()
        monkeypatch.setattr(PageFolder, "write", write)
        before = len(server.asked)
        home.extract()

        assert home.landed() == whole.landed()
        assert len(server.asked) - before <= requests


def test_the_next_run_goes_on_at_the_page_that_failed(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "stripe")
    # Five days, then the second page of the busy one.
    server.fail("/v1/events", "500", skip=5)

    failed = home.extract()
    server.heal()
    server.asked.clear()
    healed = home.extract()

    assert len(failed.problems) == 1
    assert "Stripe fails (500)" in failed.problems[0]
    assert healed.problems == []
    assert server.asked[0].path == "/v1/events"
    assert server.asked[0].get("starting_after") is not None
    assert home.gaps() == []


def test_a_day_that_changed_lands_again_and_others_do_not(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "openai")
    home.extract()
    before = home.landed()
    yesterday = NOON.date() - timedelta(days=1)
    server.buckets["costs"][yesterday][0]["amount"] = {"value": 9.75, "currency": "usd"}
    home.as_of = NOON + timedelta(days=1)
    server.now = home.as_of

    report = home.extract()

    fresh = sorted(set(home.landed()) - set(before))
    assert report.problems == []
    assert set(before) <= set(home.landed())
    assert [name for name in fresh if "/costs-20261104-20261105." in name] != []
    # Usage of the two days that ran on meanwhile is read again; what is equal is not kept again.
    assert all("20261104-20261105" in n or "20261105-" in n or "20261106-" in n for n in fresh)


def test_months_that_are_over_are_read_as_a_whole_and_days_since_then_one_by_one(
    server: Any, make_home: Any
) -> None:
    fill(server)
    home = make_home("home")
    home.configure(home.entry("anthropic", more="since: 2026-09-01"))

    home.extract()

    names = [name.partition("cost_report-")[2] for name in home.landed()]
    windows = sorted({name.partition(".")[0] for name in names if name})
    assert windows == [
        "20260901-20261001",
        "20261001-20261101",
        "20261101-20261102",
        "20261102-20261103",
        "20261103-20261104",
        "20261104-20261105",
    ]
