"""Records of the files whose shape is ours: required fields, amounts, times, ids."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fixtures.spend_logs import key_hash

from orchestration.core.refusals import RefusedError
from orchestration.sources.contract_files import read_app_request, read_gateway_count
from orchestration.sources.records import Record, RecordContext

CONTEXT = RecordContext(as_of=datetime(2026, 6, 30, 12))  # noqa: DTZ001  # naive UTC
COUNT = {"gateway": "litellm", "hour_at": "2026-06-15T10:00:00Z", "model": "m", "requests": 5}
REQUEST = {
    "request_id": "chatcmpl-1",
    "gateway": "litellm",
    "model": "m",
    "occurred_at": "2026-06-15T10:00:00Z",
}


def count(**changes: Any) -> Record:
    return read_gateway_count({**COUNT, **changes}, CONTEXT)


def request(**changes: Any) -> Record:
    return read_app_request({**REQUEST, **changes}, CONTEXT)


def refusal(read: Any, **changes: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as refused:
        read(**changes)
    return refused.value.refusal.code, refused.value.refusal.field


def test_an_optional_field_that_is_empty_is_absent() -> None:
    record = count(model="", successful_requests=None, spend=" ")

    assert record.values.keys() == {"gateway", "hour_at", "requests"}
    assert record.codes == set()


@pytest.mark.parametrize("field", ["gateway", "hour_at", "requests"])
@pytest.mark.parametrize("empty", [None, "", "  "])
def test_a_required_field_is_never_empty(field: str, empty: object) -> None:
    assert refusal(count, **{field: empty}) == ("missing_field", field)


def test_a_request_without_an_id_has_a_code_of_its_own() -> None:
    assert refusal(request, request_id="") == ("missing_request_id", "request_id")
    assert refusal(request, model="") == ("missing_field", "model")


def test_no_requests_at_all_are_a_count() -> None:
    assert count(requests=0).values["requests"] == 0


@pytest.mark.parametrize(
    "hour_at",
    ["2026-06-15T10:00:00.000001Z", "2026-06-15T10:00:01Z", "2026-06-15T10:30:00+00:00"],
)
def test_an_hour_begins_on_the_hour(hour_at: str) -> None:
    assert refusal(count, hour_at=hour_at) == ("bad_timestamp", "hour_at")


def test_an_hour_of_a_half_hour_zone_is_an_hour_in_utc() -> None:
    moment = count(hour_at="2026-06-15T15:30:00+05:30").values["hour_at"]

    assert moment.isoformat() == "2026-06-15T10:00:00"


@pytest.mark.parametrize(
    ("occurred_at", "codes"),
    [
        ("2026-06-30T12:00:00Z", set()),
        ("2026-06-30T12:00:00.5Z", {"clock_skew"}),
        ("2026-07-01T12:00:00Z", {"clock_skew"}),
        ("2026-06-15T10:00:00", {"naive_timestamp"}),
    ],
)
def test_an_event_may_be_a_day_ahead(occurred_at: str, codes: set[str]) -> None:
    assert request(occurred_at=occurred_at).codes == codes


def test_an_event_more_than_a_day_ahead_is_refused() -> None:
    ahead = "2026-07-01T12:00:00.000001Z"

    assert refusal(request, occurred_at=ahead) == ("future_timestamp", "occurred_at")


@pytest.mark.parametrize(
    ("written", "kept"), [("0.10", "0.10"), (1, "1"), (0.1, "0.1"), (Decimal("1E-18"), "1E-18")]
)
def test_an_amount_is_kept_exactly(written: object, kept: str) -> None:
    assert request(expected_cost=written).values["expected_cost"] == Decimal(kept)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("$1", "bad_number"),
        ("-0.01", "negative_spend"),
        ("1e20", "spend_out_of_range"),
        ("1e400", "spend_out_of_range"),
        (float("inf"), "spend_not_finite"),
        (True, "bad_number"),
    ],
)
def test_an_amount_no_column_can_hold_is_refused(written: object, code: str) -> None:
    assert refusal(request, expected_cost=written) == (code, "expected_cost")
    assert refusal(count, spend=written) == (code, "spend")


def test_lost_digits_of_an_amount_are_told() -> None:
    assert request(expected_cost="0.1234567890123456789").codes == {"precision_rounded"}


@pytest.mark.parametrize(("written", "kept"), [("USD", "USD"), ("eur", "EUR")])
def test_a_currency_is_a_code_of_three_letters(written: str, kept: str) -> None:
    assert request(currency=written).values["currency"] == kept


@pytest.mark.parametrize("written", ["US", "USDT", "$", "U D", "ÜSD", 840])
def test_anything_else_is_no_currency(written: object) -> None:
    assert refusal(request, currency=written) == ("unsupported_currency", "currency")


def test_keys_are_hashed_at_the_door_wherever_they_stand() -> None:
    record = request(
        api_key_id="sk-0123456789ab", request_id="sk-0123456789ab", trace_id="sk-0123456789ab"
    )

    assert record.values["api_key_id"] == key_hash("sk-0123456789ab")
    assert record.codes == {"raw_key_hashed"}
    assert "0123456789ab" not in repr(record.values)
    assert request(api_key_id=key_hash("k")).codes == set()


def test_an_unknown_column_is_left_out_and_said_so() -> None:
    record = request(prompt="text")

    assert record.codes == {"schema_drift"}
    assert "prompt" not in record.values


@pytest.mark.parametrize("value", [{"a": 1}, ["a"]])
def test_an_object_is_no_text(value: object) -> None:
    assert refusal(request, model=value) == ("bad_type", "model")
    assert refusal(request, input_tokens=value) == ("bad_integer", "input_tokens")
