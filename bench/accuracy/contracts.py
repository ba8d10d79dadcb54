"""Contracts with providers, each with calls and invoices of its own, and what is wrong with these.

A contract is found by the deployment of a call or by the host it went to. Its invoices come in
some layout; the truth of each line is what of its variance is due to which cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from accuracy.world import (
    BEFORE,
    CHANGE_AT,
    CLOUD_MODEL,
    DAYS,
    LARGE_MODELS,
    LONG,
    MILLION,
    MONTH_START,
    Call,
    World,
    line_text,
    log_row,
    provider_of,
    rate_on,
)

CENT = Decimal("0.01")
UNITS = {
    "input": "input_text_uncached_tokens",
    "cached": "input_cached_read_tokens",
    "output": "output_text_tokens",
    "write_5m": "input_cache_write_5m_tokens",
    "write_1h": "input_cache_write_1h_tokens",
}
ISSUED = date(2026, 11, 2)
# How a vendor lays out an invoice. The first four state quantities, the others amounts alone.
COUNTING = ("parts", "columns", "thousands", "days")
AMOUNTS = ("amounts", "models", "one")
MARKUP = Decimal("0.10")
Part = tuple[str, str, str]


@dataclass
class Line:
    """A line of an invoice, with the truth about it.

    Attributes:
        part: Model, tier and part of a call that it bills.
        expected: What the contract's usage comes to.
        causes: What it differs by, rounding apart.
        amount: What is billed, rounded; else expected and causes in cents.
    """

    text: str
    part: Part | None = None
    expected: Decimal = Decimal(0)
    causes: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    quantity: int | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    digits: Decimal = CENT

    @property
    def exact(self) -> Decimal:
        """What it bills before it is rounded."""
        return self.expected + sum(self.causes.values(), Decimal(0))

    @property
    def amount(self) -> Decimal:
        """What it bills."""
        return self.exact.quantize(self.digits, ROUND_HALF_UP)

    @property
    def truth(self) -> dict[str, Decimal]:
        """Every cause of the line's variance."""
        causes = dict(self.causes)
        left = self.amount - self.exact
        return causes | {"rounding": causes.get("rounding", Decimal(0)) + left} if left else causes


@dataclass
class Invoice:
    """An invoice or credit note and what is to be known of it."""

    number: str
    header: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    fault: str = ""
    tax: Decimal = Decimal(0)
    credit: Decimal = Decimal(0)

    @property
    def rounding(self) -> Decimal:
        """What the total has more than the lines."""
        total = sum((line.amount for line in self.lines), Decimal(0))
        return total.quantize(CENT, ROUND_HALF_UP) - total

    def document(self) -> dict[str, Any]:
        """As the vendor sends it."""
        total = sum((line.amount for line in self.lines), Decimal(0)) + self.rounding
        if self.tax or self.credit:
            head = {"subtotal": total, "tax": self.tax, "credits_applied": self.credit}
            total += self.tax - self.credit
            return self._with_lines(self.header | head, total)
        return self._with_lines(self.header, total)

    def _with_lines(self, header: dict[str, Any], total: Decimal) -> dict[str, Any]:
        rows = [
            {"line_no": number, "description": line.text, "amount": line.amount} | line.columns
            for number, line in enumerate(self.lines, 1)
        ]
        return header | {"invoice_number": self.number, "total": total, "lines": rows}


@dataclass
class Contract:
    """A small contract: its calls as recorded and as billed, in the tokens of each part."""

    world: World
    number: int
    model: str
    layout: str
    zone: str = "UTC"
    currency: str = "USD"
    has_pages: bool = False
    is_by_host: bool = False
    is_of_gateway: bool = True
    recorded: list[Call] = field(default_factory=list)
    billed: list[Call] = field(default_factory=list)
    discount: Decimal = Decimal(0)
    rounding: str = "line"
    has_nameless_costs: bool = False
    vendor: str = ""
    kind: str = ""
    invoices: list[Invoice] = field(default_factory=list)
    drafts: list[Invoice] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the company calls it."""
        return f"{self.world.name}-c{self.number:03}"

    @property
    def provider(self) -> str:
        """Who bills."""
        return provider_of(self.model)

    @property
    def project(self) -> str:
        """Its project at the provider."""
        return f"proj_{self.name}"

    @property
    def invoice_number(self) -> str:
        """The number of its invoice of the month."""
        return f"INV-{self.name}"

    def call(self, **changes: Any) -> Call:
        """A call large enough that each part of it is more than a cent."""
        rng = self.world.rng
        big = {
            "model": self.model,
            "uncached": rng.randrange(400_000, 800_000),
            "cached": rng.randrange(800_000, 1_200_000),
            "output": rng.randrange(80_000, 160_000),
        }
        made = self.world.call(**(big | changes))
        if "at" in changes:
            return made
        if made.at < MONTH_START + timedelta(hours=8):
            # In Pacific time that is the month before.
            return replace(made, at=made.at + timedelta(hours=9))
        if made.ended_at.date() != made.at.date():
            return replace(made, at=made.at - timedelta(minutes=10))
        return made

    def short_call(self) -> Call:
        """A call whose input is not long, each part of it more than a cent all the same."""
        rng = self.world.rng
        return self.call(
            uncached=rng.randrange(20_000, 80_000),
            cached=rng.randrange(60_000, 110_000),
            output=rng.randrange(5_000, 60_000),
        )

    def row(self, call: Call, **changes: Any) -> dict[str, Any]:
        """What the gateway writes of a call that went to this contract."""
        found: dict[str, Any] = (
            {"api_base": f"https://{self.name}.example.com/v1"}
            if self.is_by_host
            else {"model_id": self.name}
        )
        if self.discount:
            found["spend"] = call.cost * (1 - self.discount)
        return log_row(call, **(found | changes))

    def record(self, call: Call, **changes: Any) -> None:
        """Have the gateway write a call, and no one bill it."""
        self.world.rows.append(self.row(call, **changes))
        self.world.spend(call, call.cost * (1 - self.discount))
        self.recorded.append(call)

    def happen(self, call: Call) -> None:
        """A call that is recorded and billed."""
        self.record(call)
        self.billed.append(call)

    def parts_of(self, calls: Iterable[Call]) -> dict[Part, tuple[int, Decimal]]:
        """Tokens and cost of calls by model, tier and part."""
        sums: dict[Part, tuple[int, Decimal]] = {}
        for call in calls:
            for part, count in call.parts.items():
                if count:
                    key = (call.model, call.tier, part)
                    tokens, cost = sums.get(key, (0, Decimal(0)))
                    more = count * call.prices[part] / MILLION * self.rate(call)
                    sums[key] = (tokens + count, cost + more)
        return sums

    def rate(self, call: Call) -> Decimal:
        """What a dollar is on the day of a call."""
        rate = rate_on(call.at) if self.currency == "EUR" else Decimal(1)
        return rate * (1 - self.discount)

    def header(self, start: str = "2026-10-01", end: str = "2026-10-31") -> dict[str, Any]:
        """The head of an invoice of the month, or of other days."""
        issued = ISSUED if end >= "2026-10-31" else date(2026, 10, 2)
        return {
            "vendor": self.vendor or self.provider,
            "invoice_type": "invoice",
            "issued_at": f"{issued}T00:00:00Z",
            "period_start": start,
            "period_end": end,
            "currency": self.currency,
            "provider_account_id": self.name,
        }

    def invoice(
        self, recorded: Iterable[Call] | None = None, billed: Iterable[Call] | None = None
    ) -> Invoice:
        """The month's invoice: a line per part, model or day, as the layout has it."""
        made = Invoice(self.invoice_number, self.header())
        self.invoices.append(made)
        own = list(self.recorded if recorded is None else recorded)
        theirs = list(self.billed if billed is None else billed)
        if self.layout == "days":
            for day in sorted({call.at.date() for call in [*own, *theirs]}):
                made.lines += self._lines(
                    [call for call in own if call.at.date() == day],
                    [call for call in theirs if call.at.date() == day],
                    {"service_start": f"{day}", "service_end": f"{day}"},
                )
        else:
            made.lines += self._lines(own, theirs, {})
        for number, line in enumerate(made.lines, 1):
            line.number = number
        return made

    def _lines(self, own: list[Call], theirs: list[Call], more: dict[str, Any]) -> list[Line]:
        expected, counted = self.parts_of(own), self.parts_of(theirs)
        lines = []
        for key in sorted({*expected, *counted}):
            model, tier, part = key
            line = Line(line_text(model, tier, part), key, expected.get(key, (0, Decimal(0)))[1])
            line.quantity = counted.get(key, (0, Decimal(0)))[0]
            line.columns = dict(more)
            lines.append(line)
        if self.layout in ("models", "one"):
            return _together(lines, self.layout)
        for line in lines:
            self._count(line)
        return lines

    def _count(self, line: Line) -> None:
        if line.part is None or line.quantity is None:
            return
        model, tier, part = line.part
        if self.layout in ("parts", "days"):
            line.columns |= {"quantity": line.quantity, "unit": "tokens"}
        elif self.layout == "columns":
            line.text = f"Use of {model}: {part}"
            line.columns |= {"quantity": line.quantity, "unit": UNITS[part], "model": model}
            line.columns |= {"service_tier": tier}
        elif self.layout == "priced":
            line.columns |= {"quantity": Decimal(line.quantity) / MILLION, "unit": "1M tokens"}
        elif self.layout == "thousands":
            line.columns |= {"quantity": Decimal(line.quantity) / 1000, "unit": "1K tokens"}

    def lines_of(self, calls: list[Call], billed: list[Call] | None = None) -> list[Line]:
        """Lines of some calls, as the layout has them."""
        return self._lines(calls, calls if billed is None else billed, {})

    def forget(self) -> None:
        """Undo the calls that were drawn."""
        self.world.forget(self.recorded)
        self.recorded.clear()
        self.billed.clear()

    def find(self, invoice: Invoice, part: str, model: str | None = None) -> Line:
        """The first line of a part."""
        return next(
            line
            for line in invoice.lines
            if line.part is not None
            and line.part[2] == part
            and line.part[0] == (model or self.model)
        )


def _together(lines: list[Line], layout: str) -> list[Line]:
    """Lines of a model, or all, as one."""
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.part[0] if layout == "models" and line.part else "API usage"].append(line)
    together = []
    for text, group in groups.items():
        one = Line(text, None, sum((line.expected for line in group), Decimal(0)))
        if layout == "models":
            one.columns = {"model": text}
        together.append(one)
    return together


def draw(world: World, *, layouts: Iterable[str] = COUNTING, **changes: Any) -> Contract:
    """A new contract with some calls that are recorded and billed as they were."""
    rng = world.rng
    contract = Contract(
        world,
        len(world.contracts),
        rng.choice(LARGE_MODELS),
        rng.choice(list(layouts)),
        is_by_host=rng.random() < 0.3,
    )
    for name, value in changes.items():
        setattr(contract, name, value)
    world.contracts.append(contract)
    for _ in range(rng.randrange(3, 6)):
        contract.happen(contract.call())
    return contract


def _line_of(invoice: Invoice, call: Call, part: str) -> Line:
    """The line that bills a part of a call, which may be one of its day."""
    day = f"{call.at:%Y-%m-%d}"
    return next(
        line
        for line in invoice.lines
        if line.part in (None, (call.model, call.tier, part))
        and line.columns.get("service_start", day) == day
    )


def _add(invoice: Invoice, calls: Iterable[Call], cause: str, sign: int, of: Contract) -> None:
    """Put a cause on the lines that calls are billed on."""
    for call in calls:
        for part, count in call.parts.items():
            if count:
                amount = sign * count * call.prices[part] / MILLION * of.rate(call)
                _line_of(invoice, call, part).causes[cause] += amount


MONTHLY = ("parts", "columns", "thousands")


def draw_reported(world: World) -> Contract:
    """A contract of which the provider reports usage and cost day by day, or one as any other.

    With such reports an invoice of amounts alone can be explained as well.
    """
    if world.rng.random() < 0.5:
        return draw(world, layouts=MONTHLY)
    return draw(world, layouts=(*MONTHLY, *AMOUNTS), has_pages=True)


def tax_line(world: World, code: str) -> None:
    """A line of tax, one of a fee and one of credit."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS))
    invoice = contract.invoice()
    for kind, text, amount in (
        ("tax", "VAT 19%", "1.90"),
        ("fee", "Platform fee", "3.00"),
        ("credit", "Promotional credit", "-2.50"),
    ):
        stated = {"line_kind": kind} if world.rng.random() < 0.5 else {}
        line = Line(text, columns=stated, number=len(invoice.lines) + 1)
        line.causes[kind] = Decimal(amount)
        invoice.lines.append(line)
    invoice.fault = code


def exchanged(world: World, code: str) -> None:
    """An invoice in euros at the rate of its issue."""
    contract = draw(world, layouts=(*MONTHLY, *AMOUNTS), currency="EUR")
    invoice = contract.invoice()
    rate = rate_on(datetime(ISSUED.year, ISSUED.month, ISSUED.day, tzinfo=UTC))
    for call in contract.recorded:
        for part, count in call.parts.items():
            if count:
                line = next(
                    line
                    for line in invoice.lines
                    if line.part in (None, (call.model, call.tier, part))
                )
                dollars = count * call.prices[part] / MILLION
                line.causes["fx"] += dollars * (rate - contract.rate(call))
    invoice.fault = code


def pacific_month(world: World, code: str) -> None:
    """A month of Pacific time: a call of the first UTC hours after it is billed with it."""
    is_on_invoice = world.rng.random() < 0.5
    zone = "UTC" if is_on_invoice else "America/Los_Angeles"
    contract = draw(world, layouts=(*MONTHLY, *AMOUNTS), zone=zone)
    late = contract.call(at=MONTH_START + timedelta(days=DAYS, hours=world.rng.randrange(1, 6)))
    contract.record(late)
    contract.billed.append(late)
    contract.recorded.remove(late)
    if world.rng.random() < 0.5:
        early = contract.call(at=MONTH_START + timedelta(hours=world.rng.randrange(1, 6)))
        contract.record(early)
        invoice = contract.invoice()
        _add(invoice, [early], "time_zone", -1, contract)
    else:
        invoice = contract.invoice()
    _add(invoice, [late], "time_zone", 1, contract)
    if is_on_invoice:
        invoice.header["time_zone"] = "America/Los_Angeles"
    invoice.fault = code


def over_midnight(world: World, code: str) -> None:
    """A call that began in the month and ended after it, or began before it and ended in it."""
    contract = draw(world, layouts=(*MONTHLY, *AMOUNTS))
    is_last = world.rng.random() < 0.5
    edge = MONTH_START + timedelta(days=DAYS if is_last else 0)
    call = contract.call(at=edge - timedelta(seconds=10), seconds=25)
    contract.record(call)
    if is_last:
        invoice = contract.invoice()
    else:
        contract.recorded.remove(call)
        contract.billed.append(call)
        invoice = contract.invoice()
    _add(invoice, [call], "period_straddle", -1 if is_last else 1, contract)
    invoice.fault = code


def billed_late(world: World, code: str) -> None:
    """A call of September that its invoice lacks and that of October has."""
    contract = draw(world, layouts=MONTHLY)
    september = [
        contract.call(at=MONTH_START - timedelta(days=world.rng.randrange(2, 8))) for _ in range(3)
    ]
    for call in september:
        contract.record(call)
        contract.recorded.remove(call)
    late = september[-1]
    contract.billed.append(late)
    october = contract.invoice()
    before = contract.invoice(september, september[:-1])
    before.number += "-9"
    before.header = contract.header("2026-09-01", "2026-09-30")
    _add(october, [late], "late_usage", 1, contract)
    _add(before, [late], "late_usage", -1, contract)
    october.fault = before.fault = code


def own_key(world: World, code: str) -> None:
    """Calls by a key that is billed elsewhere, on our invoice all the same."""
    contract = draw(world, layouts=MONTHLY, is_of_gateway=False)
    key = world.new_key("own", team=1)
    world.own_keys.append(key)
    call = contract.call(key=key)
    contract.record(call)
    contract.recorded.remove(call)
    contract.billed.append(call)
    invoice = contract.invoice()
    _add(invoice, [call], "byok", 1, contract)
    invoice.fault = code


def billed_twice(world: World, code: str) -> None:
    """A call that the gateway wrote twice and the provider charged twice."""
    contract = draw_reported(world)
    call = contract.recorded[-1]
    again = replace(call, at=call.at + timedelta(seconds=2))
    world.rows.append(contract.row(again))
    world.expect(code, "duplicate_request_id", call.request_id, again.cost)
    contract.billed.append(again)
    invoice = contract.invoice()
    _add(invoice, [again], "duplicate_usage", 1, contract)
    invoice.fault = code


def _failed(contract: Contract, call: Call, **metadata: Any) -> None:
    error = {"error_code": "504", "error_class": "Timeout"}
    row = contract.row(
        call,
        status="failure",
        spend=Decimal(0),
        metadata={"status": "failure", "error_information": error} | metadata,
    )
    contract.world.rows.append(row)


def billed_failure(world: World, code: str) -> None:
    """A call that failed, whose prompt the provider charged."""
    contract = draw_reported(world)
    call = contract.call(cached=0, output=0)
    _failed(contract, call)
    contract.billed.append(call)
    invoice = contract.invoice()
    _add(invoice, [call], "failed_request", 1, contract)
    invoice.fault = code


def billed_retry(world: World, code: str) -> None:
    """A further attempt that failed, whose prompt the provider charged."""
    contract = draw_reported(world)
    call = contract.call(cached=0, output=0)
    _failed(contract, call, attempted_retries=1)
    contract.billed.append(call)
    invoice = contract.invoice()
    _add(invoice, [call], "retry_charge", 1, contract)
    invoice.fault = code


def broken_stream(world: World, code: str) -> None:
    """A stream that broke off here and went on at the provider."""
    contract = draw_reported(world)
    call = contract.call(cached=0)
    seen = replace(call, output=call.output // 3)
    contract.record(seen, status="failure")
    contract.billed.append(call)
    invoice = contract.invoice()
    _add(
        invoice,
        [replace(call, uncached=0, output=call.output - seen.output)],
        "partial_stream",
        1,
        contract,
    )
    subject = f"{world.gateway}/{call.model}/{call.at:%Y-%m-%d}"
    world.expect(code, "estimated_usage", subject, seen.cost)
    invoice.fault = code


def unrecorded(world: World, code: str) -> None:
    """A call that the gateway lost, on the invoice of a contract it knows."""
    _lose_a_call(draw_reported(world), code)


def unrecorded_on_cloud(world: World, code: str) -> None:
    """A call that the gateway lost, on the bill and the invoice of a cloud."""
    _lose_a_call(_on_a_cloud(world), code)


def _lose_a_call(contract: Contract, code: str) -> None:
    call = contract.call()
    contract.billed.append(call)
    invoice = contract.invoice()
    _add(invoice, [call], "missing_usage", 1, contract)
    invoice.fault = code


def _on_a_cloud(world: World) -> Contract:
    """A contract with a cloud, of which the cloud's bill of every hour is known."""
    vendor = "Amazon Web Services, Inc."
    return draw(world, layouts=("one",), model=CLOUD_MODEL, has_pages=True, vendor=vendor)


def around_the_gateway(world: World, code: str) -> None:
    """A contract of which the gateway has no record at all."""
    # At which of two prices calls were made that nobody recorded, nobody can know.
    contract = draw(world, layouts=MONTHLY, model="gpt-5")
    world.forget(contract.recorded)
    contract.recorded.clear()
    invoice = contract.invoice()
    _add(invoice, contract.billed, "bypass_traffic", 1, contract)
    for line in invoice.lines:
        subject = f"{invoice.number}/{line.number}"
        world.expect(code, "invoice_line_unmatched", subject, line.amount)
    invoice.fault = code


def other_model(world: World, code: str) -> None:
    """A call billed as another model than the gateway has it."""
    contract = draw(world, layouts=MONTHLY, model="gpt-5-mini")
    contract.happen(contract.call(model="gpt-5"))
    call = contract.recorded[0]
    contract.billed.remove(call)
    moved = replace(call, model="gpt-5")
    contract.billed.append(moved)
    invoice = contract.invoice()
    _add(invoice, [call], "model_mapping", -1, contract)
    _add(invoice, [moved], "model_mapping", 1, contract)
    invoice.fault = code


def hundredfold(world: World, code: str) -> None:
    """Cents taken for dollars."""
    contract = draw(world, layouts=MONTHLY)
    invoice = contract.invoice()
    for line in invoice.lines:
        line.causes["unit_mismatch"] += line.expected * 99
    invoice.fault = code


def cache_not_split(world: World, code: str) -> None:
    """Tokens read from the cache, billed as if they had not been."""
    contract = draw_reported(world)
    call = contract.recorded[-1]
    contract.billed.remove(call)
    contract.billed.append(replace(call, uncached=call.uncached + call.cached, cached=0))
    invoice = contract.invoice()
    _add(invoice, [replace(call, uncached=0, output=0)], "cache_split", -1, contract)
    _add(
        invoice,
        [replace(call, uncached=call.cached, cached=0, output=0)],
        "cache_split",
        1,
        contract,
    )
    invoice.fault = code


def other_tier(world: World, code: str) -> None:
    """Standard calls billed at the price of priority."""
    contract = draw(world, layouts=("parts", "thousands"), model="gpt-5")
    invoice = contract.invoice()
    for line in invoice.lines:
        if line.part is not None and line.quantity:
            model, _, part = line.part
            billed = line.quantity * BEFORE[model, "priority"][part] / MILLION
            line.causes["service_tier"] += billed - line.expected
    invoice.fault = code


def without_price(world: World, code: str) -> None:
    """A model that no catalog knows, on the invoice."""
    contract = draw(world, layouts=MONTHLY, model="gpt-5")
    name = f"{contract.name}-model"
    call = contract.call(cached=0)
    world.rows.append(contract.row(call, model=name, model_group=name))
    world.expect(code, "unpriced_usage", f"{name}/", call.cost)
    contract.billed.append(replace(call, model=name))
    invoice = contract.invoice()
    for part in ("input", "output"):
        line = contract.find(invoice, part, name)
        line.causes["unpriced"] += Decimal(world.rng.randrange(100, 900)) / 100
    invoice.fault = code


def ended_price(world: World, code: str) -> None:
    """A month billed at a price that ended in its middle."""
    contract = draw(world, layouts=MONTHLY, model="gpt-5-mini")
    contract.happen(contract.call(at=CHANGE_AT + timedelta(days=3)))
    invoice = contract.invoice()
    for call in contract.billed:
        for part, count in call.parts.items():
            more = BEFORE[call.model, call.tier][part] - call.prices[part]
            if count and more:
                contract.find(invoice, part).causes["price_version"] += count * more / MILLION
    invoice.fault = code


def days_at_ended_price(world: World, code: str) -> None:
    """An invoice by day, of which the days after a change have the price before it."""
    contract = draw(world, layouts=("days",), model="gpt-5-mini")
    contract.happen(contract.call(at=CHANGE_AT + timedelta(days=3, hours=world.rng.randrange(9))))
    invoice = contract.invoice()
    for call in contract.billed:
        for part, count in call.parts.items():
            more = BEFORE[call.model, call.tier][part] - call.prices[part]
            if count and more:
                amount = count * more / MILLION
                _line_of(invoice, call, part).causes["price_version"] += amount
    invoice.fault = code


def other_band(world: World, code: str) -> None:
    """Long calls billed at the price of short ones, or short ones at that of long ones."""
    contract = draw(
        world, layouts=("parts", "thousands", "columns", "days"), model="claude-sonnet-4"
    )
    is_long = world.rng.random() < 0.5
    if not is_long:
        contract.forget()
        for _ in range(3):
            contract.happen(contract.short_call())
    invoice = contract.invoice()
    for call in contract.billed:
        billed = BEFORE[call.model, "standard"] if is_long else LONG[call.model]
        for part, count in call.parts.items():
            if count:
                amount = count * (billed[part] - call.prices[part]) / MILLION
                _line_of(invoice, call, part).causes["context_band"] += amount
    invoice.fault = code


def rounded_otherwise(world: World, code: str) -> None:
    """Lines of six decimals, and a total that the vendor rounds to the cent."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS), rounding="invoice")
    invoice = contract.invoice()
    for line in invoice.lines:
        line.digits = Decimal("0.000001")
    invoice.fault = code


def committed(world: World, code: str) -> None:
    """A line of a yearly commitment."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS))
    invoice = contract.invoice()
    amount = Decimal(world.rng.randrange(100, 400))
    world.commitments.append((contract.name, amount))
    line = Line("Provisioned throughput, monthly commitment", number=len(invoice.lines) + 1)
    line.columns = {"line_kind": "commitment"}
    line.causes["commitment"] = amount
    invoice.lines.append(line)
    invoice.fault = code


def marked_up(world: World, code: str) -> None:
    """A reseller's invoice: a tenth above the provider's prices."""
    contract = draw(world, layouts=(*MONTHLY, *AMOUNTS))
    invoice = contract.invoice()
    for line in invoice.lines:
        line.causes["markup"] += line.expected * MARKUP
    invoice.fault = code


def invented_price(world: World, code: str) -> None:
    """A price that nobody knows: what it adds stays unexplained."""
    contract = draw(world, layouts=MONTHLY, model="gpt-5")
    invoice = contract.invoice()
    line = contract.find(invoice, "input")
    extra = Decimal(world.rng.randrange(55, 85)) / 1000 * line.expected
    line.causes["unexplained"] = (line.expected + extra).quantize(CENT) - line.expected
    subject = f"{invoice.number}/{line.number}"
    world.expect(code, "invoice_line_unmatched", subject, line.causes["unexplained"])


def unknown_item(world: World, code: str) -> None:
    """A line of which nobody knows what it is for."""
    contract = draw(world, layouts=COUNTING)
    invoice = contract.invoice()
    text = f"Miscellaneous {contract.name}"
    line = Line(text, number=len(invoice.lines) + 1)
    line.causes["unexplained"] = Decimal(world.rng.randrange(100, 999)) / 100
    invoice.lines.append(line)
    world.expect(code, "unmapped_line_item", text, line.amount)
    subject = f"{invoice.number}/{line.number}"
    world.expect(code, "invoice_line_unmatched", subject, line.amount)


def credited(world: World, code: str) -> None:
    """A credit note beside an invoice that is right."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS))
    contract.invoice()
    note = Invoice(f"{contract.invoice_number}-N", contract.header(), fault=code)
    note.header["invoice_type"] = "credit_note"
    line = Line("Refund for failed requests", number=1)
    line.causes["credit"] = -Decimal(world.rng.randrange(100, 500)) / 100
    note.lines.append(line)
    contract.invoices.append(note)


def between_prices(world: World, code: str) -> None:
    """A line before a change of prices and one after it, with a call on the wrong one."""
    contract, before, after = _around_the_change(world)
    moved = after[-1]
    invoice = contract.invoice([], [])
    _append(contract, invoice, before, [*before, moved])
    _append(contract, invoice, after, after[:-1])
    for line in invoice.lines:
        if line.part is not None and line.part[2] in moved.parts:
            count = moved.parts[line.part[2]]
            is_first = line.number <= len(invoice.lines) // 2
            price = BEFORE["gpt-5-mini", "standard"] if is_first else moved.prices
            amount = count * price[line.part[2]] / MILLION
            line.causes["price_version"] += amount if is_first else -amount
    invoice.fault = code


def _around_the_change(world: World) -> tuple[Contract, list[Call], list[Call]]:
    """A contract with large calls before a change of prices and after it."""
    contract = draw(world, layouts=("parts",), model="gpt-5-mini")
    contract.forget()
    for hours in (-200, -100, 50, 100, 200):
        at = CHANGE_AT + timedelta(hours=hours, seconds=world.rng.randrange(3_600))
        call = contract.call(at=at)
        contract.happen(replace(call, uncached=call.uncached * 10, cached=call.cached * 10))
    return contract, contract.recorded[:2], contract.recorded[2:]


def _append(contract: Contract, invoice: Invoice, own: list[Call], theirs: list[Call]) -> None:
    for line in contract.lines_of(own, theirs):
        line.number = len(invoice.lines) + 1
        invoice.lines.append(line)


def kept_longer(world: World, code: str) -> None:
    """What was written to the cache for minutes, billed as if for an hour."""
    contract = _writing(world, reported=False)
    call = contract.recorded[-1]
    contract.billed.remove(call)
    contract.billed.append(replace(call, write_5m=0, write_1h=call.write_1h + call.write_5m))
    invoice = contract.invoice()
    nothing = {"uncached": 0, "cached": 0, "output": 0}
    _add(invoice, [replace(call, write_1h=0, **nothing)], "cache_split", -1, contract)
    more = replace(call, write_5m=0, write_1h=call.write_5m, **nothing)
    _add(invoice, [more], "cache_split", 1, contract)
    invoice.fault = code


def _writing(world: World, *, reported: bool) -> Contract:
    """A contract whose calls write to the cache, for minutes and for an hour."""
    layouts = MONTHLY if not reported else (*MONTHLY, *AMOUNTS)
    contract = draw(world, layouts=layouts, model="claude-sonnet-4-5", has_pages=reported)
    contract.forget()
    for _ in range(3):
        call = contract.call()
        writes = {name: world.rng.randrange(20_000, 90_000) for name in ("write_5m", "write_1h")}
        contract.happen(replace(call, **writes))
    return contract


VENDORS = {"openai": ("OpenAI, LLC", "OpenAI"), "anthropic": ("Anthropic PBC", "Anthropic, PBC")}


def by_halves(world: World) -> None:
    """Two invoices, of either half of the month."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS))
    middle = MONTH_START + timedelta(days=15)
    for name, start, end in (("A", "01", "15"), ("B", "16", "31")):
        calls = [call for call in contract.recorded if (call.at < middle) == (name == "A")]
        if calls:
            invoice = contract.invoice(calls, calls)
            invoice.number += name
            invoice.header |= {"period_start": f"2026-10-{start}", "period_end": f"2026-10-{end}"}


def by_name_of_the_firm(world: World) -> None:
    """An invoice under the full name of the firm, of which a pro forma came before it."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS))
    contract.vendor = world.rng.choice(VENDORS[contract.provider])
    invoice = contract.invoice()
    before = Invoice(f"{invoice.number}-P", invoice.header | {"invoice_type": "proforma"})
    before.lines = invoice.lines
    contract.drafts.append(before)


def with_tax_on_top(world: World) -> None:
    """An invoice with its tax in the header."""
    invoice = draw(world, layouts=(*COUNTING, *AMOUNTS)).invoice()
    invoice.tax = Decimal(world.rng.randrange(10, 90)) / 100


def at_a_discount(world: World) -> None:
    """A contract at a discount on the list; one to a company, for each prices every model anew."""
    if any(each.discount for each in world.contracts):
        return
    layout = world.rng.choice((*COUNTING, *AMOUNTS))
    contract = Contract(world, len(world.contracts), "gpt-5", layout, discount=Decimal("0.15"))
    world.contracts.append(contract)
    for _ in range(4):
        contract.happen(contract.call())
    contract.invoice()


def corrected(world: World) -> None:
    """An invoice that was wrong, and the one in its place."""
    contract = draw(world, layouts=(*COUNTING, *AMOUNTS))
    invoice = contract.invoice()
    wrong = Invoice(f"{invoice.number}-W", dict(invoice.header))
    wrong.lines = [
        Line(line.text, line.part, line.expected * 2, quantity=line.quantity, columns=line.columns)
        for line in invoice.lines
    ]
    invoice.header["supersedes_invoice_number"] = wrong.number
    contract.drafts.append(wrong)


def by_key(world: World) -> None:
    """An invoice with lines for each key, and lines for batches."""
    contract = draw(world, layouts=("parts", "columns"), model="gpt-5")
    keys = world.keys[:2]
    contract.forget()
    for key in (*keys, *keys):
        contract.happen(contract.call(key=key))
    batch = contract.call(key=world.batch_key, tier="batch")
    contract.record(batch, call_type="aretrieve_batch", session_id=f"batch_{batch.request_id}")
    contract.billed.append(batch)
    invoice = contract.invoice([], [])
    for key in (*keys, world.batch_key):
        calls = [call for call in contract.recorded if call.key == key]
        for line in contract.lines_of(calls):
            line.columns["api_key_id"] = key.id
            line.number = len(invoice.lines) + 1
            invoice.lines.append(line)


def in_two_lines(world: World) -> None:
    """An invoice that says the same thing twice, each time of a part."""
    contract = draw(world, layouts=("parts", "amounts"), model="gpt-5")
    halves = [contract.recorded[:2], contract.recorded[2:]]
    invoice = contract.invoice([], [])
    for calls in halves:
        for line in contract.lines_of(calls):
            line.number = len(invoice.lines) + 1
            invoice.lines.append(line)


def by_millions(world: World) -> None:
    """An invoice in millions of tokens, with the price of each."""
    contract = draw(world, layouts=("priced",), model="gpt-5")
    invoice = contract.invoice()
    for line in invoice.lines:
        if line.part is not None:
            line.columns["unit_price"] = BEFORE["gpt-5", "standard"][line.part[2]]


DATED = {
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}


def by_dated_name(world: World) -> None:
    """Calls that the gateway has under the dated name of their model, and the invoice has not."""
    contract = draw(world, layouts=MONTHLY)
    contract.forget()
    for _ in range(3):
        call = contract.call()
        name = DATED[call.model]
        world.rows.append(contract.row(call, model=name))
        world.spend(replace(call, model=name, own_prices=call.prices))
        contract.recorded.append(call)
        contract.billed.append(call)
    contract.invoice()


def with_reasoning(world: World) -> None:
    """Calls of which a part of the output was reasoning, billed as output."""
    contract = draw_reported(world)
    for _ in range(3):
        call = contract.call()
        row = contract.row(call)
        details = {"reasoning_tokens": call.output // 2}
        row["metadata"]["usage_object"]["completion_tokens_details"] = details
        world.rows.append(row)
        world.spend(call)
        contract.recorded.append(call)
        contract.billed.append(call)
    contract.invoice()


def of_embeddings(world: World) -> None:
    """Calls for embeddings, which have no output."""
    contract = Contract(world, len(world.contracts), "text-embedding-3-small", "parts")
    world.contracts.append(contract)
    for _ in range(3):
        call = contract.call(cached=0, output=0)
        contract.record(call, call_type="aembedding")
        contract.billed.append(call)
    contract.invoice()


def at_two_prices(world: World) -> None:
    """An invoice with lines of their own for what was used before a change of prices."""
    contract, before, after = _around_the_change(world)
    invoice = contract.invoice([], [])
    for calls in (before, after):
        _append(contract, invoice, calls, calls)


def by_day_alone(world: World) -> None:
    """An invoice with one line a day, which names nothing."""
    contract = draw(world, layouts=("one",))
    invoice = contract.invoice([], [])
    for day in sorted({call.at.date() for call in contract.recorded}):
        calls = [call for call in contract.recorded if call.at.date() == day]
        _append(contract, invoice, calls, calls)
        line = invoice.lines[-1]
        line.text = f"API {day}"
        line.columns = {"service_start": f"{day}", "service_end": f"{day}"}


WORDS = {"input": "input", "cached": "cached input", "output": "output"}


def in_usual_words(world: World) -> None:
    """An invoice that says what it bills in words of its own."""
    contract = draw(world, layouts=("parts", "thousands"))
    shape = world.rng.choice(
        ("{model} {part} tokens", "{model} - {part} tokens", "{part} tokens ({model})")
    )
    for line in contract.invoice().lines:
        if line.part is not None:
            line.text = shape.format(model=line.part[0], part=WORDS[line.part[2]])


def with_nameless_costs(world: World) -> None:
    """A contract of which the provider reports what a day cost, and not for what."""
    contract = draw(
        world, layouts=(*MONTHLY, *AMOUNTS), model="gpt-5", has_pages=True, has_nameless_costs=True
    )
    contract.invoice()


def with_cache_writes(world: World) -> None:
    """Calls that write to the cache, for minutes and for an hour."""
    _writing(world, reported=world.rng.random() < 0.5).invoice()


def on_a_cloud_bill(world: World) -> None:
    """A cloud's invoice of one line, beside its bill of every hour."""
    _on_a_cloud(world).invoice()


def in_both_bands(world: World) -> None:
    """Long and short calls of a model that asks more for long ones, on the same lines."""
    contract = draw(world, layouts=(*MONTHLY, *AMOUNTS), model="claude-sonnet-4")
    for _ in range(3):
        contract.happen(contract.short_call())
    contract.invoice()


def as_it_should_be(world: World) -> None:
    """A contract billed as it was used, in any layout, with or without reports of its days."""
    if world.rng.random() < 0.5:
        draw(world, layouts=(*COUNTING, *AMOUNTS)).invoice()
    else:
        draw_reported(world).invoice()


PLANTS: dict[str, Callable[[World, str], None]] = {
    "tax_fee_credit_lines": tax_line,
    "other_rate": exchanged,
    "pacific_month": pacific_month,
    "over_midnight": over_midnight,
    "billed_late": billed_late,
    "billed_own_key": own_key,
    "billed_twice": billed_twice,
    "billed_failure": billed_failure,
    "billed_retry": billed_retry,
    "broken_stream": broken_stream,
    "unrecorded": unrecorded,
    "unrecorded_on_cloud": unrecorded_on_cloud,
    "around_the_gateway": around_the_gateway,
    "billed_as_other_model": other_model,
    "cents_for_dollars": hundredfold,
    "cache_not_split": cache_not_split,
    "billed_at_other_tier": other_tier,
    "billed_without_price": without_price,
    "ended_price": ended_price,
    "other_band": other_band,
    "rounded_otherwise": rounded_otherwise,
    "between_prices": between_prices,
    "kept_longer": kept_longer,
    "commitment": committed,
    "reseller": marked_up,
    "invented_price": invented_price,
    "unknown_item": unknown_item,
    "credited": credited,
}
LOOKALIKES: dict[str, Callable[[World], None]] = {
    "as_it_should_be": as_it_should_be,
    "by_halves": by_halves,
    "by_name_of_the_firm": by_name_of_the_firm,
    "with_tax_on_top": with_tax_on_top,
    "at_a_discount": at_a_discount,
    "corrected": corrected,
    "by_key": by_key,
    "in_two_lines": in_two_lines,
    "by_millions": by_millions,
    "by_dated_name": by_dated_name,
    "with_reasoning": with_reasoning,
    "of_embeddings": of_embeddings,
    "at_two_prices": at_two_prices,
    "by_day_alone": by_day_alone,
    "in_usual_words": in_usual_words,
    "with_nameless_costs": with_nameless_costs,
    "with_cache_writes": with_cache_writes,
    "in_both_bands": in_both_bands,
    "on_a_cloud_bill": on_a_cloud_bill,
}
