"""LiteLLM's spend logs as records: what is taken of a row, what refused, what said of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fixtures.spend_logs import DROP, key_hash, row

from orchestration.core.refusals import RefusedError
from orchestration.landing.kinds import ROW_KINDS
from orchestration.sources.litellm_spend_logs import (
    BATCH_USAGE,
    SPEND_LOGS,
    read_quantities,
    read_spend_log,
)
from orchestration.sources.records import Record, RecordContext, read_key_id

AS_OF = datetime(2026, 6, 30, 12)  # noqa: DTZ001  # naive UTC, as every time in the warehouse
CONTEXT = RecordContext(as_of=AS_OF)
KEEPING = RecordContext(as_of=AS_OF, keep_client_ip=True, keep_user_agent=True)


def read(context: RecordContext = CONTEXT, /, **changes: Any) -> Record:
    return read_spend_log(row(1, **changes), context)


def values(context: RecordContext = CONTEXT, /, **changes: Any) -> dict[str, Any]:
    return read(context, **changes).values


def codes(**changes: Any) -> set[str]:
    return read(**changes).codes


def refusal(**changes: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as refused:
        read(**changes)
    return refused.value.refusal.code, refused.value.refusal.field


def usage(**quantities: Any) -> dict[str, Any]:
    return read_quantities(quantities)


def test_a_sound_row_is_read_without_remark() -> None:
    record = read()

    assert record.codes == set()
    assert record.children == {}
    assert record.values["spend"] == Decimal("0.00125")
    assert record.values["api_key_id"] == key_hash("key 1")
    assert record.values["has_usage"] is False


def test_every_value_has_a_column() -> None:
    batch = {"m": {"prompt_tokens": 1}}
    full = {
        "usage_object": {"service_tier": "flex", "batch_usage_by_model": batch},
        "cost_breakdown": {"service_tier": "flex", "vertex_location": "us"},
        "error_information": {"error_code": 429, "error_class": "RateLimitError"},
        "spend_logs_metadata": {"env": "prod", "cost-center": "CC-1"},
    }

    record = read(KEEPING, metadata=full, request_tags=["wf:chat"], updated_at="2026-06-16")

    assert record.values.keys() <= {column.name for column in SPEND_LOGS.columns}
    parts = record.children[BATCH_USAGE.name]
    assert parts[0].keys() <= {column.name for column in BATCH_USAGE.columns}


# ---------------------------------------------------------------- identity


@pytest.mark.parametrize("absent", [DROP, None, "", "None", "null", " "])
def test_a_row_without_an_id_is_refused(absent: object) -> None:
    assert refusal(request_id=absent) == ("missing_request_id", "request_id")


def test_a_number_as_id_is_taken_as_its_text() -> None:
    assert values(request_id=12345)["request_id"] == "12345"


@pytest.mark.parametrize(
    ("written", "kept", "was_raw"),
    [
        (None, None, False),
        (key_hash("k").upper(), key_hash("k"), False),
        ("litellm_proxy_master_key", "litellm_proxy_master_key", False),
        (f"hashed-jwt-{key_hash('k')}", f"hashed-jwt-{key_hash('k')}", False),
        ("sk-1234", hashlib.sha256(b"sk-1234").hexdigest(), True),
        (key_hash("k")[:-1], hashlib.sha256(key_hash("k")[:-1].encode()).hexdigest(), True),
        (key_hash("k") + "\n", hashlib.sha256((key_hash("k") + "\n").encode()).hexdigest(), True),
    ],
)
def test_a_key_is_its_hash_or_a_known_name(
    written: str | None, kept: str | None, was_raw: bool
) -> None:
    assert read_key_id(written) == (kept, was_raw)


def test_the_hash_of_a_raw_key_is_the_one_litellm_keeps() -> None:
    raw, hashed = values(api_key="sk-my-virtual-key"), values(api_key=key_hash("sk-my-virtual-key"))

    assert raw["api_key_id"] == hashed["api_key_id"]


# ---------------------------------------------------------------- money and tokens


@pytest.mark.parametrize("absent", [DROP, None, ""])
def test_a_missing_spend_is_never_zero(absent: object) -> None:
    assert refusal(spend=absent) == ("missing_spend", "spend")

    failed = read(spend=absent, status="failure")

    assert "spend" not in failed.values
    assert failed.codes == {"null_spend_on_failure"}


@pytest.mark.parametrize("absent", [DROP, None, ""])
def test_a_missing_token_count_is_not_read_as_zero(absent: object) -> None:
    found = values(prompt_tokens=absent)

    assert "prompt_tokens" not in found
    assert values(prompt_tokens=0, total_tokens=50)["prompt_tokens"] == 0


@pytest.mark.parametrize(
    ("tokens", "code"),
    [
        ({"total_tokens": 149}, {"token_sum_mismatch"}),
        ({"total_tokens": None}, set()),
        ({"prompt_tokens": None}, set()),
        ({"prompt_tokens": None, "total_tokens": 50}, set()),
    ],
)
def test_a_sum_is_only_doubted_where_both_parts_are_known(
    tokens: dict[str, Any], code: set[str]
) -> None:
    assert codes(**tokens) == code


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spend": 0}, {"usage_without_cost"}),
        ({"spend": 0, "cache_hit": "True"}, set()),
        ({"spend": 0, "status": "failure"}, set()),
        ({"spend": 0, "status": None}, {"usage_without_cost"}),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {"cost_without_usage"}),
        (
            {
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "total_tokens": 0,
                "metadata": {"usage_object": {"pages_processed": 3}},
            },
            set(),
        ),
    ],
)
def test_cost_and_usage_are_held_against_each_other(
    changes: dict[str, Any], expected: set[str]
) -> None:
    assert codes(**changes) == expected


# ---------------------------------------------------------------- times


def test_the_end_of_a_row_may_be_missing_but_not_wrong() -> None:
    assert "ended_at" not in values(endTime="")
    assert refusal(endTime="yesterday") == ("bad_timestamp", "endTime")
    assert refusal(updated_at="1970-01-01T00:00:00Z") == ("bad_timestamp", "updated_at")


def test_a_call_may_begin_a_day_ahead_of_the_clock_and_no_later() -> None:
    def begins(moment: str) -> set[str]:
        return codes(startTime=moment, endTime=None)

    assert begins("2026-06-30T12:00:00Z") == set()
    assert begins("2026-06-30T12:00:00.000001Z") == {"clock_skew"}
    assert begins("2026-07-01T12:00:00Z") == {"clock_skew"}
    assert refusal(startTime="2026-07-01T12:00:00.000001Z") == ("future_timestamp", "startTime")


def test_one_time_without_zone_is_enough_to_say_so() -> None:
    assert codes(endTime="2026-06-15T10:00:00") == {"naive_timestamp"}


def test_a_closed_period_is_asked_for_with_the_whole_record() -> None:
    seen: list[str] = []

    def is_closed(record: Any) -> bool:
        seen.extend(record[name] for name in ("team_id", "api_key_id", "custom_llm_provider"))
        return True

    record = read(RecordContext(as_of=AS_OF, is_closed=is_closed))

    assert record.codes == {"late_in_closed_period"}
    assert seen == ["team-1", key_hash("key 1"), "openai"]


# ---------------------------------------------------------------- texts, owners, privacy


def test_an_empty_text_is_missing_and_a_number_is_its_text() -> None:
    found = values(team_id="", model_id=5, end_user="c-1")

    assert (found["team_id"], found["model_id"], found["customer_id"]) == (None, "5", "c-1")


def test_a_text_may_hold_4096_characters_wherever_it_stands() -> None:
    long = "x" * 4097
    assert values(model=long[1:])["model"] == long[1:]

    assert refusal(model=long) == ("field_too_long", "model")
    assert refusal(request_tags=[long]) == ("field_too_long", "request_tags")
    alias = {"user_api_key_alias": long}
    assert refusal(metadata=alias) == ("field_too_long", "metadata.user_api_key_alias")


def test_a_long_text_nobody_asked_for_refuses_no_row() -> None:
    prompt = {"spend_logs_metadata": {"the prompt itself": "x" * 9999}, "note": "x" * 9999}

    assert codes(metadata=prompt) == {"content_dropped"}


@pytest.mark.parametrize("field", ["model", "team_id", "status", "end_user", "api_base", "api_key"])
@pytest.mark.parametrize("value", [{"a": 1}, ["a"]])
def test_an_object_is_no_text(field: str, value: object) -> None:
    assert refusal(**{field: value}) == ("bad_type", field)


def test_owners_come_from_tags_and_then_from_metadata() -> None:
    named = {"Environment": "prod", "cost-center": "CC-2", "prompt": "text", "workflow": ["x"]}
    tags = ["env:dev", "cc:CC-1", "WF: chat ", "jira:", "plain", "User-Agent: curl"]

    found = values(request_tags=tags, metadata={"spend_logs_metadata": named})

    assert (found["environment"], found["cost_center"]) == ("prod", "CC-2")
    assert (found["workflow"], found["ticket"]) == ("chat", None)
    assert found["request_tags"] == "WF: chat ,cc:CC-1,env:dev,jira:,plain"


def test_the_team_of_the_row_comes_before_that_of_its_metadata() -> None:
    metadata = {"user_api_key_team_id": "t-m", "user_api_key_org_id": "o-m"}

    found = values(team_id="t-r", organization_id="", metadata=metadata)

    assert (found["team_id"], found["organization_id"]) == ("t-r", "o-m")


def test_personal_fields_are_kept_only_where_the_settings_say_so() -> None:
    personal = {"metadata": {"user_agent": "curl", "user_api_key_user_id": "u-m"}, "user": ""}

    dropped, kept = values(**personal), values(KEEPING, **personal)

    assert not {"client_ip", "user_agent"} & dropped.keys()
    assert (kept["client_ip"], kept["user_agent"]) == ("10.0.0.1", "curl")
    nobody = values(RecordContext(as_of=AS_OF, keep_user_id=False), **personal)
    assert (dropped["user_id"], nobody.get("user_id")) == ("u-m", None)


@pytest.mark.parametrize(
    ("url", "kept", "was_stripped"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1", False),
        ("https://u:p@host:8080/v1", "https://host:8080/v1", True),
        ("https://host/v1?key=x", "https://host/v1", True),
        ("https://host/v1#x", "https://host/v1", True),
        ("https://a@b@host/v1", "https://host/v1", True),
        ("u:p@host/v1", None, True),
        ("https://[broken/v1", None, True),
        ("https://host/sk-0123456789ab/v1", "https://host/[secret removed]/v1", True),
        ("", None, False),
    ],
)
def test_an_address_loses_its_credentials(url: str, kept: str | None, was_stripped: bool) -> None:
    record = read(api_base=url)

    assert record.values["api_base"] == kept
    assert record.codes == ({"url_secret_stripped"} if was_stripped else set())


@pytest.mark.parametrize(
    ("written", "hit"),
    [("True", True), ("False", False), (True, True), (False, False), ("None", None), ("", None)],
)
def test_a_cache_hit_is_written_in_many_ways(written: object, hit: bool | None) -> None:
    assert values(cache_hit=written)["cache_hit"] is hit


@pytest.mark.parametrize("kept_out", [{"messages": "x"}, {"response": {"a": 1}}, {"x": {}}])
def test_content_and_unknown_columns_are_left_out_and_said_so(kept_out: dict[str, Any]) -> None:
    record = read(**kept_out)

    assert record.codes == ({"schema_drift"} if "x" in kept_out else {"content_dropped"})
    assert not kept_out.keys() & record.values.keys()


@pytest.mark.parametrize("nothing", [None, "", "{}", "[]", {}, []])
def test_an_empty_content_column_is_no_content(nothing: object) -> None:
    assert codes(messages=nothing, response=nothing, proxy_server_request=nothing) == set()


# ---------------------------------------------------------------- JSON kept as text


def test_json_kept_as_text_is_read_like_json() -> None:
    kind = ROW_KINDS["litellm_spend_logs"]
    as_text = row(1, metadata='{"user_api_key_alias": "k"}', request_tags='["env:dev"]')
    decoded = row(1, metadata={"user_api_key_alias": "k"}, request_tags=["env:dev"])

    assert kind.read(as_text, CONTEXT) == kind.read(decoded, CONTEXT)
    assert kind.read(row(1, metadata='"text"'), CONTEXT).codes == {"metadata_unparsed"}
    assert kind.read(row(1, metadata="{", request_tags="{"), CONTEXT).codes == {
        "metadata_unparsed",
        "tags_unparsed",
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": 1, "a": 2}', "duplicate_json_key"),
        (r'{"user_api_key_alias": "\ud800"}', "bad_encoding"),
        (r'{"user_api_key_alias": "\u0000"}', "bad_encoding"),
    ],
)
def test_json_kept_as_text_is_held_to_the_same_rules(text: str, code: str) -> None:
    with pytest.raises(RefusedError, match=code):
        ROW_KINDS["litellm_spend_logs"].read(row(1, metadata=text), CONTEXT)


# ---------------------------------------------------------------- quantities


def test_of_mirrored_quantities_the_largest_counts_in_any_order() -> None:
    one = usage(cache_read_input_tokens=5, prompt_tokens_details={"cached_tokens": 7})
    two = usage(prompt_tokens_details={"cached_tokens": 7}, cache_read_input_tokens=5)
    three = usage(prompt_tokens_details={"cache_creation_tokens": 1, "cache_write_tokens": 2})

    assert one["cached_tokens"] == two["cached_tokens"] == 7
    assert three["cache_write_tokens"] == 2


@pytest.mark.parametrize(
    "written",
    [-1, True, "5", None, 1.5, Decimal("1.5"), 2**63, Decimal("1E+999999999"), Decimal("NaN"), {}],
)
def test_a_quantity_that_is_no_whole_number_is_absent(written: object) -> None:
    assert usage(prompt_tokens=written) == {}


def test_whole_quantities_are_counted_however_they_are_written() -> None:
    found = usage(prompt_tokens=Decimal("5.0"), completion_tokens=6.0, pages_processed=2**63 - 1)

    assert found == {
        "usage_prompt_tokens": 5,
        "usage_completion_tokens": 6,
        "ocr_pages": 2**63 - 1,
    }


def test_seconds_are_kept_to_the_microsecond() -> None:
    found = usage(duration_seconds=Decimal("1.0000005"), audio_length_seconds=2, prompt_tokens=0)

    assert found["output_video_seconds"] == Decimal("1.000000")
    assert found["prompt_audio_seconds"] == 2
    assert usage(duration_seconds=-1, audio_length_seconds=10**8) == {}


def test_cache_writes_are_told_apart_by_lifetime() -> None:
    lifetimes = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}

    found = usage(prompt_tokens_details={"cache_creation_token_details": lifetimes})

    assert found == {"cache_write_5m_tokens": 3, "cache_write_1h_tokens": 4}


@pytest.mark.parametrize("shape", [None, [], "text", 5, {}])
def test_a_usage_object_that_is_none_says_nothing(shape: object) -> None:
    assert values(metadata={"usage_object": shape})["has_usage"] is False


def test_a_batch_has_a_part_for_each_model() -> None:
    by_model = {"m-b": {"prompt_tokens": 2}, "m-a": {"completion_tokens": 1}, "m-c": "text"}

    record = read(metadata={"usage_object": {"batch_usage_by_model": by_model}})

    parts = record.children[BATCH_USAGE.name]
    assert [(p["batch_model"], p["request_id"]) for p in parts] == [
        ("m-a", "chatcmpl-000001"),
        ("m-b", "chatcmpl-000001"),
    ]
    assert record.values["batch_model_count"] == 2
