"""Prices as values: the units a price can be quoted for, and one price with its conditions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal

from orchestration.core.values import at_money_scale

# Token units that add up to a record's input_total_tokens. What an embedding or a moderation reads
# is its whole input, so their tokens belong here.
TOKEN_INPUT_UNITS = (
    "input_text_uncached_tokens",
    "input_cached_read_tokens",
    "input_cache_write_5m_tokens",
    "input_cache_write_30m_tokens",
    "input_cache_write_1h_tokens",
    "input_cache_write_12h_tokens",
    "input_cache_write_unknown_ttl_tokens",
    "input_audio_tokens",
    "input_audio_cached_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "input_tool_tokens",
    "embedding_tokens",
    "moderation_tokens",
)

# Token units that add up to a record's output_total_tokens.
TOKEN_OUTPUT_UNITS = (
    "output_text_tokens",
    "output_reasoning_tokens",
    "output_audio_tokens",
    "output_image_tokens",
)

# Every unit a price can be quoted for: the quantity columns of usage_records, in their order.
PRICED_UNITS = (
    "input_text_uncached_tokens",
    "input_cached_read_tokens",
    "input_cache_write_5m_tokens",
    "input_cache_write_30m_tokens",
    "input_cache_write_1h_tokens",
    "input_cache_write_12h_tokens",
    "input_cache_write_unknown_ttl_tokens",
    "input_audio_tokens",
    "input_audio_cached_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "input_tool_tokens",
    "output_text_tokens",
    "output_reasoning_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "embedding_tokens",
    "moderation_tokens",
    "input_audio_seconds",
    "output_audio_seconds",
    "input_video_seconds",
    "output_video_seconds",
    "input_characters",
    "output_characters",
    "input_images",
    "output_images",
    "input_pixels",
    "output_pixels",
    "ocr_pages",
    "rerank_searches",
    "web_search_calls",
    "file_search_calls",
    "maps_grounding_calls",
    "code_sessions",
    "tool_calls",
    "requests",
    "storage_gibibyte_hours",
    "provisioned_unit_hours",
)

SERVICE_TIERS = ("standard", "priority", "flex", "balanced", "ultrafast", "decisions")

_ONE = Decimal(1)
# Wide enough that a product of a price and a factor is exact before its one rounding.
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class PricePoint:
    """What one unit costs under stated conditions, as a catalog writes it.

    Only written prices become points: a price of 0 is a price, an absent one is no point. What a
    missing tier, band or cache price falls back to is decided where usage is priced.

    Attributes:
        price_key: The catalog's own name of the model.
        catalog_provider: The catalog's own name of the provider, '' if it gives none.
        mode: What the model does in the catalog's word (chat, embedding), '' if not said.
        unit: One of PRICED_UNITS.
        service_tier: One of SERVICE_TIERS.
        is_batch: Whether the price is for batch processing.
        context_above_tokens: The price holds for requests with more input tokens than this, and
            for the whole request; 0 is the base price.
        region: '' for any region, else the region it is quoted for (us, eu, regional).
        unit_price: Money per single unit, at 18 decimal places, 0 or more.
        currency: ISO 4217 code.
        valid_from_at: UTC without zone, inclusive; None where the catalog names no beginning.
        valid_to_at: UTC without zone, exclusive; None where the catalog names no end.
        priority: Rank among prices of one key that are in force together.
    """

    price_key: str
    catalog_provider: str
    mode: str
    unit: str
    service_tier: str
    is_batch: bool
    context_above_tokens: int
    region: str
    unit_price: Decimal
    currency: str
    valid_from_at: datetime | None
    valid_to_at: datetime | None
    priority: int = 0


def scale_price(
    price: Decimal, *, times: Decimal = _ONE, per: Decimal = _ONE
) -> tuple[Decimal, bool]:
    """The price of one unit at 18 places (half-even), and whether that lost written digits.

    Args:
        price: A quoted price, finite and below 1e20.
        times: Exact factor, such as 0.000001 for a price per million.
        per: Divisor where no decimal factor is exact, such as 3600 for a price per hour.
    """
    return at_money_scale(_EXACT.divide(_EXACT.multiply(price, times), per))
