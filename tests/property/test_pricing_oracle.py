"""List costs against an oracle in plain Python, on random price maps and random usage.

The oracle follows the price map's own grammar (LiteLLM 1.109.1: bands, tiers, batches, cache
lifetimes, reasoning) and the rules of docs/decisions.md, and knows nothing of the models' SQL.
One example is a whole warehouse: hundreds of records on forty models, under two price maps.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from integration.homes import Home

from orchestration.warehouse import transform
from orchestration.warehouse.connection import open_warehouse

MODELS, RECORDS, SNAPSHOT_DAYS = 40, 400, (10, 20)
MONTH = datetime(2026, 10, 1, tzinfo=UTC)
FIRST_SEEN, SECOND_SEEN = (MONTH.replace(day=day) for day in SNAPSHOT_DAYS)
BANDS = (128_000, 200_000, 272_000)
# Words that gateways write for a tier, and the suffix of the price keys that they stand for.
TIERS = {
    None: "",
    "default": "",
    "auto": "",
    "priority": "_priority",
    "fast": "_priority",
    "flex": "_flex",
    "scale": "",
}
INPUT, OUTPUT = "input_cost_per_token", "output_cost_per_token"
CACHE_READ, CACHE_WRITE = "cache_read_input_token_cost", "cache_creation_input_token_cost"
CACHE_WRITE_1H = "cache_creation_input_token_cost_above_1hr"
REASONING = "output_cost_per_reasoning_token"
AUDIO_IN, AUDIO_OUT = "input_cost_per_audio_token", "output_cost_per_audio_token"
# What a kind of token is billed as where the map has no price for it, nearest first.
BILLED_AS = {
    INPUT: (),
    OUTPUT: (),
    CACHE_READ: (INPUT,),
    CACHE_WRITE: (INPUT,),
    CACHE_WRITE_1H: (CACHE_WRITE, INPUT),
    REASONING: (OUTPUT,),
    AUDIO_IN: (INPUT,),
    AUDIO_OUT: (OUTPUT,),
}
PROVIDERS = ("openai", "anthropic", "gemini", "xai")

Entry = dict[str, Any]
PriceMap = dict[str, Entry]
# How far a price is from the record's conditions (batch, band, tier), and the price.
Quote = tuple[tuple[int, int, int], Decimal]


@dataclass(frozen=True)
class Usage:
    """One call as its caller knows it, before any gateway wrote it down."""

    number: int
    model: str
    provider: str
    started_at: datetime
    tier: str | None
    is_batch: bool
    is_cache_hit: bool
    has_failed: bool
    spend: str
    prompt: int
    completion: int
    tokens: dict[str, int] = field(default_factory=dict)

    @property
    def input_text(self) -> int:
        parts = (CACHE_READ, CACHE_WRITE, CACHE_WRITE_1H, AUDIO_IN)
        return self.prompt - sum(self.tokens[part] for part in parts)

    @property
    def output_text(self) -> int:
        return self.completion - self.tokens[REASONING] - self.tokens[AUDIO_OUT]


@dataclass(frozen=True)
class Verdict:
    status: str
    list_cost: Decimal | None
    is_backcast: bool


# ---------------------------------------------------------------- the oracle


def judge(usage: Usage, snapshots: list[tuple[datetime, PriceMap]]) -> Verdict:
    """What the record must cost, by the price maps seen so far."""
    if usage.is_cache_hit:
        return Verdict("cache_hit", Decimal(0), is_backcast=False)
    if usage.has_failed and usage.completion == 0:
        return Verdict("failed", Decimal(0), is_backcast=False)
    if usage.input_text < 0 or usage.output_text < 0:
        return Verdict("quantity_unknown", None, is_backcast=False)
    if usage.prompt + usage.completion == 0 and Decimal(usage.spend) > 0:
        return Verdict("quantity_unknown", None, is_backcast=False)
    entry, is_backcast = entry_in_force(usage, snapshots)
    cost = Decimal(0)
    for key, quantity in consumed(usage).items():
        price = None if entry is None else price_of(entry, key, usage)
        if quantity and price is None:
            return Verdict("unpriced", None, is_backcast=False)
        cost += quantity * (price or Decimal(0))
    status = "priced" if cost else "free"
    return Verdict(status, cost, is_backcast=entry is not None and is_backcast)


def entry_in_force(
    usage: Usage, snapshots: list[tuple[datetime, PriceMap]]
) -> tuple[Entry | None, bool]:
    """The model's entry in the map last seen, else, before any, in the first map that has it."""
    listing = [(seen, prices) for seen, prices in snapshots if usage.model in prices]
    if not listing:
        return None, False
    first_seen, first = listing[0]
    if usage.started_at < first_seen:
        return first[usage.model], True
    _, newest = max(
        (pair for pair in snapshots if pair[0] <= usage.started_at), key=lambda pair: pair[0]
    )
    return newest.get(usage.model), False


def consumed(usage: Usage) -> dict[str, int]:
    return {INPUT: usage.input_text, OUTPUT: usage.output_text, **usage.tokens}


def price_of(entry: Entry, key: str, usage: Usage) -> Decimal | None:
    chain = [quoted(entry, each, usage) for each in (key, *BILLED_AS[key])]
    own, root = chain[0], chain[-1]
    if key == REASONING and own is not None and root is not None and root[0] < own[0]:
        # Reasoning follows an output price that is nearer to the record's conditions.
        chain = [root]
    if usage.is_batch and root is not None and is_of_batch(root):
        # Where text has a batch price, no price of live calls stands against it.
        chain = [each for each in chain if each is not None and is_of_batch(each)]
    found = next((each for each in chain if each is not None), None)
    return None if found is None else found[1]


def is_of_batch(quote: Quote) -> bool:
    return quote[0][0] == 0


def quoted(entry: Entry, key: str, usage: Usage) -> Quote | None:
    """The nearest price of the key: a batch's before a live one, then by band, then by tier."""
    reached = [band for band in BANDS if is_reached(band, usage)]
    suffix = TIERS[usage.tier]
    for batch_place, batch in enumerate(["_batches", ""] if usage.is_batch else [""]):
        for band in (*sorted(reached, reverse=True), 0):
            for tier_place, tier in enumerate(dict.fromkeys((suffix, ""))):
                parts = f"_above_{band // 1000}k_tokens" if band else ""
                price = entry.get(f"{key}{parts}{batch or tier}")
                if price is not None:
                    distance = (batch_place if usage.is_batch else 0, -band, tier_place)
                    return distance, round(Decimal(str(price)), 18)
    return None


def is_reached(band: int, usage: Usage) -> bool:
    """A request beyond the threshold is repriced as a whole; xai's from the threshold on."""
    return usage.prompt >= band if usage.provider == "xai" else usage.prompt > band


# ---------------------------------------------------------------- random maps and records


def random_price(dice: random.Random) -> float:
    if dice.random() < 0.04:
        return 0.0
    return round(dice.uniform(0.01, 99), dice.choice((0, 2, 5))) / 10 ** dice.choice((6, 7, 9))


def random_entry(dice: random.Random, provider: str) -> Entry:
    entry: Entry = {"litellm_provider": provider, "mode": "chat", "max_tokens": 4096}
    for key, chance in (
        (INPUT, 0.93),
        (OUTPUT, 0.93),
        (CACHE_READ, 0.6),
        (CACHE_WRITE, 0.5),
        (CACHE_WRITE_1H, 0.4),
        (REASONING, 0.3),
        (AUDIO_IN, 0.3),
        (AUDIO_OUT, 0.3),
    ):
        if dice.random() > chance:
            continue
        entry[key] = random_price(dice)
        suffixes = [
            "_priority",
            "_flex",
            "_batches",
            *(f"_above_{b // 1000}k_tokens" for b in BANDS),
        ]
        suffixes += [
            f"_above_{b // 1000}k_tokens{t}" for b in BANDS for t in ("_priority", "_batches")
        ]
        for suffix in suffixes:
            if dice.random() < 0.25:
                entry[f"{key}{suffix}"] = random_price(dice)
    return entry


def random_maps(dice: random.Random) -> tuple[PriceMap, PriceMap]:
    """Two observations: most entries the same, some changed, some gone, some new."""
    first: PriceMap = {}
    second: PriceMap = {}
    for number in range(MODELS):
        name = f"model-{number}"
        entry = random_entry(dice, dice.choice(PROVIDERS))
        fate = dice.random()
        if fate < 0.85:
            first[name] = entry
        if fate < 0.35:
            second[name] = entry
        elif fate < 0.75:
            second[name] = random_entry(dice, entry["litellm_provider"])
        elif fate >= 0.8:
            second[name] = entry
    return first, second


def random_moment(dice: random.Random) -> datetime:
    edges = [
        seen + timedelta(microseconds=step)
        for seen in (FIRST_SEEN, SECOND_SEEN)
        for step in (-1000, 0, 1000)
    ]
    if dice.random() < 0.1:
        return dice.choice(edges)
    return MONTH + timedelta(milliseconds=dice.randrange(30 * 86_400_000))


def random_prompt(dice: random.Random) -> int:
    if dice.random() < 0.3:
        return max(0, dice.choice(BANDS) + dice.choice((-1, 0, 1, 50_000)))
    return dice.choice((0, dice.randrange(1, 5_000), dice.randrange(1, 400_000)))


def random_usage(dice: random.Random, number: int, providers: dict[str, str]) -> Usage:
    model = f"model-{dice.randrange(MODELS)}" if dice.random() < 0.96 else "never-listed"
    prompt, completion = random_prompt(dice), dice.choice((0, dice.randrange(1, 9_000)))
    # One record in forty claims more parts than the whole.
    room = prompt if dice.random() < 0.975 else 2 * prompt + 10
    tokens = {}
    for key in (CACHE_READ, CACHE_WRITE, CACHE_WRITE_1H, AUDIO_IN):
        tokens[key] = dice.randrange(room + 1) if dice.random() < 0.35 else 0
        room -= tokens[key]
    left = completion
    for key in (REASONING, AUDIO_OUT):
        tokens[key] = dice.randrange(left + 1) if dice.random() < 0.35 else 0
        left -= tokens[key]
    is_batch = dice.random() < 0.15
    return Usage(
        number=number,
        model=model,
        provider=providers.get(model, "openai"),
        started_at=random_moment(dice),
        tier=None if is_batch else dice.choice(list(TIERS)),
        is_batch=is_batch,
        is_cache_hit=dice.random() < 0.05,
        has_failed=dice.random() < 0.1,
        spend=dice.choice(("0", "0", "0.125")),
        prompt=prompt,
        completion=completion,
        tokens=tokens,
    )


def as_logged(usage: Usage, dice: random.Random) -> dict[str, Any]:
    """The call as LiteLLM's row: totals that include their parts, and details beside them."""
    written = usage.tokens[CACHE_WRITE] + usage.tokens[CACHE_WRITE_1H]
    lifetimes = {"ephemeral_1h_input_tokens": usage.tokens[CACHE_WRITE_1H]}
    if dice.random() < 0.5:
        # Otherwise the base write states no lifetime, and costs the same.
        lifetimes["ephemeral_5m_input_tokens"] = usage.tokens[CACHE_WRITE]
    metadata: dict[str, Any] = {
        "usage_object": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "prompt_tokens_details": {
                "cached_tokens": usage.tokens[CACHE_READ],
                "cache_creation_tokens": written,
                "cache_write_tokens": written,
                "cache_creation_token_details": lifetimes,
                "audio_tokens": usage.tokens[AUDIO_IN],
            },
            "completion_tokens_details": {
                "reasoning_tokens": usage.tokens[REASONING],
                "audio_tokens": usage.tokens[AUDIO_OUT],
            },
        }
    }
    if usage.tier is not None:
        place = dice.choice(("usage_object", "cost_breakdown"))
        metadata.setdefault(place, {})["service_tier"] = usage.tier
    return {
        "request_id": f"r-{usage.number}",
        "call_type": "aretrieve_batch" if usage.is_batch else "acompletion",
        "api_key": "a" * 64,
        "spend": float(usage.spend),
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "startTime": usage.started_at.isoformat(timespec="milliseconds"),
        "endTime": usage.started_at.isoformat(timespec="milliseconds"),
        "model": dice.choice((usage.model, f"{usage.provider}/{usage.model}")),
        "custom_llm_provider": usage.provider,
        "cache_hit": str(usage.is_cache_hit),
        "status": "failure" if usage.has_failed else "success",
        "metadata": metadata,
    }


# ---------------------------------------------------------------- a warehouse of an example


def build(home: Home) -> dict[str, Verdict]:
    """Load what is new and build as far as the usage records; the verdict on each request."""
    report = home.steps().load()
    assert report.total("rows_quarantined") == 0
    runtime = home.runtime
    transform.write_checked_seeds(runtime)
    with open_warehouse(runtime) as connection:
        plan = transform.plan_build(connection, runtime, full_refresh=True)
    nodes = transform.build_marts(runtime, plan, select=["+cost_lines"])
    assert transform.failed_nodes(nodes) == []
    found = home.query("""
        select
            request_id, cost_status, list_cost,
            contains(coalesce(defect_codes, ''), 'price_backcast')
        from marts.usage_records
        """)
    return {request: Verdict(status, cost, code) for request, status, cost, code in found}


@pytest.mark.long
@settings(max_examples=2, derandomize=True, deadline=None, phases=[Phase.generate], database=None)
@given(seed=st.integers(min_value=1, max_value=2**32))
def test_list_costs_equal_the_oracles_and_a_newer_map_leaves_the_past_alone(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # dice, not keys
    first, second = random_maps(dice)
    providers = {name: entry["litellm_provider"] for name, entry in (first | second).items()}
    usages = [random_usage(dice, number, providers) for number in range(RECORDS)]
    names = {f"r-{usage.number}": usage for usage in usages}

    with tempfile.TemporaryDirectory() as folder:
        home = Home.create(Path(folder) / "home")
        home.drop_rows("usage.jsonl", [as_logged(usage, dice) for usage in usages])
        home.drop_prices(f"{FIRST_SEEN:%Y%m%d}", first)
        before = build(home)
        home.drop_prices(f"{SECOND_SEEN:%Y%m%d}", second)
        after = build(home)

    seen_once = [(FIRST_SEEN, first)]
    seen_twice = [*seen_once, (SECOND_SEEN, second)]
    assert unequal(before, {name: judge(usage, seen_once) for name, usage in names.items()}) == {}
    assert unequal(after, {name: judge(usage, seen_twice) for name, usage in names.items()}) == {}
    repriced = {
        name: (before[name], after[name])
        for name, usage in names.items()
        if usage.started_at < SECOND_SEEN and before[name].list_cost != after[name].list_cost
    }
    assert all(was.status == "unpriced" and now.is_backcast for was, now in repriced.values()), (
        repriced
    )
    # The example is worth something only if it holds every kind of record.
    kinds = Counter(verdict.status for verdict in after.values())
    assert kinds.keys() == {
        "priced", "free", "cache_hit", "failed", "unpriced", "quantity_unknown"
    }  # fmt: skip
    assert kinds["priced"] > RECORDS / 2
    assert any(verdict.is_backcast for verdict in after.values())
    assert repriced


@pytest.mark.long
def test_a_better_fitting_name_in_a_newer_map_leaves_the_past_alone(tmp_path: Path) -> None:
    """`openai/m` priced the call when it was made; `m`, listed later, must not reprice it."""
    usage = Usage(
        number=1,
        model="m",
        provider="openai",
        started_at=FIRST_SEEN + timedelta(days=1),
        tier=None,
        is_batch=False,
        is_cache_hit=False,
        has_failed=False,
        spend="0",
        prompt=1000,
        completion=0,
        tokens=dict.fromkeys((CACHE_READ, CACHE_WRITE, CACHE_WRITE_1H, AUDIO_IN, REASONING), 0)
        | {AUDIO_OUT: 0},
    )
    entry = {"litellm_provider": "openai", "mode": "chat", OUTPUT: 0.0}
    row = as_logged(usage, random.Random(1)) | {"model": "m"}  # noqa: S311
    home = Home.create(tmp_path / "home")
    home.drop_rows("usage.jsonl", [row])
    home.drop_prices(f"{FIRST_SEEN:%Y%m%d}", {"openai/m": entry | {INPUT: 1e-06}})
    before = build(home)

    home.drop_prices(
        f"{SECOND_SEEN:%Y%m%d}",
        {"openai/m": entry | {INPUT: 1e-06}, "m": entry | {INPUT: 5e-06}},
    )

    assert before["r-1"] == Verdict("priced", Decimal("0.001"), is_backcast=False)
    assert build(home) == before


def unequal(
    found: dict[str, Verdict], expected: dict[str, Verdict]
) -> dict[str, tuple[Verdict | None, Verdict | None]]:
    return {
        name: (found.get(name), expected.get(name))
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    }
