"""What the pipeline said of some worlds, held against the truth about them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from accuracy.files import (
    billed_amounts,
    exact_amounts,
    invoice_lines,
    invoice_number,
    router_amounts,
    router_invoice,
)
from accuracy.world import Cause, Finding, World

# Beyond this a part of an invoice line's variance is an exception of its own.
INVOICE_TOLERANCE = Decimal("0.01")
CAPTURE_RATE = Decimal("0.95")
# Below this nobody wants to be asked.
SPEND_FLOOR = Decimal(5)
# These are as they must be, or are told of by another exception.
ACCEPTED_CAUSES = ("tax", "fee", "rounding", "unexplained")


@dataclass(slots=True)
class Score:
    """How one type of fault was found.

    Attributes:
        planted: How often it was planted.
        found: How many of these were found, under the right name.
        exact: How many of the found had the very amount.
        false: How often its name was called without a cause.
    """

    planted: int = 0
    found: int = 0
    exact: int = 0
    false: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Take another home's figures in."""
        self.planted += other.planted
        self.found += other.found
        self.exact += other.exact
        self.false += other.false
        self.examples += other.examples

    @property
    def recall(self) -> float:
        """Share of the planted that was found."""
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of what was called so that is so."""
        called = self.found + self.false
        return self.found / called if called else 1.0


def found_in(home: Path) -> list[dict[str, Any]]:
    """Every exception, with the account it stands on."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select exception_type, severity, account_id, billing_month, subject_id, "
            "amount_at_stake, evidence from marts.exceptions order by all"
        )
        names = [column[0] for column in rows.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def expected_of(world: World) -> list[Finding]:
    """What is to be found in a world: planted faults of one subject together are one exception."""
    together: dict[tuple[str, str, str | None], list[Finding]] = defaultdict(list)
    of_all = [*_of_invoice(world), *_of_contracts(world), *_of_days(world), *_of_spend(world)]
    for each in [*world.findings, *of_all]:
        together[each.exception_type, each.subject, each.month].append(each)
    return [_one(group) for group in together.values()]


def _one(group: list[Finding]) -> Finding:
    known = [each.amount for each in group if each.amount is not None]
    first = group[0]
    amount = sum(known, Decimal(0)) if known else None
    faults = "+".join(sorted({each.fault for each in group}))
    return replace(first, fault=faults, amount=amount)


def _of_invoice(world: World) -> Iterator[Finding]:
    """Causes beyond the invoice's tolerance are exceptions of their own."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    faults: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in causes_of(world):
        sums[each.line, each.name] += each.amount
        faults[each.line, each.name].add(each.fault)
    numbers = {row["description"]: row["line_no"] for row in invoice_lines(world)}
    if world.credit:
        # No fault, and yet an exception by the contract: a credit is a cause.
        subject = f"{invoice_number(world)}/credit"
        yield Finding("invoice:credit", "invoice_variance", subject, world.credit)
    for (line, cause), amount in sums.items():
        if abs(amount) > INVOICE_TOLERANCE:
            subject = f"{invoice_number(world)}/{numbers[line]}/{cause}"
            fault = "+".join(sorted(faults[line, cause]))
            yield Finding(fault, "invoice_variance", subject, abs(amount))


def _of_contracts(world: World) -> Iterator[Finding]:
    for contract in world.contracts:
        for invoice in contract.invoices:
            for line in invoice.lines:
                for cause, amount in line.causes.items():
                    if abs(amount) > INVOICE_TOLERANCE and cause not in ACCEPTED_CAUSES:
                        subject = f"{invoice.number}/{line.number}/{cause}"
                        fault = invoice.fault or f"invoice:{cause}"
                        yield Finding(fault, "invoice_variance", subject, abs(amount))


def causes_of(world: World) -> list[Cause]:
    """The planted causes, and what a price that has ended comes to on every line."""
    causes = list(world.causes)
    for code in world.late_causes:
        exact = exact_amounts(world)
        for line, amount in billed_amounts(world).items():
            if amount != exact[line]:
                causes.append(Cause(code, line, "price_version", amount - exact[line]))
    return causes


def _of_days(world: World) -> Iterator[Finding]:
    """Days of which the gateway saw too little of what the provider charged."""
    sides = [(world.provider_account, [call for call, _ in world.billed], world.recorded)]
    for contract in world.contracts:
        if contract.has_pages:
            sides.append((contract.name, contract.billed, contract.recorded))
    for account, billed, recorded in sides:
        charged: dict[str, Decimal] = defaultdict(Decimal)
        seen: dict[str, Decimal] = defaultdict(Decimal)
        for call in billed:
            charged[f"{call.ended_at:%Y-%m-%d}"] += call.cost
        for call in recorded:
            seen[f"{call.ended_at:%Y-%m-%d}"] += call.cost
        for day, amount in charged.items():
            if seen[day] < CAPTURE_RATE * amount:
                subject = f"{account}/{day}"
                yield Finding("day:capture", "capture_rate_low", subject, amount - seen[day])


def _of_spend(world: World) -> Iterator[Finding]:
    """Days on which a model or a team cost more than days like it lead one to expect."""
    series: dict[tuple[str, str], dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for each in world.spent:
        for subject in (f"model/{each.model}", f"team/{each.key.team or ''}"):
            series[each.account, subject][each.at.date()] += each.amount
    for (_, subject), days in series.items():
        for day, amount in days.items():
            before = sorted((other, days[other]) for other in days if other < day)
            alike = [value for other, value in before if other.weekday() == day.weekday()][-8:]
            recent = [value for other, value in before if other >= day - timedelta(days=14)]
            values = alike if len(alike) >= 4 else recent
            if amount <= SPEND_FLOOR or len(values) < 4:
                continue
            middle = median(values)
            spread = median([abs(value - middle) for value in values])
            band = middle + max(3 * Decimal("1.4826") * spread, Decimal("0.2") * middle)
            if amount > band:
                subject_of_day = f"{subject}/{day}"
                yield Finding("day:spend", "spend_anomaly", subject_of_day, amount - band)


def judge(
    worlds: Iterable[World], found: list[dict[str, Any]]
) -> tuple[dict[str, Score], dict[str, Score]]:
    """Scores by exception type, and by fault."""
    scores: dict[str, Score] = defaultdict(Score)
    faults: dict[str, Score] = defaultdict(Score)
    left: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        left[row["exception_type"], row["account_id"].partition("-")[0]].append(row)
    for world in worlds:
        for finding in expected_of(world):
            score = scores[finding.exception_type]
            of_faults = [faults[code] for code in finding.fault.split("+")]
            for each in (score, *of_faults):
                each.planted += 1
            owners = (world.name, "unassigned")
            called = [left[finding.exception_type, owner] for owner in owners]
            match = next(
                ((rows, row) for rows in called for row in rows if _fits(row, finding)), None
            )
            if match is None:
                score.examples.append(f"missed in seed {world.seed}: {finding}")
                continue
            rows, row = match
            rows.remove(row)
            for each in (score, *of_faults):
                each.found += 1
                each.exact += row["amount_at_stake"] == finding.amount
            if row["amount_at_stake"] != finding.amount:
                score.examples.append(f"amount {row['amount_at_stake']} of {finding}")
    for rows in left.values():
        for row in rows:
            score = scores[row["exception_type"]]
            score.false += 1
            score.examples.append(f"false {row}")
    return dict(scores), dict(faults)


def _fits(row: dict[str, Any], finding: Finding) -> bool:
    """Whether the subject is the planted one, and not another that only begins like it."""
    if finding.month not in (None, row["billing_month"]):
        return False
    return re.search(rf"{re.escape(finding.subject)}(?![0-9])", row["subject_id"]) is not None


@dataclass(slots=True)
class Shares:
    """How the variance of invoice lines was explained.

    Attributes:
        lines: Lines compared.
        rightly: Sum of what was given to the cause that it has.
        parts: Sum of all parts, whatever their sign.
        unexplained: Lines of which something was left.
        not_adding: Lines whose parts are not their variance.
    """

    lines: int = 0
    rightly: Decimal = Decimal(0)
    parts: Decimal = Decimal(0)
    unexplained: int = 0
    not_adding: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Shares) -> None:
        """Take another home's figures in."""
        self.lines += other.lines
        self.rightly += other.rightly
        self.parts += other.parts
        self.unexplained += other.unexplained
        self.not_adding += other.not_adding
        self.examples += other.examples


Truth = dict[tuple[str, int | None], dict[str, Decimal]]


def _truth_of(world: World, labels: dict[str, str]) -> Truth:
    """Every cause of every line of a world's invoices; `labels` learns what each invoice is for."""
    truth: Truth = {}
    number = invoice_number(world)
    numbers = {}
    billed = billed_amounts(world)
    for row in invoice_lines(world):
        numbers[row["description"]] = row["line_no"]
        exact = billed[row["description"]]
        truth[number, row["line_no"]] = {"rounding": row["amount"] - exact}
        # What the header alone has; no file has both of them in one row.
        truth[number, None] = {"tax": row["tax"], "credit": -row["credits_applied"]}
    if world.prepaid is not None:
        charged = router_amounts(world.prepaid)
        for row in router_invoice(world.prepaid):
            model = row["model"]
            cause = "rounding" if model in charged else "unexplained"
            amount = row["amount"] - charged.get(model, Decimal(0))
            truth[row["invoice_number"], row["line_no"]] = {cause: amount}
    for contract in world.contracts:
        for invoice in contract.invoices:
            truth[invoice.number, None] = {
                "tax": invoice.tax,
                "credit": -invoice.credit,
                "rounding": invoice.rounding,
            }
            for line in invoice.lines:
                truth[invoice.number, line.number] = line.truth
                labels[invoice.number] = f"{invoice.fault or contract.kind} {contract.layout}"
    for each in causes_of(world):
        causes = truth[number, numbers[each.line]]
        causes[each.name] = causes.get(each.name, Decimal(0)) + each.amount
    return truth


def judge_causes(worlds: Iterable[World], home: Path, shares: Shares) -> None:
    """Hold the causes of every invoice line against the planted ones."""
    labels: dict[str, str] = {}
    truth: Truth = {}
    for world in worlds:
        truth |= _truth_of(world, labels)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute("select * from marts.invoice_reconciliation order by all")
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        known = truth.get((row["invoice_number"], row["line_no"]))
        if known is None:
            shares.examples.append(f"unasked {row['invoice_number']} {row['line_part']}")
            continue
        expected = dict(known)
        if row["line_no"] is None:
            expected = {row["line_part"]: expected[row["line_part"]]}
        causes = {
            name.removesuffix("_amount"): value or Decimal(0)
            for name, value in row.items()
            if name.endswith("_amount") and name != "variance_amount"
        }
        shares.lines += 1
        shares.not_adding += sum(causes.values(), Decimal(0)) != row["variance_amount"]
        shares.unexplained += causes["unexplained"] != expected.get("unexplained", 0)
        for name, amount in causes.items():
            true = expected.get(name, Decimal(0))
            shares.parts += abs(amount)
            if amount * true > 0:
                shares.rightly += min(abs(amount), abs(true))
            if amount != true:
                label = f"{row['invoice_number']} ({labels.get(row['invoice_number'], 'month')})"
                shares.examples.append(f"{label} {row['description']} {name}: {amount} of {true}")


@dataclass(slots=True)
class Result:
    """What all homes together came to.

    Attributes:
        scores: By exception type.
        faults: By fault, of what was planted of it.
        plants: How often each fault was planted.
        shares: How invoice lines were explained.
        alarms: Exceptions of warning or error on months without a fault.
        clean_months, months, lookalikes: How many there were.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    faults: dict[str, Score] = field(default_factory=dict)
    plants: Counter[str] = field(default_factory=Counter)
    shares: Shares = field(default_factory=Shares)
    alarms: list[str] = field(default_factory=list)
    clean_months: int = 0
    months: int = 0
    lookalikes: int = 0

    def take(self, worlds: list[World], home: Path) -> None:
        """Judge one home."""
        judge_causes(worlds, home, self.shares)
        found = found_in(home)
        clean = tuple(world.name for world in worlds if not world.findings)
        self.alarms += [
            f"{row['exception_type']} {row['subject_id']} {row['amount_at_stake']}"
            for row in found
            if row["account_id"].startswith(clean or ("-",)) and row["severity"] != "info"
        ]
        self.clean_months += len(clean)
        self.months += len(worlds)
        self.lookalikes += sum(world.lookalikes for world in worlds)
        scores, faults = judge(worlds, found)
        for kind, score in scores.items():
            self.scores.setdefault(kind, Score()).add(score)
        for code, score in faults.items():
            self.faults.setdefault(code, Score()).add(score)
        for world in worlds:
            self.plants.update(world.planted)

    @property
    def misses(self) -> int:
        """Of what was planted, how much was not found."""
        return sum(score.planted - score.found for score in self.scores.values())

    @property
    def wrong(self) -> int:
        """How often anything was called that is not so."""
        return sum(score.false for score in self.scores.values())

    def faults_found_wanting(self) -> list[str]:
        """What was missed, called without a cause, or found with another amount, each a line."""
        return [example for score in self.scores.values() for example in score.examples]

    def add(self, other: Result) -> None:
        """Take another home's figures in."""
        for ours, theirs in ((self.scores, other.scores), (self.faults, other.faults)):
            for name, score in theirs.items():
                ours.setdefault(name, Score()).add(score)
        self.plants.update(other.plants)
        self.shares.add(other.shares)
        self.alarms += other.alarms
        self.clean_months += other.clean_months
        self.months += other.months
        self.lookalikes += other.lookalikes
