"""The prepaid side of a world: a router that charges, its wallet, top-ups and their payments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from accuracy.world import DAYS, MODELS, MONTH_START, Call, Key, World, written

OPENING = Decimal(10_000)
HUNDRED = Decimal(100)
SMALL_OPENING = Decimal(50)


@dataclass
class Prepaid:
    """What router, wallet history, payment processor and approvals wrote of a month."""

    world: World
    calls: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    wrong_days: dict[int, Decimal] = field(default_factory=dict)
    others: list[tuple[str, Decimal | None]] = field(default_factory=list)
    is_watched: bool = False
    surcharges: list[Decimal] = field(default_factory=list)
    numbers: int = 0

    @property
    def gateway(self) -> str:
        """The router, which is also the source of its export."""
        return f"{self.world.name}_router"

    @property
    def account(self) -> str:
        """Who pays in advance."""
        return f"{self.world.name}-prepaid"

    @property
    def wallet(self) -> str:
        """The wallet that pays for it."""
        return f"{self.world.name}-wallet"

    def number(self) -> str:
        """A number nobody else has."""
        self.numbers += 1
        return f"{self.world.name}{self.numbers:04}"

    def use(self, call: Call) -> None:
        """A call through the router, which charges a tenth more than the provider."""
        self.world.spend(call, call.cost * Decimal("1.1"), self.account)
        self.calls.append(
            {
                "request_id": f"{call.request_id}-routed",
                "timestamp": written(call.at),
                "key_id": call.key.id,
                "key_name": call.key.name,
                "provider": "openai",
                "model": call.model,
                "status": "success",
                "http_status": 200,
                "latency_s": call.seconds,
                "streaming": "false",
                "routing_mode": "auto",
                "prompt_tokens": call.uncached + call.cached,
                "completion_tokens": call.output,
                "cached_tokens": call.cached,
                "cost": call.cost * Decimal("1.1"),
                "provider_cost": call.cost,
            }
        )

    def pay(self, amount: Decimal, at: datetime) -> str:
        """A payment as Stripe reports it, by two events; its reference."""
        number = self.number()
        intent = f"pi_{number}"
        cents, moment = int(amount * 100), int(at.timestamp())
        metadata = {"wallet_id": self.wallet}
        session = {
            "id": f"cs_{number}",
            "object": "checkout.session",
            "amount_total": cents,
            "currency": "usd",
            "payment_status": "paid",
            "payment_intent": intent,
            "metadata": metadata,
        }
        paid = {
            "id": intent,
            "object": "payment_intent",
            "amount": cents,
            "amount_received": cents,
            "currency": "usd",
            "status": "succeeded",
            "metadata": metadata,
        }
        self._event(f"{number}c", "checkout.session.completed", session, moment)
        self._event(f"{number}p", "payment_intent.succeeded", paid, moment + 1)
        return intent

    def refund(self, intent: str, amount: Decimal, at: datetime) -> str:
        """Money back to the payer, as Stripe reports it."""
        number = self.number()
        refund = {
            "id": f"re_{number}",
            "object": "refund",
            "amount": int(amount * 100),
            "currency": "usd",
            "status": "succeeded",
            "payment_intent": intent,
            "charge": f"ch_{intent[3:]}",
        }
        self._event(number, "refund.created", refund, int(at.timestamp()))
        self.history.append(self._entry(at, "refund", -amount, payment_reference=intent))
        return f"re_{number}"

    def _event(self, number: str, kind: str, thing: dict[str, Any], moment: int) -> None:
        self.events.append(
            {
                "id": f"evt_{number}",
                "object": "event",
                "created": moment,
                "livemode": True,
                "type": kind,
                "data": {"object": thing},
            }
        )

    def credit(self, amount: Decimal, at: datetime, intent: str | None) -> str:
        """A purchase in the wallet's history."""
        entry = self._entry(at, "purchase", amount, payment_reference=intent)
        self.history.append(entry)
        return str(entry["transaction_id"])

    def approve(self, amount: Decimal, at: datetime, intent: str | None) -> None:
        """An approved request for a top-up."""
        self.requests.append(
            {
                "recharge_id": f"rr-{self.number()}",
                "wallet_id": self.wallet,
                "requested_at": written(at - timedelta(hours=3)),
                "amount": amount,
                "currency": "USD",
                "trigger": "manual",
                "budget_owner": "owner",
                "status": "approved",
                "approval_ticket": "T-1",
                "reviewer": "reviewer",
                "reviewed_at": written(at - timedelta(hours=2)),
                "payment_reference": intent,
            }
        )

    def top_up(self, amount: Decimal = HUNDRED) -> tuple[str, datetime]:
        """A top-up as it should be: approved, paid, credited once."""
        at = self.world.some_time()
        intent = self.pay(amount, at)
        self.approve(amount, at, intent)
        self.credit(amount, at + timedelta(minutes=1), intent)
        return intent, at

    def other_wallet(self, threshold: Decimal | None) -> str:
        """A wallet of another account of the company, opened with fifty."""
        wallet = f"{self.world.name}-wallet-{self.number()}"
        self.others.append((wallet, threshold))
        return wallet

    def move(self, wallet: str, amount: Decimal, at: datetime) -> None:
        """A correction in another wallet."""
        self.history.append(self._entry(at, "adjustment", amount, wallet_id=wallet))

    def _entry(self, at: datetime, kind: str, amount: Decimal, **more: Any) -> dict[str, Any]:
        return {
            "transaction_id": f"wt-{self.number()}",
            "wallet_id": self.wallet,
            "occurred_at": written(at),
            "type": kind,
            "amount": amount,
            "currency": "USD",
            "payment_reference": None,
            "window_from_at": None,
            "window_to_at": None,
        } | more

    def debits(self) -> list[dict[str, Any]]:
        """What the router took for each day's calls, wrongly on some days."""
        spent: dict[int, Decimal] = defaultdict(Decimal)
        for call in self.calls:
            spent[int(call["timestamp"][8:10]) - 1] += call["cost"]
        entries = []
        for day in range(DAYS):
            start = MONTH_START + timedelta(days=day)
            end = start + timedelta(days=1)
            amount = spent[day] + self.wrong_days.get(day, Decimal(0))
            window = {"window_from_at": written(start), "window_to_at": written(end)}
            if amount:
                entries.append(self._entry(end, "deduction", -amount, **window))
        return entries


def paid_not_credited(prepaid: Prepaid, code: str) -> None:
    """A payment that no wallet got."""
    at = prepaid.world.some_time()
    intent = prepaid.pay(HUNDRED, at)
    prepaid.world.expect(code, "unmatched_topup", intent, HUNDRED)


def credited_not_paid(prepaid: Prepaid, code: str) -> None:
    """Credit without a payment, approved all the same."""
    at = prepaid.world.some_time()
    entry = prepaid.credit(Decimal(70), at, None)
    prepaid.approve(Decimal(70), at, entry)
    prepaid.world.expect(code, "unmatched_topup", entry, Decimal(70))


def credited_twice(prepaid: Prepaid, code: str) -> None:
    """One payment credited by two handlers."""
    intent, at = prepaid.top_up(Decimal(50))
    again = prepaid.credit(Decimal(50), at + timedelta(minutes=2), intent)
    prepaid.world.expect(code, "duplicate_topup", again, Decimal(50))


def not_approved(prepaid: Prepaid, code: str) -> None:
    """A top-up nobody asked for."""
    at = prepaid.world.some_time()
    intent = prepaid.pay(Decimal(30), at)
    entry = prepaid.credit(Decimal(30), at + timedelta(minutes=1), intent)
    prepaid.world.expect(code, "unapproved_topup", entry, Decimal(30))


def refunded_too_much(prepaid: Prepaid, code: str) -> None:
    """A refund above its payment."""
    intent, at = prepaid.top_up(Decimal(40))
    refund = prepaid.refund(intent, Decimal(55), at + timedelta(hours=5))
    prepaid.world.expect(code, "refund_mismatch", refund, Decimal(15))


def wrong_debit(prepaid: Prepaid, code: str) -> None:
    """A day for which the router took more than its calls cost."""
    free = [day for day in range(1, DAYS - 1) if day not in prepaid.wrong_days]
    day = prepaid.world.rng.choice(free)
    extra = Decimal(prepaid.world.rng.randrange(1, 500)) / 100
    prepaid.wrong_days[day] = extra
    start = MONTH_START + timedelta(days=day)
    prepaid.world.expect(code, "debit_mismatch", f"{start:%Y-%m-%d}", extra)


def surcharged(prepaid: Prepaid, code: str) -> None:
    """A line on the router's invoice that is about nothing it ever served."""
    amount = Decimal(prepaid.world.rng.randrange(100, 900)) / 100
    prepaid.surcharges.append(amount)
    # After a line for each of the three models.
    number = len(MODELS) + len(prepaid.surcharges)
    subject = f"INV-{prepaid.gateway}/{number}"
    prepaid.world.expect(code, "invoice_line_unmatched", subject, amount)


def overdrawn(prepaid: Prepaid, code: str) -> None:
    """A wallet that was below zero for some days."""
    wallet = prepaid.other_wallet(None)
    at = MONTH_START + timedelta(days=prepaid.world.rng.randrange(2, 20), hours=9)
    below = Decimal(prepaid.world.rng.randrange(100, 900)) / 100
    prepaid.move(wallet, -SMALL_OPENING - below, at)
    prepaid.move(wallet, Decimal(60), at + timedelta(days=3))
    prepaid.world.expect(code, "negative_balance", f"{wallet}/", below)


def nearly_empty(prepaid: Prepaid, code: str) -> None:
    """A wallet that is below its threshold, and one that is empty."""
    for left in (Decimal(prepaid.world.rng.randrange(100, 1_900)) / 100, Decimal(0)):
        wallet = prepaid.other_wallet(Decimal(20))
        prepaid.move(wallet, left - SMALL_OPENING, prepaid.world.some_time())
        prepaid.world.expect(code, "low_balance", f"{wallet}/", Decimal(20) - left)


def low_for_a_while(prepaid: Prepaid) -> None:
    """A wallet that was low and is full again, and again, and an empty one nobody watches."""
    if prepaid.is_watched:
        return
    prepaid.is_watched = True
    wallet = prepaid.other_wallet(Decimal(20))
    for day in range(1, DAYS - 1):
        at = MONTH_START + timedelta(days=day)
        prepaid.move(wallet, Decimal(-40), at)
        prepaid.move(wallet, Decimal(40), at + timedelta(hours=12))
    prepaid.move(prepaid.other_wallet(None), -SMALL_OPENING, MONTH_START + timedelta(days=5))


def topped_up_alike(prepaid: Prepaid) -> None:
    """Two top-ups of one amount, minutes apart, each paid and approved."""
    for _ in range(2):
        prepaid.top_up()


def topped_up_without_reference(prepaid: Prepaid) -> None:
    """A top-up whose request names no payment, of an amount that many have."""
    at = prepaid.world.some_time()
    intent = prepaid.pay(Decimal(25), at)
    prepaid.approve(Decimal(25), at, None)
    prepaid.credit(Decimal(25), at + timedelta(minutes=1), intent)


def credited_for_goodwill(prepaid: Prepaid) -> None:
    """Credit that the router gave for an outage."""
    prepaid.move(prepaid.wallet, Decimal(1), prepaid.world.some_time())


def refunded_in_part(prepaid: Prepaid) -> None:
    """A refund of a part of a payment, twice."""
    intent, at = prepaid.top_up()
    for hours in (5, 6):
        prepaid.refund(intent, Decimal(20), at + timedelta(hours=hours))


PLANTS: dict[str, Callable[[Prepaid, str], None]] = {
    "paid_not_credited": paid_not_credited,
    "credited_not_paid": credited_not_paid,
    "credited_twice": credited_twice,
    "not_approved": not_approved,
    "refunded_too_much": refunded_too_much,
    "wrong_debit": wrong_debit,
    "surcharged": surcharged,
    "overdrawn": overdrawn,
    "nearly_empty": nearly_empty,
}
LOOKALIKES: dict[str, Callable[[Prepaid], None]] = {
    "topped_up_alike": topped_up_alike,
    "refunded_in_part": refunded_in_part,
    "topped_up_without_reference": topped_up_without_reference,
    "credited_for_goodwill": credited_for_goodwill,
    "low_for_a_while": low_for_a_while,
}


def router_key(world: World) -> Key:
    """A key of the router's own."""
    return Key(f"{world.name}-routed", f"{world.name}-team-0")
