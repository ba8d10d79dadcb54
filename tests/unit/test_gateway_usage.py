"""Records of other gateways: every preset on its gateway's shape, and what the engine refuses."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fixtures.gateway_exports import (
    ACTIVITY,
    BIFROST,
    CANONICAL_HEADER,
    CANONICAL_PRESETS,
    CLOUDFLARE,
    GENERATION,
    HELICONE,
    KONG,
    PORTKEY,
    SPAN,
    VERCEL,
    canonical,
    otlp,
)
from fixtures.spend_logs import DROP, key_hash

from orchestration.config import PRESETS, preset_names, read_mapping
from orchestration.core.refusals import RefusedError
from orchestration.sources.gateway_mapping import GatewayMapping
from orchestration.sources.gateway_usage import GATEWAY_USAGE, read_gateway_usage
from orchestration.sources.openrouter_activity import read_activity
from orchestration.sources.records import Record, RecordContext

CONTEXT = RecordContext(as_of=datetime(2026, 6, 30, 12))  # noqa: DTZ001  # naive UTC
START = datetime(2026, 6, 15, 10)  # noqa: DTZ001  # naive UTC
MINIMAL = {
    "preset": "mine",
    "provenance": "a test",
    "time": {"field": "at", "zone": "UTC"},
    "fields": {"request_id": "id"},
}


def preset(name: str) -> GatewayMapping:
    return read_mapping(PRESETS / f"{name}.yml")


def read(name: str, row: dict[str, Any], context: RecordContext = CONTEXT) -> Record:
    return read_gateway_usage(row, context, preset(name))


def mapped(row: dict[str, Any], **parts: Any) -> Record:
    """A row with an id, by a mapping of just these parts."""
    mapping = GatewayMapping.model_validate({**MINIMAL, **parts})
    return read_gateway_usage({"id": "r", "at": "2026-06-15T10:00:00Z", **row}, CONTEXT, mapping)


def refused(name: str, row: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(RefusedError) as error:
        read(name, row)
    return error.value.refusal.code, error.value.refusal.field


def said(record: Record, **wanted: Any) -> dict[str, Any]:
    return {name: record.values.get(name) for name in wanted}


# ---------------------------------------------------------------- every preset on its shape


def test_every_preset_fills_columns_of_raw_alone() -> None:
    columns = {column.name for column in GATEWAY_USAGE.columns}
    rows = {
        "vercel": VERCEL,
        "portkey": PORTKEY,
        "helicone": HELICONE,
        "kong": KONG,
        "bifrost": BIFROST,
        "otel_genai": SPAN,
        "openrouter": GENERATION,
        "cloudflare": CLOUDFLARE,
        **dict.fromkeys(CANONICAL_PRESETS, canonical()),
    }

    assert sorted(rows) == preset_names()
    for name, row in rows.items():
        record = read(name, row)
        assert record.values.keys() <= columns, name
        assert record.values["preset"] == name
        assert "schema_drift" not in record.codes, name


@pytest.mark.parametrize("name", CANONICAL_PRESETS)
def test_a_preset_without_a_published_format_says_so_and_reads_the_canonical_header(
    name: str,
) -> None:
    first_line = (PRESETS / f"{name}.yml").read_text().splitlines()[0]
    mapping = preset(name)

    record = read(name, canonical(600))

    assert "publishes no export format" in first_line
    assert mapping.named == set(CANONICAL_HEADER.split(","))
    wanted = {
        "request_id": "req-000600",
        "started_at": START,
        "api_key_id": key_hash("key-0"),
        "status": "success",
        "http_status": 200,
        "latency_ms": 1250,
        "is_streaming": True,
        "routing_mode": "auto",
        "input_tokens": 1000,
        "cached_read_tokens": 600,
        "output_tokens": 200,
        "input_includes_cached": True,
        "charge": Decimal("0.000330000000000000"),
        "charge_currency": "USD",
        "provider_charge": Decimal("0.000300000000000000"),
        "is_estimate": False,
    }
    assert said(record, **wanted) == wanted
    assert record.codes == {"raw_key_hashed"}


def test_a_row_of_vercels_report_stands_for_its_calls() -> None:
    wanted = {
        "request_id": "2026-06-15/openai/gpt-4o-mini",
        "started_at": datetime(2026, 6, 15),  # noqa: DTZ001  # naive UTC
        "requests": 7,
        "charge": Decimal("0.0021"),
        "provider_charge": Decimal("0.0024"),
        "input_tokens": 7000,
        "reasoning_tokens": 350,
        "is_estimate": False,
    }

    assert said(read("vercel", VERCEL), **wanted) == wanted


def test_a_person_becomes_part_of_an_id_only_as_a_hash() -> None:
    one = read("vercel", {**VERCEL, "user": "Una"}).values["request_id"]
    other = read("vercel", {**VERCEL, "user": "Bob"}).values["request_id"]

    assert "Una" not in one
    assert one != other


def test_portkeys_cents_become_dollars_and_its_url_keeps_no_secret() -> None:
    record = read("portkey", PORTKEY)

    wanted = {
        "charge": Decimal("0.0003"),
        "endpoint": "https://gateway.invalid/v1/chat/completions",
        "routing_mode": "fallback",
        "team_id": "checkout",
        "environment": "prod",
        "customer_id": "cust-7",
        "is_estimate": True,
        "latency_ms": 1250,
    }
    assert said(record, **wanted) == wanted
    assert record.codes == {"url_secret_stripped"}


def test_helicones_integers_are_billionths_and_anthropics_input_leaves_the_cache_out() -> None:
    openai = read("helicone", HELICONE)
    anthropic = read("helicone", {**HELICONE, "provider": "ANTHROPIC"})

    assert openai.values["charge"] == Decimal("0.0003")
    assert openai.values["ended_at"] == datetime(2026, 6, 15, 10, 0, 1, 250000)  # noqa: DTZ001
    assert openai.values["source_version_at"] == datetime(2026, 6, 15, 10, 0, 2)  # noqa: DTZ001
    assert openai.values["input_includes_cached"] is True
    assert anthropic.values["input_includes_cached"] is False


@pytest.mark.parametrize(
    ("status", "meaning", "http_status"),
    [(200, "success", 200), (429, "failure", 429), (-2, "pending", None), (-3, "failure", None)],
)
def test_helicones_status_is_that_of_http_or_what_happened_instead(
    status: int, meaning: str, http_status: int | None
) -> None:
    record = read("helicone", {**HELICONE, "status": status})

    assert said(record, status=0, http_status=0) == {"status": meaning, "http_status": http_status}


def test_helicones_reference_to_another_request_is_a_cache_hit() -> None:
    other = read("helicone", {**HELICONE, "cache_reference_id": HELICONE["request_id"]})
    none = read("helicone", {**HELICONE, "cache_reference_id": None})

    assert other.values["cache_hit"] is True
    assert none.values["cache_hit"] is False
    assert read("helicone", HELICONE).values["cache_hit"] is False


def test_kongs_record_leaves_its_bodies_and_headers_behind() -> None:
    record = read("kong", KONG)

    wanted = {
        "request_id": "kong-1",
        "started_at": datetime(2026, 6, 15, 10, 0, 0, 125000),  # noqa: DTZ001  # naive UTC
        "model": "gpt-4o-mini",
        "model_group": "fast",
        "api_key_name": "checkout",
        "cache_hit": False,
        "http_status": 200,
        "status": "success",
        "latency_ms": 1250,
    }
    assert said(record, **wanted) == wanted
    assert "CANARY" not in repr(record.values)


def test_kongs_older_names_are_read_too() -> None:
    usage = {"prompt_token": 7, "completion_token": 3, "cost": 0.1}
    row = {**KONG, "ai": {"ai-proxy": {"usage": usage, "meta": KONG["ai"]["proxy"]["meta"]}}}

    wanted = {"input_tokens": 7, "output_tokens": 3, "charge": Decimal("0.1")}
    assert said(read("kong", row), **wanted) == wanted


def test_bifrosts_tokens_may_be_nested_or_text_and_a_call_may_be_under_way() -> None:
    nested = read("bifrost", BIFROST)
    pending = read("bifrost", {**BIFROST, "status": "processing", "cost": None, "token_usage": {}})

    wanted = {"input_tokens": 1000, "cached_read_tokens": 600, "latency_ms": 1250, "retries": 1}
    assert said(nested, **wanted) == wanted
    assert said(pending, status=0, charge=0) == {"status": "pending", "charge": None}


def test_only_a_call_to_a_model_is_a_request_of_a_span() -> None:
    call = read("otel_genai", SPAN)
    attributes = {**SPAN["attributes"], "gen_ai.operation.name": "invoke_agent"}
    agent = read("otel_genai", {**SPAN, "attributes": attributes})

    wanted = {
        "request_id": "chatcmpl-1",
        "is_internal": False,
        "reasoning_tokens": 50,
        "ended_at": datetime(2026, 6, 15, 10, 0, 1, 375000),  # noqa: DTZ001  # naive UTC
        "is_estimate": True,
        "charge": None,
    }
    assert said(call, **wanted) == wanted
    # Not the request's own id: it is no repeat of it.
    assert said(agent, request_id=0, is_internal=0) == {
        "request_id": "chatcmpl-1/internal",
        "is_internal": True,
    }


def test_spans_are_taken_out_of_what_the_collector_wraps_them_in() -> None:
    mapping = preset("otel_genai")

    (wrapped,) = mapping.unpack(otlp(SPAN)) or ()
    record = read_gateway_usage(wrapped, CONTEXT, mapping)

    assert record.values == read("otel_genai", SPAN).values
    assert mapping.unpack(SPAN) is None


def test_openrouter_bills_native_tokens_and_names_who_served() -> None:
    record = read("openrouter", GENERATION)
    byok = read("openrouter", {**GENERATION, "is_byok": True, "total_cost": 0, "usage": 0})

    wanted = {
        "provider": "OpenAI",
        "input_tokens": 1000,
        "output_tokens": 200,
        "charge": Decimal("0.0003"),
        "latency_ms": 1250,
        "is_byok": False,
        "cache_hit": False,
        "is_estimate": False,
    }
    assert said(record, **wanted) == wanted
    assert byok.values["is_byok"] is True
    assert "usage_without_cost" not in byok.codes


def test_cloudflares_metadata_is_json_in_a_text() -> None:
    from orchestration.landing.kinds import ROW_KINDS

    kind = ROW_KINDS["cloudflare_ai_gateway"].mapped_by(preset("cloudflare"))
    record = kind.read(CLOUDFLARE, CONTEXT)

    wanted = {"provider": "gemini", "team_id": "checkout", "environment": "prod", "fallbacks": 1}
    assert said(record, **wanted) == wanted
    assert record.codes == set()


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("time", "text", "wanted"),
    [
        ({"format": "unix_s"}, "1781517600", START),
        ({"format": "unix_s"}, 1781517600.0, START),
        ({"format": "unix_ms"}, 1781517600000, START),
        ({"format": "unix_us"}, Decimal(1781517600000000), START),
        ({"format": "unix_ns"}, "1781517600000000999", START),
        ({"format": "iso8601", "zone": "UTC"}, "2026-06-15 10:00:00", START),
        ({"format": "iso8601", "zone": "Asia/Kolkata"}, "2026-06-15 15:30:00", START),
        ({"format": "iso8601", "zone": "Asia/Kolkata"}, "2026-06-15T10:00:00Z", START),
        ({"format": "%d/%m/%Y %H:%M", "zone": "America/New_York"}, "15/06/2026 06:00", START),
        ({"format": "%d/%m/%Y %H:%M %z"}, "15/06/2026 12:00 +0200", START),
    ],
)
def test_a_time_is_read_as_its_format_and_zone_say(
    time: dict[str, str], text: object, wanted: datetime
) -> None:
    record = mapped({"at": text}, time={"field": "at", **time})

    assert record.values["started_at"] == wanted
    assert record.codes == set()


def test_a_time_of_which_nobody_says_the_zone_is_noted() -> None:
    record = mapped({"at": "2026-06-15T10:00:00"}, time={"field": "at"})

    assert record.values["started_at"] == START
    assert record.codes == {"naive_timestamp"}


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ({}, "soon"),
        ({}, ""),
        ({}, None),
        ({}, {"a": 1}),
        ({"format": "unix_s"}, "NaN"),
        ({"format": "unix_s"}, Decimal("Infinity")),
        ({"format": "unix_s"}, -5),
        ({"format": "unix_s"}, True),
        ({"format": "unix_s"}, "1e300"),
        ({"format": "unix_s"}, 1781517600000),
        ({"format": "unix_ms"}, 1781517600),
        ({"format": "%d/%m/%Y"}, "31/02/2026"),
        ({"format": "%d/%m/%Y"}, 20260615),
        # The clocks of New York skip this hour.
        ({"zone": "America/New_York"}, "2026-03-08T02:30:00"),
    ],
)
def test_what_is_no_time_is_refused(time: dict[str, str], text: object) -> None:
    with pytest.raises(RefusedError) as error:
        mapped({"at": text}, time={"field": "at", **time})

    assert (error.value.refusal.code, error.value.refusal.field) == ("bad_timestamp", "at")


def test_an_hour_that_comes_twice_is_its_first() -> None:
    zone = {"field": "at", "zone": "America/New_York"}
    record = mapped({"at": "2025-11-02T01:30:00"}, time=zone)

    assert record.values["started_at"] == datetime(2025, 11, 2, 5, 30)  # noqa: DTZ001  # naive UTC


# ---------------------------------------------------------------- amounts and quantities


@pytest.mark.parametrize(
    ("cost", "code"),
    [
        ("NaN", "bad_number"),
        (Decimal("NaN"), "spend_not_finite"),
        (float("inf"), "spend_not_finite"),
        ("-0.01", "negative_spend"),
        ("1,000.00", "bad_number"),
        ("1e20", "spend_out_of_range"),
        ("0x10", "bad_number"),
        (True, "bad_number"),
        ("", "missing_spend"),
        (None, "missing_spend"),
    ],
)
def test_a_charge_that_is_no_amount_is_refused(cost: object, code: str) -> None:
    assert refused("routic", canonical(cost=cost)) == (code, "cost")


def test_a_failure_may_come_without_a_charge() -> None:
    record = read("routic", canonical(cost="", status="error", http_status="500"))

    assert "charge" not in record.values
    assert record.values["status"] == "failure"
    assert "null_spend_on_failure" in record.codes


def test_a_factor_is_exact() -> None:
    costs = {"charge": {"field": "c", "multiply": "0.01"}}

    assert mapped({"c": "0.1"}, costs=costs).values["charge"] == Decimal("0.001")
    exact = mapped({"c": "12345678901234567.890123456789"}, costs=costs).values["charge"]
    assert exact == Decimal("123456789012345.678901234567890000")


def test_a_charge_in_another_currency_keeps_it() -> None:
    costs = {"charge": {"field": "c", "currency": {"field": "cur"}}}

    assert mapped({"c": 1, "cur": "eur"}, costs=costs).values["charge_currency"] == "EUR"
    with pytest.raises(RefusedError, match="unsupported_currency"):
        mapped({"c": 1, "cur": "credits"}, costs=costs)


@pytest.mark.parametrize(
    ("tokens", "code"),
    [
        ("-1", "negative_tokens"),
        ("1.5", "bad_integer"),
        ("1e3", "bad_integer"),
        ("9223372036854775808", "bad_integer"),
        (True, "bad_integer"),
        ({"a": 1}, "bad_integer"),
    ],
)
def test_a_count_that_is_none_is_refused(tokens: object, code: str) -> None:
    assert refused("routic", canonical(prompt_tokens=tokens)) == (code, "prompt_tokens")


def test_a_count_that_nobody_states_is_unknown() -> None:
    record = read("routic", canonical(prompt_tokens="", cached_tokens=None))

    assert said(record, input_tokens=0, cached_read_tokens=0) == {
        "input_tokens": None,
        "cached_read_tokens": None,
    }


@pytest.mark.parametrize(
    ("value", "wanted"), [(1500, Decimal("1.5")), ("0.0005", Decimal("0.000000")), (None, None)]
)
def test_a_measure_is_kept_to_the_millionth(value: object, wanted: Decimal | None) -> None:
    quantities = {"output_video_seconds": {"field": "ms", "multiply": "0.001"}}

    assert mapped({"ms": value}, quantities=quantities).values["output_video_seconds"] == wanted


@pytest.mark.parametrize(
    ("value", "code"),
    [(-1, "negative_tokens"), (10**12, "bad_number"), (Decimal("NaN"), "spend_not_finite")],
)
def test_a_measure_without_measure_is_refused(value: object, code: str) -> None:
    with pytest.raises(RefusedError, match=code):
        mapped({"s": value}, quantities={"output_video_seconds": "s"})


# ---------------------------------------------------------------- words, keys, content


def test_a_status_nobody_explained_is_refused_with_the_fix() -> None:
    with pytest.raises(RefusedError) as error:
        read("routic", canonical(status="throttled by upstream provider"))

    refusal = error.value.refusal
    assert (refusal.code, refusal.field) == ("bad_type", "status")
    assert "add it as success, failure or pending" in refusal.reason
    # It could be a sentence, so it is not repeated.
    assert "upstream" not in refusal.reason


@pytest.mark.parametrize(
    ("status", "http_status", "wanted"),
    [("", "200", "success"), ("", "503", "failure"), ("", "", None), ("OK", "500", "success")],
)
def test_where_no_status_is_written_http_decides(
    status: str, http_status: str, wanted: str | None
) -> None:
    record = read("routic", canonical(status=status, http_status=http_status))

    assert record.values["status"] == wanted


@pytest.mark.parametrize("missing", ["", None, "None", "null", "  "])
def test_a_row_without_an_id_is_refused(missing: object) -> None:
    assert refused("routic", canonical(request_id=missing))[0] == "missing_request_id"


def test_keys_are_hashed_wherever_they_stand() -> None:
    key = "sk-CANARYrawkeyingateway1"
    record = read("routic", canonical(key_id=key, key_name=f"key {key}", request_id=f"r-{key}"))

    assert record.values["api_key_id"] == key_hash(key)
    assert "raw_key_hashed" in record.codes
    assert "CANARY" not in repr(record.values)


def test_the_id_of_a_key_is_hashed_without_a_word() -> None:
    record = read("bifrost", BIFROST)

    assert record.values["api_key_id"] == key_hash("vk-1")
    assert record.codes == set()


def test_what_no_mapping_names_is_dropped_and_reported() -> None:
    record = read("routic", canonical(prompt="CANARY-PROMPT-1", nested={"a": "CANARY"}))

    assert "schema_drift" in record.codes
    assert "CANARY" not in repr(record.values)


def test_what_a_mapping_ignores_is_dropped_without_a_word() -> None:
    record = read("routic", canonical(client_ip="10.0.0.1", user_agent="curl"))

    assert record.codes == {"raw_key_hashed"}
    assert said(record, client_ip=0, user_agent=0) == {"client_ip": None, "user_agent": None}


def test_personal_fields_are_read_only_where_the_settings_keep_them() -> None:
    fields = {"request_id": "id", "user_id": "who", "client_ip": "ip"}
    mapping = GatewayMapping.model_validate({**MINIMAL, "fields": fields})
    row = {"id": "r", "at": "2026-06-15T10:00:00Z", "who": "Una", "ip": "10.0.0.1"}
    keep = RecordContext(as_of=CONTEXT.as_of, keep_client_ip=True, keep_user_id=False)

    assert said(read_gateway_usage(row, keep, mapping), user_id=0, client_ip=0) == {
        "user_id": None,
        "client_ip": "10.0.0.1",
    }


def test_an_object_where_a_word_should_stand_is_refused() -> None:
    assert refused("routic", canonical(model={"a": 1})) == ("bad_type", "model")
    assert refused("routic", canonical(streaming="sometimes")) == ("bad_type", "streaming")
    assert refused("routic", canonical(model="m" * 5000)) == ("field_too_long", "model")
    assert refused("routic", canonical(latency_s="-1")) == ("bad_number", "latency_s")


def test_a_time_ahead_of_the_clock_is_noted_up_to_a_day_and_then_refused() -> None:
    soon = read("routic", canonical(timestamp="2026-06-30T13:00:00Z"))

    assert "clock_skew" in soon.codes
    assert refused("routic", canonical(timestamp="2026-07-02T00:00:00Z"))[0] == "future_timestamp"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"prompt_tokens": "", "cached_tokens": "", "completion_tokens": ""}, "cost_without_usage"),
        ({"cost": "0"}, "usage_without_cost"),
        ({"model": ""}, "unknown_model"),
        ({"cost": "100000.01"}, "spend_outlier"),
        ({"cost": "0.1234567890123456789"}, "precision_rounded"),
    ],
)
def test_what_is_odd_about_a_row_is_flagged(changes: dict[str, str], code: str) -> None:
    assert read("routic", canonical(**changes)).codes == {"raw_key_hashed", code}


def test_an_extractor_may_say_when_it_asked_else_the_file_does() -> None:
    stated = RecordContext(as_of=CONTEXT.as_of, stated_at=START, source_priority=2)
    asked = {**GENERATION, "observed_at": "2026-06-16T00:00:00Z"}

    by_file = read("openrouter", GENERATION, stated)
    assert said(by_file, observed_at=0, source_priority=0) == {
        "observed_at": START,
        "source_priority": 2,
    }
    by_row = read("openrouter", asked, stated)
    assert by_row.values["observed_at"] == datetime(2026, 6, 16)  # noqa: DTZ001  # naive UTC
    assert "schema_drift" not in by_row.codes


# ---------------------------------------------------------------- OpenRouter's activity


def test_activity_is_a_control_by_day() -> None:
    record = read_activity(ACTIVITY, CONTEXT)

    wanted = {"usage": Decimal("0.0003"), "requests": 1, "model": "openai/gpt-4o-mini"}
    assert said(record, **wanted) == wanted
    assert record.values["usage_at"] == datetime(2026, 6, 15)  # noqa: DTZ001  # naive UTC
    assert record.codes == set()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"usage": None}, "missing_spend"),
        ({"usage": -1}, "negative_spend"),
        ({"requests": 1.5}, "bad_integer"),
        ({"date": "soon"}, "bad_timestamp"),
        ({"date": "2026-08-01"}, "future_timestamp"),
        ({"model": DROP}, "missing_field"),
    ],
)
def test_activity_that_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    row = {k: v for k, v in {**ACTIVITY, **changes}.items() if v is not DROP}

    with pytest.raises(RefusedError, match=code):
        read_activity(row, CONTEXT)
