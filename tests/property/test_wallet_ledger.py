"""The wallet ledger against an oracle in plain Python, however the payments' events arrive.

The oracle reckons from what happened (who paid, who was paid back, who disputed); the events are
written from the same happenings, then shuffled, repeated, and split over files. One example is a
whole warehouse with dozens of payments.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from integration.homes import Home, build_wallets

PAYMENTS = 30
START = 1_790_000_000
MILLIONTH = Decimal("0.000001")
# Per wallet its currency; the rates of the day everything happens on.
WALLETS = {"w-usd": "USD", "w-jpy": "JPY"}
RATES = {("USD", "JPY"): Decimal("151.25"), ("KWD", "USD"): Decimal("3.2468"), ("JPY", "USD"): None}
PLACES = {"USD": 2, "JPY": 0, "KWD": 3}


@dataclass(frozen=True)
class Payment:
    """One payment and what became of it; amounts in whole units."""

    number: int
    wallet: str
    currency: str
    gross: Decimal
    tax: Decimal
    credits: Decimal | None
    paid_at: int
    refunds: tuple[tuple[Decimal, bool], ...] = ()
    disputed: Decimal | None = None
    is_won: bool = False
    knows_refunds: bool = field(default=True)


def happenings(chance: random.Random) -> list[Payment]:
    found = []
    for number in range(PAYMENTS):
        currency = chance.choice(["USD", "USD", "JPY", "KWD"])
        # Three decimals end in 0 at Stripe.
        step = Decimal(10 if currency == "KWD" else 1).scaleb(-PLACES[currency])
        gross = step * chance.randint(3, 90_000)
        parts = [step * chance.randint(1, 3) for _ in range(chance.choice([0, 0, 1, 2, 3]))]
        refunds = [] if sum(parts) > gross else [(each, chance.random() < 0.2) for each in parts]
        if refunds and chance.random() < 0.3:
            refunds.append((gross - sum(each for each, _ in refunds), False))
        found.append(
            Payment(
                number=number,
                wallet=chance.choice(list(WALLETS)),
                currency=currency,
                gross=gross,
                tax=step * chance.randint(0, 2),
                credits=Decimal(chance.randint(1, 500)) if chance.random() < 0.4 else None,
                paid_at=START + 600 * number,
                refunds=tuple(each for each in refunds if each[0] > 0),
                disputed=gross if not refunds and chance.random() < 0.2 else None,
                is_won=chance.random() < 0.5,
                # Without refund events only the charge's own total tells.
                knows_refunds=chance.random() < 0.6,
            )
        )
    return found


# ---------------------------------------------------------------- the oracle


def credit_of(payment: Payment) -> Decimal | None:
    """What a payment credits to its wallet, in the wallet's currency."""
    if payment.credits is not None:
        return payment.credits
    wanted = WALLETS[payment.wallet]
    bought = payment.gross - payment.tax
    if payment.currency == wanted:
        return bought
    rate = RATES.get((payment.currency, wanted))
    return None if rate is None else bought * rate


def share(credit: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    return (credit * part / whole).quantize(MILLIONTH, rounding=ROUND_HALF_UP)


def expected_entries(payments: list[Payment]) -> dict[str, Decimal]:
    """Amount by entry id."""
    entries: dict[str, Decimal] = {}
    for payment in payments:
        credit = credit_of(payment)
        if credit is None:
            continue
        n = payment.number
        entries[f"stripe/pi_{n}"] = credit
        taken = Decimal(0)
        for place, (amount, failed) in enumerate(known_refunds(payment)):
            before = share(credit, taken, payment.gross)
            taken += amount
            lost = share(credit, taken, payment.gross) - before
            name = f"stripe/re_{n}_{place}" if payment.knows_refunds else f"stripe/ch_{n}/refunded"
            entries[name] = -lost
            if failed:
                entries[f"{name}/failed"] = lost
        if payment.disputed is not None:
            held = share(credit, payment.disputed, payment.gross)
            entries[f"stripe/dp_{n}/hold"] = -held
            if payment.is_won:
                entries[f"stripe/dp_{n}/release"] = held
    return entries


def known_refunds(payment: Payment) -> list[tuple[Decimal, bool]]:
    """The refunds as the events tell them: one by one, or as one sum without the failed."""
    if payment.knows_refunds:
        return list(payment.refunds)
    total = sum((amount for amount, failed in payment.refunds if not failed), Decimal(0))
    return [(total, False)] if total else []


# ---------------------------------------------------------------- the events


def minor(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(PLACES[currency]))


def events_of(payment: Payment, chance: random.Random) -> list[dict[str, Any]]:
    n, at, currency = payment.number, payment.paid_at, payment.currency
    metadata: dict[str, Any] = {"wallet_id": payment.wallet}
    if payment.credits is not None:
        metadata["credits"] = str(payment.credits)
    whole = {"currency": currency.lower(), "amount": minor(payment.gross, currency)}
    charge = {"id": f"ch_{n}", "object": "charge", "payment_intent": f"pi_{n}", **whole}
    made: list[tuple[str, int, dict[str, Any]]] = [
        (
            "checkout.session.completed",
            at + 2,
            {
                "id": f"cs_{n}",
                "object": "checkout.session",
                "payment_status": "paid",
                "payment_intent": f"pi_{n}",
                "amount_total": whole["amount"],
                "total_details": {"amount_tax": minor(payment.tax, currency)},
                "currency": currency.lower(),
                "metadata": metadata,
            },
        )
    ]
    if chance.random() < 0.7:
        intent = {"id": f"pi_{n}", "object": "payment_intent", "latest_charge": f"ch_{n}", **whole}
        made.append(("payment_intent.succeeded", at, intent))
    if chance.random() < 0.7:
        made.append(("charge.succeeded", at + 1, {**charge, "captured": True}))
    refunded = 0
    for place, (amount, failed) in enumerate(payment.refunds):
        part = minor(amount, currency)
        refund = {"id": f"re_{n}_{place}", "object": "refund", "payment_intent": f"pi_{n}"}
        refund |= {**whole, "amount": part, "charge": f"ch_{n}", "created": at + 100 + place}
        if payment.knows_refunds:
            made.append(("refund.created", at + 100 + place, {**refund, "status": "pending"}))
            if failed:
                made.append(("refund.failed", at + 200 + place, {**refund, "status": "failed"}))
        refunded += 0 if failed and not payment.knows_refunds else part
        if not failed:
            made.append(
                ("charge.refunded", at + 100 + place, {**charge, "amount_refunded": refunded})
            )
    if payment.disputed is not None:
        dispute = {"id": f"dp_{n}", "object": "dispute", "charge": f"ch_{n}", **whole}
        dispute |= {"payment_intent": f"pi_{n}", "status": "needs_response"}
        made.append(("charge.dispute.created", at + 300, dispute))
        if chance.random() < 0.5:
            made.append(("charge.dispute.funds_withdrawn", at + 301, dispute))
        end = {**dispute, "status": "won" if payment.is_won else "lost"}
        made.append(("charge.dispute.closed", at + 400, end))
    return [
        {
            "id": f"evt_{n}_{place}",
            "object": "event",
            "created": created,
            "livemode": True,
            "type": kind,
            "data": {"object": thing},
        }
        for place, (kind, created, thing) in enumerate(made)
    ]


# ---------------------------------------------------------------- the warehouse


def prepare(path: Path) -> Home:
    home = Home.create(path)
    config = home.path / "tollbook.yml"
    stripe = "sources:\n  - {name: stripe, kind: stripe}\n"
    config.write_text(config.read_text().replace("sources:\n", stripe, 1))
    columns = "wallet_id,currency,opening_balance,opening_at"
    rows = [f"{name},{currency},0,2026-01-01T00:00:00Z" for name, currency in WALLETS.items()]
    (home.path / "seeds" / "wallets.csv").write_text("\n".join([columns, *rows, ""]))
    rates = [
        f"2026-09-21,{base},{quote},{rate},test"
        for (base, quote), rate in RATES.items()
        if rate is not None
    ]
    columns = "rate_date,base_currency,quote_currency,rate,source"
    (home.path / "seeds" / "fx_rates.csv").write_text("\n".join([columns, *rates, ""]))
    return home


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose models are built, with nothing in them."""
    home = prepare(tmp_path_factory.mktemp("ledger") / "home")
    build_wallets(home, "+wallet_ledger", is_new=True)
    return home


def drop(home: Home, events: list[dict[str, Any]], chance: random.Random) -> None:
    """The events in any order, some of them twice, over several files."""
    arriving = [*events, *chance.sample(events, len(events) // 3)]
    chance.shuffle(arriving)
    files = chance.randint(1, 4)
    for number in range(files):
        part = arriving[number::files]
        if chance.random() < 0.3:
            text = json.dumps({"object": "list", "data": part})
            home.drop(f"stripe/page_{number}.json", text)
        else:
            home.drop(f"stripe/{number}.jsonl", "".join(f"{json.dumps(each)}\n" for each in part))


def build_ledger(home: Home) -> list[tuple[str, str, Decimal, Decimal]]:
    """(wallet, entry, amount, balance after) in the order of the ledger."""
    build_wallets(home, "+wallet_ledger")
    return home.query("""
        select wallet_id, entry_id, amount, balance_after from marts.wallet_ledger
        where origin <> 'opening' order by wallet_id, occurred_at, entry_id
        """)


@pytest.mark.long
@settings(max_examples=3, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(seed=st.integers(0, 2**32), arrivals=st.integers(0, 2**32))
def test_however_events_arrive_the_ledger_is_what_happened(
    empty_home: Home, seed: int, arrivals: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # no secret
    payments = happenings(chance)
    events = [event for payment in payments for event in events_of(payment, chance)]
    with tempfile.TemporaryDirectory() as folder:
        home = empty_home.copy(Path(folder) / "home")
        drop(home, events, random.Random(arrivals))  # noqa: S311  # no secret

        ledger = build_ledger(home)

    assert {entry: amount for _, entry, amount, _ in ledger} == expected_entries(payments)
    assert len(ledger) == len({entry for _, entry, _, _ in ledger})
    balances: dict[str, Decimal] = {}
    for wallet, _, amount, balance_after in ledger:
        balances[wallet] = balances.get(wallet, Decimal(0)) + amount
        assert balance_after == balances[wallet]
