"""A month of an invented company: what happened, and what each observer wrote down of it.

A world is told by its seed alone. What happened is kept apart from what is written: faults change
one observer's files, and the truth about them never reaches the pipeline.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accuracy.contracts import Contract
    from accuracy.wallets import Prepaid

MONTH = "2026-10"
MONTH_START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 31
# So many months a fault of which there is one exception in a month is planted in.
MONTHS_BACK = 6
# A real price change in the middle of a day, which is no fault.
CHANGE_AT = datetime(2026, 10, 15, 12, tzinfo=UTC)
MILLION = Decimal(1_000_000)

Prices = dict[str, Decimal]


def _prices(uncached: str, cached: str, output: str, **writes: str) -> Prices:
    """USD per million tokens; of writes to the cache by how long it keeps them."""
    more = {name: Decimal(price) for name, price in writes.items()}
    return {
        "input": Decimal(uncached),
        "cached": Decimal(cached),
        "output": Decimal(output),
    } | more


# By model and tier: before the change, and from then on.
BEFORE = {
    ("gpt-5", "standard"): _prices("1.25", "0.125", "10"),
    ("gpt-5", "priority"): _prices("2.5", "0.25", "20"),
    ("gpt-5-mini", "standard"): _prices("0.25", "0.025", "2"),
    ("gpt-5-mini", "priority"): _prices("0.45", "0.045", "3.6"),
    ("gpt-5-nano", "standard"): _prices("0.05", "0.005", "0.4"),
    ("gpt-5-nano", "priority"): _prices("0.1", "0.01", "0.8"),
    ("gpt-5", "batch"): _prices("0.625", "0.0625", "5"),
    ("text-embedding-3-small", "standard"): _prices("0.02", "0", "0"),
    ("claude-sonnet-4-5", "standard"): _prices("3", "0.3", "15", write_5m="3.75", write_1h="6"),
    ("claude-sonnet-4", "standard"): _prices("3", "0.3", "15"),
    ("anthropic.claude-haiku-4-5-20251001-v1:0", "standard"): _prices("1", "0.1", "5"),
}
# Of a cloud, by which it is billed.
CLOUD_MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
# Of a model whose calls cost more as soon as their input is long.
LONG = {"claude-sonnet-4": _prices("6", "0.6", "22.5")}
LONG_INPUT = 200_000
AFTER = BEFORE | {("gpt-5-mini", "standard"): _prices("0.2", "0.02", "1.6")}
# Of a model that no catalog knows nothing is expected.
UNKNOWN = _prices("0", "0", "0")
MODELS = ("gpt-5", "gpt-5-mini", "gpt-5-nano")
# Models whose every part costs more than a cent in a large call.
LARGE_MODELS = ("gpt-5", "gpt-5-mini", "claude-sonnet-4-5")


def provider_of(model: str) -> str:
    """Who offers a model."""
    if model == CLOUD_MODEL:
        return "bedrock"
    return "anthropic" if model.startswith("claude") else "openai"


def rate_on(moment: datetime) -> Decimal:
    """Euros to the dollar on a day: something else every day."""
    day = (moment.date() - MONTH_START.date()).days
    return (Decimal(9_000) + day * 37 % 500) / 10_000


@dataclass(frozen=True, slots=True)
class Key:
    """A virtual key and whose it is; one without a team stands in no owner table."""

    name: str
    team: str | None

    @property
    def id(self) -> str:
        """What the gateway keeps of it."""
        return hashlib.sha256(self.name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached the provider, as it was."""

    request_id: str
    at: datetime
    key: Key
    model: str
    uncached: int
    cached: int
    output: int
    session: str
    tier: str = "standard"
    seconds: int = 3
    own_prices: Prices | None = None
    write_5m: int = 0
    write_1h: int = 0

    @property
    def prompt(self) -> int:
        """Tokens that were sent, from the cache or into it."""
        return self.uncached + self.cached + self.write_5m + self.write_1h

    @property
    def ended_at(self) -> datetime:
        """When the answer was complete."""
        return self.at + timedelta(seconds=self.seconds)

    @property
    def prices(self) -> Prices:
        """What its tokens cost per million when it began."""
        if self.own_prices is not None:
            return self.own_prices
        if self.model in LONG and self.prompt > LONG_INPUT:
            return LONG[self.model]
        prices = AFTER if self.at >= CHANGE_AT else BEFORE
        return prices.get((self.model, self.tier), UNKNOWN)

    @property
    def parts(self) -> dict[str, int]:
        """Tokens by what is charged for them."""
        written = {"write_5m": self.write_5m, "write_1h": self.write_1h}
        return {"input": self.uncached, "cached": self.cached, "output": self.output} | {
            name: count for name, count in written.items() if count
        }

    @property
    def cost(self) -> Decimal:
        """USD, exact."""
        return cost_of(self.parts, self.prices)


def cost_of(parts: dict[str, int], prices: Prices) -> Decimal:
    """USD of tokens at prices per million."""
    return sum((count * prices[name] for name, count in parts.items()), Decimal(0)) / MILLION


@dataclass(frozen=True, slots=True)
class Finding:
    """What somebody who knows the truth expects to be found.

    Attributes:
        fault: Code of the fault in faults.yml; of several that are one exception, with + between.
        exception_type: How it is to be called.
        subject: A text its subject_id must hold.
        amount: Amount at stake, exact; None where nobody can know it.
        month: Whose exception it is, where a subject has one of every month.
    """

    fault: str
    exception_type: str
    subject: str
    amount: Decimal | None
    month: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of an invoice line's variance, as it was planted."""

    fault: str
    line: str
    name: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call is billed, for sums by day."""

    account: str
    key: Key
    model: str
    at: datetime
    amount: Decimal
    request_id: str


@dataclass
class World:
    """One company: its keys, what it called, what was written, and what is wrong with that."""

    seed: int
    rng: random.Random
    keys: list[Key]
    rows: list[dict[str, Any]] = field(default_factory=list)
    app: list[dict[str, Any]] = field(default_factory=list)
    billed: list[tuple[Call, str]] = field(default_factory=list)
    recorded: list[Call] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    shared_keys: list[Key] = field(default_factory=list)
    own_keys: list[Key] = field(default_factory=list)
    contracts: list[Contract] = field(default_factory=list)
    commitments: list[tuple[str, Decimal]] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    priced: dict[str, Prices] = field(default_factory=dict)
    finance_prices: dict[str, Decimal] = field(default_factory=dict)
    foreign_keys: list[Key] = field(default_factory=list)
    more_keys: list[Key] = field(default_factory=list)
    budgets: list[tuple[Key, Decimal]] = field(default_factory=list)
    counts: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    chains: list[tuple[datetime, bool]] = field(default_factory=list)
    stale_at: datetime | None = None
    stale_rows: list[list[dict[str, Any]]] = field(default_factory=list)
    shadow_projects: list[str] = field(default_factory=list)
    planted: Counter[str] = field(default_factory=Counter)
    days_taken: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    repeated_rows: int = 0
    is_billed_at_old_price: bool = False
    late_causes: list[str] = field(default_factory=list)
    wrong_totals: list[Decimal] = field(default_factory=list)
    lookalikes: int = 0
    numbers: int = 0
    prepaid: Prepaid | None = None

    @classmethod
    def create(cls, seed: int) -> World:
        """An empty month of a company with three teams of two keys each."""
        keys = [Key(f"w{seed:04}-key-{n}", f"w{seed:04}-team-{n // 2}") for n in range(6)]
        return cls(seed, random.Random(seed), keys)

    @property
    def name(self) -> str:
        """The company's name, before which everything of it is named."""
        return f"w{self.seed:04}"

    @property
    def gateway(self) -> str:
        """Its gateway, which is also the source of its log."""
        return f"{self.name}_gateway"

    @property
    def account(self) -> str:
        """Who owes for its usage."""
        return f"{self.name}-account"

    @property
    def provider_account(self) -> str:
        """Its contract with the provider."""
        return f"{self.name}-openai"

    @property
    def tax_rate(self) -> Decimal:
        """What the provider adds to the month's invoice; every other company pays tax."""
        return Decimal("0.08") if self.seed % 2 else Decimal(0)

    @property
    def credit(self) -> Decimal:
        """What the provider takes off it; every third has credit left, but for clean months."""
        return Decimal("0.50") if self.seed % 3 == 0 and self.seed % 10 else Decimal(0)

    @property
    def project(self) -> str:
        """Its project at the provider."""
        return f"proj_{self.name}"

    def new_id(self) -> str:
        """A request id nobody else has."""
        self.numbers += 1
        return f"{self.name}-call-{self.numbers:05}"

    @property
    def batch_key(self) -> Key:
        """A key that may send batches."""
        return Key(f"{self.name}-batches", f"{self.name}-team-2")

    @property
    def euro_key(self) -> Key:
        """A key of an account in euros."""
        return Key(f"{self.name}-euros", f"{self.name}-team-2")

    @property
    def closed_key(self) -> Key:
        """A key of an account that has closed September."""
        return Key(f"{self.name}-closed", f"{self.name}-team-2")

    def new_key(self, kind: str, team: int) -> Key:
        """A key nobody else has, of one of the teams."""
        self.numbers += 1
        return Key(f"{self.name}-{kind}-{self.numbers}", f"{self.name}-team-{team}")

    def spend(self, call: Call, amount: Decimal | None = None, account: str | None = None) -> None:
        """Note what a call is billed: what its tokens cost, unless said otherwise."""
        billed = call.cost if amount is None else amount
        self.spent.append(
            Spent(account or self.account, call.key, call.model, call.at, billed, call.request_id)
        )

    def forget(self, calls: list[Call]) -> None:
        """Have the gateway know nothing of calls that it has written."""
        ids = {call.request_id for call in calls}
        self.rows = [row for row in self.rows if row["request_id"] not in ids]
        self.spent = [each for each in self.spent if each.request_id not in ids]

    def some_time(self) -> datetime:
        """A moment of the month, away from its edges."""
        return MONTH_START + timedelta(seconds=self.rng.randrange(7_200, DAYS * 86_400 - 7_200))

    def some_other_day(self, code: str) -> datetime:
        """A moment of a day that a fault has not yet: of one day it would be one exception."""
        free = sorted(set(range(1, DAYS - 1)) - self.days_taken[code])
        day = self.rng.choice(free or range(1, DAYS - 1))
        self.days_taken[code].add(day)
        # Not across the midnight that ends the day, nor near the change of prices at noon.
        return MONTH_START + timedelta(days=day, seconds=self.rng.randrange(7_200, 36_000))

    def some_other_month(self, code: str, *, first: int) -> datetime:
        """A moment of a month that a fault has not yet, `first` or before it."""
        month = first - self.planted[code] % MONTHS_BACK
        return datetime(2026, month, 10, tzinfo=UTC) + timedelta(
            seconds=self.rng.randrange(28_800, 72_000)
        )

    def call(self, **changes: Any) -> Call:
        """A call as any other; `changes` say what is special about it."""
        rng = self.rng
        call = Call(
            request_id=self.new_id(),
            at=self.some_time(),
            key=rng.choice(self.keys),
            model=rng.choice(MODELS),
            uncached=rng.randrange(200, 20_000),
            cached=rng.choice((0, 0, 1_024 * rng.randrange(1, 9))),
            output=rng.randrange(20, 3_000),
            session=f"{self.name}-session-{self.numbers}",
            seconds=rng.randrange(1, 30),
        )
        return replace(call, **changes)

    def happen(self, call: Call) -> None:
        """A call that all observers saw as it was."""
        self.log(call)
        self.app.append(self.app_row(call))
        self.bill(call)

    def log(self, call: Call, **changes: Any) -> None:
        """Have the gateway write a call that costs what its tokens cost."""
        self.rows.append(log_row(call, **changes))
        self.recorded.append(call)
        nobody = Key("", None)
        self.spend(replace(call, key=nobody) if changes.get("api_key") == "" else call)

    def seen(self, call: Call) -> None:
        """Note of a row already written that application and provider saw its call as well."""
        self.recorded.append(call)
        self.spend(call)
        self.app.append(self.app_row(call))
        self.bill(call)

    def bill(self, call: Call, project: str | None = None) -> None:
        """Have the provider count and charge a call."""
        self.billed.append((call, project or self.project))

    def app_row(self, call: Call, **changes: Any) -> dict[str, Any]:
        """What the application noted of a call."""
        row = {
            "request_id": call.request_id,
            "gateway": self.gateway,
            "model": call.model,
            "occurred_at": written(call.at),
            "api_key_id": call.key.id,
            "status": "success",
            "http_status": 200,
            "input_tokens": call.prompt,
            "cached_tokens": call.cached,
            "output_tokens": call.output,
        }
        return row | changes

    def expect(
        self, fault: str, kind: str, subject: str, amount: Decimal | None, month: str | None = None
    ) -> None:
        """Note what is to be found."""
        self.findings.append(Finding(fault, kind, subject, amount, month))

    def miss(self, fault: str, cause: str, call: Call) -> None:
        """Note a call that the invoice has and the gateway has not, part by part."""
        for part, count in call.parts.items():
            if count:
                line = line_text(call.model, call.tier, part)
                amount = count * call.prices[part] / MILLION
                self.causes.append(Cause(fault, line, cause, amount))


def line_text(model: str, tier: str, part: str) -> str:
    """How the provider names a line of its cost report and of its invoice."""
    if provider_of(model) == "anthropic":
        words = {
            "input": "Input Tokens",
            "cached": "Input Tokens, Cache Read",
            "write_5m": "Input Tokens, Cache Write 5m",
            "write_1h": "Input Tokens, Cache Write 1h",
        }
        name = {"claude-sonnet-4": "4"}.get(model, "4.5")
        return f"Claude Sonnet {name} Usage - {words.get(part, 'Output Tokens')}"
    names = {"input": "input", "cached": "cached input", "output": "output"}
    return f"{model}{'' if tier == 'standard' else ' ' + tier}, {names[part]}"


def written(moment: datetime) -> str:
    """A time as JSON holds it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def log_row(call: Call, **changes: Any) -> dict[str, Any]:
    """What LiteLLM writes of a call; `changes` replace fields."""
    tier = {"standard": "default"}.get(call.tier, call.tier)
    prompt = call.prompt
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": call.output,
        "total_tokens": prompt + call.output,
        "prompt_tokens_details": {"cached_tokens": call.cached},
        "service_tier": tier,
    }
    if prompt > call.uncached + call.cached:
        usage["prompt_tokens_details"]["cache_creation_tokens"] = call.write_5m + call.write_1h
        usage["prompt_tokens_details"]["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": call.write_5m,
            "ephemeral_1h_input_tokens": call.write_1h,
        }
    row = {
        "request_id": call.request_id,
        "call_type": "acompletion",
        "api_key": call.key.id,
        "spend": call.cost,
        "total_tokens": prompt + call.output,
        "prompt_tokens": prompt,
        "completion_tokens": call.output,
        "startTime": written(call.at),
        "endTime": written(call.ended_at),
        "model": call.model,
        "model_group": call.model,
        "custom_llm_provider": provider_of(call.model),
        "api_base": f"https://api.{provider_of(call.model)}.com/v1",
        "cache_hit": "False",
        "team_id": call.key.team or "",
        "session_id": call.session,
        "status": "success",
        "metadata": {"usage_object": usage, "status": "success"},
    }
    return row | changes
