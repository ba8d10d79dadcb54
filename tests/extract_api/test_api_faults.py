"""APIs that fail: one clear line, a gap in audit, the others go on, the next run reads it all."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import stamina
from fixtures.api_pages import fill
from fixtures.api_server import KEYS, NOON

from orchestration.landing import extract_pages
from orchestration.sources import http_client
from orchestration.sources.http_client import read_retry_after

PATHS = {
    "openai": "/v1/organization/costs",
    "anthropic": "/v1/organizations/cost_report",
    "stripe": "/v1/events",
    "razorpay": "/v1/payments",
    "litellm": "/spend/logs/v2",
    "openrouter": "/api/v1/activity",
    "cloudflare": "/client/v4/accounts",
}
NAMES = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "stripe": "Stripe",
    "razorpay": "Razorpay",
    "litellm": "LiteLLM",
    "openrouter": "OpenRouter",
    "cloudflare": "Cloudflare",
}
# (fault, code of the gap, words of the line: what happened and what to do)
FAULTS = {
    "401": ("unauthorized", ("refuses the key (401)", "api_key")),
    "403": ("forbidden", ("may not read this (403)",)),
    "429": ("too_many_requests", ("fewer requests (429)", "next run")),
    "500": ("unavailable", ("fails (500)", "next run")),
    "timeout": ("unavailable", ("does not answer in time", "next run")),
    "cut": ("unavailable", ("connection was cut", "next run")),
    "not_json": ("not_json", ("no JSON object", "base_url")),
    "list": ("not_json", ("no JSON object", "base_url")),
    "reshaped": ("changed_shape", ("a page",)),
}


def assert_clear(lines: list[str], system: str, words: tuple[str, ...]) -> None:
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    assert "CANARY" not in lines[0]
    assert all(word in lines[0] for word in words), lines[0]


# What happens on the way is met by the one client; what an answer means, by each system's own part.
ON_THE_WAY = ("timeout", "cut", "not_json", "list")
CASES = [
    (system, kind)
    for system in PATHS
    for kind in FAULTS
    if kind not in ON_THE_WAY or system in ("openai", "cloudflare")
]


@pytest.mark.parametrize(("system", "kind"), CASES)
def test_every_fault_is_one_line_and_a_gap_and_the_next_run_reads_it_all(
    system: str, kind: str, server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "READ_SECONDS", 0.3)
    fill(server)
    code, words = FAULTS[kind]
    home = make_home("home", system)
    home.configure(home.entry(system, more="since: 2026-11-03"))
    server.fail(PATHS[system], kind)

    failed = home.extract()
    gaps = home.gaps()
    server.heal()
    healed = home.extract()
    again = home.extract()

    assert_clear(failed.problems, system, words)
    assert NAMES[system] in failed.problems[0] or kind == "reshaped"
    assert {gap[2] for gap in gaps} == {code}
    assert healed.problems == []
    assert sum(healed.rows.values()) > 0
    assert home.gaps() == []
    assert again.files == []


@pytest.mark.parametrize("kind", ["429", "500", "timeout", "cut", "not_json"])
def test_a_fault_that_passes_is_tried_again_and_never_told(
    kind: str, server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "READ_SECONDS", 0.3)
    fill(server)
    home = make_home("home", "razorpay")
    server.fail("/v1/payments", kind, times=2)

    report = home.extract()

    assert report.problems == []
    assert server.paths()[:3] == ["/v1/payments"] * 3


def test_one_source_that_fails_does_not_stop_the_others(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "openai", "stripe")
    server.fail("/v1/organization/", "401")

    openai, stripe = home.steps().extract().sources

    assert len(openai.problems) == 1
    assert server.paths().count("/v1/organization/usage/completions") == 1
    assert stripe.problems == []
    assert stripe.rows["stripe"] > 0
    assert home.query(
        "select step, status from audit.runs where step like 'extract %' order by step"
    ) == [("extract openai", "failed"), ("extract stripe", "done")]


def test_a_list_that_may_not_be_read_does_not_stop_the_others(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "openai")
    server.fail("/v1/organization/costs", "403")

    report = home.extract()

    assert_clear(report.problems, "openai", ("costs", "OpenAI", "(403)", "permission"))
    assert report.rows["openai_usage"] > 0
    assert "openai_costs" not in report.rows


# ---------------------------------------------------------------- pauses


def test_a_pause_in_seconds_is_kept(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "stripe")
    server.fail("/v1/events", "429", times=1, headers={"Retry-After": "0.4"})

    with stamina.set_testing(False):
        report = home.extract()

    first, second = (each.at for each in server.asked[:2])
    assert report.problems == []
    assert second - first >= 0.4


def test_a_pause_until_a_moment_is_kept(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "stripe")
    headers = {
        "Date": "Thu, 05 Nov 2026 12:00:00 GMT",
        "Retry-After": "Thu, 05 Nov 2026 12:00:01 GMT",
    }
    server.fail("/v1/events", "503", times=1, headers=headers)

    with stamina.set_testing(False):
        report = home.extract()

    first, second = (each.at for each in server.asked[:2])
    assert report.problems == []
    assert second - first >= 0.9


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "-7"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e400"}, 1e9),
        (
            {
                "date": "Thu, 05 Nov 2026 12:00:00 GMT",
                "retry-after": "Thu, 05 Nov 2026 12:01:30 GMT",
            },
            90,
        ),
        # Without the server's own clock there is nothing to compare with.
        ({"retry-after": "Thu, 05 Nov 2026 12:01:30 GMT"}, None),
    ],
)
def test_pauses_are_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    found = read_retry_after(headers)

    assert found == (None if seconds is None else timedelta(seconds=seconds))


def test_a_pause_that_is_too_long_is_left_to_the_next_run(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home", "anthropic")
    server.fail("/v1/organizations", "429", headers={"Retry-After": "3600"})
    begun = time.monotonic()

    with stamina.set_testing(False):
        report = home.extract()

    assert_clear(report.problems, "anthropic", ("(429)", "3600 s", "next run"))
    assert len(server.asked) == 1
    assert time.monotonic() - begun < 20


def test_the_pace_is_kept(server: Any, make_home: Any) -> None:
    fill(server)
    home = make_home("home")
    home.configure(home.entry("anthropic", more="since: 2026-11-04").replace("600000", "600"))

    home.extract()

    times = [each.at for each in server.asked]
    assert len(times) >= 2
    # As the server sees it: the way there takes now a little more, now a little less.
    assert times[-1] - times[0] >= 0.1 * (len(times) - 1) - 0.05


# ---------------------------------------------------------------- chains and windows


@pytest.mark.parametrize("system", ["openai", "anthropic"])
def test_a_page_that_leads_back_is_not_followed(
    system: str, server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server)
    server.repeats_tokens = server.never_ends = True
    home = make_home("home", system)

    failed = home.extract()
    asked = len(server.asked)
    gaps = home.gaps()
    server.heal()
    healed = home.extract()

    assert failed.problems
    assert all("leads back to a page" in line for line in failed.problems)
    assert {gap[2] for gap in gaps} == {"repeated_page"}
    assert asked < 100
    assert healed.problems == []
    assert home.gaps() == []


def test_a_chain_that_never_ends_meets_its_bound_and_costs_no_landing_later(
    server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_pages, "DAY_PAGES", 4)
    fill(server)
    server.never_ends = True
    home = make_home("home")
    home.configure(home.entry("anthropic", more="since: 2026-11-04"))

    failed = home.extract()
    landed = home.landed()
    gaps = home.gaps()
    asked = len(server.asked)
    still = home.extract()
    server.heal()
    home.as_of = server.now = NOON + timedelta(days=1)
    healed = home.extract()

    assert all("never ends" in line for line in failed.problems)
    assert {gap[2] for gap in gaps} == {"endless"}
    # Known to have no end, it is not even asked for again until the daily re-read.
    assert len(still.problems) == len(failed.problems)
    assert asked <= 2 * 4 + 2
    assert len([name for name in landed if name.endswith(".json")]) <= 2 * 4
    assert healed.problems == []
    assert home.gaps() == []


def test_a_page_too_dense_is_asked_for_in_smaller_ones(server: Any, make_home: Any) -> None:
    fill(server)
    server.most_days_a_page = 5
    home = make_home("home")
    home.configure(home.entry("anthropic", more="since: 2026-10-01"))

    report = home.extract()

    assert report.problems == []
    limits = {each.get("limit") for each in server.asked}
    assert limits == {"31", "15", "7", "3"}
    pages = [n for n in home.landed() if "cost_report-20261001-20261101" in n and "__p" in n]
    assert len(pages) == 11


def test_a_day_too_dense_is_named_and_read_once_it_is_not(server: Any, make_home: Any) -> None:
    fill(server)
    server.most_days_a_page = 0
    home = make_home("home", "anthropic")

    failed = home.extract()
    codes = {gap[2] for gap in home.gaps()}
    server.heal()
    healed = home.extract()

    assert failed.problems
    assert all("too much on one page" in line for line in failed.problems)
    assert codes == {"too_dense"}
    assert (healed.problems, home.gaps()) == ([], [])


def test_a_window_refused_as_too_old_is_a_gap_for_good_and_not_asked_for_again(
    server: Any, make_home: Any
) -> None:
    fill(server)
    server.oldest = date(2026, 11, 3)
    home = make_home("home")
    home.configure(home.entry("openai", more="since: 2026-11-01"))

    first = home.extract()
    server.asked.clear()
    second = home.extract()

    assert first.problems == second.problems == []
    assert any("nothing as old as" in note for note in first.notes)
    assert {code for _, _, code in home.gaps()} == {"too_old"}
    starts = {int(each.get("start_time")) for each in server.asked}
    oldest = datetime(2026, 11, 3, tzinfo=UTC).timestamp()
    assert min(starts) >= oldest
    assert first.rows["openai_costs"] > 0


def test_activity_that_is_gone_is_lost_for_ever_and_said_so_once(
    server: Any, make_home: Any
) -> None:
    fill(server)
    home = make_home("home")
    home.configure(home.entry("openrouter", more="interval: 24h"))
    # Its midnight has passed, ours is still to come.
    server.now = NOON + timedelta(days=1)

    first = home.extract()
    second = home.extract()

    assert first.problems == second.problems == []
    assert first.notes == [
        "openrouter: activity 2026-10-06: OpenRouter keeps 30 days; 2026-10-06 is gone and cannot "
        "be had"
    ]
    assert second.notes == []
    assert home.gaps() == [("openrouter", "activity", "too_old")]
    assert first.rows["openrouter_activity"] == 29


def test_costs_from_before_keys_were_told_are_asked_for_without_them(
    server: Any, make_home: Any
) -> None:
    home = make_home("home")
    home.configure(home.entry("openai", more="since: 2025-11-01"))

    report = home.extract()

    assert report.problems == []
    groups = {
        each.get("start_time"): [v for k, v in each.params if k == "group_by[]"]
        for each in server.asked
        if each.path.endswith("/costs")
    }
    assert "api_key_id" not in groups[min(groups)]
    assert "api_key_id" in groups[max(groups)]


# ---------------------------------------------------------------- addresses and keys


def test_an_address_where_nothing_answers_is_named(make_home: Any, server: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = make_home("home")
    entry = home.entry("openai").replace(server.url, f"http://127.0.0.1:{port}")
    home.configure(entry)

    report = home.extract()

    assert_clear(report.problems, "openai", ("nothing answers there", "base_url"))


@pytest.mark.parametrize(
    ("key", "said"),
    [("sk-CANARY with spaces", "holds a space"), ("sk-CANARY-é", "no header can carry")],
)
def test_a_key_that_cannot_be_sent_is_named_without_it(
    key: str, said: str, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home("home", "openai")
    monkeypatch.setenv("TOLLBOOK_TEST_OPENAI", key)

    report = home.extract()

    assert_clear(report.problems, "openai", (said,))


def test_a_razorpay_key_has_two_parts(make_home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home("home", "razorpay")
    monkeypatch.setenv("TOLLBOOK_TEST_RAZORPAY", "rzp_live_CANARY")

    assert_clear(home.extract().problems, "razorpay", ("KEY_ID:KEY_SECRET",))


def test_a_redirect_is_not_followed(server: Any, make_home: Any) -> None:
    home = make_home("home", "stripe")
    server.fail("/v1/events", "302", headers={"Location": "http://127.0.0.1:9/CANARY"})
    server.fail("/v1/balance", "302", headers={"Location": "http://127.0.0.1:9/CANARY"})

    report = home.extract()

    assert report.problems
    assert all("sends us elsewhere (302)" in line for line in report.problems)
    assert not any("CANARY" in line for line in report.problems)


# ---------------------------------------------------------------- secrets


def everything_kept(home: Any) -> bytes:
    folder = home.folder / "data"
    return b"".join(
        path.as_posix().encode() + path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


@pytest.mark.parametrize("kind", ["none", "401", "403", "500", "echo", "not_json", "cut"])
def test_no_key_is_ever_written_said_or_raised(
    kind: str,
    server: Any,
    make_home: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    fill(server)
    home = make_home("home", *PATHS)
    if kind != "none":
        server.fail("/", kind, skip=3)
    said: list[str] = []

    steps = home.steps(said.append)
    report = steps.extract()
    steps.load()

    told = capfd.readouterr()
    lines = [*said, *report.problems, told.out, told.err, caplog.text]
    kept = everything_kept(home)
    for key in KEYS.values():
        for secret in key.split(":"):
            assert secret.encode() not in kept
            assert not any(secret in line for line in lines)
    # Keys are in the address of no request either: they travel in headers alone.
    assert not any("CANARY" in value for each in server.asked for _, value in each.params)


def test_the_search_for_keys_finds_one_where_it_stands(make_home: Any, server: Any) -> None:
    fill(server)
    home = make_home("home", "stripe")
    home.extract()
    (path, *_) = sorted((home.folder / "data" / "landing").rglob("*.json"))

    path.write_bytes(path.read_bytes() + KEYS["stripe"].encode())

    assert KEYS["stripe"].encode() in everything_kept(home)


def test_an_error_carries_no_request_with_it(server: Any) -> None:
    access = http_client.Access(
        system="OpenAI",
        base_url=server.url,
        headers=http_client.bearer(KEYS["openai"]),
        secrets=(KEYS["openai"],),
        pace=timedelta(0),
        key_fix="",
        permission_fix="",
    )
    server.fail("/v1/organization", "cut")

    with (
        http_client.HttpClient(access) as client,
        pytest.raises(http_client.UnavailableError) as raised,
    ):
        client.get("/v1/organization/costs")

    seen: BaseException | None = raised.value
    while seen is not None:
        assert not hasattr(seen, "request")
        assert "CANARY" not in repr(seen) + repr(vars(seen))
        seen = seen.__cause__ or seen.__context__


def test_the_settings_of_a_process_do_not_make_httpx_talkative(server: Any) -> None:
    code = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "from datetime import timedelta\n"
        "from orchestration.sources.http_client import *\n"
        f"key = {KEYS['openai']!r}\n"
        f"access = Access('OpenAI', {server.url!r}, bearer(key), (key,), timedelta(0), '', '')\n"
        "try:\n    HttpClient(access, attempts=1).get('/v1/organization/costs')\n"
        "except Exception as error:\n    print(repr(error))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "refuses the request" in done.stdout
    assert "CANARY" not in done.stdout + done.stderr
