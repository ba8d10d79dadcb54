"""What Brindlemoor was billed and what it paid in advance: an invoice, a wallet and its top-up."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal

from brindlemoor.calls import Call
from brindlemoor.observers import unlogged_calls
from brindlemoor.prices import OCTOBER, ZERO, Row
from brindlemoor.usage import Usage, rate

VENDOR = "anthropic"
INVOICE = "ANT-2026-10-0417"
TAX_RATE = Decimal("0.2")
CENT = Decimal("0.01")
# Model key, its name on the invoice.
SPELLED = {
    "claude-haiku-4-5-20251001": "Claude Haiku 4.5",
    "claude-opus-4-5-20251101": "Claude Opus 4.5",
    "claude-sonnet-4-5-20250929": "Claude Sonnet 4.5",
}
# Unit, its name on the invoice and in ours.
BILLED = {
    "in": ("Input Tokens", "input_text_uncached_tokens"),
    "read": ("Input Tokens, Cache Read", "input_cached_read_tokens"),
    "write": ("Input Tokens, Cache Write 5m", "input_cache_write_5m_tokens"),
    "write_1h": ("Input Tokens, Cache Write 1h", "input_cache_write_1h_tokens"),
    "out": ("Output Tokens", "output_text_tokens"),
    "search": ("Web Search", "web_search_calls"),
}
# What the request that left no usage record used, as the provider counted it.
LOST = ("claude-haiku-4-5-20251001", Usage(prompt=7_500, completion=959))
WALLET = "lab-credits"
TOPUP = "lab-topup-2026-10"


def invoiced_quantities(calls: list[Call]) -> dict[tuple[str, str], Decimal]:
    """What the provider counted by model and unit: what the gateway logged, and what it did not."""
    quantities: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    made = [call for call in [*calls, *unlogged_calls()] if call.model.provider == VENDOR]
    used = [
        (call.model.price_key, call.usage)
        for call in made
        if call.usage and call.charges and not (call.is_duplicate or call.is_replay)
    ]
    for model, usage in [*used, LOST]:
        for unit, count in usage.quantities().items():
            quantities[model, unit] += count
    return dict(sorted(quantities.items()))


def invoice(calls: list[Call]) -> Row:
    """The provider's invoice of the month: lines rounded to the cent, the tax on top."""
    lines = []
    for (model, unit), quantity in invoiced_quantities(calls).items():
        words, name = BILLED[unit]
        price = rate(OCTOBER[model], unit, Usage())
        lines.append(
            {
                "line_no": len(lines) + 1,
                "description": f"{SPELLED[model]} Usage - {words}",
                "model": model,
                "quantity": str(quantity),
                "unit": name,
                "unit_price": f"{price:f}",
                "amount": str((quantity * price).quantize(CENT, ROUND_HALF_UP)),
            }
        )
    subtotal = sum((Decimal(line["amount"]) for line in lines), ZERO)
    tax = (subtotal * TAX_RATE).quantize(CENT, ROUND_HALF_UP)
    return {
        "vendor": VENDOR,
        "invoice_number": INVOICE,
        "invoice_type": "invoice",
        "issued_at": "2026-11-01T06:00:00Z",
        "period_start": "2026-10-01",
        "period_end": "2026-10-31",
        "time_zone": "UTC",
        "currency": "USD",
        "provider_account_id": "anthropic-brindlemoor",
        "subtotal": str(subtotal),
        "tax": str(tax),
        "total": str(subtotal + tax),
        "lines": lines,
    }


def wallet_history() -> list[Row]:
    """The one movement of the lab's wallet that no usage explains: its top-up."""
    return [
        {
            "transaction_id": TOPUP,
            "wallet_id": WALLET,
            "occurred_at": "2026-10-20T09:30:00Z",
            "type": "purchase",
            "amount": "5",
            "currency": "USD",
            "gross": "6",
            "tax": "1",
            "description": "Top-up of the lab's credits",
        }
    ]


def recharge_requests() -> list[Row]:
    """Who asked for it, why, and who agreed."""
    return [
        {
            "recharge_id": "RC-2026-10-1",
            "wallet_id": WALLET,
            "requested_at": "2026-10-20T08:00:00Z",
            "amount": "5",
            "currency": "USD",
            "trigger": "forecast",
            "budget_owner": "user-sunniva",
            "team_id": "team-research",
            "cost_center": "CC-5100",
            "invoice_period": "2026-10",
            "status": "approved",
            "approval_ticket": "BRM-1311",
            "reviewer": "user-imre",
            "reviewed_at": "2026-10-20T09:00:00Z",
        }
    ]
