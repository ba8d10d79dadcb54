"""Price catalogs as price points: LiteLLM's cost map, genai-prices rows and our own CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from orchestration.core.prices import (
    PRICED_UNITS,
    SERVICE_TIERS,
    TOKEN_INPUT_UNITS,
    TOKEN_OUTPUT_UNITS,
    PricePoint,
    scale_price,
)
from orchestration.core.refusals import RefusedError, shown
from orchestration.core.values import MONEY_LIMIT, read_decimal, read_time

INCOMPLETE = "incomplete_price"
PER_THOUSAND = Decimal("0.001")
PER_MILLION = Decimal("0.000001")
PER_BILLION = Decimal("0.000000001")
SECONDS_PER_HOUR = Decimal(3600)

# Names at the top of the cost map that are not models, with the flags they are reported by.
_NOT_MODELS: Mapping[str, tuple[str, ...]] = {
    "sample_spec": ("sample_spec_skipped",),
    "fallback_generalizations": (),
}

# A write without a named lifetime is quoted once and holds for every lifetime that has no key.
_CACHE_WRITES = (
    "input_cache_write_5m_tokens",
    "input_cache_write_30m_tokens",
    "input_cache_write_unknown_ttl_tokens",
)

# Cost map key, without its band and tier, to the units it prices. Keys that can price the same
# unit stand in order of precedence.
_UNITS: Mapping[str, tuple[str, ...]] = {
    "input_cost_per_token": ("input_text_uncached_tokens",),
    "cache_read_input_token_cost": ("input_cached_read_tokens",),
    "input_cost_per_token_cache_hit": ("input_cached_read_tokens",),
    "cache_read_input_audio_token_cost": ("input_audio_cached_tokens",),
    "cache_creation_input_token_cost": _CACHE_WRITES,
    "cache_creation_input_token_cost_above_1hr": ("input_cache_write_1h_tokens",),
    "cache_creation_input_token_cost_above_12hr": ("input_cache_write_12h_tokens",),
    "input_cost_per_audio_token": ("input_audio_tokens",),
    "input_cost_per_image_token": ("input_image_tokens",),
    "input_cost_per_video_token": ("input_video_tokens",),
    "output_cost_per_token": ("output_text_tokens",),
    "output_cost_per_reasoning_token": ("output_reasoning_tokens",),
    "output_cost_per_audio_token": ("output_audio_tokens",),
    "output_cost_per_image_token": ("output_image_tokens",),
    "input_cost_per_image": ("input_images",),
    "output_cost_per_image": ("output_images",),
    "output_cost_per_pixel": ("output_pixels",),
    "input_cost_per_pixel": ("input_pixels",),
    "input_cost_per_character": ("input_characters",),
    "output_cost_per_character": ("output_characters",),
    "input_cost_per_audio_per_second": ("input_audio_seconds",),
    "input_cost_per_video_per_second": ("input_video_seconds",),
    "output_cost_per_video_per_second": ("output_video_seconds",),
    "cost_per_second": ("provisioned_unit_hours",),
    "input_cost_per_second": (),
    "output_cost_per_second": (),
    "input_cost_per_request": ("requests",),
    "input_cost_per_query": ("requests",),
    "google_maps_grounding_cost_per_query": ("maps_grounding_calls",),
    "code_interpreter_cost_per_session": ("code_sessions",),
    "file_search_cost_per_1k_calls": ("file_search_calls",),
    "ocr_cost_per_page": ("ocr_pages",),
}
_PRECEDENCE = {key: place for place, key in enumerate(_UNITS)}

# Where the mode of the model decides what a key prices.
_UNITS_BY_MODE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("input_cost_per_token", "embedding"): ("embedding_tokens",),
    ("input_cost_per_token", "moderation"): ("moderation_tokens",),
    ("output_cost_per_token", "embedding"): (),
    ("output_cost_per_token", "moderation"): (),
    ("input_cost_per_pixel", "image_generation"): ("output_pixels",),
    # Music is written per image though it is sold per clip.
    ("output_cost_per_image", "audio_speech"): (),
    ("input_cost_per_second", "audio_transcription"): ("input_audio_seconds",),
    ("output_cost_per_second", "audio_transcription"): ("input_audio_seconds",),
    ("output_cost_per_second", "audio_speech"): ("output_audio_seconds",),
    ("output_cost_per_second", "video_generation"): ("output_video_seconds",),
    ("input_cost_per_query", "rerank"): ("rerank_searches",),
    ("input_cost_per_query", "search"): ("web_search_calls",),
}

# Keys whose 0 says nothing while another key carries the price of the same thing: transcription
# is written on both sides, a generated image's pixels likewise, and an embedding has no output.
_PLACEHOLDER_ZEROS = frozenset(
    {
        "input_cost_per_second",
        "output_cost_per_second",
        "input_cost_per_pixel",
        "output_cost_per_pixel",
        "output_cost_per_token",
    }
)

# Prices that are quoted for another amount than one unit.
_FACTORS: Mapping[str, Decimal] = {
    "file_search_cost_per_1k_calls": PER_THOUSAND,
    "cost_per_second": SECONDS_PER_HOUR,
}

_IMAGE_MODES = frozenset({"image_generation", "image_edit"})
# These bill the dearer band from the threshold itself on, all others only beyond it.
_INCLUSIVE_BAND_PROVIDERS = frozenset({"xai"})

_QUALIFIER = re.compile(
    r"_(?:(?P<tier>flex|priority|balanced|ultrafast|decisions)|(?P<batch>batches)"
    r"|above_(?P<band>[0-9]{1,9})(?P<kilo>k?)_tokens|(?P<lifetime>above_(?:1|12)hr))\Z"
)

_REGION_MULTIPLIERS: Mapping[str, str] = {
    "regional_processing_uplift_multiplier_us": "us",
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_endpoint_uplift_multiplier": "regional",
}
# In provider_specific_entry; its texts and tables configure calls, its other numbers are money.
_SPECIFIC_MULTIPLIERS = frozenset({"us", "eu", "fast"})
_SEARCH_SIZES = tuple(f"search_context_size_{size}" for size in ("medium", "low", "high"))
_STRUCTURED = frozenset(
    {
        "tiered_pricing",
        "off_peak_pricing",
        "search_context_cost_per_query",
        "provider_specific_entry",
        "search_free_requests",
        "web_search_billing_unit",
    }
)
_PRICE_WORDS = ("cost", "multiplier")

# Service tier in a catalog's or provider's word to (our tier, is_batch).
_TIERS: Mapping[str, tuple[str, bool]] = {
    **{tier: (tier, False) for tier in SERVICE_TIERS},
    "": ("standard", False),
    "default": ("standard", False),
    "on_demand": ("standard", False),
    "fast": ("priority", False),
    "priority_on_demand": ("priority", False),
    "flex_discount": ("flex", False),
    "batch": ("standard", True),
}

# genai-prices price key to the units it prices. The catalog does not say which models embed, so
# its input price is given for both kinds of input; a model only ever has one of the quantities.
_GENAI_UNITS: Mapping[str, tuple[str, ...]] = {
    "input_mtok": ("input_text_uncached_tokens", "embedding_tokens"),
    "output_mtok": ("output_text_tokens",),
    "cache_read_mtok": ("input_cached_read_tokens",),
    "cache_write_mtok": _CACHE_WRITES,
    "cache_write_5m_mtok": ("input_cache_write_5m_tokens",),
    "cache_write_1h_mtok": ("input_cache_write_1h_tokens",),
    "input_audio_mtok": ("input_audio_tokens",),
    "output_audio_mtok": ("output_audio_tokens",),
    "cache_audio_read_mtok": ("input_audio_cached_tokens",),
    "input_image_mtok": ("input_image_tokens",),
    "output_image_mtok": ("output_image_tokens",),
    "input_video_mtok": ("input_video_tokens",),
    "input_tool_mtok": ("input_tool_tokens",),
    "output_reasoning_mtok": ("output_reasoning_tokens",),
    "input_mchars": ("input_characters",),
    "input_audio_hours": ("input_audio_seconds",),
    "output_audio_hours": ("output_audio_seconds",),
    "input_gpixels": ("input_pixels",),
    "input_document_kpages": ("ocr_pages",),
    "rerank_searches_kcount": ("rerank_searches",),
    "web_searches_kcount": ("web_search_calls",),
    "storage_searches_kcount": ("file_search_calls",),
    "code_executions_kcount": ("code_sessions",),
    "requests_kcount": ("requests",),
}

# Last word of a genai-prices price key to (factor, divisor) for the price of one unit.
_GENAI_SCALES: Mapping[str, tuple[Decimal, Decimal]] = {
    "mtok": (PER_MILLION, Decimal(1)),
    "mchars": (PER_MILLION, Decimal(1)),
    "kpages": (PER_THOUSAND, Decimal(1)),
    "kcount": (PER_THOUSAND, Decimal(1)),
    "gpixels": (PER_BILLION, Decimal(1)),
    "hours": (Decimal(1), SECONDS_PER_HOUR),
}
_GENAI_UNIT_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?) [a-z ]+\Z")
_GENAI_CONTEXTS = frozenset({"service_tier", "processing", "speed", "start_date"})

_UNIT_SIZES: Mapping[Decimal, Decimal] = {
    Decimal(1): Decimal(1),
    Decimal(1000): PER_THOUSAND,
    Decimal(1000000): PER_MILLION,
}
_CONTEXT_BAND = re.compile(r"(?:above_|> ?)([0-9]{1,9})(k?)(?:_tokens)?\Z", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_PRIORITY = re.compile(r"-?[0-9]{1,9}\Z")
_OPEN_END = "9999-12-31"


@dataclass(frozen=True, slots=True)
class _PriceKey:
    """What the name of a cost map key says: the priced thing and under which conditions."""

    base: str
    service_tier: str
    is_batch: bool
    context_above_tokens: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One written price before keys that price the same unit are weighed.

    Attributes:
        point: The price; unit '' where none of our units can carry it.
        rank: The lowest rank of one price key wins.
        is_placeholder: A 0 that says nothing.
        is_rounded: Keeping 18 places lost written digits.
    """

    point: PricePoint
    rank: tuple[bool, bool, int]
    is_placeholder: bool = False
    is_rounded: bool = False


def read_litellm_entry(price_key: str, entry: object) -> tuple[list[PricePoint], list[str]]:
    """The prices one entry of LiteLLM's cost map writes down, and flag codes about them.

    Prices are USD per single unit. No two points share unit, tier, batch, band and region.
    `incomplete_price`: the entry also says something about its price that no point can carry.
    Regional and speed multipliers give further points for token units only, since that is what
    the providers raise; a web search costs the same in every region.

    Args:
        price_key: The entry's name, which is the model as LiteLLM knows it.
        entry: The entry as decoded from JSON, with numbers as int, Decimal or plain text.

    Raises:
        RefusedError: not_object, or bad_price for a price that is no finite number of 0 or more.

    Source: `model_prices_and_context_window_backup.json` of LiteLLM 1.109.1.
    """
    if price_key in _NOT_MODELS:
        return [], list(_NOT_MODELS[price_key])
    if not isinstance(entry, Mapping):
        raise RefusedError("not_object", f"expected an object, found {shown(entry)}", price_key)
    about = _about(
        price_key=price_key,
        provider=_text(entry.get("litellm_provider")),
        mode=_text(entry.get("mode")),
    )
    written = list(_written_prices(entry, about))
    points, is_incomplete = _weigh(written)
    raised, is_unclear = _raised_prices(points, entry)
    flags = {
        INCOMPLETE: is_incomplete or is_unclear,
        "precision_rounded": any(candidate.is_rounded for candidate in written),
    }
    return points + raised, [code for code, is_raised in flags.items() if is_raised]


def read_genai_price(record: Mapping[str, object]) -> tuple[list[PricePoint], list[str]]:
    """The price points of one row projected from genai-prices, and flag codes.

    A row prices one key of one model, in USD per the unit it names (a million tokens, an hour).
    A unit or condition we do not know gives no point and the flag `incomplete_price`.

    Raises:
        RefusedError: missing_field, bad_price, or bad_timestamp for the day a price begins.
    """
    about = _about(
        price_key=_required(record, "model_id"), provider=_required(record, "provider_id"), mode=""
    )
    price_key = _required(record, "price_key")
    price = _read_price(_given(record, "usd_per_unit"), "usd_per_unit")
    scale = _GENAI_SCALES.get(price_key.rpartition("_")[2])
    condition = _read_condition(record)
    units = _GENAI_UNITS.get(price_key, ())
    if not units or scale is None or condition is None or not _is_quoted_in(record, scale):
        return [], [INCOMPLETE]
    unit_price, is_rounded = scale_price(price, times=scale[0], per=scale[1])
    service_tier, is_batch, valid_from_at = condition
    about = replace(
        about,
        service_tier=service_tier,
        is_batch=is_batch,
        unit_price=unit_price,
        valid_from_at=valid_from_at,
    )
    flags = ["precision_rounded"] if is_rounded else []
    return [replace(about, unit=unit) for unit in units], flags


def read_price_row(row: Mapping[str, str | None]) -> PricePoint:
    """The price of one row of a price catalog in CSV, per single unit in the row's currency.

    The columns are those of contract_prices; price_key is the model. An empty valid_from_at or
    valid_to_at is None, an empty service_tier standard, an empty context_band the base price.

    Raises:
        RefusedError: missing_field, bad_price, bad_type, bad_integer, bad_timestamp or
            unsupported_currency. A discount_rate is refused: a catalog has prices.
    """
    if _cell(row, "discount_rate"):
        raise RefusedError("bad_price", "a catalog row has a price, no discount", "discount_rate")
    service_tier, is_batch = _read_tier_cells(row)
    valid_from_at, valid_to_at = _read_validity(row)
    about = _about(price_key=_required(row, "model"), provider=_required(row, "provider"), mode="")
    return replace(
        about,
        unit=_one_of(PRICED_UNITS, _required(row, "unit"), "unit"),
        service_tier=service_tier,
        is_batch=is_batch,
        context_above_tokens=_read_context_band(_cell(row, "context_band")),
        region=_cell(row, "region"),
        unit_price=_read_row_price(row),
        currency=_read_currency(_required(row, "currency")),
        valid_from_at=valid_from_at,
        valid_to_at=valid_to_at,
        priority=_read_priority(_cell(row, "priority")),
    )


def _about(*, price_key: str, provider: str, mode: str) -> PricePoint:
    """A standard price in USD of a model, still without unit and amount."""
    return PricePoint(
        price_key=price_key,
        catalog_provider=provider,
        mode=mode,
        unit="",
        service_tier="standard",
        is_batch=False,
        context_above_tokens=0,
        region="",
        unit_price=Decimal(0),
        currency="USD",
        valid_from_at=None,
        valid_to_at=None,
    )


def _read_price(value: object, field: str) -> Decimal:
    number = read_decimal(value, field, code="bad_price")
    if not 0 <= number < MONEY_LIMIT:
        raise RefusedError("bad_price", f"expected 0 to below 1e20, found {shown(number)}", field)
    return number


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_price_name(field: str) -> bool:
    if field.startswith("supports_"):
        return False
    return field in _STRUCTURED or any(word in field for word in _PRICE_WORDS)


def _written_prices(entry: Mapping[str, object], about: PricePoint) -> Iterator[_Candidate]:
    for field, value in entry.items():
        if value is None or not _is_price_name(field):
            continue
        if field == "tiered_pricing":
            yield from _read_tiers(value, about)
        elif field == "search_context_cost_per_query":
            yield from _read_search_sizes(value, about)
        elif field == "web_search_billing_unit":
            # Our quantity counts queries; another billing unit is a price we cannot apply.
            yield from () if value == "per_query" else _unrepresented(None, field, about)
        elif field not in _REGION_MULTIPLIERS and field != "provider_specific_entry":
            yield from _read_field(field, value, entry, about)


def _read_field(
    field: str, value: object, entry: Mapping[str, object], about: PricePoint
) -> Iterator[_Candidate]:
    key = _read_key(field, about.catalog_provider)
    base = _meant_key(key.base, about.mode, entry)
    units = _UNITS_BY_MODE.get((base, about.mode), _UNITS.get(base, ()))
    if not units and base not in _UNITS:
        yield from _unrepresented(value, field, about)
        return
    price = _read_price(value, field)
    is_placeholder = price == 0 and key.base in _PLACEHOLDER_ZEROS
    unit_price, is_rounded = scale_price(price, times=_FACTORS.get(base, Decimal(1)))
    point = replace(
        about,
        service_tier=key.service_tier,
        is_batch=key.is_batch,
        context_above_tokens=max(key.context_above_tokens, about.context_above_tokens),
        unit_price=unit_price,
    )
    for unit in units or ("",):
        yield _Candidate(
            point=replace(point, unit=unit),
            rank=(True, is_placeholder, _PRECEDENCE[base]),
            is_placeholder=is_placeholder,
            is_rounded=is_rounded,
        )


def _read_key(field: str, provider: str) -> _PriceKey:
    """The parts of a key's name; band, tier, batch and cache lifetime stand in any order."""
    base, parts = field, dict[str, str]()
    while match := _QUALIFIER.search(base):
        found = {name: text for name, text in match.groupdict().items() if text is not None}
        if found.keys() & parts.keys():
            return _PriceKey(field, "standard", is_batch=False, context_above_tokens=0)
        parts |= found
        base = base[: match.start()]
    band = int(parts.get("band", "0")) * (1000 if parts.get("kilo") else 1)
    if band and provider in _INCLUSIVE_BAND_PROVIDERS:
        band -= 1
    return _PriceKey(
        base=f"{base}_{parts['lifetime']}" if "lifetime" in parts else base,
        service_tier=parts.get("tier", "standard"),
        is_batch="batch" in parts,
        context_above_tokens=band,
    )


def _meant_key(base: str, mode: str, entry: Mapping[str, object]) -> str:
    """The key that a key stands for beside the entry's others."""
    is_image = mode in _IMAGE_MODES and entry.get("output_cost_per_image") is None
    if base == "input_cost_per_image" and is_image:
        return "output_cost_per_image"
    # Provisioned capacity is written under both names.
    if base == "input_cost_per_second" and entry.get("cost_per_second") is not None:
        return "cost_per_second"
    return base


def _unrepresented(value: object, field: str, about: PricePoint) -> Iterator[_Candidate]:
    """A price that none of our units can carry, its numbers checked all the same."""
    for number in _numbers(value):
        _read_price(number, field)
    yield _Candidate(point=about, rank=(True, True, 0))


def _numbers(value: object) -> Iterator[object]:
    """What must be a price: a lone value, or the numbers anywhere in a structure."""
    if not isinstance(value, Mapping | list):
        yield from () if value is None else (value,)
        return
    for part in value.values() if isinstance(value, Mapping) else value:
        if isinstance(part, Mapping | list) or _is_number(part):
            yield from _numbers(part)


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _read_tiers(tiers: object, about: PricePoint) -> Iterator[_Candidate]:
    """The prices of each tier; a table of tiers goes before the entry's own keys."""
    for tier in tiers if isinstance(tiers, list) else [tiers]:
        bounds = tier.get("range") if isinstance(tier, Mapping) else None
        if not isinstance(tier, Mapping) or not isinstance(bounds, list) or not bounds:
            yield from _unrepresented(tier, "tiered_pricing", about)
            continue
        # Tokens are whole, so more than 0.5 of them is more than 0.
        above = int(_read_price(bounds[0], "tiered_pricing.range"))
        for candidate in _written_prices(tier, replace(about, context_above_tokens=above)):
            yield replace(candidate, rank=(False, *candidate.rank[1:]))


def _read_search_sizes(sizes: object, about: PricePoint) -> Iterator[_Candidate]:
    """The price of a search at medium context, else the only price given."""
    field = "search_context_cost_per_query"
    if not isinstance(sizes, Mapping):
        yield from _unrepresented(sizes, field, about)
        return
    given = [
        _read_price(sizes[size], field) for size in _SEARCH_SIZES if sizes.get(size) is not None
    ]
    is_same = len(set(given)) == 1
    if is_same or sizes.get(_SEARCH_SIZES[0]) is not None:
        unit_price, is_rounded = scale_price(given[0])
        point = replace(about, unit="web_search_calls", unit_price=unit_price)
        yield _Candidate(point=point, rank=(True, False, 0), is_rounded=is_rounded)
    if not is_same or sizes.keys() - set(_SEARCH_SIZES):
        yield from _unrepresented(sizes, field, about)


def _weigh(candidates: Iterable[_Candidate]) -> tuple[list[PricePoint], bool]:
    """One point per key, and whether a written price found no place or contradicts another."""
    kept: dict[tuple[object, ...], PricePoint] = {}
    is_incomplete = False
    for candidate in sorted(candidates, key=lambda candidate: candidate.rank):
        point = candidate.point
        if point.unit:
            winner = kept.setdefault(_identity(point), point)
            is_lost = winner.unit_price != point.unit_price
        else:
            is_lost = True
        is_incomplete |= is_lost and not candidate.is_placeholder
    return list(kept.values()), is_incomplete


def _identity(point: PricePoint) -> tuple[object, ...]:
    return (
        point.unit,
        point.service_tier,
        point.is_batch,
        point.context_above_tokens,
        point.region,
    )


def _raised_prices(
    points: Iterable[PricePoint], entry: Mapping[str, object]
) -> tuple[list[PricePoint], bool]:
    """Token prices for fast processing and for regions, and whether a multiplier is unclear."""
    regions, fast, is_unclear = _read_multipliers(entry)
    tokens = [point for point in points if point.unit in TOKEN_INPUT_UNITS + TOKEN_OUTPUT_UNITS]
    has_priority = any(point.service_tier == "priority" for point in tokens)
    raised = [
        replace(_times(point, fast), service_tier="priority")
        for point in tokens
        if fast is not None and not has_priority
        if point.service_tier == "standard" and not point.is_batch
    ]
    regional = [
        replace(_times(point, multiplier), region=region)
        for region, multiplier in regions.items()
        for point in tokens + raised
    ]
    return raised + regional, is_unclear


def _times(point: PricePoint, multiplier: Decimal) -> PricePoint:
    unit_price, _ = scale_price(point.unit_price, times=multiplier)
    return replace(point, unit_price=unit_price)


def _read_multipliers(
    entry: Mapping[str, object],
) -> tuple[dict[str, Decimal], Decimal | None, bool]:
    """Multipliers by region, the one of fast processing, and whether one is unclear."""
    regions = {
        region: _read_price(entry[field], field)
        for field, region in _REGION_MULTIPLIERS.items()
        if entry.get(field) is not None
    }
    specific = entry.get("provider_specific_entry")
    if not isinstance(specific, Mapping):
        return regions, None, specific is not None
    numbers = {
        name: _read_price(value, f"provider_specific_entry.{name}")
        for name, value in specific.items()
        if _is_number(value) or (name in _SPECIFIC_MULTIPLIERS and value is not None)
    }
    fast = numbers.get("fast")
    named = {region: numbers[region] for region in ("us", "eu") if region in numbers}
    is_contradicted = any(regions.get(region, value) != value for region, value in named.items())
    return named | regions, fast, bool(numbers.keys() - _SPECIFIC_MULTIPLIERS) or is_contradicted


def _is_quoted_in(record: Mapping[str, object], scale: tuple[Decimal, Decimal]) -> bool:
    """Whether the row's unit text names the amount that its price key is quoted for."""
    text = _text(record.get("unit"))
    times, per = scale
    match = _GENAI_UNIT_TEXT.match(text)
    if match is None or "hour" in text:
        return per == SECONDS_PER_HOUR and text in {"hour", "1 hour", "hours", "1 hours"}
    return Decimal(match[1]) * times == per


def _read_condition(record: Mapping[str, object]) -> tuple[str, bool, datetime | None] | None:
    """Tier, batch and beginning of a row, or None for a condition that we do not know."""
    condition = record.get("condition") or {}
    if not isinstance(condition, Mapping) or condition.keys() - _GENAI_CONTEXTS:
        return None
    stated = {name: value for name, value in condition.items() if value is not None}
    if not all(isinstance(value, str) for value in stated.values()):
        return None
    tier = _TIERS.get(stated.get("service_tier", ""))
    if tier is None or stated.get("processing", "batch") != "batch":
        return None
    if stated.get("speed", "fast") != "fast":
        return None
    days = [("valid_from", record.get("valid_from")), ("start_date", stated.get("start_date"))]
    begins = [read_time(day, field)[0] for field, day in days if day is not None]
    service_tier = "priority" if "speed" in stated else tier[0]
    return service_tier, tier[1] or "processing" in stated, max(begins, default=None)


def _cell(row: Mapping[str, str | None], field: str) -> str:
    return (row.get(field) or "").strip()


def _given(record: Mapping[str, object], field: str) -> object:
    value = record.get(field)
    if value is None or value == "":
        raise RefusedError("missing_field", "expected a value, found none", field)
    return value


def _required(record: Mapping[str, object], field: str) -> str:
    value = _given(record, field)
    if not isinstance(value, str):
        raise RefusedError("bad_type", f"expected text, found {shown(value)}", field)
    if not value.strip():
        raise RefusedError("missing_field", "expected a value, found none", field)
    return value.strip()


def _one_of(accepted: Iterable[str], value: str, field: str) -> str:
    if value not in accepted:
        raise RefusedError("bad_price", f"'{shown(value)}' is none that we know", field)
    return value


def _read_row_price(row: Mapping[str, str | None]) -> Decimal:
    price = _read_price(_given(row, "unit_price"), "unit_price")
    size = _read_price(_given(row, "unit_size"), "unit_size")
    if size not in _UNIT_SIZES:
        raise RefusedError("bad_price", f"expected 1, 1000 or 1000000, found {size}", "unit_size")
    unit_price, _ = scale_price(price, times=_UNIT_SIZES[size])
    return unit_price


def _read_tier_cells(row: Mapping[str, str | None]) -> tuple[str, bool]:
    tier = _one_of(_TIERS, _cell(row, "service_tier").lower(), "service_tier")
    batch = _cell(row, "is_batch").lower()
    if batch not in {"", "true", "false"}:
        raise RefusedError(
            "bad_type", f"expected true or false, found '{shown(batch)}'", "is_batch"
        )
    service_tier, is_batch_tier = _TIERS[tier]
    return service_tier, is_batch_tier or batch == "true"


def _read_context_band(text: str) -> int:
    """Input tokens above which the price holds, from `above_200k`, `>200000` or nothing."""
    if text in {"", "base"}:
        return 0
    match = _CONTEXT_BAND.match(text)
    if match is None:
        raise RefusedError(
            "bad_price", f"expected above_200k or >200000, found '{shown(text)}'", "context_band"
        )
    return int(match[1]) * (1000 if match[2] else 1)


def _read_currency(text: str) -> str:
    currency = text.upper()
    if not _CURRENCY.match(currency):
        raise RefusedError(
            "unsupported_currency", f"expected a code like USD, found '{shown(text)}'", "currency"
        )
    return currency


def _read_validity(
    row: Mapping[str, str | None],
) -> tuple[datetime | None, datetime | None]:
    begin, end = _cell(row, "valid_from_at"), _cell(row, "valid_to_at")
    valid_from_at = read_time(begin, "valid_from_at")[0] if begin else None
    is_open = not end or end.startswith(_OPEN_END)
    valid_to_at = None if is_open else read_time(end, "valid_to_at")[0]
    if valid_from_at is not None and valid_to_at is not None and valid_to_at <= valid_from_at:
        raise RefusedError("bad_price", "the price ends before it begins", "valid_to_at")
    return valid_from_at, valid_to_at


def _read_priority(text: str) -> int:
    if text and not _PRIORITY.match(text):
        raise RefusedError(
            "bad_integer", f"expected a whole number, found '{shown(text)}'", "priority"
        )
    return int(text or "0")


# ---------------------------------------------------------------- genai-prices' own data


# What the last word of a genai-prices price key is quoted for, as a row of its projection says it.
_GENAI_UNIT_NAMES: Mapping[str, str] = {
    "mtok": "1e6 tokens",
    "mchars": "1e6 characters",
    "kpages": "1e3 pages",
    "kcount": "1e3 calls",
    "gpixels": "1e9 pixels",
    "hours": "hour",
}


def read_genai_model(
    provider_id: str, model: Mapping[str, object]
) -> tuple[list[PricePoint], list[str]]:
    """The price points of one model of genai-prices' own data file, and flag codes.

    Prices are given once, or as a list of which the last whose condition holds counts; a condition
    on the day a price starts becomes its beginning. A price that rises with the size of the input
    has a base and tiers, each of which reprices the whole request beyond its start. Prices by
    time of day, and conditions we do not know, give no point and the flag `incomplete_price`.

    Raises:
        RefusedError: missing_field, bad_type, bad_price or bad_timestamp.

    Source: `prices/data.json` of genai-prices 0.2.3.
    """
    model_id = _required(model, "id")
    prices = model.get("prices")
    dated = prices if isinstance(prices, list) else [{"prices": prices}]
    points: list[PricePoint] = []
    codes: set[str] = set()
    for part in [*dated, *_genai_variants(model)]:
        if not isinstance(part, Mapping) or not isinstance(part.get("prices"), Mapping):
            raise RefusedError("bad_type", f"expected prices, found {shown(part)}", "prices")
        for record, above in _genai_records(provider_id, model_id, part, part["prices"]):
            found, flags = read_genai_price(record)
            points += [replace(point, context_above_tokens=above) for point in found]
            codes.update(flags)
    return _newest_of_equal(points), sorted(codes)


def _genai_variants(model: Mapping[str, object]) -> list[object]:
    """Prices that hold for a service tier, for batches or for speed, wherever they stand."""
    found = model.get("price_variants") or model.get("variants") or []
    return found if isinstance(found, list) else [found]


def _genai_records(
    provider_id: str,
    model_id: str,
    part: Mapping[str, object],
    prices: Mapping[str, object],
) -> Iterator[tuple[dict[str, object], int]]:
    """Rows as the projection has them, each with the input size beyond which it holds."""
    constraint = part.get("constraint") or {}
    when = part.get("when") or {}
    condition = {
        **(when if isinstance(when, Mapping) else {"unclear": "yes"}),
        **(constraint if isinstance(constraint, Mapping) else {"unclear": "yes"}),
    }
    condition.pop("type", None)
    for key, value in prices.items():
        record = {
            "provider_id": provider_id,
            "model_id": model_id,
            "price_key": key,
            "unit": _GENAI_UNIT_NAMES.get(str(key).rpartition("_")[2], ""),
            "condition": condition,
        }
        if not isinstance(value, Mapping):
            if value is not None:
                yield {**record, "usd_per_unit": value}, 0
            continue
        yield {**record, "usd_per_unit": value.get("base")}, 0
        tiers = value.get("tiers")
        for tier in tiers if isinstance(tiers, list) else []:
            if not isinstance(tier, Mapping):
                raise RefusedError("bad_type", f"expected a tier, found {shown(tier)}", str(key))
            start = int(_read_price(tier.get("start"), f"{key}.tiers"))
            yield {**record, "usd_per_unit": tier.get("price")}, start


def _newest_of_equal(points: Iterable[PricePoint]) -> list[PricePoint]:
    """One point per key and beginning: the last written counts."""
    kept = {(*_identity(point), point.valid_from_at): point for point in points}
    return list(kept.values())
