"""What the example's exceptions show besides its faults: ordinary traffic, counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from brindlemoor.calls import BROKEN, Call
from brindlemoor.company import LAB_TEAMS, MODELS
from brindlemoor.prices import ZERO, prices_at
from brindlemoor.spend_logs import logged_model
from brindlemoor.usage import Usage, charges

# Amounts by what an exception is about.
Found = dict[tuple[object, ...], Decimal]
# Tiers that keys of these teams may use besides the usual ones, as the seed key_owners says.
ALLOWED_TIERS = {"team-research": ("flex",)}


def summed(calls: Iterable[Call], about: Callable[[Call], tuple[object, ...]]) -> Found:
    """What the calls cost, by what they are about."""
    found: Found = {}
    for call in calls:
        found[about(call)] = found.get(about(call), ZERO) + call.spend
    return found


def has_lab_account(call: Call) -> bool:
    """Whether the lab's account owes for it, not the company's."""
    return call.key is not None and call.key.team in LAB_TEAMS


def bare_model(call: Call) -> str:
    """The model without the prefix that routes to a provider."""
    provider, _, name = logged_model(call).partition("/")
    return name if name and provider == call.model.provider else logged_model(call)


def estimated_usage(calls: list[Call]) -> Found:
    """Earlier attempts and streams that broke off; what failed for free estimates no cost."""
    estimated = (call for call in calls if call.is_attempt or call.error == BROKEN)
    return summed(estimated, lambda c: (has_lab_account(c), bare_model(c), c.started_at.date()))


def failed_retries(calls: list[Call]) -> Found:
    """Attempts that LiteLLM numbered from 1 on: those after the first."""
    later = (c for c in calls if c.is_attempt and not c.request_id.endswith("-attempt-0"))
    return summed(later, lambda c: (c.key, bare_model(c), c.started_at.date()))


def missing_owners(calls: list[Call]) -> Found:
    """Calls without a key."""
    return summed((call for call in calls if call.key is None), lambda _: ())


def shared_keys(calls: list[Call]) -> Found:
    """What all but the largest workflow of a key cost, for keys that serve several."""
    found: Found = {}
    for key in {call.key for call in calls if call.key and len(call.key.workflows) > 1}:
        by_workflow = summed(
            (call for call in calls if call.key == key and not call.is_duplicate),
            lambda c: (workflow(c),),
        )
        found[(key,)] = sum(by_workflow.values(), ZERO) - max(by_workflow.values())
    return found


def workflow(call: Call) -> str:
    """The workflow as the call's labels or tags name it."""
    tags = dict(tag.partition(":")[::2] for tag in call.tags)
    return str((call.labels or {}).get("workflow") or tags.get("wf", ""))


def fallback_routes(calls: list[Call]) -> Found:
    """What calls cost more than they would have on the model that was asked for."""
    return extra(
        (call for call in calls if call.asked),
        about=lambda c: (c.asked, bare_model(c), c.started_at.date()),
        otherwise=lambda c: cost_on(c, MODELS[c.asked].price_key),
    )


def unusual_tiers(calls: list[Call]) -> Found:
    """What calls cost more than on the standard tier, where the key may not use theirs."""
    return extra(
        (
            call
            for call in calls
            if call.usage
            and not call.batch
            and call.usage.tier in ("priority", "flex")
            and call.key
            and call.usage.tier not in ALLOWED_TIERS.get(call.key.team, ())
        ),
        about=lambda c: (c.key, c.started_at.date()),
        otherwise=lambda c: cost_on(c, c.model.price_key, tier=""),
    )


def extra(
    calls: Iterable[Call],
    about: Callable[[Call], tuple[object, ...]],
    otherwise: Callable[[Call], Decimal],
) -> Found:
    """What calls cost above another amount, never below 0 for a single one."""
    found: Found = {}
    for call in calls:
        above = max(ZERO, call.spend - otherwise(call))
        found[about(call)] = found.get(about(call), ZERO) + above
    return found


def cost_on(call: Call, price_key: str, tier: str | None = None) -> Decimal:
    """USD of the same quantities at another entry of the cost map, or on another tier."""
    usage = call.usage or Usage()
    usage = usage if tier is None else replace(usage, tier=tier)
    return sum(charges(prices_at(call.started_at)[price_key], usage).values(), ZERO)


def worth_knowing(calls: list[Call]) -> list[tuple[str, int, Decimal]]:
    """(exception type, how many, USD at stake) in the words of the exceptions."""
    kept = [call for call in calls if not call.is_duplicate]
    found = {
        "estimated_usage": estimated_usage(kept),
        "failed_retry": failed_retries(kept),
        "fallback_route": fallback_routes(kept),
        "missing_owner": missing_owners(kept),
        "shared_key": shared_keys(kept),
        "unusual_service_tier": unusual_tiers(kept),
    }
    return [(name, len(each), sum(each.values(), ZERO)) for name, each in found.items()]
