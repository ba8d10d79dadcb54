"""Exceptions that reviewers decide, by command and by file, and that open again on new evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from integration.homes import Home, query

from orchestration import cli

# One key per case, all of them in no owner table: an orphan_key each and month.
PINNED, GROWN, DATED, LATER, CAPPED, FAILING = (letter * 64 for letter in "abcdef")
FIRST_DAY, DECIDED, NEXT_DAY = 3, 10, 12
BULK = "charged_failure/hq/2026-10"
SEEDS = {
    "accounts": "account_id,name,currency,time_zone\nhq,Head office,USD,UTC\n",
    "account_scopes": (
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,"
        "valid_from_date,valid_to_date\nhq,litellm,gateway,,,managed,rule,2026-01-01,\n"
    ),
    "teams": "team_id,team_name,cost_center\nteam-shop,Shop,CC-1\n",
}


def call(name: str, key: str, day: int, **fields: Any) -> dict[str, Any]:
    moment = f"2026-10-{day:02d}T16:00:00+00:00"
    return {
        "request_id": name,
        "call_type": "acompletion",
        "api_key": key,
        "spend": 0.002,
        "prompt_tokens": 1000,
        "completion_tokens": 0,
        "total_tokens": 1000,
        "startTime": moment,
        "endTime": moment,
        "model": "m",
        "custom_llm_provider": "openai",
        "status": "success",
        "team_id": "team-shop",
        "metadata": {},
        **fields,
    }


def failure(name: str, day: int = FIRST_DAY) -> dict[str, Any]:
    return call(name, FAILING, day, status="failure", prompt_tokens=0, total_tokens=0)


def decision(number: int, subject: str, word: str, **fields: str) -> dict[str, str]:
    """A row of a file that a person wrote: it says nothing of the evidence."""
    return {
        "decision_id": f"hand-{number}",
        "subject_type": "exception",
        "subject_id": subject,
        "decision": word,
        "owner": "finance",
        "decided_at": f"2026-10-{DECIDED:02d}T18:00:00Z",
        **fields,
    }


def tollbook(home: Home, *arguments: str, day: int = DECIDED) -> int:
    options = ["--config", str(home.path / "tollbook.yml"), "--home", str(home.path)]
    return cli.invoke([*options, "--as-of", f"2026-10-{day:02d}T09:00:00Z", *arguments])


def decide(home: Home, *subjects: str, word: str, day: int = DECIDED) -> int:
    said = ["--decision", word, "--owner", "finance", "--ticket", "FIN-1"]
    return tollbook(home, "decide", *subjects, *said, day=day)


def landed(home: Home) -> list[dict[str, str]]:
    files = sorted((home.path / "landing" / "decisions").glob("decide-*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def ids(home: Home) -> dict[str, str]:
    rows = query(home.published, "select subject_id, exception_id from marts.exceptions")
    return {subject.partition("litellm/")[2] or subject: found for subject, found in rows}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Published once with every case, decided, and published again with news."""
    home = Home.create(tmp_path_factory.mktemp("decisions") / "home")
    for seed in (home.path / "seeds").glob("*.csv"):
        if seed.stem not in ("unit_types", "provider_line_items"):
            seed.unlink()
    for name, text in SEEDS.items():
        (home.path / "seeds" / f"{name}.csv").write_text(text)
    prices = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-06}
    home.drop_prices("20260901", {"m": {**prices, "output_cost_per_token": 2e-06}})
    calls = [call(f"{key[:1]}-1", key, FIRST_DAY) for key in (PINNED, GROWN, DATED, LATER, CAPPED)]
    home.drop_rows("first.jsonl", [*calls, *(failure(f"fail-{n}") for n in range(1, 6))])
    assert home.run().status == "published"

    known = ids(home)
    assert decide(home, known[PINNED][:8], known[GROWN], word="approve") == cli.DONE
    assert decide(home, BULK, word="write_off") == cli.DONE
    rows = [
        decision(1, known[DATED], "approve"),
        decision(2, known[LATER], "approve"),
        decision(3, known[CAPPED], "cap"),
        # The last word counts, whatever its id and wherever it stands.
        decision(5, known["fail-2/1"], "investigate", decided_at="2026-10-11T00:00:00Z"),
        decision(4, known["fail-2/1"], "dispute"),
        decision(9, known["fail-3/1"], "dispute", valid_to_date="2026-10-03"),
        decision(8, known["fail-4/1"], "change_quota"),
        decision(7, known["fail-5/1"], "dispute", valid_to_date="2026-10-04"),
        decision(6, "0" * 32, "approve"),
    ]
    home.drop("decisions/by_hand.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    news = [call(f"{key[:1]}-2", key, NEXT_DAY) for key in (GROWN, LATER)]
    home.drop_rows("news.jsonl", [*news, failure("fail-6", NEXT_DAY), failure("fail-7")])
    assert home.run().status == "published"
    return home


def state(home: Home, subject: str) -> tuple[Any, ...]:
    ((status, word, decision_id),) = query(
        home.published,
        "select status, decision, decision_id from marts.exceptions where exception_id = ?",
        [ids(home)[subject]],
    )
    return status, word, decision_id and decision_id[:6]


def test_a_decision_by_command_holds_until_the_evidence_changes(home: Home) -> None:
    assert state(home, PINNED) == ("decided", "approve", "decide")
    assert state(home, GROWN) == ("open", None, None)


def test_a_decision_by_file_is_about_what_began_until_its_day(home: Home) -> None:
    assert state(home, DATED) == ("decided", "approve", "hand-1")
    assert state(home, LATER) == ("open", None, None)


def test_only_approve_write_off_and_dispute_release_what_blocks(home: Home) -> None:
    assert state(home, CAPPED) == ("open", "cap", "hand-3")
    assert state(home, "fail-4/1") == ("decided", "change_quota", "hand-8")


def test_the_last_decision_that_holds_counts(home: Home) -> None:
    assert state(home, "fail-2/1") == ("open", "investigate", "hand-5")
    # Its valid_to_date came before the call: what was decided in bulk holds.
    assert state(home, "fail-3/1") == ("decided", "write_off", "decide")
    assert state(home, "fail-5/1") == ("decided", "dispute", "hand-7")


def test_a_decision_in_bulk_covers_what_was_there(home: Home) -> None:
    assert state(home, "fail-1/1") == ("decided", "write_off", "decide")
    # One began later, one earlier and was loaded later: nobody saw either.
    assert state(home, "fail-6/1") == ("open", None, None)
    assert state(home, "fail-7/1") == ("open", None, None)


def test_the_same_command_twice_decides_once(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = ids(home)["fail-6/1"]
    files = len(landed(home))

    assert decide(home, subject, word="dispute", day=14) == cli.DONE
    assert decide(home, subject, word="dispute", day=15) == cli.DONE
    assert len(landed(home)) == files + 1
    assert "known    dispute: charged_failure of litellm/fail-6/1" in capsys.readouterr().out

    assert decide(home, subject, word="approve", day=15) == cli.DONE
    assert decide(home, subject, word="dispute", day=15) == cli.DONE
    mine = [row for row in landed(home) if row["subject_id"] == subject]
    assert [row["decision"] for row in sorted(mine, key=lambda row: row["decision_id"])] == [
        "dispute",
        "approve",
        "dispute",
    ]
    for path in (home.path / "landing" / "decisions").glob("decide-*T090000Z-*.jsonl"):
        if "20261010" not in path.name:
            path.unlink()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["abc"], "SUBJECT 'abc': expected an exception_id"),
        (["0000000000"], "no published exception begins so"),
        (["orphan_key/nobody/2026-10"], "published: orphan_key/hq/2026-10"),
        (["orphan_key/hq/2026-13"], "expected <exception_type>/<account>/<YYYY-MM>"),
        (["invoice/openai/1"], "SUBJECT 'invoice/openai/1': none is published"),
        (["period/hq/2025-01"], "none is published"),
        (["api_key/sk-thisisnotloggedanywhere"], "SUBJECT 'api_key/"),
        (["orphan_key/hq/2026-10", "--decision", "perhaps"], "--decision: expected one of approve"),
        (["orphan_key/hq/2026-10", "--amount", "1"], "--amount: add --currency"),
        (["orphan_key/hq/2026-10", "--owner", "sk-abcdefghijklmnop"], "--owner: expected a name"),
        (["orphan_key/hq/2026-10", "--valid-to", "soon"], "--valid-to soon: expected a date"),
    ],
)
def test_what_cannot_be_decided_is_said_in_one_line(
    home: Home, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    before = landed(home)
    given = ["--decision", "approve", "--owner", "finance", "--ticket", "FIN-1"]

    code = tollbook(home, "decide", *given, *arguments)

    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (cli.WRONG_USE, 1)
    assert complaint in said
    assert "sk-" not in said
    assert landed(home) == before


def test_other_things_than_exceptions_are_decided_by_their_ids(home: Home) -> None:
    subjects = ("period/hq/2026-10", f"api_key/{PINNED}")

    assert decide(home, *subjects, word="approve", day=20) == cli.DONE

    (path,) = (home.path / "landing" / "decisions").glob("decide-20261020*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    assert [(row["subject_type"], row["subject_id"]) for row in rows] == [
        ("period", "hq/2026-10"),
        ("api_key", PINNED),
    ]


def test_status_counts_open_and_decided_apart(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    ((opened, decided),) = query(
        home.published,
        "select count(*) filter (status = 'open'), count(*) filter (status = 'decided') "
        "from marts.exceptions",
    )

    tollbook(home, "status")

    assert f"Exceptions: {opened} open, {decided} decided" in capsys.readouterr().out


def test_decisions_hold_whatever_is_built(home: Home) -> None:
    before = home.marts()

    home.load_and_build(full_refresh=True)

    assert home.marts() == before
