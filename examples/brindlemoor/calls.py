"""The calls of the month in order, drawn from the plan by one seeded generator."""

from __future__ import annotations

import random
import string
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from brindlemoor.company import KEYS, MODELS, TEAMS, Key, Model
from brindlemoor.plan import BATCHES, PLAN, REPLAYS, SEARCH, Line
from brindlemoor.prices import OCTOBER_AT, ZERO, Row, prices_at
from brindlemoor.usage import Usage, batch_request, charges, embedding

SEED = 20261001
COLLISION_ID = "reindex-2026-10-19"
ERRORS = (
    ("429", "RateLimitError", "Rate limit reached", "429_RATE_LIMIT_EXCEEDED"),
    ("503", "ServiceUnavailableError", "Overloaded", "503_SERVICE_UNAVAILABLE"),
    ("500", "InternalServerError", "Internal error", "500_INTERNAL_SERVER_ERROR"),
    ("400", "ContextWindowExceededError", "Input is too long", "400_CONTEXT_WINDOW_EXCEEDED"),
    ("401", "AuthenticationError", "Incorrect API key provided", "401_AUTHENTICATION_FAILED"),
)
# How busy each UTC hour is.
HOUR_WEIGHTS = (1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 9, 11, 12, 12, 10, 8, 6, 5, 4, 3, 2, 1)
BROKEN = ("499", "ClientDisconnect", "Client closed the stream", "499_CLIENT_DISCONNECT")
TIMED_OUT = ("408", "Timeout", "Request timed out", "408_TIMEOUT")


@dataclass(frozen=True, slots=True)
class Call:
    """One usage record before it takes LiteLLM's shape."""

    key: Key | None
    model: Model
    call_type: str
    started_at: datetime
    ended_at: datetime
    request_id: str
    call_id: str
    session_id: str
    cache_key: str
    first_token_at: datetime | None = None
    labels: Row | None = None
    tags: tuple[str, ...] = ()
    end_user: str = ""
    usage: Usage | None = None
    batch: tuple[tuple[str, Usage], ...] = ()
    charges: dict[str, Decimal] = field(default_factory=dict)
    error: tuple[str, str, str, str] | None = None
    is_replay: bool = False
    is_attempt: bool = False
    is_duplicate: bool = False
    is_internal: bool = False
    retries: int = 0
    asked: str = ""

    @property
    def spend(self) -> Decimal:
        """USD that the gateway recorded."""
        return sum(self.charges.values(), ZERO)

    @property
    def milliseconds(self) -> int:
        """How long it took."""
        return (self.ended_at - self.started_at) // timedelta(milliseconds=1)

    @property
    def is_request(self) -> bool:
        """Whether the edge counts it: not a copy, a status poll or the gateway's own call."""
        return not (self.is_duplicate or self.is_internal or self.call_type == "afile_content")

    @property
    def is_clean(self) -> bool:
        """Whether it is an ordinary answered call."""
        marks = (self.error, self.is_replay, self.is_attempt, self.retries, self.asked, self.batch)
        return self.is_request and self.spend > 0 and not any(marks)


def moment(rng: random.Random, first_day: int = 1) -> datetime:
    """A time in October, mostly in office hours, clear of the hour in which prices change."""
    days = [datetime(2026, 10, day, tzinfo=UTC) for day in range(first_day, 32)]
    day = rng.choices(days, [5 if day.weekday() < 5 else 2 for day in days])[0]
    hour = rng.choices(range(24), HOUR_WEIGHTS)[0]
    at = day + timedelta(hours=hour, milliseconds=rng.randrange(3_600_000))
    quiet = OCTOBER_AT - timedelta(hours=1) <= at < OCTOBER_AT
    return at - timedelta(hours=1) if quiet else at


def new_uuid(rng: random.Random) -> str:
    """A random UUID from the generator's own seed."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def response_id(rng: random.Random, provider: str, call_type: str, call_id: str) -> str:
    """The id LiteLLM writes: the provider's for text answers, else the call's own."""
    letters = "".join(rng.choices(string.ascii_letters + string.digits, k=24))
    if call_type == "anthropic_messages":
        return f"msg_01{letters[:22]}"
    if call_type == "aresponses":
        return f"resp_{rng.getrandbits(200):050x}"
    if call_type != "acompletion":
        return call_id
    return f"chatcmpl-{letters if provider in ('openai', 'azure') else new_uuid(rng)}"


def labels(rng: random.Random, key: Key) -> tuple[Row | None, tuple[str, ...]]:
    """What the client says about a call: metadata on five of six calls, tags on all."""
    workflow = rng.choice(key.workflows)
    metadata = {
        "ticket": f"BRM-{1000 + 100 * list(TEAMS).index(key.team) + rng.randrange(12)}",
        "cost_center": TEAMS[key.team][1],
        "environment": key.environment,
        "workflow": workflow,
    }
    tags = (f"env:{key.environment}", f"wf:{workflow}")
    return (metadata if rng.randrange(6) else None), tags


def new_call(rng: random.Random, key: Key, model: Model, started_at: datetime) -> Call:
    """A call of that key to that model, with its owner and ids but nothing used yet."""
    call_id = new_uuid(rng)
    metadata, tags = labels(rng, key)
    ended_at = started_at + timedelta(milliseconds=rng.randint(*model.milliseconds))
    return Call(
        key=key,
        model=model,
        call_type=model.call_type,
        started_at=started_at,
        ended_at=ended_at,
        request_id=call_id,
        call_id=call_id,
        session_id=new_uuid(rng),
        cache_key=f"{rng.getrandbits(256):064x}",
        labels=metadata,
        tags=tags,
        end_user=customer(rng) if key.has_customers else "",
    )


def customer(rng: random.Random) -> str:
    """The end customer, whom two of three calls name."""
    number = rng.randint(2000, 2060)
    return f"cust-{number}" if rng.randrange(3) else ""


def used(call: Call, usage: Usage) -> Call:
    """The call with that usage, charged at the prices of its start; unpriced models cost 0."""
    entry = prices_at(call.started_at).get(call.model.price_key)
    return replace(call, usage=usage, charges=charges(entry, usage) if entry else {})


def planned_calls(rng: random.Random, line: Line) -> Iterable[Call]:
    """The calls of one line of the plan, each with its separately billed attempts."""
    for _ in range(line.count):
        call = new_call(rng, KEYS[line.key], MODELS[line.group], moment(rng, line.first_day))
        call = replace(call, call_type=line.call_type or call.call_type, asked=line.asked)
        call = ended(rng, call, line)
        yield call
        for number in range(line.retries):
            yield attempt(rng, call, number)


def ended(rng: random.Random, call: Call, line: Line) -> Call:
    """The call as it ended: answered, refused, broken off, or billed without a quantity."""
    usage = line.usage(rng)
    if line.outcome.startswith("failed"):
        estimate = Usage(prompt=usage.prompt) if line.outcome == "failed_with_estimate" else None
        return replace(call, error=rng.choice(ERRORS), usage=estimate)
    answer = response_id(rng, call.model.provider, call.call_type, call.call_id)
    call = used(replace(call, request_id=answer, retries=line.retries), usage)
    if line.streamed:
        share = rng.randint(5, 60)
        wait = timedelta(milliseconds=call.milliseconds * share // 100)
        call = replace(call, first_token_at=call.started_at + wait)
    if line.outcome == "broken":
        return replace(call, error=BROKEN)
    if line.outcome == "unmeasured":
        return replace(call, usage=None)
    return replace(call, is_internal=line.outcome == "internal")


def attempt(rng: random.Random, call: Call, number: int) -> Call:
    """An earlier attempt of the call that the provider billed too; its usage is an estimate."""
    back = timedelta(milliseconds=12_000 * (call.retries - number) + rng.randrange(4_000))
    started_at = call.started_at - back
    early = replace(
        call,
        started_at=started_at,
        ended_at=started_at + timedelta(milliseconds=rng.randint(2_000, 9_000)),
        request_id=f"{call.request_id}-attempt-{number}",
        call_id=f"{call.call_id}-attempt-{number}",
        error=TIMED_OUT,
        is_attempt=True,
        retries=number,
    )
    prompt = call.usage.prompt if call.usage else 0
    return used(early, Usage(prompt=prompt, completion=rng.randint(4, 60)))


def replays(rng: random.Random, calls: list[Call]) -> Iterable[Call]:
    """Later answers from the gateway's own cache: the tokens are copied, nothing is charged."""
    for key, group, count in REPLAYS:
        first = [c for c in calls if c.is_clean and c.key == KEYS[key] and c.model.group == group]
        first = [c for c in first if c.call_type == "acompletion" and c.started_at.day < 31]
        yield from (replay(rng, call) for call in rng.sample(first, count))


def replay(rng: random.Random, call: Call) -> Call:
    """The call answered once more, up to four hours later."""
    started_at = call.ended_at + timedelta(milliseconds=rng.randint(90_000, 14_400_000))
    ended_at = started_at + timedelta(milliseconds=rng.randint(0, 4))
    seconds, milliseconds = divmod(unix_milliseconds(ended_at), 1000)
    suffix = f"_cache_hit{seconds}.{milliseconds:03d}{rng.randint(1000, 9999)}"
    again = new_call(rng, owner(call), call.model, started_at)
    return replace(
        again,
        request_id=call.request_id + suffix,
        ended_at=ended_at,
        cache_key=call.cache_key,
        usage=call.usage,
        is_replay=True,
    )


def owner(call: Call) -> Key:
    """The key that made the call.

    Raises:
        ValueError: nobody's call, as a status poll is.
    """
    if call.key is None:
        raise ValueError(f"{call.request_id} has no key")
    return call.key


def unix_milliseconds(at: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def batches(rng: random.Random) -> Iterable[Call]:
    """Settlements of finished batches at batch prices, and the unowned polls that fetched them."""
    for number, (key, models, requests) in enumerate(BATCHES):
        call = new_call(rng, KEYS[key], MODELS[""], moment(rng))
        batch_id = f"batch_{rng.getrandbits(128):032x}"
        parts = tuple((models[i % len(models)], batch_request(rng)) for i in range(requests))
        costs: Counter[str] = Counter()
        for model, usage in parts:
            costs.update(charges(prices_at(call.started_at)[model], usage))
        names = {"request_id": f"{batch_id}_batch_cost", "session_id": batch_id}
        yield replace(call, **names, batch=parts, usage=total(parts), charges=dict(costs))
        if number % 2 == 0:
            yield poll(rng, call.started_at - timedelta(seconds=rng.randint(2, 20)))


def total(parts: Iterable[tuple[str, Usage]]) -> Usage:
    """The usage of several requests together."""
    usages = [usage for _, usage in parts]
    return Usage(
        prompt=sum(usage.prompt for usage in usages),
        completion=sum(usage.completion for usage in usages),
        reasoning=sum(usage.reasoning for usage in usages),
        tier="batches",
    )


def poll(rng: random.Random, at: datetime) -> Call:
    """A read of a batch's result file, which LiteLLM logs without key, model or cost."""
    model = replace(MODELS[""], provider="", call_type="afile_content")
    call = new_call(rng, KEYS["research-evals"], model, at)
    return replace(call, key=None, labels=None, tags=())


def collision(rng: random.Random) -> Iterable[Call]:
    """Two keys that chose the same call id for different work."""
    for key, minute in (("search-reindex", 4), (SEARCH, 41)):
        at = datetime(2026, 10, 19, 2, minute, 7, 250_000, tzinfo=UTC)
        call = used(new_call(rng, KEYS[key], MODELS["embed"], at), embedding(rng))
        yield replace(call, request_id=COLLISION_ID, call_id=COLLISION_ID)


def duplicate(rng: random.Random, calls: list[Call]) -> Call:
    """One answered response that the gateway wrote a second time, some seconds later."""
    call = rng.choice([call for call in calls if call.call_type == "aresponses"])
    later = timedelta(milliseconds=rng.randint(2_000, 9_000))
    moved = replace(call, started_at=call.started_at + later, ended_at=call.ended_at + later)
    return replace(moved, is_duplicate=True)


def all_calls() -> list[Call]:
    """Every usage record of the month, in order of its start."""
    rng = random.Random(SEED)
    calls = [call for line in PLAN for call in planned_calls(rng, line)]
    calls += [*replays(rng, calls), *batches(rng), *collision(rng), duplicate(rng, calls)]
    return sorted(calls, key=lambda call: (call.started_at, call.request_id))
