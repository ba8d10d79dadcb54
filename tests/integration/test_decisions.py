"""Requests beside records, calls charged twice, what reviewers decide, and what disputes become."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from integration.homes import Home, differing, query

from orchestration import cli

# One key per case, all of them in no owner table: an orphan_key each and month.
PINNED, GROWN, DATED, LATER, CAPPED, FAILING = (letter * 64 for letter in "abcdef")
FIRST_DAY, DECIDED, NEXT_DAY = 3, 10, 12
BULK = "charged_failure/hq/2026-10"
# A gateway that bills what it records, a tenth above the provider's cost.
KEY, PRICE, MARKUP = "9" * 64, Decimal("0.000002"), Decimal("0.1")
SEEDS = {
    "accounts": (
        "account_id,name,currency,time_zone,wallet_id\nhq,Head office,USD,UTC,\n"
        "shop,Shop,USD,Europe/Berlin,credits\n"
    ),
    "account_scopes": (
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,"
        "valid_from_date,valid_to_date\nhq,litellm,gateway,,,managed,rule,2026-01-01,\n"
        "shop,routic,gateway,,,managed,charge,2026-01-01,\n"
    ),
    "markup_rules": (
        "rule_id,account_id,markup_rate,valid_from_date\ntenth,shop,0.10,2026-01-01\n"
    ),
    "key_owners": (
        "api_key_id,team_id,cost_center,valid_from_date\n"
        + "9" * 64
        + ",team-shop,CC-1,2026-01-01\n"
    ),
    "wallets": (
        "wallet_id,currency,opening_balance,opening_at\ncredits,USD,100,2026-10-01T00:00:00Z\n"
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


def routed(name: str, at: str, **fields: Any) -> dict[str, Any]:
    """A call that the billing gateway logged: 1,000 tokens in, 100 out, at the right charge."""
    values = {
        "request_id": name,
        "timestamp": f"2026-10-{at}Z",
        "key_id": KEY,
        "key_name": "shop",
        "provider": "openai",
        "model": "m",
        "status": "success",
        "http_status": 200,
        "latency_s": 1,
        "streaming": False,
        "routing_mode": "auto",
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "cached_tokens": 0,
        **fields,
    }
    if "cost" not in values:
        used = values["prompt_tokens"] + values["completion_tokens"]
        values["cost"] = str(used * PRICE * (1 + MARKUP))
    return values


def asked(name: str, at: str, **fields: Any) -> dict[str, Any]:
    """The same call as its application logged it."""
    return {
        "request_id": name,
        "gateway": "routic",
        "model": "m",
        "occurred_at": f"2026-10-{at}Z",
        "api_key_id": KEY,
        "input_tokens": 1000,
        "output_tokens": 100,
        **fields,
    }


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FAILED: dict[str, Any] = {"status": "error", "http_status": 500, "completion_tokens": 0}


def as_csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


# What the gateway logged, and what was wrong with it.
ROUTED = [
    routed("good-0001", "05T10:00:00"),
    routed("other-id1", "05T10:10:00", prompt_tokens=1001),
    routed("tokens-01", "05T10:20:00", prompt_tokens=1100),
    routed("dear-0001", "05T10:30:00", prompt_tokens=1200, cost="0.01"),
    routed("twice-001", "05T11:00:00", prompt_tokens=1300),
    routed("twice-002", "05T11:00:40", prompt_tokens=1300),
    # On purpose, later and in another session.
    routed("twice-003", "05T11:02:00", prompt_tokens=1300),
    routed("unknown-1", "05T12:00:00", prompt_tokens=1400),
    routed(
        "failed-01", "05T13:00:00", status="error", http_status=500, completion_tokens=0, cost="0.5"
    ),
    routed(
        "failed-02",
        "05T13:10:00",
        status="error",
        http_status=500,
        completion_tokens=0,
        cost="0.25",
    ),
    routed(
        "failed-03",
        "05T13:20:00",
        status="error",
        http_status=500,
        completion_tokens=0,
        cost="0.125",
    ),
]
LATE = [routed("late-0001", "05T14:00:00", prompt_tokens=1500)]
ASKED = [
    asked("good-0001", "05T10:00:00"),
    asked("app-00001", "05T10:10:30", input_tokens=1001),
    asked("tokens-01", "05T10:20:00"),
    asked("dear-0001", "05T10:30:00", input_tokens=1200, expected_cost="0.00286"),
    asked("twice-001", "05T11:00:00", input_tokens=1300),
    asked("twice-003", "05T11:02:00", input_tokens=1300),
    asked("late-0001", "05T14:00:00", input_tokens=1500),
    asked("lost-0001", "05T15:00:00", input_tokens=1600),
    asked("failed-01", "05T13:00:00", status="failure", http_status=500),
    asked("failed-02", "05T13:10:00", status="failure", http_status=500),
    asked("failed-03", "05T13:20:00", status="failure", http_status=500),
]
REFUNDED = "transaction/wallet_transactions/refund-1"
REFUND = {
    "transaction_id": "refund-1",
    "wallet_id": "credits",
    "occurred_at": "2026-10-14T00:00:00Z",
    "type": "usage_refund",
    "amount": "0.5",
    "currency": "USD",
    "request_id": "failed-01",
}


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
    return {subject.removeprefix("litellm/"): found for subject, found in rows}


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
    text = (home.path / "tollbook.yml").read_text()
    source = "sources:\n  - {name: routic, kind: gateway_usage, gateway: routic, preset: routic}\n"
    (home.path / "tollbook.yml").write_text(text.replace("sources:\n", source, 1))
    home.drop("routic/first.csv", as_csv(ROUTED))
    home.drop("app_requests/october.jsonl", as_lines(ASKED))
    assert home.run().status == "published"

    known = ids(home)
    assert decide(home, "charged_failure/shop/2026-10", word="dispute", day=9) == cli.DONE
    assert decide(home, known["routic/failed-02/1"], word="write_off") == cli.DONE
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
    home.drop("decisions/by_hand.jsonl", as_lines(rows))
    news = [call(f"{key[:1]}-2", key, NEXT_DAY) for key in (GROWN, LATER)]
    home.drop("routic/late.csv", as_csv(LATE))
    home.drop("wallet_transactions/refunds.jsonl", as_lines([REFUND]))
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


def test_every_request_has_the_record_that_is_its_own(home: Home) -> None:
    rows = query(
        home.published,
        "select request_id, side, usage_record_id, match_method, match_status, likely_cause "
        "from marts.request_reconciliation where gateway = 'routic' order by side, request_id",
    )

    assert rows == [
        ("app-00001", "app", "routic/other-id1/1", "fingerprint", "matched", None),
        ("dear-0001", "app", "routic/dear-0001/1", "id", "cost_mismatch", "other_price"),
        ("failed-01", "app", "routic/failed-01/1", "id", "matched", None),
        ("failed-02", "app", "routic/failed-02/1", "id", "matched", None),
        ("failed-03", "app", "routic/failed-03/1", "id", "matched", None),
        ("good-0001", "app", "routic/good-0001/1", "id", "matched", None),
        ("late-0001", "app", "routic/late-0001/1", "id", "matched", None),
        ("lost-0001", "app", None, None, "missing_usage", "record_lost"),
        ("tokens-01", "app", "routic/tokens-01/1", "id", "token_mismatch", "other_tokenizer"),
        ("twice-001", "app", "routic/twice-001/1", "id", "matched", None),
        ("twice-003", "app", "routic/twice-003/1", "id", "matched", None),
        ("twice-002", "usage", "routic/twice-002/1", None, "missing_app_log", "not_logged_by_app"),
        ("unknown-1", "usage", "routic/unknown-1/1", None, "missing_app_log", "not_logged_by_app"),
    ]


def test_what_is_wrong_with_charges_is_raised_with_its_amount(home: Home) -> None:
    rows = query(
        home.published,
        "select exception_type, subject_id, amount_at_stake from marts.exceptions "
        "where account_id = 'shop' and exception_type in ('cost_mismatch', 'missing_usage_record', "
        "'suspected_double_charge', 'free_tier_mismatch', 'token_mismatch') order by all",
    )

    charge = PRICE * (1 + MARKUP)
    assert rows == [
        ("cost_mismatch", "routic/m/2026-10-05", Decimal("0.01") - 1300 * charge),
        ("missing_usage_record", "routic/lost-0001", 1700 * PRICE),
        ("suspected_double_charge", "routic/twice-002/1", 1400 * charge),
        # A recorded charge has no markup of ours on it.
        ("token_mismatch", "routic/tokens-01", 100 * PRICE),
    ]


def test_disputes_are_followed_to_their_credit(home: Home) -> None:
    rows = query(
        home.published,
        "select request_id, reason, charged_amount, claimed_amount, state, "
        "cast(opened_at as varchar), cast(due_at as varchar), recovered_amount, credit_reference "
        "from marts.disputes where account_id = 'shop' order by request_id nulls last",
    )

    opened = ("2026-10-09 09:00:00", "2026-10-14 09:00:00")
    unopened = ("candidate", None, None, None, None)
    charge = PRICE * (1 + MARKUP)
    over, half = Decimal("0.01") - 1300 * charge, Decimal("0.5")
    assert rows == [
        ("dear-0001", "price", Decimal("0.01"), over, *unopened),
        ("failed-01", "charged_failure", half, half, "won", *opened, half, REFUNDED),
        ("failed-02", "charged_failure", half / 2, half / 2, "written_off", *unopened[1:]),
        ("failed-03", "charged_failure", half / 4, half / 4, "lost", *opened, None, None),
        ("tokens-01", "token_mismatch", 1200 * charge, 100 * PRICE, *unopened),
        ("twice-002", "duplicate", 1400 * charge, 1400 * charge, *unopened),
        (None, "price", Decimal("0.01"), over, *unopened),
    ]


def test_news_and_a_whole_build_end_in_the_same_marts(home: Home) -> None:
    before = home.marts()

    home.load_and_build(full_refresh=True)

    assert differing(before, home.marts()) == []
