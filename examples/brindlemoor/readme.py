"""The computed tables of the README: cases, planted faults, spend, keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from brindlemoor.calls import BROKEN, COLLISION_ID, Call
from brindlemoor.company import KEYS, LAB_TEAMS, TEAMS, Key
from brindlemoor.observers import LostRequests, plain, unlogged_calls, zulu
from brindlemoor.prices import ZERO
from brindlemoor.spend_logs import failed_at_once, logged_model
from brindlemoor.worth_knowing import worth_knowing


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault and the money at stake, where that can be computed."""

    name: str
    where: str
    amount: Decimal | None


KEY_COLUMNS = ("key", "api_key begins", "team", "cost center", "environment", "workflow")
NUMBERS = ("rows", "records", "exceptions", "USD", "USD at stake")
Test = Callable[[Call], object]


def is_chat(call: Call, provider: str) -> bool:
    """Whether this provider answered it as a chat."""
    chats = ("acompletion", "anthropic_messages", "aresponses")
    return call.is_clean and call.model.provider == provider and call.call_type in chats


def input_tokens(call: Call) -> int:
    """Input tokens of a single call; 0 for a batch, whose requests count one by one."""
    return call.usage.prompt if call.usage and not call.batch else 0


def is_unmeasured(call: Call) -> bool:
    """Whether it was charged though the record does not say for how much."""
    return call.usage is None and bool(call.charges)


CASES: tuple[tuple[str, Test], ...] = (
    ("chat, OpenAI", lambda c: is_chat(c, "openai")),
    ("chat, Anthropic", lambda c: is_chat(c, "anthropic")),
    ("chat, Gemini", lambda c: is_chat(c, "gemini")),
    ("chat, Azure", lambda c: is_chat(c, "azure")),
    ("chat, Bedrock", lambda c: is_chat(c, "bedrock")),
    ("streamed", lambda c: c.first_token_at),
    ("call that needed a retry", lambda c: c.retries and not c.is_attempt),
    ("separately billed attempt (`-attempt-<n>`)", lambda c: c.is_attempt),
    ("fallback to another model", lambda c: c.asked),
    ("proxy cache hit", lambda c: c.is_replay),
    ("failure without output", failed_at_once),
    ("… of these with estimated prompt tokens", lambda c: failed_at_once(c) and c.usage),
    ("broken stream, output delivered and charged", lambda c: c.error == BROKEN),
    ("batch settlement", lambda c: c.batch),
    ("… of these with two models", lambda c: len({model for model, _ in c.batch}) == 2),
    ("embedding", lambda c: c.call_type == "aembedding"),
    ("picture priced by tokens", lambda c: c.usage and c.usage.image_out),
    ("… of these an edit with picture input", lambda c: c.usage and c.usage.image_in),
    (
        "pictures priced by the piece",
        lambda c: c.usage and c.usage.images and not c.usage.image_out,
    ),
    ("speech with character count", lambda c: c.usage and c.usage.characters),
    ("transcription with seconds", lambda c: c.usage and c.usage.seconds),
    ("speech or transcription without quantity", is_unmeasured),
    ("audio tokens in and out", lambda c: c.usage and c.usage.audio_in),
    ("cached input tokens", lambda c: c.usage and c.usage.cached),
    ("cache writes for 5 minutes and 1 hour", lambda c: c.usage and c.usage.write_1h),
    ("cache writes of unknown lifetime", lambda c: c.usage and c.usage.write_unknown),
    ("reasoning tokens", lambda c: c.usage and c.usage.reasoning),
    ("service tier priority", lambda c: c.usage and c.usage.tier == "priority"),
    ("service tier flex", lambda c: c.usage and c.usage.tier == "flex"),
    ("web search calls", lambda c: c.usage and c.usage.searches),
    ("rerank", lambda c: c.usage and c.usage.queries),
    ("above 200,000 input tokens", lambda c: input_tokens(c) > 200_000),
    ("exactly 200,000 input tokens", lambda c: input_tokens(c) == 200_000),
    ("unpriced, self-hosted model", lambda c: c.model.provider == "hosted_vllm"),
    ("status poll (`afile_content`)", lambda c: c.call_type == "afile_content"),
    ("routing classifier, internal", lambda c: c.is_internal),
    ("duplicate: same id, key, model, tokens, later start", lambda c: c.is_duplicate),
    ("id collision: same id, other key and tokens", lambda c: c.request_id == COLLISION_ID),
    ("without `spend_logs_metadata`", lambda c: c.key and not c.labels),
)


def faults(calls: list[Call], lost: list[LostRequests]) -> list[Fault]:
    """Every planted fault, in the words of the exceptions it should raise."""
    found = [
        Fault(
            "missing_usage_record",
            f"{fault.requests} x `{fault.model}` in the hour {zulu(fault.hour)}",
            fault.amount,
        )
        for fault in lost
    ]
    found += [
        Fault("missing_usage_record", f"application request `{call.request_id}`", call.spend)
        for call in unlogged_calls()
    ]
    copies = [call for call in calls if call.is_duplicate]
    found += [Fault("duplicate_request_id", f"`{c.request_id}`", c.spend) for c in copies]
    second = [call for call in calls if call.request_id == COLLISION_ID][1]
    found.append(Fault("id_collision", f"`{COLLISION_ID}`", second.spend))
    found += [
        Fault("quantity_unknown", f"`{logged_model(call)}`, {call.call_type}", call.spend)
        for call in calls
        if is_unmeasured(call)
    ]
    return found + unpriced(calls)


def unpriced(calls: list[Call]) -> list[Fault]:
    """The self-hosted model, once for each account that used it."""
    hosted = [call for call in calls if call.model.provider == "hosted_vllm"]
    of_lab = [call for call in hosted if call.key and call.key.team in LAB_TEAMS]
    accounts = (len(hosted) - len(of_lab), len(of_lab))
    name = hosted[0].model.name
    return [
        Fault("unpriced_usage", f"`{name}`, {requests} requests", None) for requests in accounts
    ]


def table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A Markdown table with the columns of numbers aligned right."""
    rule = tuple("---:" if name in NUMBERS else "---" for name in header)
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def spend_by_provider(calls: list[Call]) -> dict[str, tuple[int, Decimal]]:
    """Records and USD the gateway recorded per LiteLLM provider, without the duplicate."""
    found: dict[str, tuple[int, Decimal]] = {}
    for call in calls:
        if call.is_duplicate:
            continue
        records, spend = found.get(call.model.provider, (0, ZERO))
        found[call.model.provider] = (records + 1, spend + call.spend)
    return dict(sorted(found.items()))


def key_row(key: Key) -> tuple[str, ...]:
    """What the README says of one key."""
    team, cost_center, _ = TEAMS[key.team]
    workflows = ", ".join(key.workflows)
    return f"`{key.alias}`", f"`{key.api_key[:8]}`", team, cost_center, key.environment, workflows


def readme_tables(calls: list[Call], lost: list[LostRequests]) -> dict[str, str]:
    """The computed tables of the README by the name of their place in it."""
    providers = spend_by_provider(calls)
    records = sum(count for count, _ in providers.values())
    spend = sum((amount for _, amount in providers.values()), ZERO)
    money = [(name or "(none)", count, plain(usd)) for name, (count, usd) in providers.items()]
    planted = [
        (fault.name, fault.where, "unknown" if fault.amount is None else plain(fault.amount))
        for fault in faults(calls, lost)
    ]
    cases = [(name, sum(bool(test(call)) for call in calls)) for name, test in CASES]
    return {
        "providers": table(
            ("LiteLLM provider", "records", "USD"), [*money, ("all", records, plain(spend))]
        ),
        "faults": table(("exception", "where", "USD at stake"), planted),
        "worth-knowing": table(
            ("exception", "exceptions", "USD at stake"),
            [(name, count, plain(amount)) for name, count, amount in worth_knowing(calls)],
        ),
        "cases": table(("case", "rows"), cases),
        "keys": table(KEY_COLUMNS, [key_row(key) for key in KEYS.values()]),
    }


def fill_readme(text: str, tables: dict[str, str]) -> str:
    """The README with each computed table between its two comment marks."""
    for name, content in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text
