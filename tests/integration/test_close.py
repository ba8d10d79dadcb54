"""A month from its refusal to its packet, what comes late for it, and a rebuild that repeats it."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from integration.homes import Home, differing, query

from orchestration import cli
from orchestration.warehouse.packet import SELF, as_json, sums_text
from orchestration.warehouse.packet_check import verify_packet
from orchestration.warehouse.reviews import MONTH_END, WEEKLY, due_reviews

SEARCH, SHOP, ORPHAN = (letter * 64 for letter in "abc")
FIRST, LATE = "2026-11-05", "2026-11-09"
BLOCKING = ("orphan_key", "unapproved_topup")
SEEDS = {
    "accounts": (
        "account_id,name,currency,time_zone,wallet_id,closed_through\n"
        "hq/main,Head office,USD,Europe/Berlin,w1,\n"
    ),
    "account_scopes": (
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,"
        "valid_from_date,valid_to_date\nhq/main,litellm,gateway,,,managed,rule,2026-01-01,\n"
    ),
    "teams": (
        "team_id,team_name,cost_center\nteam-search,Search,CC-1\nteam-shop,=SUM(A1) Shop,CC-2\n"
    ),
    "key_owners": (
        "api_key_id,team_id,cost_center,valid_from_date\n"
        f"{SEARCH},team-search,CC-1,2026-01-01\n{SHOP},team-shop,CC-2,2026-01-01\n"
    ),
    "wallets": ("wallet_id,currency,opening_balance,opening_at\nw1,USD,0,2026-10-01T00:00:00Z\n"),
    "shared_cost_rules": (
        "rule_id,cost_kind,account_id,method,target_type,target_id,share,valid_from_date\n"
        "fees,topup_fee,hq/main,usage_share,team,,,2026-01-01\n"
    ),
}
TOPUP = {
    "transaction_id": "t1",
    "wallet_id": "w1",
    "occurred_at": "2026-10-02T10:00:00Z",
    "type": "purchase",
    "amount": "20",
    "currency": "USD",
    "gross": "21.1",
    "fee": "1.1",
}
# All that began in October in UTC: 1.9 million tokens at 2 USD a million.
INVOICE = (
    "vendor,invoice_number,issued_at,period_start,period_end,currency,total,line_no,description,"
    "quantity,unit,amount\n"
    'openai,OAI-10,2026-11-02,2026-10-01,2026-10-31,USD,3.80,1,"m, input",1900000,tokens,3.80\n'
)


def call(name: str, key: str, moment: str, tokens: int, **fields: Any) -> dict[str, Any]:
    return {
        "request_id": name,
        "call_type": "acompletion",
        "api_key": key,
        "spend": tokens * 2e-06,
        "prompt_tokens": tokens,
        "completion_tokens": 0,
        "total_tokens": tokens,
        "startTime": f"{moment}+00:00",
        "endTime": f"{moment}+00:00",
        "model": "m",
        "custom_llm_provider": "openai",
        "status": "success",
        "metadata": {},
        "messages": [{"role": "user", "content": "CANARY-PROMPT"}],
        **fields,
    }


def tollbook(home: Home, *arguments: str, day: str = FIRST) -> tuple[int, str]:
    """One command: its exit code, and what it said."""
    options = ["--config", str(home.path / "tollbook.yml"), "--home", str(home.path)]
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = cli.invoke([*options, "--as-of", f"{day}T09:00:00Z", *arguments])
    return code, said.getvalue()


def closed_month(home: Home) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        "select * from marts.chargeback where billing_month = '2026-10' order by all",
    )


def closed_entries(home: Home) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        "select * from marts.wallet_ledger where billing_month = '2026-10' order by entry_id",
    )


@dataclass
class Story:
    """A home after each step of it."""

    home: Home
    refused: str
    closed: str
    october: list[tuple[Any, ...]]
    entries: list[tuple[Any, ...]]
    again: str

    @property
    def packet(self) -> Path:
        return self.home.path / "packets" / "hq%2Fmain" / "2026-10"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """October refused, decided and closed; in November comes more of it."""
    home = Home.create(tmp_path_factory.mktemp("close") / "home")
    for seed in (home.path / "seeds").glob("*.csv"):
        if seed.stem not in ("unit_types", "provider_line_items"):
            seed.unlink()
    for name, text in SEEDS.items():
        (home.path / "seeds" / f"{name}.csv").write_text(text)
    prices = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-06}
    home.drop_prices("20260901", {"m": {**prices, "output_cost_per_token": 2e-06}})
    home.drop("wallet_transactions/w.jsonl", json.dumps(TOPUP) + "\n")
    home.drop("invoices/october.csv", INVOICE)
    home.drop_rows(
        "first.jsonl",
        [
            call("search-1", SEARCH, "2026-10-05T10:00:00", 1_000_000),
            call("search-2", SEARCH, "2026-10-06T10:00:00", 500_000),
            call("shop-1", SHOP, "2026-10-06T10:00:00", 250_000),
            call("orphan-1", ORPHAN, "2026-10-07T10:00:00", 100_000),
            # In Berlin it is November.
            call("shop-2", SHOP, "2026-10-31T23:30:00", 50_000),
        ],
    )
    code, refused = tollbook(home, "close", "2026-10", "--reviewer", "Ada")
    assert code == cli.FAILED
    subjects = [f"{kind}/hq/main/2026-10" for kind in BLOCKING]
    words = ["--decision", "approve", "--owner", "Ada", "--ticket", "FIN-1"]
    assert tollbook(home, "decide", *subjects, *words)[0] == cli.DONE
    code, closed = tollbook(home, "close", "2026-10", "--reviewer", "Ada", "--account", "hq/main")
    assert code == cli.DONE, closed
    october, entries = closed_month(home), closed_entries(home)

    home.drop_rows(
        "late.jsonl",
        [
            call("late-1", SHOP, "2026-10-20T10:00:00", 300_000),
            # The gateway corrects what it logged.
            call("search-2", SEARCH, "2026-10-06T10:00:00", 400_000),
        ],
    )
    assert tollbook(home, "run", day=LATE)[0] == cli.DONE
    more = ["--reviewer", "Eve", "--account", "hq/main"]
    again = tollbook(home, "close", "2026-10", *more, day=LATE)[1]
    return Story(home, refused, closed, october, entries, again)


def test_a_close_is_refused_while_exceptions_are_open(story: Story) -> None:
    assert "account hq/main, 2026-10: not closed: 2 blocking exceptions open" in story.refused
    assert "orphan_key: 1, at stake 0.200000 USD" in story.refused
    assert "tollbook decide orphan_key/hq/main/2026-10 --decision approve" in story.refused
    assert "Nothing was closed" in story.refused


def test_a_closed_month_is_signed_and_charged_to_the_last_digit(story: Story) -> None:
    found = query(
        story.home.published,
        "select team_id, direct_cost, shared_cost, adjustments, total_cost, allocation_rule, "
        "period_status from marts.chargeback where billing_month = '2026-10' "
        "order by team_id nulls last, direct_cost",
    )
    # A fee of 1.1 by direct cost, 3 to 0.5: the last place goes to the larger remainder.
    assert found == [
        ("team-search", Decimal(0), Decimal("0.942857142857142857"), Decimal(0),
         Decimal("0.942857142857142857"), "fees", "closed"),
        ("team-search", Decimal(3), Decimal(0), Decimal(0), Decimal(3), None, "closed"),
        ("team-shop", Decimal(0), Decimal("0.157142857142857143"), Decimal(0),
         Decimal("0.157142857142857143"), "fees", "closed"),
        ("team-shop", Decimal("0.5"), Decimal(0), Decimal(0), Decimal("0.5"), None, "closed"),
        (None, Decimal("0.2"), Decimal(0), Decimal(0), Decimal("0.2"), None, "closed"),
    ]  # fmt: skip
    ((status, reviewer, billed, packet),) = query(
        story.home.published,
        "select status, reviewer, billed_cost, packet_sha256 from marts.periods "
        "where account_id = 'hq/main' and billing_month = '2026-10'",
    )
    assert (status, reviewer, billed) == ("closed", "Ada", Decimal("3.7"))
    assert packet in story.closed
    assert "closed already, by Ada on 2026-11-05" in story.again


def test_a_close_keeps_the_digest_that_the_ledger_shows(story: Story) -> None:
    ((digest,),) = query(
        story.home.published,
        "select ledger_digest from marts.periods where reviewer = 'Ada'",
    )

    assert query(
        story.home.published,
        "select ledger_digest from marts.wallet_months where billing_month = '2026-10'",
    ) == [(digest,)]


def test_what_comes_late_is_charged_in_the_open_month(story: Story) -> None:
    assert closed_month(story.home) == story.october
    assert query(
        story.home.published,
        "select adjusted_month, adjusted_date, team_id, amount, requests "
        "from marts.chargeback_adjustments order by team_id",
    ) == [
        ("2026-10", date(2026, 10, 6), "team-search", Decimal("-0.2"), 0),
        ("2026-10", date(2026, 10, 20), "team-shop", Decimal("0.6"), 1),
    ]
    assert query(
        story.home.published,
        "select team_id, direct_cost, adjustments, total_cost, period_status "
        "from marts.chargeback where billing_month = '2026-11' order by team_id",
    ) == [
        ("team-search", Decimal(0), Decimal("-0.2"), Decimal("-0.2"), "open"),
        ("team-shop", Decimal("0.1"), Decimal("0.6"), Decimal("0.7"), "open"),
    ]
    assert query(
        story.home.published,
        "select account_id, billing_month, amount_at_stake, blocking from marts.exceptions "
        "where exception_type = 'late_after_close'",
    ) == [("hq/main", "2026-10", Decimal("0.4"), False)]


def test_the_wallet_keeps_its_closed_month_and_books_what_is_late_in_the_open_one(
    story: Story,
) -> None:
    assert closed_entries(story.home) == story.entries
    # The opening, the purchase, and the debits of three windows.
    assert len(story.entries) == 5
    late = "usage/w1/2026-10-20T10:00:00Z"
    changed = "usage/w1/2026-10-06T10:00:00Z"
    found = query(
        story.home.published,
        "select entry_id, entry_type, amount, reverses_entry_id, balance_after "
        "from marts.wallet_ledger where billing_month = '2026-11' order by occurred_at, entry_id",
    )
    # 16.3 are left of October.
    assert found == [
        (f"correction/2026-11/{changed}", "adjustment", Decimal("0.2"), changed, Decimal("16.5")),
        (late, "usage_debit", Decimal("-0.6"), None, Decimal("15.9")),
        ("usage/w1/2026-10-31T23:00:00Z", "usage_debit", Decimal("-0.1"), None, Decimal("15.8")),
    ]  # fmt: skip


def test_a_packet_proves_itself(story: Story, tmp_path: Path) -> None:
    code, said = tollbook(story.home, "verify", str(story.packet))

    assert (code, "every hash and total holds" in said) == (cli.DONE, True)
    names = {path.name for path in story.packet.iterdir()}
    assert {
        "usage.parquet", "usage.csv", "invoices.csv", "price_snapshots.parquet", "recharges.csv",
        "exceptions.csv", "decisions.csv", "sign_off.json", "report.html", "report.pdf",
        "manifest.json", "SHA256SUMS",
    } <= names  # fmt: skip
    assert (story.packet / "report.pdf").read_bytes().startswith(b"%PDF-")
    for path in story.packet.iterdir():
        content = path.read_bytes()
        assert b"CANARY-PROMPT" not in content
        # The team's name would be a formula in a spreadsheet.
        assert b",=SUM" not in content
        assert path.stat().st_mode & 0o777 == 0o440
    # The month of Berlin: the call of 31 October, 23:30 UTC is November's.
    assert b"shop-1" in (story.packet / "usage.csv").read_bytes()
    assert b"shop-2" not in (story.packet / "usage.csv").read_bytes()


def test_the_packet_holds_the_invoice_of_the_month_line_by_line(story: Story) -> None:
    tables = {}
    for name in ("invoices", "invoice_lines", "invoice_reconciliation"):
        with (story.packet / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.DictReader(file))

    ((invoice,), (line,), (found,)) = tables.values()
    assert (invoice["invoice_number"], Decimal(invoice["total"])) == ("OAI-10", Decimal("3.8"))
    assert (line["description"], Decimal(line["amount"])) == ("m, input", Decimal("3.8"))
    # What comes late for October does not change what it was signed with.
    amounts = [Decimal(found[f"amount_{side}"]) for side in ("invoiced", "expected")]
    assert (found["status"], *amounts) == ("matched", Decimal("3.8"), Decimal("3.8"))
    assert Decimal(found["unexplained_amount"]) == 0


def test_one_changed_byte_in_any_file_is_named(story: Story, tmp_path: Path) -> None:
    packet = tmp_path / "packet"
    shutil.copytree(story.packet, packet)
    for path in sorted(packet.iterdir()):
        path.chmod(0o640)
        content = path.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            flipped = bytearray(content)
            flipped[place] ^= 1
            path.write_bytes(bytes(flipped))

            problems = verify_packet(packet).problems

            assert problems, (path.name, place)
            assert all(problem.startswith(f"{path.name}: ") for problem in problems), problems
        path.write_bytes(content)
    (packet / "note.txt").write_text("mine")
    (packet / "usage.csv").unlink()
    assert verify_packet(packet).problems == [
        "usage.csv: missing",
        "note.txt: not a file of this packet",
    ]


def test_a_manifest_that_fits_its_files_but_not_their_content_is_found(
    story: Story, tmp_path: Path
) -> None:
    """Somebody who changes a table and every hash of it still has to make the totals fit."""
    packet = tmp_path / "packet"
    shutil.copytree(story.packet, packet)
    manifest = json.loads((packet / "manifest.json").read_bytes())
    (packet / "manifest.json").chmod(0o640)
    manifest["totals"]["USD"]["billed_cost"] = "3.800000000000000000"
    manifest["tables"]["usage"]["sums"]["billed_cost"] = "3.800000000000000000"
    write_manifest(packet, manifest)

    problems = verify_packet(packet).problems

    assert problems == [
        "usage.parquet: billed_cost adds up to 3.700000000000000000, the manifest says "
        "3.800000000000000000"
    ]


def write_manifest(packet: Path, manifest: dict[str, Any]) -> None:
    del manifest[SELF]
    manifest[SELF] = hashlib.sha256(as_json(manifest)).hexdigest()
    (packet / "manifest.json").write_bytes(as_json(manifest))
    digest = hashlib.sha256((packet / "manifest.json").read_bytes()).hexdigest()
    (packet / "SHA256SUMS").chmod(0o640)
    (packet / "SHA256SUMS").write_bytes(sums_text(manifest["files"], digest))


def test_statements_have_numbers_without_gaps_and_the_same_bytes_again(story: Story) -> None:
    state = ["statement", "2026-10", "--account", "hq/main"]
    first = tollbook(story.home, *state, day=LATE)
    files = {path.name: path.read_bytes() for path in story.home.path.glob("statements/*/*")}
    again = tollbook(story.home, *state, day="2026-12-01")
    taxed = tollbook(story.home, *state, "--tax-rate", "0.19", day=LATE)
    receipt = tollbook(story.home, *state, "--kind", "receipt", day=LATE)
    legal = tollbook(story.home, *state, "--kind", "statutory", day=LATE)
    nobody = tollbook(story.home, "statement", "2026-10", "--account", "no", day=LATE)

    assert first[0] == cli.DONE, first
    assert "issued   hq%2Fmain-S00001: 4.80" in first[1]
    assert "again    hq%2Fmain-S00001: 4.80" in again[1]
    assert set(files) == {"hq%2Fmain-S00001.pdf", "hq%2Fmain-S00001.csv"}
    for path in story.home.path.glob("statements/*/*S00001*"):
        assert path.read_bytes() == files[path.name]
    lines = [line.split(",") for line in files["hq%2Fmain-S00001.csv"].decode().splitlines()]
    assert [line[5] for line in lines[1:]] == ["0.20", "3.00", "0.50", "0.94", "0.16", "4.80"]
    assert "hq%2Fmain-S00002: 5.71" in taxed[1]
    assert "in place of hq%2Fmain-S00001" in taxed[1]
    assert "hq%2Fmain-R00001: 21.10" in receipt[1]
    assert (legal[0], "write them into seeds/accounts.csv" in legal[1]) == (cli.WRONG_USE, True)
    assert (nobody[0], "accounts with that month: hq/main" in nobody[1]) == (cli.WRONG_USE, True)


def test_a_month_at_other_prices_is_a_report(story: Story) -> None:
    arguments = ["rerate", "2026-10", "--format", "csv", "--prices"]
    code, said = tollbook(story.home, *arguments, "litellm", day=LATE)
    unknown = tollbook(story.home, *arguments, "none", day=LATE)

    assert code == cli.DONE, said
    header, row = said.splitlines()
    named = dict(zip(header.split(","), row.split(","), strict=True))
    # The corrected call and the late one included: the facts as they are now.
    assert Decimal(named["list_cost"]) == Decimal(named["rerated_cost"]) == Decimal("4.1")
    assert Decimal(named["difference"]) == 0
    assert (unknown[0], "no such prices; catalogs are litellm" in unknown[1]) == (2, True)


def test_reviews_name_what_is_to_be_looked_at(story: Story) -> None:
    home = Home(story.home.path, f"{LATE}T09:00:00Z")

    weekly, month_end = (due_reviews(home.runtime, kind) for kind in (WEEKLY, MONTH_END))

    # October is closed, November is not over; the wallet was topped up in October.
    assert month_end == []
    assert (
        "hq/main",
        date(2026, 11, 9),
        "weekly",
        "Spend of the week from 2026-11-02",
    ) not in weekly
    assert query(
        home.published,
        "select review_kind, due_date, status from marts.reviews "
        "where subject_type in ('period', 'wallet_entry') order by all",
    ) == [
        ("month_end", date(2026, 11, 1), "done"),
        ("month_end", date(2026, 12, 1), "due"),
        ("wallet_movement", date(2026, 10, 2), "due"),
    ]


@pytest.mark.long
def test_a_backup_restores_the_closed_month(story: Story, tmp_path: Path) -> None:
    """From landing, seeds and settings alone: every mart is the same, the closed month too."""
    backup, home = tmp_path / "backup", tmp_path / "new" / "home"
    code, said = tollbook(story.home, "backup", str(backup), day=LATE)
    assert code == cli.DONE, said
    page = next((backup / "landing").rglob("late*"))
    content = page.read_bytes()
    page.write_bytes(content + b" ")
    config = tmp_path / "new" / "tollbook.yml"
    options = ["restore", str(backup), "--home", str(home), "--config", str(config)]
    with redirect_stderr(StringIO()) as damaged:
        assert cli.invoke(options) == cli.FAILED
    page.write_bytes(content)

    with redirect_stdout(StringIO()) as said:
        code = cli.invoke(options)

    assert f"{page.relative_to(backup).as_posix()}: changed" in damaged.getvalue()
    assert code == cli.DONE
    assert "marts, each identical to what it was" in said.getvalue()
    restored = Home(home)
    assert closed_month(restored) == story.october
    assert differing(restored.marts(), story.home.marts()) in ([], ["source_freshness"])
    assert (home / "packets" / "hq%2Fmain" / "2026-10" / "manifest.json").is_file()
    with redirect_stderr(StringIO()) as twice:
        assert cli.invoke(options) == cli.WRONG_USE
    assert "name an empty --home" in twice.getvalue()


@pytest.mark.long
def test_a_rebuild_from_landing_mends_the_warehouse_and_says_what_was_wrong(
    story: Story, tmp_path: Path
) -> None:
    """Closes are landed files: rebuilt months are closed, what came late is booked as before."""
    home = story.home.copy(tmp_path / "home")
    good = home.marts()
    home.write("update marts.wallet_balances set daily_burn_amount = 1")

    code, said = tollbook(home, "rebuild", day=LATE)

    assert code == cli.FAILED
    assert "marts.wallet_balances differs" in said
    assert "the earlier warehouse stays as" in said
    assert len(list(home.path.glob("warehouse*.before-rebuild"))) == 1
    assert differing(home.marts(), good) in ([], ["source_freshness"])
    assert (closed_month(home), closed_entries(home)) == (story.october, story.entries)
