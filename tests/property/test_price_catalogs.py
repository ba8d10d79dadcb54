"""Whatever a cost map writes, its points carry the written numbers and never share a key."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.prices import PRICED_UNITS, SERVICE_TIERS, PricePoint
from orchestration.core.values import at_money_scale
from orchestration.sources.price_catalogs import read_litellm_entry

# Keys that price one unit each in mode chat, none of them a second name for another's unit.
UNIT_OF_KEY = {
    "input_cost_per_token": "input_text_uncached_tokens",
    "output_cost_per_token": "output_text_tokens",
    "cache_read_input_token_cost": "input_cached_read_tokens",
    "cache_creation_input_token_cost_above_1hr": "input_cache_write_1h_tokens",
    "cache_creation_input_token_cost_above_12hr": "input_cache_write_12h_tokens",
    "input_cost_per_audio_token": "input_audio_tokens",
    "output_cost_per_reasoning_token": "output_reasoning_tokens",
    "input_cost_per_image": "input_images",
    "input_cost_per_character": "input_characters",
    "ocr_cost_per_page": "ocr_pages",
}
ANY_KEY = [
    *UNIT_OF_KEY,
    "cache_creation_input_token_cost",
    "input_cost_per_token_cache_hit",
    "output_cost_per_image",
    "input_cost_per_pixel",
    "output_cost_per_pixel",
    "input_cost_per_second",
    "output_cost_per_second",
    "output_cost_per_video_per_second",
    "input_cost_per_query",
    "input_cost_per_request",
    "citation_cost_per_token",
    "output_cost_per_image_1024",
]
MODES = ["chat", "embedding", "image_generation", "audio_transcription", "video_generation", "ocr"]

prices = st.decimals(
    min_value=0, max_value=Decimal("99999.99"), allow_nan=False, allow_infinity=False
) | st.decimals(min_value=0, max_value=1, places=24)
bands = st.sampled_from([0, 32_000, 128_000, 200_000])
conditions = st.tuples(st.sampled_from(SERVICE_TIERS), st.booleans(), bands)


def suffixes(tier: str, *, is_batch: bool, band: int) -> list[str]:
    """The parts by which a key names its conditions."""
    parts = [f"_{tier}"] if tier != "standard" else []
    parts += ["_batches"] if is_batch else []
    return parts + ([f"_above_{band // 1000}k_tokens"] if band else [])


@st.composite
def keys(draw: st.DrawFn, base: str, *, tier: str, is_batch: bool, band: int) -> str:
    return base + "".join(draw(st.permutations(suffixes(tier, is_batch=is_batch, band=band))))


@st.composite
def entries(draw: st.DrawFn) -> dict[str, object]:
    """Any entry of non-negative prices, with keys that contradict each other too."""
    fields = draw(st.lists(st.tuples(st.sampled_from(ANY_KEY), conditions, prices), max_size=12))
    entry: dict[str, object] = {"mode": draw(st.sampled_from(MODES)), "litellm_provider": "openai"}
    for base, (tier, is_batch, band), price in fields:
        entry[draw(keys(base, tier=tier, is_batch=is_batch, band=band))] = price
    return entry


def identity(point: PricePoint) -> tuple[object, ...]:
    return (
        point.unit,
        point.service_tier,
        point.is_batch,
        point.context_above_tokens,
        point.region,
    )


@given(
    st.dictionaries(st.tuples(st.sampled_from(list(UNIT_OF_KEY)), conditions), prices), st.data()
)
def test_every_written_price_is_one_point_under_its_conditions(
    written: dict[tuple[str, tuple[str, bool, int]], Decimal], data: st.DataObject
) -> None:
    entry: dict[str, object] = {"mode": "chat"}
    for (base, (tier, is_batch, band)), price in written.items():
        entry[data.draw(keys(base, tier=tier, is_batch=is_batch, band=band))] = price

    points, flags = read_litellm_entry("m", entry)

    assert {identity(point): point.unit_price for point in points} == {
        (UNIT_OF_KEY[base], tier, is_batch, band, ""): at_money_scale(price)[0]
        for (base, (tier, is_batch, band)), price in written.items()
    }
    assert "incomplete_price" not in flags


@given(entries())
def test_points_carry_written_numbers_and_never_share_a_key(entry: dict[str, object]) -> None:
    written = {at_money_scale(value)[0] for value in entry.values() if isinstance(value, Decimal)}

    points, _ = read_litellm_entry("m", entry)

    assert {point.unit_price for point in points} <= written
    assert len({identity(point) for point in points}) == len(points)
    assert {point.unit for point in points} <= set(PRICED_UNITS)


@given(entries())
def test_a_charge_that_reaches_no_point_is_reported(entry: dict[str, object]) -> None:
    points, flags = read_litellm_entry("m", entry)
    kept = {point.unit_price for point in points}

    lost = {
        value
        for value in entry.values()
        if isinstance(value, Decimal) and value and at_money_scale(value)[0] not in kept
    }

    assert not lost or "incomplete_price" in flags


@given(entries())
def test_the_order_of_keys_changes_nothing(entry: dict[str, object]) -> None:
    backwards = dict(reversed(entry.items()))

    points, flags = read_litellm_entry("m", entry)
    again, flags_again = read_litellm_entry("m", backwards)

    assert {identity(point) for point in points} == {identity(point) for point in again}
    assert flags == flags_again


@given(entries(), st.decimals(min_value=1, max_value=3, places=3))
def test_an_uplifted_price_is_the_base_price_times_the_multiplier(
    entry: dict[str, object], multiplier: Decimal
) -> None:
    points, _ = read_litellm_entry(
        "m", entry | {"regional_processing_uplift_multiplier_eu": multiplier}
    )
    base = {identity(point)[:-1]: point.unit_price for point in points if not point.region}

    raised = {identity(point)[:-1]: point.unit_price for point in points if point.region == "eu"}

    assert len({identity(point) for point in points}) == len(points)
    assert raised.keys() == {key for key in base if str(key[0]).endswith("_tokens")}
    for key, unit_price in raised.items():
        assert abs(unit_price - base[key] * multiplier) <= Decimal("5E-19")
