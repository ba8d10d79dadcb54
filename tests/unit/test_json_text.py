"""Strict JSON: the fast way and the slow one agree, and neither lets anything slip."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from orchestration.core.refusals import RefusedError
from orchestration.landing import json_text
from orchestration.landing.json_text import decode_row, find_refusal, named, read_json


def code_of(line: bytes) -> str:
    with pytest.raises(RefusedError) as refused:
        decode_row(line)
    return refused.value.refusal.code


def slowly(line: bytes) -> Any:
    return json_text._decode_slowly(line)


@pytest.mark.parametrize("number", ["0.1", "1E-7", "123456789012.123456789012", "1.50", "1e400"])
def test_a_number_with_a_fraction_keeps_its_text(number: str) -> None:
    value = decode_row(f'{{"spend": {number}}}'.encode())

    assert value == {"spend": Decimal(number)}
    assert str(value["spend"]) == str(Decimal(number))


@pytest.mark.parametrize("number", ["0", "-1", "18446744073709551616", "1" * 400])
def test_an_integer_stays_an_integer_however_long(number: str) -> None:
    assert decode_row(number.encode()) == int(number)
    assert type(decode_row(number.encode())) is int


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "a": 1}',
        b'{"a":1,"b":{"c":[{"d":1,"d":2}]}}',
        b'{"a" : 1, "a" : 2}',
        b'{"a"\t:1,"a"\r:2}',
        rb'{"a": 1, "\u0061": 2}',
        rb'{"a\"": 1, "a\"": 2}',
        rb'{"a\\": 1, "a\\": 2}',
        rb'{"a:": 1, "a\u003a": 2}',
        b'{"": 1, "": 2}',
        # As many colons as keys are written, if escapes are not looked at.
        rb'{"a": 1, "a": 2, "b": "\u003a"}',
        rb'{"a": 1, "a": "\u003A"}',
        rb'{"a": {"b": "::"}, "a": "::"}',
        b'{"a": "1:2", "a": "3"}',
    ],
)
def test_a_key_that_stands_twice_is_found(line: bytes) -> None:
    assert code_of(line) == "duplicate_json_key"


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": {"x": 1}, "b": {"x": 1}}',
        rb'{"a": "\":\":", "b": "\\\":\\"}',
        rb'{"a": "{\"a\": \"{\\\"a\\\": 1}\"}", "b\\": 1, "b": 2}',
        rb'{"a": "\u003a\u0041\u00e9\u0001"}',
        b'{ "a" : "b : c" , "d:" : ":" }',
        '{"ü": "日本 😀", "a": "\\ud83d\\ude00"}'.encode(),
        b'{"a": [], "b": {}, "c": [[], {}], "d": null}',
        b"[]",
        b" 5 ",
    ],
)
def test_sound_lines_are_read_as_any_reader_reads_them(line: bytes) -> None:
    assert decode_row(line) == json.loads(line) == slowly(line)


@pytest.mark.parametrize(
    "line",
    [
        rb'"\u0000"',
        rb'{"\u0000": 1}',
        rb'"\ud800"',
        rb'"\udc00\ud800"',
        rb'{"a": [{"\udfff": 1}]}',
        rb'"\ud83d\u0041"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        '{"a": "modèle"}'.encode("latin-1"),
    ],
)
def test_broken_text_is_refused_as_such(line: bytes) -> None:
    assert code_of(line) == "bad_encoding"


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert decode_row(rb'"\\u0000"') == r"\u0000"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"{",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 1} {"b": 2}',
        b'{"a": 01}',
        b'{"a": 1.}',
        b'{"a": .5}',
        b'{"a": +1}',
        b'{"a": 0x1}',
        b'{"a": 1_000}',
        b'{"a": nan}',
        b'{"a": "\x01"}',
        b'{"a": "\x00"}',
        b'{"a": 1}\x00',
        rb'{"a": "\x41"}',
        rb'{"a": "\u00g0"}',
        b"{a: 1}",
        b"// comment\n1",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_not_json_is_refused(line: bytes) -> None:
    assert code_of(line) == "invalid_json"


@pytest.mark.parametrize(("text", "found"), [(b"NaN", "NaN"), (b"-Infinity", "-Infinity")])
def test_what_is_no_number_reaches_the_field_that_refuses_it(text: bytes, found: str) -> None:
    assert str(decode_row(b'{"spend": ' + text + b"}")["spend"]) == found


def test_a_message_names_a_key_only_where_it_is_a_plain_name() -> None:
    assert named("spend") == "key 'spend'"
    assert [named(key) for key in ("a prompt", "x" * 41, "ключ", "")] == ["a key"] * 4


def test_no_message_repeats_what_stood_in_the_line() -> None:
    canary = "CANARY"
    broken = (f'{{"{canary}": {canary}}}', f'{{"{canary} x": 1, "{canary} x": 2}}', f'"{canary}')
    for text in broken:
        with pytest.raises(RefusedError) as refused:
            decode_row(text.encode())
        assert canary not in str(refused.value)


def test_a_fault_in_one_element_does_not_hide_the_others() -> None:
    document = read_json(r'[{"a": 1}, {"a": 1, "a": 2}, {"b": "\u0000"}]')

    codes = [refusal and refusal.code for refusal in map(find_refusal, document)]

    assert codes == [None, "duplicate_json_key", "bad_encoding"]


# ---------------------------------------------------------------- price entries seen before


def logged(entry: str, *, number: int = 1, more: str = "") -> bytes:
    """A row as LiteLLM logs it, with the price entry of its model."""
    information = f'{{"model_map_key": "m", "model_map_value": {entry}}}'
    return (
        f'{{"n": {number}, "metadata": {{"model_map_information": {information}{more}}}}}'.encode()
    )


ENTRY = '{"key": "a model of this test", "input_cost_per_token": 1e-06, "modes": ["a:b"]}'


def test_a_price_entry_seen_before_is_left_out_and_nothing_else() -> None:
    decode_row(logged(ENTRY))

    again = decode_row(logged(ENTRY, number=2, more=', "status": "x"'))

    information = {"model_map_key": "m", "model_map_value": {}}
    assert again == {"n": 2, "metadata": {"model_map_information": information, "status": "x"}}


def test_however_many_entries_were_met_the_newest_is_known() -> None:
    for number in range(json_text.PRICE_ENTRIES._MOST + 10):
        decode_row(logged(f'{{"key": "one of many models of this test, number {number:05}"}}'))
    decode_row(logged(ENTRY))

    again = decode_row(logged(ENTRY))

    assert again["metadata"]["model_map_information"]["model_map_value"] == {}


def test_a_price_entry_that_differs_is_read_in_full() -> None:
    decode_row(logged(ENTRY))
    other = ENTRY.replace("1e-06", "2e-06")

    value = decode_row(logged(other))

    entry = value["metadata"]["model_map_information"]["model_map_value"]
    assert entry["input_cost_per_token"] == Decimal("2e-06")


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (logged(ENTRY[:-1] + ', "key": 1}'), "duplicate_json_key"),
        (logged(ENTRY, more=', "a": 1, "a": 2'), "duplicate_json_key"),
        (
            logged(ENTRY, more=f', "model_map_information": {{"model_map_value": {ENTRY}}}'),
            "duplicate_json_key",
        ),
        (logged(ENTRY + ENTRY), "invalid_json"),
        (logged(ENTRY)[:-1], "invalid_json"),
        (logged(ENTRY + ", 5"), "invalid_json"),
        (b'{"a": "b' + logged(ENTRY)[30:], "invalid_json"),
        (logged(ENTRY, more=r', "a": "\u0000"'), "bad_encoding"),
    ],
)
def test_a_fault_around_a_price_entry_is_found(line: bytes, code: str, compact: bool) -> None:
    decode_row(logged(ENTRY))
    line = line.replace(b"value: {", b"value:{") if compact else line

    assert code_of(line) == code


def test_a_text_that_looks_like_a_price_entry_is_text() -> None:
    decode_row(logged(ENTRY))
    text = json.dumps({"messages": f'"model_map_value": {ENTRY}', "n": 1})

    assert decode_row(text.encode()) == json.loads(text)
