"""Faults of routes, batches, catalogs, currencies, counts, budgets and sources, and their likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from accuracy.wallets import Prepaid, router_key
from accuracy.world import (
    AFTER,
    BEFORE,
    CHANGE_AT,
    DAYS,
    MILLION,
    MONTH_START,
    Call,
    World,
    cost_of,
    log_row,
    written,
)

HALF = Decimal("0.5")
WHOLE_CHAINS = 3
FREE = {"input": Decimal(0), "cached": Decimal(0), "output": Decimal(0)}


def _asked_prices(call: Call, model: str) -> dict[str, Decimal]:
    return (AFTER if call.at >= CHANGE_AT else BEFORE)[model, call.tier]


def _fall_back(world: World, code: str, asked: str, served: str) -> None:
    call = world.call(model=served, at=world.some_other_day(code))
    row = log_row(call)
    row["metadata"] |= {"attempted_fallbacks": 1, "original_model_group": asked}
    world.rows.append(row)
    world.seen(call)
    more = max(Decimal(0), call.cost - cost_of(call.parts, _asked_prices(call, asked)))
    world.expect(code, "fallback_route", f"{asked}/{served}/{call.at:%Y-%m-%d}", more)


def dearer_fallback(world: World, code: str) -> None:
    """A call that a dearer model served than the one asked for."""
    _fall_back(world, code, "gpt-5-nano", "gpt-5")


def cheaper_fallback(world: World, code: str) -> None:
    """A call that a cheaper model served: a fallback that cost nothing more."""
    _fall_back(world, code, "gpt-5", "gpt-5-nano")


def by_alias(world: World) -> None:
    """A call by the alias of a model, and one by its dated name, which is no fallback."""
    for name in ("answers-small", "gpt-5-nano-latest"):
        call = world.call(model="gpt-5-nano")
        world.rows.append(log_row(call, model_group=name))
        world.seen(call)


def without_id(world: World, code: str) -> None:
    """A call that the gateway wrote without an id, so that its row is refused."""
    call = world.call()
    world.rows.append(log_row(call, request_id=""))
    world.app.append(world.app_row(call))
    world.bill(call)
    world.expect(code, "missing_usage_record", call.request_id, call.cost)
    world.miss(code, "missing_usage", call)


def same_call_id(world: World) -> None:
    """Two calls that a client gave one call id, each with an id of its own."""
    for call in (world.call(), world.call()):
        world.rows.append(log_row(call, litellm_call_id=f"{world.name}-client-call"))
        world.seen(call)


def more_cached_than_sent(world: World, code: str) -> None:
    """A row that counts more cached input than input: what was used nobody can tell."""
    call = world.call(uncached=0, cached=2_048)
    model = f"{world.name}-cache-{world.new_id()[-5:]}"
    world.priced[model] = call.prices
    row = log_row(call, model=model, model_group=model, prompt_tokens=100)
    row["metadata"]["usage_object"] |= {"prompt_tokens": 100, "total_tokens": 100 + call.output}
    row["total_tokens"] = 100 + call.output
    world.rows.append(row)
    world.expect(code, "quantity_unknown", model, call.cost)


def free_of_charge(world: World, code: str) -> None:
    """A call for which the gateway charged nothing although it has a price."""
    model = f"{world.name}-gratis-{world.new_id()[-5:]}"
    prices = {"input": Decimal(2), "cached": Decimal("0.2"), "output": Decimal(8)}
    world.priced[model] = prices
    call = world.call(model=model, own_prices=prices, cached=0)
    world.log(call, spend=Decimal(0))
    world.app.append(world.app_row(call))
    world.bill(call)
    world.expect(code, "free_tier_mismatch", f"{call.model}/input_text_uncached_tokens", call.cost)
    world.expect(code, "cost_mismatch", f"{call.model}/{call.at:%Y-%m-%d}", call.cost)


def truly_free(world: World) -> None:
    """A call of a model whose price is 0, for which nothing was charged."""
    model = f"{world.name}-free"
    world.priced[model] = FREE
    call = world.call(model=model, own_prices=FREE)
    world.log(call)
    world.app.append(world.app_row(call))


def without_rate(world: World, code: str) -> None:
    """A call of an account in a currency into which there is no rate."""
    key = world.new_key("foreign", team=2)
    world.foreign_keys.append(key)
    call = world.call(key=key, at=world.some_other_month(code, first=10))
    world.rows.append(log_row(call))
    world.recorded.append(call)
    world.app.append(world.app_row(call))
    if call.at >= MONTH_START:
        world.bill(call)
    month = f"{call.at:%Y-%m}"
    world.expect(code, "currency_mismatch", f"{world.gateway}/USD", call.cost, month)


def in_euros(world: World) -> None:
    """A call of an account in euros, for which there are rates."""
    key = world.euro_key
    call = world.call(key=key)
    world.rows.append(log_row(call))
    world.recorded.append(call)
    world.app.append(world.app_row(call))
    world.bill(call)


def _batch(world: World, call: Call, batch: str) -> None:
    world.rows.append(log_row(call, call_type="aretrieve_batch", session_id=batch))
    world.seen(call)


def not_allowed_batch(world: World, code: str) -> None:
    """A batch by a key that may not send any."""
    batch = f"batch_{world.new_id()}"
    call = world.call(model="gpt-5", tier="batch")
    _batch(world, call, batch)
    world.expect(code, "unapproved_batch", batch, call.cost)


def allowed_batch(world: World) -> None:
    """A batch by a key that may, and one that somebody approved."""
    batch = f"batch_{world.new_id()}"
    _batch(world, world.call(model="gpt-5", tier="batch", key=world.batch_key), batch)
    approved = f"batch_{world.new_id()}"
    call = world.call(model="gpt-5", tier="batch")
    _batch(world, call, approved)
    world.decisions.append(
        {
            "decision_id": f"d-{approved}",
            "subject_type": "batch",
            "subject_id": approved,
            "decision": "approve",
            "owner": "owner",
            "decided_at": written(call.at),
            "ticket": "T-2",
        }
    )


def drifting_price(world: World, code: str) -> None:
    """A model for which two catalogs ask different prices."""
    _with_two_prices(world, code, Decimal("1.02"))


def nearly_equal_price(world: World) -> None:
    """A model for which two catalogs ask prices that are four in a thousand apart."""
    _with_two_prices(world, "", Decimal("1.004"))


def _with_two_prices(world: World, code: str, factor: Decimal) -> None:
    model = f"{world.name}-drift-{world.new_id()[-5:]}" if code else f"{world.name}-near"
    prices = {"input": Decimal(2), "cached": Decimal("0.2"), "output": Decimal(8)}
    world.priced[model] = prices
    world.finance_prices[model] = prices["output"] * factor
    call = world.call(model=model, own_prices=prices)
    world.happen(call)
    if code:
        amount = call.output * prices["output"] * (factor - 1) / MILLION
        subject = f"openai/{model}/output_text_tokens/standard"
        world.expect(code, "price_drift", subject, amount)


def uncounted(world: World, code: str) -> None:
    """An hour in which the edge counted one call more than the gateway wrote."""
    call = _counted(world, f"{world.name}-edge-{world.new_id()[-5:]}", 2)
    day = f"{call.at:%Y-%m-%d}"
    world.expect(code, "missing_usage_record", f"{world.gateway}/{day}/{call.model}", call.cost)


def counted(world: World) -> None:
    """An hour in which the edge counted what the gateway wrote."""
    _counted(world, f"{world.name}-counted", 1)


def _counted(world: World, model: str, requests: int) -> Call:
    prices = {"input": Decimal(2), "cached": Decimal("0.2"), "output": Decimal(8)}
    world.priced[model] = prices
    call = world.call(model=model, own_prices=prices)
    world.happen(call)
    hour = written(call.at.replace(minute=0, second=0, microsecond=0))
    for known in world.counts:
        if (known["hour_at"], known["model"]) == (hour, model):
            known["requests"] += requests
            return call
    world.counts.append(
        {"gateway": world.gateway, "hour_at": hour, "model": model, "requests": requests}
    )
    return call


def over_budget(world: World, code: str) -> None:
    """A key that spent more than half of its budget."""
    call, budget = _budgeted(world, Decimal("1.6"))
    spent = call.cost - budget * HALF
    world.expect(code, "budget_threshold", f"{call.key.name}-budget/2026-10-01/0.5", spent)


def within_budget(world: World) -> None:
    """A key that spent a third of its budget."""
    _budgeted(world, Decimal(3))


def _budgeted(world: World, share: Decimal) -> tuple[Call, Decimal]:
    key = world.new_key("budget", team=0)
    world.more_keys.append(key)
    call = world.call(key=key)
    world.happen(call)
    budget = (call.cost * share).quantize(Decimal("0.000001"))
    world.budgets.append((key, budget))
    return call, budget


def sudden_spend(world: World, _code: str) -> None:
    """A model that costs a few dollars a day, and on one day five times as much."""
    _steady(world, world.rng.randrange(20, DAYS))


def steady_spend(world: World) -> None:
    """A model that costs a few dollars every day."""
    if not any(name.startswith(f"{world.name}-steady") for name in world.priced):
        _steady(world, None)


def _steady(world: World, peak: int | None) -> None:
    model = f"{world.name}-{'steady' if peak is None else 'peak'}-{world.new_id()[-5:]}"
    prices = {"input": Decimal(10), "cached": Decimal(1), "output": Decimal(40)}
    world.priced[model] = prices
    key = world.new_key("steady", team=0)
    key = replace(key, team=f"{world.name}-team-{key.name[-5:].strip('-')}s")
    world.more_keys.append(key)
    for day in range(DAYS):
        at = MONTH_START + timedelta(days=day, hours=12, seconds=world.rng.randrange(3_600))
        tokens = world.rng.randrange(190_000, 210_000) * (5 if day == peak else 1)
        call = world.call(
            at=at,
            key=key,
            model=model,
            own_prices=prices,
            uncached=tokens,
            cached=0,
            output=100_000,
        )
        world.happen(call)


def at_both_gateways(world: World, code: str) -> None:
    """One call that the gateway and the router behind it both wrote and charged."""
    prepaid = _prepaid(world)
    key = next(key for key in world.keys if key.team == router_key(world).team)
    call = world.call(key=key)
    world.happen(call)
    routed = replace(call, key=router_key(world), at=call.at + timedelta(seconds=1))
    prepaid.use(routed)
    charge = call.cost * Decimal("1.1")
    world.expect(code, "suspected_double_charge", f"{call.request_id}-routed", charge)


def at_two_gateways(world: World) -> None:
    """The same question asked through either gateway, an hour apart."""
    prepaid = _prepaid(world)
    key = next(key for key in world.keys if key.team == router_key(world).team)
    call = world.call(key=key, at=MONTH_START + timedelta(days=world.rng.randrange(1, 29)))
    world.happen(call)
    prepaid.use(replace(call, key=router_key(world), at=call.at + timedelta(hours=1)))


def _prepaid(world: World) -> Prepaid:
    if world.prepaid is None:
        raise AssertionError("a world without a router")
    return world.prepaid


def late_usage(world: World, code: str) -> None:
    """A call of a month that is closed."""
    call = world.call(key=world.closed_key, at=world.some_other_month(code, first=9))
    world.rows.append(log_row(call))
    world.expect(code, "late_after_close", f"{world.name}-closed/{call.at:%Y-%m}", call.cost)


def broken_chain(world: World, code: str) -> None:
    """Pages of a day of September of which the last says that there are more."""
    day = _new_day(world)
    world.chains.append((day, False))
    subject = f"{world.name}_pages/costs/{day:%Y-%m-%dT%H:%M:%SZ}"
    world.expect(code, "incomplete_page_chain", subject, None)


def whole_chain(world: World) -> None:
    """Pages of a day that go on to the last."""
    # Each page is a file, and every file costs the same to load, however little it holds.
    if sum(is_whole for _, is_whole in world.chains) >= WHOLE_CHAINS:
        return
    world.chains.append((_new_day(world), True))


def _new_day(world: World) -> datetime:
    return MONTH_START - timedelta(days=len(world.chains) + 20)


def stale_source(world: World, code: str) -> None:
    """A source that brought nothing for a day."""
    # All sources fall silent together: every load of a home takes seconds.
    hours = 27
    world.stale_at = datetime(2026, 11, 12, tzinfo=MONTH_START.tzinfo) - timedelta(hours=hours + 3)
    spent = Decimal(0)
    rows = []
    for number in range(7):
        at = world.stale_at - timedelta(days=number, minutes=world.rng.randrange(10, 300))
        # Other tokens than those of another source, for equal calls would be doubled ones.
        tokens = 16_800 + 168 * len(world.stale_rows)
        call = world.call(at=at, model="gpt-5", uncached=0, cached=0, output=tokens)
        rows.append(log_row(call))
        spent += call.cost
    amount = spent / 168 * hours
    source = f"{world.name}_quiet{len(world.stale_rows)}"
    world.stale_rows.append(rows)
    world.expect(code, "source_stale", source, amount)


PLANTS: dict[str, Callable[[World, str], None]] = {
    "dearer_fallback": dearer_fallback,
    "cheaper_fallback": cheaper_fallback,
    "without_id": without_id,
    "more_cached_than_sent": more_cached_than_sent,
    "free_of_charge": free_of_charge,
    "without_rate": without_rate,
    "not_allowed_batch": not_allowed_batch,
    "drifting_price": drifting_price,
    "uncounted": uncounted,
    "over_budget": over_budget,
    "sudden_spend": sudden_spend,
    "at_both_gateways": at_both_gateways,
    "late_usage": late_usage,
    "broken_chain": broken_chain,
    "stale_source": stale_source,
}
LOOKALIKES: dict[str, Callable[[World], None]] = {
    "by_alias": by_alias,
    "same_call_id": same_call_id,
    "truly_free": truly_free,
    "in_euros": in_euros,
    "allowed_batch": allowed_batch,
    "nearly_equal_price": nearly_equal_price,
    "counted": counted,
    "within_budget": within_budget,
    "steady_spend": steady_spend,
    "at_two_gateways": at_two_gateways,
    "whole_chain": whole_chain,
}
