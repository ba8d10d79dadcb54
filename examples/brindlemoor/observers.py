"""What others saw of the same traffic: the gateway's edge and the checkout application."""

from __future__ import annotations

import csv
import io
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from brindlemoor.calls import COLLISION_ID, SEED, Call, new_call, response_id, used
from brindlemoor.company import KEYS, MODELS
from brindlemoor.prices import ZERO, Row
from brindlemoor.spend_logs import logged_model, naive
from brindlemoor.usage import Usage

GATEWAY = "litellm"
APP_TEAM = "team-checkout"
COUNT_COLUMNS = (
    "gateway",
    "hour_at",
    "model",
    "requests",
    "successful_requests",
    "failed_requests",
    "spend",
)
# Requests that the edge counted and the log does not have, by the price catalog's model key.
LOST = (("gpt-5-mini", 2), ("text-embedding-3-small", 3), ("claude-haiku-4-5-20251001", 1))
# Counts by which an amount can be divided without a remainder.
EXACT_PARTS = (2, 4, 5)


@dataclass(frozen=True, slots=True)
class LostRequests:
    """Requests of one hour and model that left no usage record."""

    hour: datetime
    model: str
    requests: int
    amount: Decimal


def hour_of(call: Call) -> datetime:
    """The UTC hour in which the call began."""
    return call.started_at.replace(minute=0, second=0, microsecond=0)


def lost_requests(calls: list[Call]) -> list[LostRequests]:
    """The planted hours, each on a day of ordinary calls only, whose mean is exact."""
    odd = [call for call in calls if call.batch or call.request_id == COLLISION_ID]
    odd_days = {call.started_at.day for call in odd}
    found = []
    for order, (model, requests) in enumerate(LOST):
        days = [day for day in range(5 + 8 * order, 32) if day not in odd_days]
        made = [call for call in calls if call.model.price_key == model]
        of_day = ([call for call in made if call.started_at.day == day] for day in days)
        same = next(same for same in of_day if len(same) in EXACT_PARTS and all_clean(same))
        mean = sum((call.spend for call in same), ZERO) / len(same)
        found.append(
            LostRequests(hour_of(same[0]), logged_model(same[0]), requests, requests * mean)
        )
    return found


def all_clean(calls: Iterable[Call]) -> bool:
    """Whether each is an ordinary answered call."""
    return all(call.is_clean for call in calls)


def gateway_counts(calls: list[Call], lost: list[LostRequests]) -> str:
    """Requests per hour and model as counted at the gateway's edge, as CSV."""
    hours: dict[tuple[datetime, str], list[Call]] = defaultdict(list)
    for call in calls:
        if call.is_request:
            hours[hour_of(call), logged_model(call)].append(call)
    extra = {(fault.hour, fault.model): fault.requests for fault in lost}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COUNT_COLUMNS)
    for (hour, model), same in sorted(hours.items()):
        failed = sum(call.error is not None for call in same)
        requests = len(same) + extra.get((hour, model), 0)
        spend = plain(sum((call.spend for call in same), ZERO))
        counts = (requests, requests - failed, failed)
        writer.writerow((GATEWAY, zulu(hour), model, *counts, spend))
    return text.getvalue()


def zulu(at: datetime) -> str:
    """A time as ISO 8601 with Z."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(amount: Decimal) -> str:
    """The amount without exponent and without trailing zeros."""
    return format(amount.normalize(), "f") if amount else "0"


def app_log(calls: list[Call]) -> list[Row]:
    """The checkout application's own log: every call of its team, and two nobody else saw."""
    own = [call for call in calls if call.key and call.key.team == APP_TEAM]
    rows = [app_request(call) for call in [*own, *unlogged_calls()]]
    return sorted(rows, key=lambda row: (row["occurred_at"], row["request_id"]))


def unlogged_calls() -> list[Call]:
    """Two requests that the application sent past the gateway while that did not answer."""
    rng = random.Random(SEED + 1)
    answered = (
        (8, 14, "gpt-5-mini", Usage(prompt=3_890, completion=412, cached=1_024)),
        (22, 10, "claude-haiku-4-5", Usage(prompt=2_145, completion=366)),
    )
    calls = []
    for day, hour, group, usage in answered:
        at = datetime(2026, 10, day, hour, 21, 40, tzinfo=UTC)
        call = used(new_call(rng, KEYS["checkout-prod"], MODELS[group], at), usage)
        answer = response_id(rng, call.model.provider, call.call_type, call.call_id)
        calls.append(replace(call, request_id=answer))
    return calls


def app_request(call: Call) -> Row:
    """The call as the application saw it: the bare model name, tokens as in the response."""
    usage = call.usage or Usage()
    sent_at = call.started_at - timedelta(milliseconds=35)
    return {
        "request_id": call.request_id,
        "gateway": GATEWAY,
        "model": call.model.price_key,
        "occurred_at": naive(sent_at) + "Z",
        "api_key_id": call.key.api_key if call.key else None,
        "trace_id": call.session_id,
        "status": "failure" if call.error else "success",
        "http_status": int(call.error[0]) if call.error else 200,
        "input_tokens": usage.prompt,
        "cached_tokens": usage.cached,
        "output_tokens": usage.completion,
        "expected_cost": call.spend,
        "currency": "USD",
        "attempt": 1,
    }
