"""The fast decoder and the strict one never differ, and lines never depend on blocks."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestration.core.refusals import RefusedError
from orchestration.landing import json_text, rows
from orchestration.landing.json_text import decode_row

# Characters that matter to a decoder that counts colons and looks for escapes.
telling = st.text(st.sampled_from('":\\{}[],u0031aAdD\u00e9\u2028😀\x01 '), max_size=6)
texts = telling | st.text(max_size=4)
scalars = st.none() | st.booleans() | st.integers() | texts | st.floats(allow_nan=False)


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """An object in which keys may stand twice, written with or without white space."""
    keys = draw(st.lists(texts, max_size=4))
    keys += draw(st.lists(st.sampled_from(keys), max_size=1)) if keys else []
    space = draw(st.sampled_from(["", " ", "\t"]))
    pairs = [f"{space}{literal(draw, key)}{space}:{space}{draw(values)}" for key in keys]
    return "{" + ",".join(pairs) + "}"


def literal(draw: st.DrawFn, text: str) -> str:
    """A JSON string with each character as itself or escaped."""
    plain = json.dumps(text, ensure_ascii=draw(st.booleans()))
    if not draw(st.booleans()):
        return plain
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text)
    return f'"{escaped}"'


@st.composite
def leaves(draw: st.DrawFn) -> str:
    value = draw(scalars)
    return literal(draw, value) if isinstance(value, str) else json.dumps(value)


documents = st.recursive(
    leaves(),
    lambda values: objects(values) | st.lists(values, max_size=3).map(lambda v: f"[{','.join(v)}]"),
    max_leaves=12,
)


def outcome(decode: Any, line: bytes) -> tuple[str, str]:
    """The value with its types, or the code with which it is refused."""
    try:
        return "value", repr(decode(line))
    except RefusedError as error:
        return "refused", error.refusal.code


@settings(max_examples=400, deadline=None)
@given(documents)
@example(r'{"a":1,"a":2,"b":"\u003a"}')
@example(r'{"a\\":1,"a\\":2}')
def test_the_fast_decoder_decides_like_the_strict_one(text: str) -> None:
    line = text.encode("utf-8", "surrogatepass")

    assert outcome(decode_row, line) == outcome(json_text._decode_slowly, line)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30) | documents.map(lambda text: text.encode("utf-8", "replace")[:-1]))
def test_the_two_decoders_refuse_the_same_lines(line: bytes) -> None:
    assert outcome(decode_row, line) == outcome(json_text._decode_slowly, line)


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    sizes: list[int]

    def read(self, _size: int | None = -1) -> bytes:
        return super().read(self.sizes.pop() if self.sizes else 5)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bb", b"c" * 12])).map(b"".join),
    st.lists(st.integers(1, 9)),
)
def test_lines_are_the_same_whatever_the_blocks(data: bytes, sizes: list[int]) -> None:
    stream = Trickle(data)
    stream.sizes = sizes

    found = list(rows._lines(rows.BoundedStream(stream, limit=None), 8))

    expected = re.split(rb"\r\n|\r|\n", data)
    for each in (found, expected):
        # Blank lines at the end are no rows, whether they are found or not.
        while each and each[-1] in (b"", (len(each), b"")):
            each.pop()
    assert [number for number, _ in found] == list(range(1, len(expected) + 1))
    for (_, line), whole in zip(found, expected, strict=True):
        assert line == whole or (line[:9] == whole[:9] and len(line) > 8 and len(whole) > 8)
