"""Gateway logs: allow-listed rows land once; spans that hold too much are halved."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from fixtures.api_pages import fill_gateways
from fixtures.api_server import NOON

LOGS = ("litellm", "cloudflare")
ROWS = {"litellm": "spend_logs", "cloudflare": "gateway_logs"}


def landed_rows(home: Any) -> list[dict[str, Any]]:
    folder = home.folder / "data" / "landing"
    return [
        json.loads(line)
        for path in sorted(folder.rglob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def ids(home: Any) -> list[str]:
    return sorted(row.get("request_id") or row["id"] for row in landed_rows(home))


def all_ids(server: Any, system: str) -> list[str]:
    return sorted(row.get("request_id") or row["id"] for row in getattr(server, ROWS[system]))


@pytest.mark.parametrize("system", LOGS)
def test_every_row_lands_once_and_a_second_look_lands_nothing(
    system: str, server: Any, make_home: Any
) -> None:
    fill_gateways(server)
    home = make_home("home", system)

    first, second = home.extract("sync"), home.extract("sync")

    assert first.problems == second.problems == []
    assert ids(home) == all_ids(server, system)
    assert second.files == []


@pytest.mark.parametrize("system", LOGS)
def test_nothing_but_allow_listed_fields_lands(system: str, server: Any, make_home: Any) -> None:
    fill_gateways(server)
    home = make_home("home", system)

    home.extract("sync")

    folder = home.folder / "data"
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    # What is looked for can be found: the server has it, and so would a file that kept it.
    assert "CANARY-PROMPT-7f3a" in json.dumps(getattr(server, ROWS[system]))
    assert b"checkout" in kept
    assert b"CANARY" not in kept
    assert b"192.0.2.77" not in kept


@pytest.mark.parametrize("system", LOGS)
def test_beside_the_rows_stands_what_was_received(system: str, server: Any, make_home: Any) -> None:
    fill_gateways(server)
    home = make_home("home", system)

    home.extract("sync")

    (note,) = (home.folder / "data" / "landing").rglob(".*.note")
    said = json.loads(note.read_text())
    assert said["received_rows"] >= len(getattr(server, ROWS[system]))
    assert len(said["received_sha256"]) == 64


def test_a_span_whose_count_is_cut_off_is_halved_until_it_is_whole(
    server: Any, make_home: Any
) -> None:
    fill_gateways(server)
    server.spend_log_cap = 7
    home = make_home("home", "litellm")

    report = home.extract("sync")

    assert report.problems == []
    assert ids(home) == all_ids(server, "litellm")
    spans = [
        datetime.fromisoformat(each.get("end_date"))
        - datetime.fromisoformat(each.get("start_date"))
        for each in server.asked[1:]
    ]
    assert min(spans) < timedelta(hours=2) < max(spans)


def test_more_rows_in_a_second_than_can_be_asked_for_are_named(server: Any, make_home: Any) -> None:
    fill_gateways(server)
    server.spend_log_cap = 7
    second = (NOON - timedelta(hours=1)).isoformat(timespec="milliseconds")
    for number, row in enumerate(server.spend_logs[:12]):
        row["startTime"] = second
        row["request_id"] = f"dense-{number}"
    home = make_home("home", "litellm")

    report = home.extract("sync")

    assert report.problems
    assert all("fewer rows than it counts" in line for line in report.problems)
    assert ("litellm", "spend_logs", "incomplete") in home.gaps()
    # What could be asked for is kept, and what lies behind it is read.
    assert set(all_ids(server, "litellm")) - set(ids(home)) <= {f"dense-{n}" for n in range(12)}


def test_rows_that_come_late_are_found_by_the_re_read(server: Any, make_home: Any) -> None:
    fill_gateways(server)
    late = server.spend_logs.pop(0)
    home = make_home("home", "litellm")
    home.extract("sync")
    server.spend_logs.append(late)
    home.as_of = NOON + timedelta(minutes=5)

    report = home.extract("sync")

    assert report.rows["litellm_spend_logs"] == 1
    assert ids(home) == all_ids(server, "litellm")


@pytest.mark.parametrize("system", LOGS)
def test_a_run_that_fails_lands_what_it_read_and_the_next_goes_on(
    system: str, server: Any, make_home: Any
) -> None:
    fill_gateways(server)
    path = {"litellm": "/spend/logs", "cloudflare": "/client/v4"}[system]
    whole = make_home("whole", system)
    whole.extract("sync")
    home = make_home("home", system)
    server.fail(path, "500", skip=6)

    failed = home.extract("sync")
    some = len(ids(home))
    gaps = home.gaps()
    server.heal()
    healed = home.extract("sync")

    assert len(failed.problems) == 1
    assert "(500)" in failed.problems[0]
    assert 0 < some < len(ids(home))
    assert len(gaps) == 1
    assert healed.problems == []
    assert home.gaps() == []
    assert sorted(map(json.dumps, landed_rows(home))) == sorted(map(json.dumps, landed_rows(whole)))


def test_activity_lands_by_the_day_and_credits_when_they_changed(
    server: Any, make_home: Any
) -> None:
    fill_gateways(server)
    home = make_home("home")
    home.configure(home.entry("openrouter", more="interval: 1h"))

    first = home.extract()
    server.credits["total_usage"] = 26.5
    second = home.extract()
    third = home.extract()

    assert first.problems == second.problems == []
    assert first.rows == {"openrouter_activity": 30, "openrouter_credits": 1}
    assert second.rows == {"openrouter_credits": 1}
    assert third.rows == {}
    home.load()
    assert home.query(
        "select total_credits, total_usage from raw.openrouter__credits order by 2"
    ) == [
        (100.5, 25.75),
        (100.5, 26.5),
    ]


def test_generations_are_asked_for_by_the_ids_that_other_records_name(
    server: Any, make_home: Any
) -> None:
    fill_gateways(server)
    home = make_home("home", "litellm", "generations")
    steps = home.steps()
    steps.extract(depth="hourly")
    home.load()
    server.asked.clear()

    _, report = home.steps().extract(depth="hourly").sources
    _, again = home.steps().extract(depth="hourly").sources

    assert report.problems == []
    assert report.rows == {"openrouter_generations": 5}
    # The sixth is not there yet: it is asked for again, the others are not.
    assert again.rows == {"openrouter_generations": 0}
    assert [each.get("id") for each in server.asked if "generation" in each.path][-1] == (
        "gen-5-made-up"
    )
    assert ("generations", "generations", "not_found") in home.gaps()
    folder = home.folder / "data" / "landing" / "generations"
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"gen-4-made-up" in kept
    assert b"CANARY" not in kept
