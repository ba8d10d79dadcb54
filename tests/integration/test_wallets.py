"""Payments, wallet files and invoices from their files to ledger, balances and exceptions."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.payment_files import checkout, invoice, razorpay_event, stripe_event
from integration.homes import Home, build_wallets

SOURCES = """sources:
  - {name: stripe, kind: stripe}
  - {name: razorpay, kind: razorpay}
  - {name: routic, kind: wallet_transactions}
"""
WALLETS = """wallet_id,currency,opening_balance,opening_at,low_balance_threshold
wallet-fjord,USD,5,2026-06-01T00:00:00Z,100
wallet-routic,USD,0,2026-06-01T00:00:00Z,
"""
# A wallet that holds nothing but its opening balance is low from then on.
LOW = {("low_balance", "wallet-fjord/opening/wallet-fjord", Decimal(95), "USD")}
# The marts and exceptions of this page; usage has a page of its own.
MODELS = ("wallet_balances", "invoices", "invoice_lines", "int_recharges__matched")
EXCEPTIONS = (
    "unmatched_topups",
    "unapproved_topups",
    "duplicate_topups",
    "refund_mismatches",
    "negative_balances",
    "low_balances",
    "invoice_total_mismatches",
)


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose models are built, with nothing in them."""
    home = Home.create(tmp_path_factory.mktemp("wallets") / "home")
    config = home.path / "tollbook.yml"
    config.write_text(config.read_text().replace("sources:\n", SOURCES, 1))
    (home.path / "seeds" / "wallets.csv").write_text(WALLETS)
    # The example's accounts pay from a wallet of their own.
    (home.path / "seeds" / "accounts.csv").write_text("account_id,name,currency,time_zone\n")
    build_wallets(home, *selected(), is_new=True)
    return home


@pytest.fixture
def home(empty_home: Home, tmp_path: Path) -> Home:
    return empty_home.copy(tmp_path / "home")


def drop_rows(home: Home, name: str, *rows: dict[str, Any]) -> None:
    home.drop(name, "".join(f"{json.dumps(row)}\n" for row in rows))


def selected() -> list[str]:
    return [f"+{each}" for each in (*MODELS, *(f"int_exceptions__{e}" for e in EXCEPTIONS))]


def build(home: Home) -> None:
    build_wallets(home, *selected())


def ledger(home: Home) -> list[tuple[str, str, Decimal, Decimal]]:
    return home.query("""
        select entry_id, entry_type, amount, balance_after from marts.wallet_ledger
        order by wallet_id, occurred_at, origin = 'opening' desc, entry_id
        """)


def exceptions(home: Home) -> set[tuple[str, str, Decimal, str]]:
    union = " union all ".join(f"from intermediate.int_exceptions__{each}" for each in EXCEPTIONS)
    return set(
        home.query(f"select exception_type, subject_id, amount_at_stake, currency from ({union})")
    )


def drop_payments(home: Home) -> None:
    paid = {"amount_tax": 1800}
    bought = checkout(
        1, 11800, total_details=paid, metadata={"wallet_id": "wallet-fjord", "credits": "100.00"}
    )
    charge = {
        "id": "ch_fjord_1",
        "object": "charge",
        "amount": 11800,
        "currency": "usd",
        "payment_intent": "pi_fjord_1",
    }
    refund = stripe_event("r", {**charge, "amount_refunded": 2360}, event="charge.refunded")
    seen_twice = stripe_event("s", {**charge, "captured": True}, event="charge.succeeded")
    drop_rows(home, "stripe/one.jsonl", refund, seen_twice)
    drop_rows(home, "stripe/two.jsonl", bought, seen_twice, checkout(2, 700, metadata={}))
    drop_rows(home, "razorpay/one.jsonl", razorpay_event(1), razorpay_event(2, notes=[]))


def test_payments_reach_the_ledger_once_and_what_is_odd_is_listed(home: Home) -> None:
    drop_payments(home)
    entry = {"wallet_id": "wallet-routic", "currency": "USD"}
    drop_rows(
        home,
        "routic/history.jsonl",
        {
            **entry,
            "transaction_id": "t1",
            "type": "checkout",
            "amount": "10",
            "occurred_at": "2026-06-30T11:10:00Z",
            "payment_reference": "x-1",
        },
        {
            **entry,
            "transaction_id": "t2",
            "type": "deduction",
            "amount": "12.5",
            "occurred_at": "2026-06-30T12:00:00Z",
        },
        {
            **entry,
            "transaction_id": "t3",
            "type": "checkout",
            "amount": "10",
            "occurred_at": "2026-06-30T13:00:00Z",
            "payment_reference": "x-1",
        },
    )
    drop_rows(
        home,
        "recharge_requests/one.jsonl",
        {
            "recharge_id": "r-1",
            "wallet_id": "wallet-fjord",
            "requested_at": "2026-06-29T00:00:00Z",
            "amount": "100",
            "currency": "USD",
            "trigger": "launch",
            "budget_owner": "hedda",
            "status": "approved",
            "payment_reference": "cs_fjord_1",
        },
    )

    build(home)

    assert ledger(home) == [
        ("opening/wallet-fjord", "adjustment", 5, 5),
        ("stripe/ch_fjord_1/refunded", "refund", -20, -15),
        ("stripe/pi_fjord_1", "purchase", 100, 85),
        ("opening/wallet-routic", "adjustment", 0, 0),
        ("transaction/routic/t1", "purchase", 10, 10),
        ("transaction/routic/t2", "usage_debit", Decimal("-12.5"), Decimal("-2.5")),
        ("transaction/routic/t3", "purchase", 10, Decimal("7.5")),
    ]
    first, second = "transaction/routic/t1", "transaction/routic/t3"
    assert exceptions(home) == {
        # Quarantined, without a rate of exchange, and bought without a payment anybody knows.
        ("unmatched_topup", "stripe/pi_fjord_2", 7, "USD"),
        ("unmatched_topup", "razorpay/pay_fjord_2", Decimal("1234.5"), "INR"),
        ("unmatched_topup", "razorpay/pay_fjord_1", Decimal("1234.5"), "INR"),
        ("unmatched_topup", first, 10, "USD"),
        ("unmatched_topup", second, 10, "USD"),
        ("unapproved_topup", first, 10, "USD"),
        ("duplicate_topup", second, 10, "USD"),
        ("negative_balance", f"wallet-routic/{'transaction/routic/t2'}", Decimal("2.5"), "USD"),
        ("low_balance", "wallet-fjord/opening/wallet-fjord", 15, "USD"),
    }
    assert home.query("select wallet_id, balance_amount, status from marts.wallet_balances") == [
        ("wallet-fjord", 85, "low"),
        ("wallet-routic", Decimal("7.5"), "ok"),
    ]


def test_an_invoice_that_does_not_add_up_is_listed_until_a_corrected_one_comes(home: Home) -> None:
    home.drop("invoices/wrong.json", json.dumps(invoice(1, "10.00", "5.50", total="16.50")))
    build(home)

    assert exceptions(home) - LOW == {("invoice_total_mismatch", "openai/FJ-1", 1, "USD")}
    assert home.query("select count(*) from marts.invoices") == [(0,)]

    home.drop("invoices/right.json", json.dumps(invoice(1, "11.00", "5.50")))
    build(home)

    assert exceptions(home) == LOW
    assert home.query("select line_no, amount from marts.invoice_lines order by 1") == [
        (1, 11),
        (2, Decimal("5.5")),
    ]


@pytest.mark.shared
def test_the_samples_credit_what_was_bought_and_take_back_its_share(
    shared: Path, home: Home
) -> None:
    config = home.path / "tollbook.yml"
    # The samples are of test mode; these homes are a sandbox.
    sandbox = "kind: stripe, accepts_test_mode: true}"
    config.write_text(config.read_text().replace("kind: stripe}", sandbox))
    (home.path / "seeds" / "wallets.csv").write_text(
        WALLETS.replace("wallet-fjord", "w-1").replace("2026-06-01", "2026-01-01")
    )
    for path in sorted((shared / "samples").glob("stripe_*")):
        home.drop(f"stripe/{path.name}", path.read_bytes())
    for path in sorted((shared / "samples").glob("razorpay_*")):
        home.drop(f"razorpay/{path.name}", path.read_bytes())
    home.drop("adjustments/a.json", (shared / "samples" / "manual_adjustments.json").read_bytes())
    home.drop("invoices/i.json", (shared / "samples/invoice_normalised_examples.json").read_bytes())

    build(home)

    assert home.query("""
        select entry_id, amount, gross, tax, fee, net, credited from marts.wallet_ledger
        where wallet_id = 'w-1' and origin = 'payment' order by occurred_at, entry_id
        """) == [
        ("stripe/pi_syn_1", 100, 118, 18, Decimal("3.72"), Decimal("114.28"), 100),
        (
            "razorpay/pay_syn_1",
            10,
            850,
            Decimal("3.06"),
            Decimal("20.06"),
            Decimal("829.94"),
            10,
        ),
        ("stripe/ch_syn_1/refunded", -20, Decimal("-23.6"), None, None, Decimal("-23.6"), -20),
        ("razorpay/rfnd_syn_1", -2, -170, None, 0, -170, -2),
    ]
    # 5 + 100 + 10 - 20 - 2, less the adjustment of 2.50.
    balances = home.query(
        "select balance_amount from marts.wallet_balances where wallet_id = 'w-1'"
    )
    assert balances == [(Decimal("90.5"),)]
    # Yen in a wallet of dollars, and no rate.
    assert ("unmatched_topup", "stripe/pi_syn_jpy", 1500, "JPY") in exceptions(home)
    assert home.query("select count(*), sum(total) from marts.invoices where not is_usage") == [
        (2, Decimal("223.5"))
    ]
