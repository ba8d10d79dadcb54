"""What each form of price catalog says becomes exactly the price points it writes down."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pytest

from orchestration.core.prices import (
    PRICED_UNITS,
    TOKEN_INPUT_UNITS,
    TOKEN_OUTPUT_UNITS,
    PricePoint,
    scale_price,
)
from orchestration.core.refusals import RefusedError
from orchestration.sources.price_catalogs import (
    read_genai_model,
    read_genai_price,
    read_litellm_entry,
    read_price_row,
)

BASE = ("standard", False, 0, "")


def utc(text: str) -> datetime:
    """A moment as the warehouse keeps it: in UTC, without zone."""
    return datetime.fromisoformat(text)


def read(**entry: object) -> tuple[list[PricePoint], list[str]]:
    return read_litellm_entry("m", {"litellm_provider": "openai", "mode": "chat", **entry})


def by_unit(points: Iterable[PricePoint]) -> dict[str, Decimal]:
    """Prices by unit of points that all stand under base conditions."""
    points = list(points)
    assert all(conditions(point) == BASE for point in points)
    assert len({point.unit for point in points}) == len(points)
    return {point.unit: point.unit_price for point in points}


def conditions(point: PricePoint) -> tuple[str, bool, int, str]:
    return (point.service_tier, point.is_batch, point.context_above_tokens, point.region)


def by_conditions(points: Iterable[PricePoint], unit: str) -> dict[object, Decimal]:
    return {conditions(point): point.unit_price for point in points if point.unit == unit}


def test_priced_units_are_the_38_quantities_of_a_usage_record() -> None:
    tokens = {unit for unit in PRICED_UNITS if unit.endswith("_tokens")}

    assert len(PRICED_UNITS) == len(set(PRICED_UNITS)) == 38
    assert set(TOKEN_INPUT_UNITS) | set(TOKEN_OUTPUT_UNITS) == tokens
    assert not set(TOKEN_INPUT_UNITS) & set(TOKEN_OUTPUT_UNITS)
    assert not {"input_total_tokens", "output_total_tokens", "other"} & set(PRICED_UNITS)


def test_a_scaled_price_is_rounded_once_half_to_even() -> None:
    half, _ = scale_price(Decimal("5E-13"), times=Decimal("0.000001"))
    one_and_a_half, _ = scale_price(Decimal("1.5E-12"), times=Decimal("0.000001"))

    assert half == 0
    assert one_and_a_half == Decimal("2E-18")


def test_an_entry_keeps_its_own_names_and_says_nothing_about_time() -> None:
    points, flags = read(input_cost_per_token=Decimal("1.5E-7"))

    assert points == [
        PricePoint(
            price_key="m",
            catalog_provider="openai",
            mode="chat",
            unit="input_text_uncached_tokens",
            service_tier="standard",
            is_batch=False,
            context_above_tokens=0,
            region="",
            unit_price=Decimal("0.000000150000000000"),
            currency="USD",
            valid_from_at=None,
            valid_to_at=None,
            priority=0,
        )
    ]
    assert flags == []


def test_an_entry_without_provider_and_mode_has_empty_texts_for_them() -> None:
    points, _ = read_litellm_entry("m", {"input_cost_per_token": 1, "mode": None})

    assert (points[0].catalog_provider, points[0].mode) == ("", "")


@pytest.mark.parametrize(
    ("mode", "key", "units"),
    [
        ("chat", "input_cost_per_token", ["input_text_uncached_tokens"]),
        ("embedding", "input_cost_per_token", ["embedding_tokens"]),
        ("moderation", "input_cost_per_token", ["moderation_tokens"]),
        ("chat", "output_cost_per_token", ["output_text_tokens"]),
        ("chat", "output_cost_per_reasoning_token", ["output_reasoning_tokens"]),
        ("chat", "cache_read_input_token_cost", ["input_cached_read_tokens"]),
        ("chat", "input_cost_per_token_cache_hit", ["input_cached_read_tokens"]),
        ("chat", "cache_read_input_audio_token_cost", ["input_audio_cached_tokens"]),
        (
            "chat",
            "cache_creation_input_token_cost",
            [
                "input_cache_write_5m_tokens",
                "input_cache_write_30m_tokens",
                "input_cache_write_unknown_ttl_tokens",
            ],
        ),
        ("chat", "cache_creation_input_token_cost_above_1hr", ["input_cache_write_1h_tokens"]),
        ("chat", "cache_creation_input_token_cost_above_12hr", ["input_cache_write_12h_tokens"]),
        ("chat", "input_cost_per_audio_token", ["input_audio_tokens"]),
        ("chat", "input_cost_per_image_token", ["input_image_tokens"]),
        ("chat", "input_cost_per_video_token", ["input_video_tokens"]),
        ("chat", "output_cost_per_audio_token", ["output_audio_tokens"]),
        ("image_generation", "output_cost_per_image_token", ["output_image_tokens"]),
        ("chat", "input_cost_per_image", ["input_images"]),
        ("embedding", "input_cost_per_image", ["input_images"]),
        ("image_generation", "input_cost_per_image", ["output_images"]),
        ("image_edit", "input_cost_per_image", ["output_images"]),
        ("image_generation", "output_cost_per_image", ["output_images"]),
        ("chat", "input_cost_per_pixel", ["input_pixels"]),
        ("chat", "output_cost_per_pixel", ["output_pixels"]),
        ("image_generation", "input_cost_per_pixel", ["output_pixels"]),
        ("audio_speech", "input_cost_per_character", ["input_characters"]),
        ("chat", "output_cost_per_character", ["output_characters"]),
        ("audio_transcription", "input_cost_per_second", ["input_audio_seconds"]),
        ("audio_transcription", "output_cost_per_second", ["input_audio_seconds"]),
        ("embedding", "input_cost_per_audio_per_second", ["input_audio_seconds"]),
        ("audio_speech", "output_cost_per_second", ["output_audio_seconds"]),
        ("video_generation", "output_cost_per_second", ["output_video_seconds"]),
        ("video_generation", "output_cost_per_video_per_second", ["output_video_seconds"]),
        ("embedding", "input_cost_per_video_per_second", ["input_video_seconds"]),
        ("rerank", "input_cost_per_query", ["rerank_searches"]),
        ("search", "input_cost_per_query", ["web_search_calls"]),
        ("vector_store", "input_cost_per_query", ["requests"]),
        ("chat", "input_cost_per_request", ["requests"]),
        ("chat", "google_maps_grounding_cost_per_query", ["maps_grounding_calls"]),
        ("chat", "code_interpreter_cost_per_session", ["code_sessions"]),
        ("ocr", "ocr_cost_per_page", ["ocr_pages"]),
    ],
)
def test_a_key_prices_the_unit_it_names(mode: str, key: str, units: list[str]) -> None:
    points, flags = read(mode=mode, **{key: Decimal("0.25")})

    assert by_unit(points) == dict.fromkeys(units, Decimal("0.25"))
    assert flags == []


def test_an_embedding_has_no_output_price_but_a_charged_one_is_reported() -> None:
    free, no_flags = read(mode="embedding", input_cost_per_token=1, output_cost_per_token=0)
    charged, flags = read(mode="embedding", input_cost_per_token=1, output_cost_per_token=2)

    assert by_unit(free) == by_unit(charged) == {"embedding_tokens": Decimal(1)}
    assert (no_flags, flags) == ([], ["incomplete_price"])


def test_the_explicit_cache_read_key_wins_over_the_legacy_one() -> None:
    points, flags = read(
        input_cost_per_token_cache_hit=Decimal("0.3"), cache_read_input_token_cost=Decimal("0.2")
    )

    assert by_unit(points) == {"input_cached_read_tokens": Decimal("0.2")}
    assert flags == ["incomplete_price"]


def test_the_legacy_cache_key_is_silent_when_it_agrees() -> None:
    points, flags = read(
        input_cost_per_token_cache_hit=Decimal("2E-8"), cache_read_input_token_cost=Decimal("2E-8")
    )

    assert by_unit(points) == {"input_cached_read_tokens": Decimal("2E-8")}
    assert flags == []


def test_an_image_model_with_both_prices_prices_both_images() -> None:
    points, _ = read(
        mode="image_generation",
        input_cost_per_image=Decimal("0.0011"),
        output_cost_per_image=Decimal("0.134"),
    )

    assert by_unit(points) == {"input_images": Decimal("0.0011"), "output_images": Decimal("0.134")}


@pytest.mark.parametrize(("written_in", "written_out"), [("8E-8", "0.0"), ("0", "8E-8")])
def test_pixels_of_a_generated_image_are_priced_once(written_in: str, written_out: str) -> None:
    points, flags = read(
        mode="image_generation",
        input_cost_per_pixel=Decimal(written_in),
        output_cost_per_pixel=Decimal(written_out),
    )

    assert by_unit(points) == {"output_pixels": Decimal("8E-8")}
    assert flags == []


@pytest.mark.parametrize(
    ("written_in", "written_out"),
    [("0.0001", "0.0001"), ("0.0001", "0.0"), ("0.0", "0.0001")],
)
def test_a_second_of_transcription_is_priced_once(written_in: str, written_out: str) -> None:
    points, flags = read(
        mode="audio_transcription",
        output_cost_per_second=Decimal(written_out),
        input_cost_per_second=Decimal(written_in),
    )

    assert by_unit(points) == {"input_audio_seconds": Decimal("0.0001")}
    assert flags == []


def test_two_different_prices_of_a_transcribed_second_are_reported() -> None:
    points, flags = read(
        mode="audio_transcription",
        output_cost_per_second=Decimal("0.0002"),
        input_cost_per_second=Decimal("0.0001"),
    )

    assert by_unit(points) == {"input_audio_seconds": Decimal("0.0001")}
    assert flags == ["incomplete_price"]


def test_seconds_that_no_unit_of_the_mode_counts_give_no_price() -> None:
    points, flags = read(mode="realtime", input_cost_per_second=Decimal("0.0008"))

    assert points == []
    assert flags == ["incomplete_price"]


def test_provisioned_capacity_is_priced_per_hour_though_written_per_second_twice() -> None:
    points, flags = read(
        cost_per_second=Decimal("0.00611"), input_cost_per_second=Decimal("0.00611")
    )

    assert by_unit(points) == {"provisioned_unit_hours": Decimal("21.996")}
    assert flags == []


def test_a_thousand_file_searches_are_priced_singly() -> None:
    points, _ = read(file_search_cost_per_1k_calls=Decimal("2.5"))

    assert by_unit(points) == {"file_search_calls": Decimal("0.0025")}


def test_a_web_search_costs_what_it_costs_at_medium_context() -> None:
    sizes = {"low": Decimal("0.03"), "medium": Decimal("0.035"), "high": Decimal("0.05")}

    points, flags = read(
        search_context_cost_per_query={f"search_context_size_{s}": p for s, p in sizes.items()}
    )

    assert by_unit(points) == {"web_search_calls": Decimal("0.035")}
    assert flags == ["incomplete_price"]


def test_a_web_search_priced_for_one_size_or_equally_needs_no_flag() -> None:
    one, one_flags = read(search_context_cost_per_query={"search_context_size_low": Decimal("0.1")})
    equal, equal_flags = read(
        search_context_cost_per_query={
            "search_context_size_low": Decimal("0.1"),
            "search_context_size_high": Decimal("0.10"),
        }
    )

    assert by_unit(one) == by_unit(equal) == {"web_search_calls": Decimal("0.1")}
    assert one_flags == equal_flags == []


@pytest.mark.parametrize(
    "sizes", [{}, {"search_context_size_low": 1, "search_context_size_high": 2}]
)
def test_a_web_search_without_a_clear_price_has_none(sizes: dict[str, int]) -> None:
    points, flags = read(search_context_cost_per_query=sizes)

    assert points == []
    assert flags == ["incomplete_price"]


def test_only_searches_billed_per_query_are_understood() -> None:
    _, per_query = read(web_search_billing_unit="per_query")
    _, per_prompt = read(web_search_billing_unit="per_prompt")

    assert per_query == []
    assert per_prompt == ["incomplete_price"]


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("", BASE),
        ("_priority", ("priority", False, 0, "")),
        ("_flex", ("flex", False, 0, "")),
        ("_balanced", ("balanced", False, 0, "")),
        ("_ultrafast", ("ultrafast", False, 0, "")),
        ("_decisions", ("decisions", False, 0, "")),
        ("_batches", ("standard", True, 0, "")),
        ("_above_200k_tokens", ("standard", False, 200_000, "")),
        ("_above_128000_tokens", ("standard", False, 128_000, "")),
        ("_above_200k_tokens_priority", ("priority", False, 200_000, "")),
        ("_priority_above_200k_tokens", ("priority", False, 200_000, "")),
        ("_above_272k_tokens_batches", ("standard", True, 272_000, "")),
        ("_batches_above_272k_tokens", ("standard", True, 272_000, "")),
        ("_flex_batches", ("flex", True, 0, "")),
    ],
)
def test_band_tier_and_batch_are_read_in_either_order(
    suffix: str, expected: tuple[str, bool, int, str]
) -> None:
    points, flags = read(**{f"output_cost_per_token{suffix}": Decimal("6E-6")})

    assert by_conditions(points, "output_text_tokens") == {expected: Decimal("6E-6")}
    assert flags == []


@pytest.mark.parametrize(
    "suffix",
    [
        "_above_1hr_above_272k_tokens_flex",
        "_above_272k_tokens_above_1hr_flex",
        "_flex_above_272k_tokens_above_1hr",
    ],
)
def test_a_cache_lifetime_is_read_wherever_it_stands(suffix: str) -> None:
    points, _ = read(**{f"cache_creation_input_token_cost{suffix}": Decimal("5E-6")})

    assert [(point.unit, conditions(point)) for point in points] == [
        ("input_cache_write_1h_tokens", ("flex", False, 272_000, ""))
    ]


def test_every_band_and_tier_of_a_model_stands_beside_the_others() -> None:
    points, flags = read(
        input_cost_per_token=1,
        input_cost_per_token_priority=2,
        input_cost_per_token_above_200k_tokens=3,
        input_cost_per_token_above_200k_tokens_priority=4,
        input_cost_per_token_above_512k_tokens=5,
        input_cost_per_token_batches=6,
    )

    assert by_conditions(points, "input_text_uncached_tokens") == {
        ("standard", False, 0, ""): 1,
        ("priority", False, 0, ""): 2,
        ("standard", False, 200_000, ""): 3,
        ("priority", False, 200_000, ""): 4,
        ("standard", False, 512_000, ""): 5,
        ("standard", True, 0, ""): 6,
    }
    assert flags == []


def test_xai_bills_the_dearer_band_from_the_threshold_itself() -> None:
    points, _ = read_litellm_entry(
        "xai/grok-4.7",
        {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token_above_200k_tokens": 1},
    )

    assert points[0].context_above_tokens == 199_999


@pytest.mark.parametrize(
    "key",
    [
        "input_cost_per_token_above_128k_tokens_above_200k_tokens",
        "input_cost_per_token_flex_priority",
        "input_cost_per_token_above_1hr",
    ],
)
def test_conditions_that_contradict_each_other_give_no_price(key: str) -> None:
    points, flags = read(**{key: 1})

    assert points == []
    assert flags == ["incomplete_price"]


def test_one_band_written_in_two_ways_is_one_price() -> None:
    points, flags = read(
        input_cost_per_token_above_200k_tokens=1, input_cost_per_token_above_200000_tokens=1
    )

    assert by_conditions(points, "input_text_uncached_tokens") == {
        ("standard", False, 200_000, ""): 1
    }
    assert flags == []


def test_a_table_of_tiers_gives_a_band_for_each_lower_bound() -> None:
    tiers = [
        {"range": [0, Decimal("32000.0")], "input_cost_per_token": 1, "output_cost_per_token": 5},
        {"range": [Decimal("32000.0"), Decimal("1.28E+5")], "input_cost_per_token": 2},
    ]

    points, flags = read(tiered_pricing=tiers)

    assert by_conditions(points, "input_text_uncached_tokens") == {
        ("standard", False, 0, ""): 1,
        ("standard", False, 32_000, ""): 2,
    }
    assert by_conditions(points, "output_text_tokens") == {BASE: 5}
    assert flags == []


def test_a_table_of_tiers_goes_before_the_base_key_and_a_difference_is_reported() -> None:
    tiers = [{"range": [0, 1000], "input_cost_per_token": 1}]

    same, no_flags = read(tiered_pricing=tiers, input_cost_per_token=1)
    other, flags = read(input_cost_per_token=3, tiered_pricing=tiers)

    assert by_unit(same) == by_unit(other) == {"input_text_uncached_tokens": 1}
    assert (no_flags, flags) == ([], ["incomplete_price"])


def test_tiers_by_anything_but_tokens_give_no_price() -> None:
    points, flags = read(
        mode="search", tiered_pricing=[{"max_results_range": [0, 25], "input_cost_per_query": 1}]
    )

    assert points == []
    assert flags == ["incomplete_price"]


@pytest.mark.parametrize(
    ("field", "region"),
    [
        ("regional_processing_uplift_multiplier_us", "us"),
        ("regional_processing_uplift_multiplier_eu", "eu"),
        ("regional_endpoint_uplift_multiplier", "regional"),
    ],
)
def test_a_regional_uplift_adds_a_price_for_that_region(field: str, region: str) -> None:
    points, flags = read(
        input_cost_per_token=Decimal("0.000003"),
        input_cost_per_token_batches=Decimal("0.0000015"),
        **{field: Decimal("1.1")},
    )

    assert by_conditions(points, "input_text_uncached_tokens") == {
        ("standard", False, 0, ""): Decimal("0.000003"),
        ("standard", True, 0, ""): Decimal("0.0000015"),
        ("standard", False, 0, region): Decimal("0.0000033"),
        ("standard", True, 0, region): Decimal("0.00000165"),
    }
    assert flags == []


def test_an_uplift_raises_tokens_and_leaves_tool_calls() -> None:
    points, _ = read(
        provider_specific_entry={"us": Decimal("1.1")},
        output_cost_per_token=1,
        search_context_cost_per_query={"search_context_size_medium": Decimal("0.01")},
    )

    assert by_conditions(points, "web_search_calls") == {BASE: Decimal("0.01")}
    assert by_conditions(points, "output_text_tokens") == {
        BASE: 1,
        ("standard", False, 0, "us"): Decimal("1.1"),
    }


def test_fast_processing_is_the_priority_tier_and_is_raised_by_region_too() -> None:
    points, flags = read(
        input_cost_per_token=Decimal("0.000004"),
        input_cost_per_token_batches=Decimal("0.000002"),
        provider_specific_entry={"us": Decimal("1.1"), "fast": 2},
    )

    assert by_conditions(points, "input_text_uncached_tokens") == {
        ("standard", False, 0, ""): Decimal("0.000004"),
        ("standard", True, 0, ""): Decimal("0.000002"),
        ("priority", False, 0, ""): Decimal("0.000008"),
        ("standard", False, 0, "us"): Decimal("0.0000044"),
        ("standard", True, 0, "us"): Decimal("0.0000022"),
        ("priority", False, 0, "us"): Decimal("0.0000088"),
    }
    assert flags == []


def test_fast_processing_adds_nothing_to_a_model_with_priority_prices() -> None:
    points, _ = read(
        input_cost_per_token=1,
        output_cost_per_token=1,
        input_cost_per_token_priority=3,
        provider_specific_entry={"fast": 2},
    )

    assert [point.unit_price for point in points if point.service_tier == "priority"] == [3]


def test_settings_of_a_provider_are_no_price_but_its_other_numbers_are() -> None:
    _, settings = read(provider_specific_entry={"schema": "v2", "flag": True, "frames": {"a": 1}})
    _, allowance = read(provider_specific_entry={"minimax_free_input_images": 5})

    assert settings == []
    assert allowance == ["incomplete_price"]


def test_zero_is_a_price_and_absent_is_none() -> None:
    free, _ = read(input_cost_per_token=0, output_cost_per_token=Decimal("-0.0"))
    absent, _ = read(input_cost_per_token=None, provider_specific_entry={"us": None})
    nothing, flags = read()

    assert by_unit(free) == {"input_text_uncached_tokens": 0, "output_text_tokens": 0}
    assert not any(point.unit_price.is_signed() for point in free)
    assert absent == nothing == flags == []


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (Decimal("2.9999900000000002E-6"), "0.000002999990000000"),
        (Decimal("1E-7"), "0.000000100000000000"),
        (Decimal("8.33333333333333333E-7"), "0.000000833333333333"),
        (Decimal("4E-19"), "0.000000000000000000"),
        ("1.5e-07", "0.000000150000000000"),
        (2, "2.000000000000000000"),
    ],
)
def test_a_price_is_kept_at_18_places_whatever_its_form(written: object, kept: str) -> None:
    points, _ = read(input_cost_per_token=written)

    assert f"{points[0].unit_price:f}" == kept


def test_rounding_is_reported_only_where_more_than_a_float_was_written() -> None:
    _, noise = read(input_cost_per_token=Decimal("2.9999900000000002E-6"))
    _, decimal = read(input_cost_per_token=Decimal("0.0000012345678901234567891"))

    assert noise == []
    assert decimal == ["precision_rounded"]


@pytest.mark.parametrize(
    "value",
    [
        Decimal("-0.000001"),
        -1,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
        Decimal("1E+20"),
        True,
        "free",
        "1,000",
        " 1",
        "",
        [],
        {"a": 1},
    ],
)
def test_a_price_that_is_no_finite_positive_number_refuses_the_entry(value: object) -> None:
    with pytest.raises(RefusedError) as refused:
        read(output_cost_per_token=1, input_cost_per_token=value)

    assert refused.value.refusal.code == "bad_price"
    assert refused.value.refusal.field == "input_cost_per_token"


@pytest.mark.parametrize(
    "entry",
    [
        {"citation_cost_per_token": Decimal("NaN")},
        {"citation_cost_per_token": True},
        {"citation_cost_per_token": "none"},
        {"guardrail_cost_per_unit": {"units": -1}},
        {"off_peak_pricing": {"input_cost_per_token": Decimal("Infinity"), "windows": []}},
        {"search_context_cost_per_query": {"search_context_size_low": -1}},
        {"tiered_pricing": [{"range": [0, 1], "input_cost_per_token": -1}]},
        {"tiered_pricing": [{"range": [-1, 1], "input_cost_per_token": 1}]},
        {"tiered_pricing": [{"max_results_range": [0, 9], "input_cost_per_query": -1}]},
        {"regional_endpoint_uplift_multiplier": -1},
        {"provider_specific_entry": {"us": True}},
        {"provider_specific_entry": {"fast": Decimal("NaN")}},
    ],
)
def test_bad_numbers_refuse_wherever_they_stand(entry: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="bad_price"):
        read(**entry)


@pytest.mark.parametrize("entry", [None, [], "x", 1, True])
def test_an_entry_that_is_no_object_is_refused(entry: object) -> None:
    with pytest.raises(RefusedError) as refused:
        read_litellm_entry("m", entry)

    assert refused.value.refusal.code == "not_object"


def test_the_specimen_entry_is_skipped_with_a_flag_and_rules_without() -> None:
    prose = {"input_cost_per_token": "cost", "mode": "one of: chat, embedding"}

    assert read_litellm_entry("sample_spec", prose) == ([], ["sample_spec_skipped"])
    assert read_litellm_entry("fallback_generalizations", {"rules": [{"cost": -1}]}) == ([], [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("off_peak_pricing", {"input_cost_per_token": 1, "windows": [{"weekdays": [6, 7]}]}),
        ("output_cost_per_image_1024", Decimal("0.3")),
        ("output_cost_per_image_0.5K", Decimal("0.06")),
        ("output_cost_per_second_480p", Decimal("0.04")),
        ("input_cost_per_video_per_second_above_8s_interval", Decimal("0.001")),
        ("input_dbu_cost_per_token", Decimal("1.4E-6")),
        ("citation_cost_per_token", Decimal("2E-6")),
        ("guardrail_cost_per_unit", {"contentPolicyUnits": Decimal("0.00015")}),
        ("search_free_requests", {"count": 1500, "period": "day"}),
        ("cache_read_input_image_token_cost", Decimal("2E-6")),
        ("cache_creation_input_audio_token_cost", Decimal("3E-7")),
        ("explicit_cache_read_input_token_cost", Decimal("2E-7")),
        ("annotation_cost_per_page", Decimal("0.005")),
        ("vector_store_cost_per_gb_per_day", Decimal("0.1")),
        ("regional_processing_uplift_multiplier_ap", Decimal("1.2")),
        ("a_cost_nobody_has_thought_of", 1),
    ],
)
def test_a_price_without_a_unit_of_ours_is_reported_once_and_never_invented(
    key: str, value: object
) -> None:
    points, flags = read(input_cost_per_token=1, output_cost_per_second_4k=1, **{key: value})

    assert by_unit(points) == {"input_text_uncached_tokens": 1}
    assert flags == ["incomplete_price"]


def test_a_clip_of_music_is_not_an_image() -> None:
    points, flags = read(mode="audio_speech", output_cost_per_image=Decimal("0.06"))

    assert points == []
    assert flags == ["incomplete_price"]


def test_names_that_merely_inform_are_ignored() -> None:
    points, flags = read(
        max_tokens=1,
        max_input_tokens=Decimal("1E+6"),
        supports_vision=True,
        supports_cost_tracking=True,
        deprecation_date="2027-01-01",
        source="https://example.org/pricing",
        metadata={"notes": "x"},
        rpm=10,
        supported_regions=["us"],
    )

    assert points == flags == []


def genai(**record: object) -> tuple[list[PricePoint], list[str]]:
    return read_genai_price(
        {
            "provider_id": "openai",
            "model_id": "o3",
            "price_key": "output_mtok",
            "usd_per_unit": "8",
            "unit": "1e6 tokens",
            "valid_from": None,
            "condition": None,
            **record,
        }
    )


def test_a_row_of_genai_prices_is_the_price_of_one_token() -> None:
    points, flags = genai(valid_from="2025-06-10")

    assert flags == []
    assert [(p.price_key, p.catalog_provider, p.mode, p.currency) for p in points] == [
        ("o3", "openai", "", "USD")
    ]
    assert points[0].unit_price == Decimal("0.000008")
    assert points[0].valid_from_at == utc("2025-06-10")
    assert points[0].valid_to_at is None


@pytest.mark.parametrize(
    ("price_key", "unit", "units", "price"),
    [
        (
            "input_mtok",
            "1e6 tokens",
            ["input_text_uncached_tokens", "embedding_tokens"],
            "0.000036",
        ),
        ("output_mtok", "1e6 tokens", ["output_text_tokens"], "0.000036"),
        ("cache_read_mtok", "1e+06 tokens", ["input_cached_read_tokens"], "0.000036"),
        ("cache_write_1h_mtok", "1000000 tokens", ["input_cache_write_1h_tokens"], "0.000036"),
        ("output_reasoning_mtok", "1e6 tokens", ["output_reasoning_tokens"], "0.000036"),
        ("cache_audio_read_mtok", "1e6 tokens", ["input_audio_cached_tokens"], "0.000036"),
        ("input_tool_mtok", "1e6 tokens", ["input_tool_tokens"], "0.000036"),
        ("input_mchars", "1e6 characters", ["input_characters"], "0.000036"),
        ("input_audio_hours", "3600 seconds", ["input_audio_seconds"], "0.01"),
        ("output_audio_hours", "1 hour", ["output_audio_seconds"], "0.01"),
        ("input_gpixels", "1e9 pixels", ["input_pixels"], "0.000000036"),
        ("input_document_kpages", "1e3 pages", ["ocr_pages"], "0.036"),
        ("rerank_searches_kcount", "1000 searches", ["rerank_searches"], "0.036"),
        ("web_searches_kcount", "1e3 searches", ["web_search_calls"], "0.036"),
        ("storage_searches_kcount", "1e3 searches", ["file_search_calls"], "0.036"),
        ("code_executions_kcount", "1e3 executions", ["code_sessions"], "0.036"),
        ("requests_kcount", "1e3 requests", ["requests"], "0.036"),
    ],
)
def test_the_unit_table_of_genai_prices_is_followed(
    price_key: str, unit: str, units: list[str], price: str
) -> None:
    points, flags = genai(price_key=price_key, unit=unit, usd_per_unit="36")

    assert by_unit(points) == dict.fromkeys(units, Decimal(price))
    assert flags == []


def test_a_cache_write_without_lifetime_is_priced_for_each_short_one() -> None:
    points, _ = genai(price_key="cache_write_mtok", usd_per_unit="5")

    assert set(by_unit(points)) == {
        "input_cache_write_5m_tokens",
        "input_cache_write_30m_tokens",
        "input_cache_write_unknown_ttl_tokens",
    }


def test_an_hour_that_does_not_divide_is_rounded_half_to_even_at_18_places() -> None:
    third, _ = genai(price_key="input_audio_hours", unit="3600 seconds", usd_per_unit="1")
    tie, _ = genai(price_key="input_audio_hours", unit="3600 seconds", usd_per_unit="5.4e-15")

    assert third[0].unit_price == Decimal("0.000277777777777778")
    assert tie[0].unit_price == Decimal("2E-18")


@pytest.mark.parametrize(
    ("condition", "tier", "is_batch"),
    [
        (None, "standard", False),
        ({}, "standard", False),
        ({"service_tier": "flex"}, "flex", False),
        ({"service_tier": "priority"}, "priority", False),
        ({"service_tier": "fast"}, "priority", False),
        ({"service_tier": "default"}, "standard", False),
        ({"speed": "fast"}, "priority", False),
        ({"processing": "batch"}, "standard", True),
        ({"processing": "batch", "service_tier": "flex"}, "flex", True),
    ],
)
def test_a_condition_becomes_tier_and_batch(
    condition: object, tier: str, *, is_batch: bool
) -> None:
    points, flags = genai(condition=condition)

    assert [(point.service_tier, point.is_batch) for point in points] == [(tier, is_batch)]
    assert flags == []


def test_a_start_date_among_the_conditions_is_when_the_price_begins() -> None:
    alone, _ = genai(condition={"start_date": "2026-10-12", "service_tier": "flex"})
    later, _ = genai(condition={"start_date": "2026-10-12"}, valid_from="2026-11-01")

    assert alone[0].valid_from_at == utc("2026-10-12")
    assert later[0].valid_from_at == utc("2026-11-01")


@pytest.mark.parametrize(
    "record",
    [
        {"price_key": "audio_hours", "unit": "3600 seconds"},
        {"price_key": "output_citation_mtok"},
        {"price_key": "nonsense"},
        {"unit": "1e3 tokens"},
        {"unit": "tokens"},
        {"unit": "1 hour"},
        {"unit": None},
        {"condition": {"route": "mistral/eu"}},
        {"condition": {"service_tier": "auto"}},
        {"condition": {"service_tier": 1}},
        {"condition": {"processing": "async"}},
        {"condition": {"speed": "slow"}},
        {"condition": {"tier_start": 200000}},
        {"condition": "flex"},
    ],
)
def test_an_unknown_unit_or_condition_gives_no_price(record: dict[str, object]) -> None:
    points, flags = genai(**record)

    assert points == []
    assert flags == ["incomplete_price"]


@pytest.mark.parametrize(
    ("record", "code", "field"),
    [
        ({"usd_per_unit": "-1"}, "bad_price", "usd_per_unit"),
        ({"usd_per_unit": Decimal("NaN")}, "bad_price", "usd_per_unit"),
        ({"usd_per_unit": True}, "bad_price", "usd_per_unit"),
        ({"usd_per_unit": None}, "missing_field", "usd_per_unit"),
        ({"model_id": ""}, "missing_field", "model_id"),
        ({"provider_id": None}, "missing_field", "provider_id"),
        ({"price_key": 7}, "bad_type", "price_key"),
        ({"valid_from": "soon"}, "bad_timestamp", "valid_from"),
        ({"condition": {"start_date": "soon"}}, "bad_timestamp", "start_date"),
    ],
)
def test_a_row_of_genai_prices_is_refused_for_a_bad_field(
    record: dict[str, object], code: str, field: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        genai(**record)

    assert (refused.value.refusal.code, refused.value.refusal.field) == (code, field)


ROW: dict[str, str | None] = {
    "contract_price_id": "p1",
    "provider": "openai",
    "model": "gpt-5.4-mini",
    "unit": "input_text_uncached_tokens",
    "service_tier": "",
    "is_batch": "",
    "context_band": "",
    "region": "",
    "unit_price": "0.75",
    "unit_size": "1000000",
    "discount_rate": "",
    "currency": "USD",
    "valid_from_at": "2026-10-01T00:00:00Z",
    "valid_to_at": "",
    "priority": "",
    "observed_at": "2026-10-02T00:00:00Z",
    "source": "operator",
}


def test_a_row_of_our_own_csv_is_a_price_per_single_unit() -> None:
    point = read_price_row(ROW)

    assert point == PricePoint(
        price_key="gpt-5.4-mini",
        catalog_provider="openai",
        mode="",
        unit="input_text_uncached_tokens",
        service_tier="standard",
        is_batch=False,
        context_above_tokens=0,
        region="",
        unit_price=Decimal("0.00000075"),
        currency="USD",
        valid_from_at=utc("2026-10-01"),
        valid_to_at=None,
        priority=0,
    )


def test_every_condition_of_a_csv_row_is_read() -> None:
    point = read_price_row(
        ROW
        | {
            "service_tier": "flex",
            "is_batch": "true",
            "context_band": "above_200k",
            "region": "eu",
            "valid_to_at": "2026-11-01T00:00:00+02:00",
            "priority": "-5",
            "currency": "eur",
        }
    )

    assert conditions(point) == ("flex", True, 200_000, "eu")
    assert point.valid_to_at == utc("2026-10-31T22:00:00")
    assert (point.priority, point.currency) == (-5, "EUR")


@pytest.mark.parametrize(
    ("size", "price"), [("1", "0.75"), ("1000", "0.00075"), ("1000000", "0.00000075")]
)
def test_the_unit_size_brings_a_price_down_to_one_unit(size: str, price: str) -> None:
    assert read_price_row(ROW | {"unit_size": size}).unit_price == Decimal(price)


@pytest.mark.parametrize(
    ("text", "above"),
    [
        ("", 0),
        ("base", 0),
        ("above_200k", 200_000),
        ("above_272k_tokens", 272_000),
        ("above_200000", 200_000),
        (">200000", 200_000),
        ("> 200K", 200_000),
    ],
)
def test_a_context_band_is_read_from_its_text(text: str, above: int) -> None:
    assert read_price_row(ROW | {"context_band": text}).context_above_tokens == above


def test_the_batch_tier_is_the_standard_tier_in_batch() -> None:
    assert conditions(read_price_row(ROW | {"service_tier": "batch"})) == ("standard", True, 0, "")


def test_a_validity_without_days_and_one_with_our_open_end_are_open() -> None:
    unbounded = read_price_row(ROW | {"valid_from_at": None, "valid_to_at": None})
    open_end = read_price_row(ROW | {"valid_to_at": "9999-12-31T00:00:00Z"})

    assert (unbounded.valid_from_at, unbounded.valid_to_at) == (None, None)
    assert open_end.valid_to_at is None


def test_a_free_unit_in_csv_is_a_price() -> None:
    assert read_price_row(ROW | {"unit_price": "0"}).unit_price == 0


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("provider", "", "missing_field"),
        ("model", " ", "missing_field"),
        ("unit", None, "missing_field"),
        ("unit_price", "", "missing_field"),
        ("unit_size", "", "missing_field"),
        ("currency", "", "missing_field"),
        ("unit", "input_total_tokens", "bad_price"),
        ("unit_price", "-1", "bad_price"),
        ("unit_price", "nan", "bad_price"),
        ("unit_price", "1,5", "bad_price"),
        ("unit_size", "100", "bad_price"),
        ("discount_rate", "0.1", "bad_price"),
        ("service_tier", "gold", "bad_price"),
        ("context_band", "long", "bad_price"),
        ("is_batch", "yes", "bad_type"),
        ("currency", "dollars", "unsupported_currency"),
        ("valid_from_at", "yesterday", "bad_timestamp"),
        ("valid_to_at", "2026-09-01T00:00:00Z", "bad_price"),
        ("priority", "1.5", "bad_integer"),
    ],
)
def test_a_csv_row_is_refused_for_a_bad_field(field: str, value: str | None, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read_price_row(ROW | {field: value})

    assert (refused.value.refusal.code, refused.value.refusal.field) == (code, field)


def test_genai_prices_own_data_has_dated_and_tiered_prices() -> None:
    model = {
        "id": "o3",
        "match": {"equals": "o3"},
        "prices": [
            {"prices": {"input_mtok": Decimal(10), "output_mtok": Decimal(40)}},
            {
                "constraint": {"type": "start_date", "start_date": "2025-06-10"},
                "prices": {
                    "input_mtok": {
                        "base": Decimal(2),
                        "tiers": [{"start": 200000, "price": Decimal(4)}],
                    },
                    "output_mtok": Decimal(8),
                },
            },
        ],
    }

    points, codes = read_genai_model("openai", model)

    million = Decimal(10) ** 6
    found = {
        (p.unit, p.valid_from_at and p.valid_from_at.date(), p.context_above_tokens): p.unit_price
        for p in points
        if p.unit != "embedding_tokens"
    }
    text, out, cut = "input_text_uncached_tokens", "output_text_tokens", date(2025, 6, 10)
    assert {key: price * million for key, price in found.items()} == {
        (text, None, 0): 10,
        (out, None, 0): 40,
        (text, cut, 0): 2,
        (text, cut, 200000): 4,
        (out, cut, 0): 8,
    }
    assert codes == []


def test_a_price_by_time_of_day_is_none_that_we_can_keep() -> None:
    night = {"start_time": "16:30:00Z", "end_time": "00:30:00Z"}
    model = {
        "id": "m",
        "prices": [
            {"prices": {"input_mtok": Decimal(2)}},
            {"constraint": night, "prices": {"input_mtok": Decimal(1)}},
        ],
    }

    points, codes = read_genai_model("deepseek", model)

    assert {point.unit_price for point in points} == {Decimal("0.000002")}
    assert codes == ["incomplete_price"]
