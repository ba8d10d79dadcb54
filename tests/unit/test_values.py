"""Single values: what is a number, an amount, a count, a time, and what only looks like one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from orchestration.core.refusals import (
    RefusedError,
    shown,
    shown_figure,
    with_hashed_secrets,
    without_secrets,
)
from orchestration.core.values import (
    at_money_scale,
    decimal_from_json,
    read_count,
    read_date,
    read_decimal,
    read_money,
    read_time,
)


def code_of(read: Any, *arguments: Any) -> str:
    """The code with which a value is refused."""
    with pytest.raises(RefusedError) as refused:
        read(*arguments)
    return refused.value.refusal.code


def utc(*parts: int) -> datetime:
    """A naive time in UTC."""
    return datetime(*parts)  # noqa: DTZ001  # naive UTC, as every time in the warehouse


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", "0"),
        ("-0.5", "-0.5"),
        ("007.10", "7.10"),
        ("1e-13", "1E-13"),
        ("1E+3", "1E+3"),
        (5, "5"),
        (Decimal("1.50"), "1.50"),
        ("123456789012345678901234567890.123", "123456789012345678901234567890.123"),
    ],
)
def test_a_plain_number_is_read_with_all_its_digits(written: object, meant: str) -> None:
    assert str(read_decimal(written, "spend")) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e1.5",
        "1_000",
        "1,000",
        "0x1F",
        "1e99999",
        "NaN",
        "Infinity",
        "\u0661",
        "one",
        True,
        None,
        1.5,
        [],
        {},
        b"1",
        Decimal("NaN"),
        Decimal("-Infinity"),
    ],
)
def test_what_only_looks_like_a_number_is_refused(written: object) -> None:
    assert code_of(read_decimal, written, "spend") == "bad_number"


def test_a_json_number_keeps_its_text_however_long() -> None:
    assert decimal_from_json("0.10") == Decimal("0.10")
    assert str(decimal_from_json("1234567890123456789.0123456789")) == (
        "1234567890123456789.0123456789"
    )


def test_a_json_number_beyond_all_exponents_is_infinite() -> None:
    assert not decimal_from_json("1e9999999999999999999").is_finite()


# ---------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("0.0000000000000000005", "0E-18"),
        ("0.0000000000000000015", "2E-18"),
        ("0.0000000000000000025", "2E-18"),
        ("0.00000000000000000250000001", "3E-18"),
        ("-0.0", "0E-18"),
    ],
)
def test_money_is_rounded_half_to_even_at_18_places(written: str, kept: str) -> None:
    amount, _ = at_money_scale(Decimal(written))

    assert str(amount) == kept


@pytest.mark.parametrize(
    ("written", "is_lost"),
    [
        ("0.1", False),
        ("1.2345678901234567e-07", False),
        ("0.12345678901234567", False),
        ("0.123456789012345678", False),
        ("0.1234567890123456780", False),
        ("0.1234567890123456781", True),
    ],
)
def test_lost_digits_are_told_where_somebody_wrote_them(written: str, is_lost: bool) -> None:
    _, lost = at_money_scale(Decimal(written))

    assert lost is is_lost


def test_the_largest_amount_is_a_hair_below_1e20() -> None:
    largest = Decimal("99999999999999999999.999999999999999999")

    assert read_money(str(largest), "spend") == (largest, False)
    assert code_of(read_money, "1e20", "spend") == "spend_out_of_range"
    assert code_of(read_money, f"{largest}9", "spend") == "spend_out_of_range"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("-1e-30", "negative_spend"),
        (-1, "negative_spend"),
        (float("nan"), "spend_not_finite"),
        (float("-inf"), "spend_not_finite"),
        (Decimal("NaN"), "spend_not_finite"),
        (Decimal("1E+400"), "spend_out_of_range"),
        ("nan", "bad_number"),
        (True, "bad_number"),
    ],
)
def test_an_amount_that_is_none_is_refused(written: object, code: str) -> None:
    assert code_of(read_money, written, "spend") == code


def test_a_binary_double_is_read_by_its_shortest_text() -> None:
    assert read_money(0.1, "spend")[0] == Decimal("0.1")
    assert read_money(1e-07, "spend")[0] == Decimal("1e-7")


def test_an_amount_of_endless_places_is_rounded_at_once() -> None:
    assert read_money(Decimal("1E-999999999"), "spend")[0] == 0


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        ("0", 0),
        (Decimal("10.0"), 10),
        (Decimal("1E+2"), 100),
        ("10.000", 10),
        (10.0, 10),
        (2**63 - 1, 2**63 - 1),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_whole_number_is_a_count(written: object, count: int) -> None:
    assert read_count(written, "tokens") == count


@pytest.mark.parametrize(
    "written",
    [
        2**63,
        "9223372036854775808",
        Decimal("1.5"),
        1.5,
        "1.5",
        "1e2",
        "1_0",
        " 1",
        "0x1",
        "",
        True,
        None,
        [],
        float("nan"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+999999999"),
    ],
)
def test_anything_else_is_no_count(written: object) -> None:
    assert code_of(read_count, written, "tokens") == "bad_integer"


@pytest.mark.parametrize("written", [-1, "-1", Decimal("-1.0"), -1.0])
def test_a_count_below_zero_has_a_code_of_its_own(written: object) -> None:
    assert code_of(read_count, written, "tokens") == "negative_tokens"


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("written", "moment", "is_naive"),
    [
        ("2026-06-15", utc(2026, 6, 15), True),
        ("2026-06-15 10:20", utc(2026, 6, 15, 10, 20), True),
        ("2026-06-15T10:20:30", utc(2026, 6, 15, 10, 20, 30), True),
        ("2026-06-15T10:20:30.5Z", utc(2026, 6, 15, 10, 20, 30, 500_000), False),
        ("2026-06-15T10:20:30.123456789z", utc(2026, 6, 15, 10, 20, 30, 123_456), False),
        ("2026-06-15 10:20:30 UTC", utc(2026, 6, 15, 10, 20, 30), False),
        ("2026-06-15T10:20:30+05:30", utc(2026, 6, 15, 4, 50, 30), False),
        ("2026-06-15T10:20:30-0430", utc(2026, 6, 15, 14, 50, 30), False),
        ("2026-06-15T10:20:30+14", utc(2026, 6, 14, 20, 20, 30), False),
        ("2024-02-29T00:00:00Z", utc(2024, 2, 29), False),
        ("2019-12-31T23:30:00-01:00", utc(2020, 1, 1, 0, 30), False),
        ("2100-12-31T23:59:59.999999Z", utc(2100, 12, 31, 23, 59, 59, 999_999), False),
        (date(2026, 6, 15), utc(2026, 6, 15), True),
        (utc(2026, 6, 15, 1), utc(2026, 6, 15, 1), True),
        (
            datetime(2026, 6, 15, 1, tzinfo=timezone(timedelta(hours=2))),
            utc(2026, 6, 14, 23),
            False,
        ),
    ],
)
def test_a_time_is_read_in_utc(written: object, moment: datetime, is_naive: bool) -> None:
    assert read_time(written, "at") == (moment, is_naive)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "now",
        "2026-06-15T",
        "2026-06-15T10",
        "2026-6-15",
        "20260615",
        "2026-06-15T10:00:00,5Z",
        "2026-06-15T24:00:00Z",
        "2026-06-15T10:00:60Z",
        "2026-02-29",
        "2026-06-15T10:00:00+24:00",
        "2026-06-15T10:00:00+01:60",
        "2026-06-15T10:00:00 CET",
        "2026-06-15T10:00:00\u00a0Z",
        "2026-06-15T10:00:00Z ",
        "\u0662026-06-15",
        "15/06/2026 10:00",
        "2019-12-31T23:59:59.999999Z",
        "2101-01-01",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        1781517600,
        1781517600.0,
        True,
        None,
        {},
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2101, 1, 1, tzinfo=UTC),
    ],
)
def test_what_is_no_time_of_our_years_is_refused(written: object) -> None:
    assert code_of(read_time, written, "at") == "bad_timestamp"


def test_a_day_is_read_from_its_date() -> None:
    assert read_date("2026-06-15", "day") == date(2026, 6, 15)


# ---------------------------------------------------------------- what a message may say


@pytest.mark.parametrize(
    "secret",
    [
        "sk-0123456789abcdef",
        "SK-PROJ-0123456789",
        "sk-ant-api03-abcdef_ghi",
        "rk-12345678",
        "sk_live_0123456789",
        "rk_test_0123456789",
        "whsec_corpus_test",
        "rzp_live_abcdef1234",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA0123456789abcdefghijklmnopqrstuv",
        "ghp_0123456789abcdefABCDEF",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def_ghi",
        "Bearer abc.def",
        "bearer  tok",
    ],
)
def test_a_credential_never_stands_in_a_text(secret: str) -> None:
    for text in (secret, f"key={secret}", f"({secret})", f"a_{secret}", f"x {secret}"):
        assert secret not in without_secrets(text)
        assert secret not in shown(text, 500)
        assert secret not in with_hashed_secrets(text)


@pytest.mark.parametrize(
    "name",
    [
        "risk-analytics-team",
        "network-platform-eu",
        "benchmark-evaluation",
        "task-abcdefgh12345",
        "desk-research",
        "gpt-4o-mini-2024-07-18",
        "arn:aws:bedrock:us-east-1:123456789012:model/x",
        "e3f08afd-eee9-4738-a745-ce39402a11d9",
        "forbearer of news",
    ],
)
def test_a_name_that_contains_the_beginning_of_a_key_stays(name: str) -> None:
    assert without_secrets(name) == name


def test_two_credentials_stay_apart_by_their_hashes() -> None:
    one, two = with_hashed_secrets("sk-aaaaaaaaaa"), with_hashed_secrets("sk-aaaaaaaaab")

    assert one != two
    assert one == with_hashed_secrets("sk-aaaaaaaaaa")


def test_a_message_shows_no_container_no_control_character_and_no_long_text() -> None:
    assert shown({"prompt": "text"}) == "an object"
    assert shown(["text"]) == "a list"
    assert shown("a\x1b[2J\nb\ud800") == r"a\x1b[2J\nb\ud800"
    assert shown("x" * 100) == "x" * 60 + "..."


@pytest.mark.parametrize("figure", ["1,234.50", "0x1F", "15/06/2026 10:00", "NaN", "$5 USD", " "])
def test_a_figure_is_repeated_as_it_stands(figure: str) -> None:
    assert shown_figure(figure) == f"'{figure}'"


@pytest.mark.parametrize("text", ["what is 2 + 2?", "hello", "a" * 41, "1" * 41])
def test_what_could_be_a_sentence_is_told_by_its_length(text: str) -> None:
    assert shown_figure(text) == f"text of {len(text)} characters"
