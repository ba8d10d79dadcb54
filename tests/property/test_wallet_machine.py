"""Wallets against an oracle in plain Python: purchases, usage, corrections, credits that expire.

The SQL is what dbt compiled for one empty home; every example runs it in memory, on rows in any
order, with earlier versions and repeated records among them. Somewhere in between the first month
may be closed: it keeps what it had then, and the next one bears what comes or changes after that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from integration.homes import Home, build_wallets

START = datetime(2026, 10, 29)  # noqa: DTZ001  # naive UTC, as in the warehouse
MINUTES = 5 * 24 * 60
MONTH, NEXT_MONTH = "2026-10", datetime(2026, 11, 1)  # noqa: DTZ001
RATE = Decimal("0.8")
EXPIRY = timedelta(days=2)
# Reckoned to the digit; in half cents to the even one, converted; by the gateway; and expiring.
PLAIN, ROUNDED, RECORDED, EXPIRING = WALLETS = ("plain", "rounded", "recorded", "expiring")
SEEDS = {
    "wallets": [
        "wallet_id,currency,opening_balance,opening_at,expiry_days,debit_rounding,"
        "debit_interval_minutes",
        "plain,USD,10,2026-10-29T00:00:00Z,,,45",
        "rounded,EUR,0,2026-10-29T00:00:00Z,,minor_unit_half_even,60",
        "recorded,USD,0,2026-10-29T00:00:00Z,,,",
        "expiring,USD,3,2026-10-29T00:00:00Z,2,,60",
    ],
    "accounts": [
        "account_id,name,currency,time_zone,wallet_id",
        *(f"a-{each},{each},USD,UTC,{each}" for each in WALLETS),
    ],
    "fx_rates": [
        "rate_date,base_currency,quote_currency,rate,source",
        *(f"{START + timedelta(days=day):%Y-%m-%d},USD,EUR,{RATE},test" for day in range(7)),
    ],
}
# In the order in which they read each other; the views between them are the home's own.
TABLES = (
    ("staging", "stg_wallet__transactions", "staging/wallet"),
    ("intermediate", "int_wallets__described", "intermediate"),
    ("intermediate", "int_wallets__closed", "intermediate/wallets"),
    ("intermediate", "int_wallet__usage", "intermediate/wallets"),
    ("intermediate", "int_wallet__expiring_debits", "intermediate/wallets"),
    ("marts", "wallet_ledger", "marts"),
    ("intermediate", "int_wallet__days", "intermediate/wallets"),
    ("marts", "wallet_months", "marts"),
)


LEDGER = """
    select wallet_id, occurred_at, amount, balance_after from marts.wallet_ledger
    order by wallet_id, occurred_at, origin = 'opening' desc, entry_id
"""
CLOSED_ROWS = f"""
    select * from marts.wallet_ledger where billing_month = '{MONTH}' order by entry_id
"""


@dataclass
class Warehouse:
    """The empty home's file, and what dbt compiled of its models."""

    database: Path
    compiled: dict[str, str] = field(default_factory=dict)

    def open(self) -> duckdb.DuckDBPyConnection:
        """A copy in memory, under the name the compiled SQL calls it by."""
        connection = duckdb.connect()
        connection.execute("set TimeZone = 'UTC'; set threads = 1")
        connection.execute(f"attach '{self.database}' as source (read_only)")
        connection.execute("attach ':memory:' as warehouse")
        connection.execute("copy from database source to warehouse; use warehouse")
        return connection


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    home = Home.create(tmp_path_factory.mktemp("machine") / "home")
    for name, lines in SEEDS.items():
        (home.path / "seeds" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    build_wallets(home, "+wallet_months", is_new=True)
    folder = home.path / "dbt" / "compiled" / "tollbook" / "models"
    compiled = {name: (folder / path / f"{name}.sql").read_text() for _, name, path in TABLES}
    return Warehouse(home.path / "warehouse.duckdb", compiled)


@dataclass(frozen=True)
class Movement:
    """What moves a balance at one moment; usage is not yet a debit."""

    moment: datetime
    amount: Decimal
    is_credit: bool


def amounts(wallet: str, usage: list[tuple[datetime, Decimal]]) -> list[Movement]:
    """The debits of a wallet's usage, one per window with a cost."""
    length = 45 if wallet == PLAIN else 60
    windows: dict[datetime, Decimal] = {}
    for moment, cost in usage:
        midnight = moment.replace(hour=0, minute=0)
        number = int((moment - midnight).total_seconds()) // 60 // length
        end = min(midnight + timedelta(minutes=length * (number + 1)), midnight + timedelta(1))
        windows[end] = windows.get(end, Decimal(0)) + cost
    if wallet == ROUNDED:
        cent = Decimal("0.01")
        windows = {
            end: (cost * RATE).quantize(cent, ROUND_HALF_EVEN) for end, cost in windows.items()
        }
    return [Movement(end, -cost, is_credit=False) for end, cost in windows.items() if cost]


def expired(movements: list[Movement], known_until: datetime) -> list[Movement]:
    """What expires of each credit, by keeping the credits in a queue."""
    queue: list[list[Any]] = []
    debt = Decimal(0)
    found = []
    ends = [(each.moment + EXPIRY, 1, each) for each in movements if each.is_credit]
    happenings = [(each.moment, 0, each) for each in movements] + ends
    # What is used in the moment of an expiry is used before it.
    for moment, kind, each in sorted(happenings, key=lambda h: (h[0], h[1])):
        if kind == 0 and each.is_credit:
            paid = min(debt, each.amount)
            debt -= paid
            queue.append([each, each.amount - paid])
        elif kind == 0:
            debt += -each.amount
            while queue and debt:
                paid = min(debt, queue[0][1])
                debt, queue[0][1] = debt - paid, queue[0][1] - paid
                if not queue[0][1]:
                    queue.pop(0)
        else:
            left = next((entry for entry in queue if entry[0] is each), None)
            if left is not None:
                queue.remove(left)
                if left[1] and moment <= known_until:
                    found.append(Movement(moment, -left[1], is_credit=False))
    return found


class Wallets(RuleBasedStateMachine):
    """Happenings in any order; what the SQL makes of them is compared when all are known."""

    warehouse: Warehouse

    def __init__(self) -> None:
        super().__init__()
        self.movements: dict[str, list[Movement]] = {each: [] for each in WALLETS}
        self.usage: dict[str, list[tuple[datetime, Decimal]]] = {each: [] for each in WALLETS}
        self.transactions: list[dict[str, Any]] = []
        self.adjustments: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self.closes: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.number = 0
        for wallet, opening in ((PLAIN, 10), (EXPIRING, 3)):
            self.movements[wallet].append(Movement(START, Decimal(opening), is_credit=True))

    def next(self) -> str:
        self.number += 1
        return f"n{self.number:04}"

    @rule(
        wallet=st.sampled_from(WALLETS),
        minute=st.integers(0, MINUTES),
        cents=st.integers(1, 900),
        is_restated=st.booleans(),
    )
    def purchase(self, wallet: str, minute: int, cents: int, is_restated: bool) -> None:
        moment = START + timedelta(minutes=minute, seconds=1)
        row = {
            "_gateway": "g",
            "transaction_id": self.next(),
            "wallet_id": wallet,
            "occurred_at": moment,
            "type": "checkout",
            "amount": Decimal(cents) / 100,
            "currency": "EUR" if wallet == ROUNDED else "USD",
        }
        if is_restated:
            # An earlier version, of another amount.
            earlier = {**row, "occurred_at": moment - timedelta(seconds=1), "amount": Decimal(999)}
            self.transactions.append(earlier)
        self.transactions.append(row)
        self.movements[wallet].append(Movement(moment, row["amount"], is_credit=True))

    @rule(
        wallet=st.sampled_from(WALLETS),
        minute=st.integers(0, MINUTES),
        cost=st.decimals("0.000001", 3, places=6),
        what=st.sampled_from(["managed", "managed", "managed", "byok", "repeated", "unpriced"]),
    )
    def use(self, wallet: str, minute: int, cost: Decimal, what: str) -> None:
        moment = START + timedelta(minutes=minute)
        self.records.append(
            {
                "usage_date": moment.date(),
                "account_id": f"a-{wallet}",
                "started_at": moment,
                "billing_month": f"{moment:%Y-%m}",
                "currency": "USD",
                "billing_mode": "byok" if what == "byok" else "managed",
                "billed_cost": None if what == "unpriced" else cost,
                "duplicate_of": "another" if what == "repeated" else None,
                "status": "success",
                "http_status": 200,
                "requests": 1,
            }
        )
        if what == "managed":
            self.usage[wallet].append((moment, cost))

    @rule(minute=st.integers(0, MINUTES), cents=st.integers(1, 300), is_signed=st.booleans())
    def deduct(self, minute: int, cents: int, is_signed: bool) -> None:
        moment = START + timedelta(minutes=minute, seconds=2)
        amount = Decimal(cents) / 100
        self.transactions.append(
            {
                "_gateway": "g",
                "transaction_id": self.next(),
                "wallet_id": RECORDED,
                "occurred_at": moment,
                "type": "deduction",
                "amount": -amount if is_signed else amount,
                "currency": "USD",
            }
        )
        self.movements[RECORDED].append(Movement(moment, -amount, is_credit=False))

    @rule(
        wallet=st.sampled_from(WALLETS),
        minute=st.integers(0, MINUTES),
        cents=st.integers(-300, 300).filter(bool),
        is_reversed=st.booleans(),
    )
    def adjust(self, wallet: str, minute: int, cents: int, is_reversed: bool) -> None:
        moment = START + timedelta(minutes=minute, seconds=3)
        amount = Decimal(cents) / 100
        number = self.next()
        for name, change, of in ((number, amount, None), (f"{number}r", -amount, number)):
            if of is None or is_reversed:
                self.adjustments.append(
                    {
                        "adjustment_id": name,
                        "wallet_id": wallet,
                        "posted_at": moment,
                        "amount": change,
                        "currency": "EUR" if wallet == ROUNDED else "USD",
                        "kind": "correction",
                        "reason": "test",
                        "reverses_adjustment_id": of,
                    }
                )
                self.movements[wallet].append(Movement(moment, change, is_credit=change > 0))

    @precondition(lambda self: not self.closes and self.number > 5)
    @rule()
    def close(self) -> None:
        """Freeze the first month of every wallet, as it is known now."""
        rows = self.ledger("select * from marts.wallet_ledger where origin <> 'opening'")
        self.closed = self.ledger(CLOSED_ROWS)
        entries = [row for row in rows if row["billing_month"] == MONTH]
        self.closes = [
            {
                "row_type": "period",
                "account_id": f"a-{wallet}",
                "billing_month": MONTH,
                "ledger_entries": len(entries),
            }
            for wallet in WALLETS
        ] + [
            {
                **{name: value for name, value in row.items() if name != "balance_after"},
                "row_type": "entry",
                "entry_month": MONTH,
                "has_payment": str(row["has_payment"]).lower(),
                "is_wallet_known": str(row["is_wallet_known"]).lower(),
            }
            for row in entries
        ]

    def teardown(self) -> None:
        if self.closes:
            assert self.ledger(CLOSED_ROWS) == self.closed
        found = [tuple(row.values()) for row in self.ledger(LEDGER)]
        recorded = any(row["type"] == "deduction" for row in self.transactions)
        used = [record["started_at"] for record in self.records if not record["duplicate_of"]]
        known = [each.moment for each in self.movements[EXPIRING]]
        for wallet in WALLETS:
            expected = list(self.movements[wallet])
            if wallet != RECORDED or not recorded:
                expected += amounts(wallet, self.usage[wallet])
            if wallet == EXPIRING:
                expected += expired(expected, max(used + known))
            rows = [row[1:] for row in found if row[0] == wallet]
            got = sorted((moment, amount) for moment, amount, _ in rows if amount is not None)
            wanted = sorted((each.moment, each.amount) for each in expected)
            if self.closes:
                # The open month may book another moment, never another sum.
                assert sum(each for _, each in got) == sum(each for _, each in wanted), wallet
                got, wanted = (
                    [each for each in entries if each[0] > NEXT_MONTH + timedelta(microseconds=1)]
                    for entries in (got, wanted)
                )
            # An opening of nothing is an entry too.
            assert [each for each in got if each[1]] == wanted, wallet
            balance = Decimal(0)
            for _, amount, after in rows:
                balance += amount or 0
                assert after == balance, wallet

    def ledger(self, query: str) -> list[dict[str, Any]]:
        """What the compiled SQL makes of the rows, in whatever order they are inserted.

        Args:
            query: What to read of it.
        """
        chance = random.Random(self.number)  # noqa: S311  # no secret
        with self.warehouse.open() as connection:
            for table, rows in (
                ("raw.wallet__transactions", self.transactions),
                ("raw.wallet__adjustments", self.adjustments),
                ("marts.usage_records", self.records),
                ("staging.stg_closes__rows", self.closes),
            ):
                insert(connection, table, chance.sample(rows, len(rows)))
            for schema, name, _ in TABLES:
                connection.execute(
                    f"create or replace table {schema}.{name} as {self.warehouse.compiled[name]}"
                )
            assert (
                connection.execute("""
                select 1 from (
                    select wallet_id, sum(change_amount) as amount from marts.wallet_months
                    group by wallet_id
                ) as m
                full outer join (
                    select wallet_id, coalesce(sum(amount), 0) as amount from marts.wallet_ledger
                    group by wallet_id
                ) as l on m.wallet_id = l.wallet_id
                where m.amount is distinct from l.amount
                """).fetchall()
                == []
            )
            rows = connection.execute(query)
            names = [name for name, *_ in rows.description or ()]
            return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows into a table that has more columns than they have; a constraint is not our concern."""
    connection.execute(f"create or replace table {table} as from {table} where false")
    for number, row in enumerate(rows):
        named = {**row, "_row_hash": number} if table.startswith("raw.") else row
        places = ", ".join("?" for _ in named)
        connection.execute(
            f"insert into {table} ({', '.join(named)}) values ({places})", list(named.values())
        )


def test_a_balance_is_the_sum_of_what_happened_at_every_moment(warehouse: Warehouse) -> None:
    machine = type("WalletsOfThisHome", (Wallets,), {"warehouse": warehouse})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
        ),
    )
