"""Invoices and provider days with one planted fault each: every cent finds its cause."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from fixtures.provider_pages import completions, openai_bucket, openai_page
from fixtures.spend_logs import key_hash, row
from integration.homes import Home, query

# Ten dollars per million tokens of input: what the planted quantities below are multiplied with.
PRICE = "0.00001"
OCTOBER = ("2026-10-01", "2026-10-31")
SEPTEMBER = ("2026-09-01", "2026-09-30")
# Two calls of 100,000 tokens: what each line expects before its fault.
BASE = ("2026-10-10T10:00:00Z", "2026-10-11T11:00:00Z")
HOUSE_KEY, OWN_KEY = "house key", "own key"


def call(model: str, start: str, tokens: int, **changes: Any) -> dict[str, Any]:
    """One call that used nothing but input, a second long."""
    values = row(
        0,
        request_id=f"{model}-{start}",
        api_key=key_hash(HOUSE_KEY),
        model=model,
        model_group=model,
        startTime=start,
        endTime=changes.pop("end", start.replace("0Z", "1Z")),
        prompt_tokens=tokens,
        completion_tokens=0,
        total_tokens=tokens,
        spend=float(tokens * Decimal(PRICE)),
    )
    return {**values, **changes}


@dataclass(frozen=True)
class Plant:
    """One model with a fault between its records and the line that bills it.

    Attributes:
        tokens: Quantity billed, in tokens; None where the line says none.
        amount: What is billed.
        causes: Cause and amount that the reconciliation must find.
        records: Records beside the two of every model.
        base: How many of the two records of 100,000 tokens there are.
    """

    name: str
    tokens: int | None
    amount: str
    causes: dict[str, str] = field(default_factory=dict)
    records: tuple[dict[str, Any], ...] = ()
    base: int = 2
    document: str = "OCT"
    line: dict[str, Any] = field(default_factory=dict)
    price: dict[str, Any] = field(default_factory=dict)
    vendor: str = "OpenAI"

    @property
    def model(self) -> str:
        return f"{self.name.replace('_', '')}x-mini"


def records_of(plant: Plant) -> list[dict[str, Any]]:
    calls = [call(plant.model, start, 100_000) for start in BASE[: plant.base]]
    calls += [{**each, "model": each["model"].replace("?", plant.model)} for each in plant.records]
    if plant.vendor == "Anthropic":
        calls = [{**each, "custom_llm_provider": "anthropic", "api_base": None} for each in calls]
    return calls


def at(start: str, tokens: int, name: str = "?", **changes: Any) -> dict[str, Any]:
    return call(name, start, tokens, **{"request_id": f"{start}-{tokens}", **changes})


CACHED = {"usage_object": {"prompt_tokens_details": {"cached_tokens": 26_500}}}


FAILED = {"status": "failure", "spend": 0}
# Of the second of two calls with one id, key and tokens, the first is billed.
TWICE = (
    at("2026-10-12T10:00:00Z", 90_000, request_id="twice"),
    at("2026-10-12T10:05:00Z", 90_000, request_id="twice"),
)
AGAIN = (
    at("2026-10-12T10:00:00Z", 90_000, request_id="again"),
    at("2026-10-12T10:05:00Z", 90_000, request_id="again"),
)
PLANTS = (
    Plant("clean", 200_000, "2.00"),
    Plant("quantityless", None, "2.00", document="SOLE", vendor="Anthropic"),
    Plant(
        "time_zone",
        250_000,
        "2.50",
        {"time_zone": "0.20"},
        (at("2026-11-01T03:00:00Z", 50_000), at("2026-10-01T02:00:00Z", 30_000)),
        document="PACIFIC",
    ),
    Plant(
        "period_straddle",
        240_000,
        "2.40",
        {"period_straddle": "0.40"},
        (at("2026-09-30T23:59:30Z", 40_000, end="2026-10-01T00:00:30Z"),),
    ),
    Plant(
        "late_usage",
        250_000,
        "2.50",
        {"late_usage": "0.50"},
        (at("2026-09-10T10:00:00Z", 200_000),),
    ),
    Plant(
        "byok",
        260_000,
        "2.60",
        {"byok": "0.60"},
        (at("2026-10-12T10:00:00Z", 60_000, api_key=key_hash(OWN_KEY)),),
    ),
    Plant("duplicate_usage", 380_000, "3.80", {"duplicate_usage": "0.90"}, TWICE),
    Plant(
        "failed_request",
        270_000,
        "2.70",
        {"failed_request": "0.70"},
        (at("2026-10-12T10:00:00Z", 70_000, **FAILED),),
    ),
    Plant(
        "retry_charge",
        280_000,
        "2.80",
        {"retry_charge": "0.80"},
        (at("2026-10-12T10:00:00Z", 80_000, request_id="call-attempt-1", **FAILED),),
    ),
    Plant(
        "partial_stream",
        60_000,
        "1.20",
        {"partial_stream": "0.20"},
        (
            at(
                "2026-10-12T10:00:00Z",
                1_000,
                completion_tokens=50_000,
                total_tokens=51_000,
                status="failure",
            ),
        ),
        line={"unit": "output_text_tokens"},
    ),
    Plant("missing_usage", 290_000, "2.90", {"missing_usage": "0.90"}),
    Plant("bypass_traffic", 320_000, "3.20", {"bypass_traffic": "1.20"}),
    Plant(
        "model_mapping",
        210_000,
        "2.10",
        {"model_mapping": "2.10"},
        (at("2026-10-12T10:00:00Z", 210_000, "elsewherex-mini"),),
        base=0,
    ),
    Plant("unit_mismatch", 200_000_000, "2000.00", {"unit_mismatch": "1998.00"}),
    Plant(
        "cache_split",
        203_000,
        "2.03",
        {"cache_split": "0.53"},
        (
            at("2026-10-12T10:00:00Z", 101_500, metadata=CACHED),
            at("2026-10-12T11:00:00Z", 101_500, metadata=CACHED),
        ),
        base=0,
    ),
    Plant(
        "service_tier",
        200_000,
        "4.00",
        {"service_tier": "2.00"},
        price={"input_cost_per_token_priority": 2e-5},
    ),
    Plant(
        "context_band",
        200_000,
        "6.00",
        {"context_band": "4.00"},
        price={"input_cost_per_token_above_200k_tokens": 3e-5},
    ),
    Plant("unpriced", 200_000, "3.00", {"unpriced": "3.00"}, price={"none": True}),
    Plant("price_version", 200_000, "3.00", {"price_version": "1.00"}),
    Plant(
        "markup",
        200_000,
        "2.14",
        {"markup": "0.14"},
    ),
    Plant(
        "rounding",
        200_300,
        "2.00",
        {"rounding": "-0.003"},
        (at("2026-10-12T10:00:00Z", 300),),
    ),
    Plant("unexplained", 200_000, "2.77", {"unexplained": "0.77"}),
    Plant("fx", 200_000, "1.90", {"fx": "0.10"}, document="EURO"),
    Plant(
        "two_at_once",
        380_000,
        "5.70",
        {"duplicate_usage": "0.90", "price_version": "1.90"},
        AGAIN,
    ),
)
# Lines that are no usage: kind, amount, and what must be found.
OTHER_LINES = (
    ("fee", "1.50", {"fee": "1.50"}),
    ("credit", "-0.75", {"credit": "-0.75"}),
    ("commitment", "500.00", {"commitment": "500.00"}),
)


# Faults of generated lines: what a vendor counts beside our calls, and whether at the old price.
FAULTS = ((), ("duplicate",), ("failed",), ("missing",), ("duplicate", "missing"))
CAUSE_OF = {
    "duplicate": "duplicate_usage",
    "failed": "failed_request",
    "missing": "missing_usage",
}
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Generated:
    """A model drawn at random: its price, its calls, and what its line holds beside them."""

    number: int
    price: Decimal
    calls: tuple[int, ...]
    surplus: dict[str, int]
    is_old_price: bool

    @property
    def model(self) -> str:
        return f"drawn{self.number}y-mini"

    @property
    def old_price(self) -> Decimal:
        return self.price * 3 / 2

    @property
    def tokens(self) -> int:
        return sum(self.calls) + sum(self.surplus.values())

    @property
    def exact_amount(self) -> Decimal:
        return self.tokens * (self.old_price if self.is_old_price else self.price)

    @property
    def amount(self) -> Decimal:
        return self.exact_amount.quantize(CENT, ROUND_HALF_UP)

    def causes(self) -> dict[str, Decimal]:
        """What a person with a calculator finds."""
        found = {CAUSE_OF[name]: tokens * self.price for name, tokens in self.surplus.items()}
        found["price_version"] = self.exact_amount - self.tokens * self.price
        found["rounding"] = self.amount - self.exact_amount
        return {cause: amount for cause, amount in found.items() if amount}

    def records(self) -> list[dict[str, Any]]:
        rows = [
            call(self.model, f"2026-10-{2 + day:02}T10:00:00Z", tokens)
            for day, tokens in enumerate(self.calls)
        ]
        if tokens := self.surplus.get("duplicate"):
            # The repeated call itself is billed, and so part of the calls.
            name = f"{self.model} again"
            first = call(self.model, "2026-10-20T10:00:00Z", tokens, request_id=name)
            later = call(self.model, "2026-10-20T10:05:00Z", tokens, request_id=name)
            rows = [*rows[1:], first, later]
        if tokens := self.surplus.get("failed"):
            rows.append(call(self.model, "2026-10-21T10:00:00Z", tokens, **FAILED))
        return rows

    def line(self, position: int) -> dict[str, Any]:
        return {
            "line_no": position,
            "description": f"{self.model}, input",
            "quantity": self.tokens,
            "unit": "tokens",
            "amount": str(self.amount),
        }


def draw(count: int) -> list[Generated]:
    """The same month every time."""
    chance = random.Random(20261031)  # noqa: S311  # nothing secret
    drawn = []
    for number in range(count):
        calls = [chance.randrange(40_000, 199_000) for _ in range(chance.randrange(1, 5))]
        surplus = {name: chance.randrange(30_000, 190_000) for name in FAULTS[number % len(FAULTS)]}
        if "duplicate" in surplus:
            calls[0] = surplus["duplicate"]
        price = Decimal(chance.randrange(20, 400)).scaleb(-7)
        drawn.append(Generated(number, price, tuple(calls), surplus, number % 3 == 2))
    return drawn


DRAWN = draw(30)


def catalog(*, is_old: bool) -> dict[str, Any]:
    """A LiteLLM cost map: in the older one two models cost half as much again."""
    entries = {}
    names = [*(plant for plant in PLANTS if not plant.price.get("none"))]
    for plant in names:
        cost = 1.5e-5 if is_old and plant.name in ("price_version", "two_at_once") else 1e-5
        provider = "anthropic" if plant.vendor == "Anthropic" else "openai"
        entries[plant.model] = entry(cost, provider, **plant.price)
    for drawn in DRAWN:
        cost = drawn.old_price if is_old else drawn.price
        entries[drawn.model] = entry(float(cost), "openai")
    return {**entries, "elsewherex-mini": entry(1e-5, "openai")}


def entry(cost: float, provider: str, **prices: Any) -> dict[str, Any]:
    return {
        "input_cost_per_token": cost,
        "output_cost_per_token": 2e-5,
        "cache_read_input_token_cost": 1e-6,
        "litellm_provider": provider,
        "mode": "chat",
        **prices,
    }


def line_of(plant: Plant, position: int) -> dict[str, Any]:
    values = {
        "line_no": position,
        "description": f"{plant.model}, input",
        "model": plant.model,
        "unit": "input_text_uncached_tokens",
        "quantity": plant.tokens,
        "amount": plant.amount,
    }
    if plant.tokens is None:
        return {"line_no": position, "description": "API usage", "amount": plant.amount}
    return {**values, **plant.line}


def invoice(
    number: str, lines: list[dict[str, Any]], *, tax: str = "0", **header: Any
) -> dict[str, Any]:
    subtotal = sum((Decimal(line["amount"]) for line in lines), Decimal(0))
    return {
        "vendor": "OpenAI",
        "invoice_number": number,
        "issued_at": "2026-11-02T09:00:00Z",
        "period_start": OCTOBER[0],
        "period_end": OCTOBER[1],
        "currency": "USD",
        "subtotal": str(subtotal),
        "tax": tax,
        "total": str(subtotal + Decimal(tax)),
        "lines": lines,
        **header,
    }


def invoices() -> list[dict[str, Any]]:
    """One document per kind, and September's, of which late_usage billed too little."""

    def lines(document: str) -> list[dict[str, Any]]:
        plants = [plant for plant in PLANTS if plant.document == document]
        return [line_of(plant, position) for position, plant in enumerate(plants, 1)]

    october = lines("OCT")
    for kind, amount, _ in OTHER_LINES:
        description = f"Scale tier {kind}"
        values = {"description": description, "amount": amount, "line_kind": kind}
        october.append({"line_no": len(october) + 1, **values})
    late = next(plant for plant in PLANTS if plant.name == "late_usage")
    september = [line_of(Plant("late_usage", 150_000, "1.50"), 1)]
    assert september[0]["model"] == late.model
    start, end = SEPTEMBER
    return [
        invoice("OCT", october, tax="7.00"),
        invoice("PACIFIC", lines("PACIFIC"), time_zone="America/Los_Angeles"),
        invoice("EURO", lines("EURO"), currency="EUR"),
        invoice("SOLE", lines("SOLE"), vendor="Anthropic"),
        invoice("DRAWN", [each.line(number) for number, each in enumerate(DRAWN, 1)]),
        invoice("SEP", september, period_start=start, period_end=end, issued_at="2026-10-02"),
    ]


SEEDS = {
    "account_scopes": [
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,"
        "valid_from_date,valid_to_date",
        "brindlemoor,litellm,gateway,,,managed,rule,2026-01-01,",
        f"brindlemoor,litellm,key,{key_hash(OWN_KEY)},,byok,rule,2026-01-01,",
    ],
    "subscriptions": [
        "subscription_id,provider_account_id,description,amount,currency,interval,valid_from_date",
        "scale,openai-brindlemoor,Scale tier,500.00,USD,month,2026-01-01",
    ],
    "markup_rules": [
        "rule_id,account_id,provider,markup_rate,valid_from_date",
        "seven,brindlemoor,openai,0.07,2026-01-01",
    ],
    "fx_rates": [
        "rate_date,base_currency,quote_currency,rate",
        "2026-10-10,USD,EUR,0.9",
        "2026-10-11,USD,EUR,0.9",
        "2026-11-02,USD,EUR,0.95",
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.create(tmp_path_factory.mktemp("reconciliation") / "home")
    for name, rows in SEEDS.items():
        (home.path / "seeds" / f"{name}.csv").write_text("\n".join(rows) + "\n")
    home.drop_rows("calls.jsonl", [each for plant in PLANTS for each in records_of(plant)])
    home.drop_rows("drawn.jsonl", [each for drawn in DRAWN for each in drawn.records()])
    home.drop_prices("20260801", catalog(is_old=True))
    home.drop_prices("20260901", catalog(is_old=False))
    home.drop("invoices/2026-10.json", json.dumps(invoices()))
    bypassing = next(plant for plant in PLANTS if plant.name == "bypass_traffic").model
    used = {"model": bypassing, "input_cached_tokens": 0, "output_tokens": 0}
    main = completions(**used, input_tokens=100_000)
    shadow = completions(
        **used, input_tokens=120_000, project_id="proj_shadow", api_key_id="key_shadow"
    )
    # 10 October is day 117 from 15 June.
    buckets = [openai_bucket(main, day=117), openai_bucket(main, day=118)]
    page = openai_page(*buckets, openai_bucket(shadow, day=119))
    home.drop("openai_usage/completions.observed-20261110T000000Z.json", page)
    outcome = home.run()
    assert (outcome.status, outcome.problems) == ("published", [])
    return home


CAUSES = (
    "tax", "fee", "credit", "fx", "time_zone", "period_straddle", "late_usage", "byok",
    "duplicate_usage", "failed_request", "retry_charge", "partial_stream", "missing_usage",
    "bypass_traffic", "model_mapping", "unit_mismatch", "cache_split", "service_tier",
    "context_band", "unpriced", "price_version", "commitment", "markup", "rounding",
    "unexplained",
)  # fmt: skip


def reconciled(home: Home, where: str = "true") -> list[dict[str, Any]]:
    names = [
        "vendor", "invoice_number", "line_no", "line_part", "line_kind", "model", "status",
        "match_level", "quantity_invoiced", "quantity_expected", "amount_invoiced",
        "amount_expected", "variance_amount", "pass_time_window", "pass_owner_key",
        "pass_unit_price", "pass_decision", "decision_id",
        *(f"{cause}_amount" for cause in CAUSES),
    ]  # fmt: skip
    rows = query(
        home.published,
        f"select {', '.join(names)} from marts.invoice_reconciliation where {where}",
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def causes_of(line: dict[str, Any]) -> dict[str, Decimal]:
    return {cause: line[f"{cause}_amount"] for cause in CAUSES if line[f"{cause}_amount"]}


def as_decimals(causes: dict[str, str]) -> dict[str, Decimal]:
    return {cause: Decimal(amount) for cause, amount in causes.items()}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_each_planted_cause_is_found_with_its_exact_amount(home: Home, plant: Plant) -> None:
    sole = "model is null and line_kind = 'usage'" if plant.tokens is None else ""
    where = f"invoice_number = '{plant.document}' and " + (sole or f"model = '{plant.model}'")

    (line,) = reconciled(home, where)

    assert causes_of(line) == as_decimals(plant.causes)
    assert line["amount_invoiced"] == Decimal(plant.amount)
    assert line["variance_amount"] == sum(as_decimals(plant.causes).values(), Decimal(0))


def test_a_month_drawn_at_random_is_explained_as_a_calculator_explains_it(home: Home) -> None:
    lines = {line["line_no"]: line for line in reconciled(home, "invoice_number = 'DRAWN'")}

    assert len(lines) == len(DRAWN)
    for number, drawn in enumerate(DRAWN, 1):
        expected = sum(drawn.calls) * drawn.price
        assert lines[number]["amount_expected"] == expected
        assert causes_of(lines[number]) == drawn.causes(), drawn


def test_every_part_of_every_line_adds_up_and_documents_to_their_totals(home: Home) -> None:
    lines = reconciled(home)
    totals = dict(
        query(home.published, "select invoice_number, total from marts.invoices where is_usage")
    )

    for line in lines:
        assert line["variance_amount"] == line["amount_invoiced"] - line["amount_expected"]
        assert sum(causes_of(line).values(), Decimal(0)) == line["variance_amount"]
    for number, total in totals.items():
        billed = [line["amount_invoiced"] for line in lines if line["invoice_number"] == number]
        assert sum(billed, Decimal(0)) == total


def test_what_is_no_usage_goes_whole_to_its_cause(home: Home) -> None:
    lines = reconciled(home, "line_kind <> 'usage'")

    found = {(line["line_kind"], line["line_no"] is None): causes_of(line) for line in lines}
    planted = {(kind, False): as_decimals(causes) for kind, _, causes in OTHER_LINES}
    assert found == {**planted, ("tax", True): {"tax": Decimal("7.00")}}


def test_the_line_of_the_month_before_says_what_was_still_to_come(home: Home) -> None:
    (line,) = reconciled(home, "invoice_number = 'SEP'")

    assert causes_of(line) == {"late_usage": Decimal("-0.50")}


def test_passes_and_levels_say_what_agrees(home: Home) -> None:
    lines = {line["model"]: line for line in reconciled(home, "line_kind = 'usage'")}

    clean = lines["cleanx-mini"]
    assert (clean["status"], clean["match_level"]) == ("matched", "account")
    # Nobody owns the key of the planted calls.
    assert (clean["pass_time_window"], clean["pass_owner_key"]) == (True, False)
    assert (clean["pass_unit_price"], clean["pass_decision"]) == (True, None)
    assert lines["timezonex-mini"]["pass_time_window"] is False
    assert lines["priceversionx-mini"]["pass_unit_price"] is False
    assert lines["unexplainedx-mini"]["pass_decision"] is False
    assert lines[None]["match_level"] == "amount_only"


def test_every_variance_is_an_exception_and_clean_lines_are_none(home: Home) -> None:
    found = query(
        home.published,
        "select exception_type, subject_id, amount_at_stake, blocking from marts.exceptions "
        "where exception_type in ('invoice_variance', 'invoice_line_unmatched') "
        "and subject_id not like '%/DRAWN/%'",
    )

    numbers = {
        (line["model"], line["invoice_number"]): line["line_no"] for line in reconciled(home)
    }
    silent = {"rounding", "unexplained", "tax", "fee"}
    expected = {
        ("invoice_variance", f"{plant.vendor}/{plant.document}/{number}/{cause}", amount, False)
        for plant in PLANTS
        for number in [numbers.get((plant.model, plant.document))]
        for cause, amount in as_decimals(plant.causes).items()
        if cause not in silent
    }
    unexplained = numbers["unexplainedx-mini", "OCT"]
    others = len([plant for plant in PLANTS if plant.document == "OCT"])
    expected |= {
        ("invoice_line_unmatched", f"OpenAI/OCT/{unexplained}", Decimal("0.77"), True),
        ("invoice_variance", "OpenAI/SEP/1/late_usage", Decimal("0.50"), False),
        ("invoice_variance", f"OpenAI/OCT/{others + 2}/credit", Decimal("0.75"), False),
        ("invoice_variance", f"OpenAI/OCT/{others + 3}/commitment", Decimal(500), False),
    }
    assert set(found) == expected


def test_a_key_that_passes_the_gateway_by_is_told_from_records_that_are_missing(
    home: Home,
) -> None:
    rows = query(
        home.published,
        "select provider_date, provider_project_id, gateway_quantity, usage_quantity, "
        "variance_amount, bypass_traffic_amount, missing_usage_amount, unexplained_amount, status "
        "from marts.provider_reconciliation where model = 'bypasstrafficx-mini' "
        "and unit <> 'requests' order by provider_date",
    )
    exceptions = query(
        home.published,
        "select subject_id, amount_at_stake from marts.exceptions "
        "where exception_type = 'bypass_traffic'",
    )

    assert [row[1:] for row in rows] == [
        ("proj_1", 100_000, 100_000, 0, 0, 0, 0, "matched"),
        ("proj_1", 100_000, 100_000, 0, 0, 0, 0, "matched"),
        ("proj_shadow", None, 120_000, Decimal("1.2"), Decimal("1.2"), 0, 0, "explained"),
    ]
    assert exceptions == [("openai-brindlemoor/key_shadow", Decimal("1.2"))]


def test_invoices_say_what_their_lines_say(home: Home) -> None:
    invoices = query(
        home.published,
        "select invoice_number, variance_amount, reconciliation_status from marts.invoices",
    )
    lines = reconciled(home)

    for number, variance, status in invoices:
        own = [line for line in lines if line["invoice_number"] == number]
        assert variance == sum((line["variance_amount"] for line in own), Decimal(0))
        assert (status == "unexplained") == any(line["status"] == "unexplained" for line in own)
    assert query(
        home.published,
        "select count(*) from marts.invoice_lines as l inner join marts.invoice_reconciliation "
        "as r using (vendor, invoice_number, line_no) "
        "where l.variance_amount <> r.variance_amount or l.reconciliation_status <> r.status",
    ) == [(0,)]
