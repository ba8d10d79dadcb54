"""`tollbook doctor` and APIs: every key and permission is tried, and nothing is landed."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.api_pages import fill

from orchestration.cli import invoke
from orchestration.landing.examine import Finding, Verdict, examine_sources

LISTS = {
    "openai": 12,
    "anthropic": 2,
    "stripe": 2,
    "razorpay": 3,
    "openrouter": 2,
    "generations": 1,
    "litellm": 1,
    "cloudflare": 1,
}


def examine(home: Any) -> list[Finding]:
    return list(examine_sources(home.runtime()))


@pytest.mark.parametrize("system", LISTS)
def test_an_api_that_can_be_read_is_ok_and_nothing_is_landed(
    system: str, server: Any, make_home: Any
) -> None:
    fill(server)
    home = make_home("home", system)

    said = [each for each in examine(home) if "does not read kind" not in each.text]

    assert [each.verdict for each in said] == [Verdict.ok]
    assert f"answers; {LISTS[system]} of {LISTS[system]} lists" in said[0].text
    assert home.landed() == {}


@pytest.mark.parametrize("system", LISTS)
def test_a_key_that_is_refused_is_one_line(
    system: str, server: Any, make_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home("home", system)
    owner = "openrouter" if system == "generations" else system
    monkeypatch.setenv(f"TOLLBOOK_TEST_{owner.upper()}", "CANARY-wrong:CANARY-key")

    said = [each for each in examine(home) if each.verdict is Verdict.failed]

    assert len(said) == 1
    assert "refuses the key (401)" in said[0].text
    assert "api_key" in said[0].text
    assert "CANARY" not in said[0].text
    assert "next run" not in said[0].text


def test_a_permission_that_is_missing_is_named_and_the_others_are_tried(
    server: Any, make_home: Any
) -> None:
    home = make_home("home", "razorpay")
    server.fail("/v1/refunds", "403")

    said = [each for each in examine(home) if each.verdict is Verdict.failed]

    assert len(said) == 1
    assert said[0].text.startswith("refunds: Razorpay: the key may not read this (403)")
    assert len(server.asked) == 3


def test_the_command_fails_and_says_no_key(
    server: Any, make_home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home("home", "stripe")
    server.fail("/v1/", "401")
    config, data = str(home.folder / "tollbook.yml"), str(home.folder / "data")

    code = invoke(["doctor", "--config", config, "--home", data])

    said = capsys.readouterr()
    assert code == 1
    assert "failed   stripe: Stripe refuses the key (401); set api_key" in said.out
    assert "CANARY" not in said.out + said.err
