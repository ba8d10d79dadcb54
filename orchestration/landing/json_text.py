"""Strict JSON: exact numbers, no duplicate keys, no NUL, no lone surrogates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from threading import Lock
from typing import Any

import msgspec

from orchestration.core.refusals import Refusal, RefusedError
from orchestration.core.values import decimal_from_json

# Refuses lone surrogates, control characters and whatever is not JSON, but keeps the last of
# several equal keys and takes an escaped NUL.
_FAST = msgspec.json.Decoder(float_hook=Decimal)
_encode = msgspec.json.Encoder().encode


class RepeatedKeyObject(dict[str, Any]):
    """An object in which a key was written twice; `repeated` names the first such key."""

    repeated = ""


def decode_row(line: bytes) -> Any:
    """The JSON value of one row; numbers with a fraction become Decimal of their own text.

    What LiteLLM copies from its price list into a row may be left out: `model_map_value` is then
    an empty object.

    Raises:
        RefusedError: invalid_json, duplicate_json_key or bad_encoding.
    """
    shorter = PRICE_ENTRIES.without_known(line)
    if shorter is not None:
        return _decode(shorter)
    value = _decode(line)
    PRICE_ENTRIES.learn_from(line)
    return value


def _decode(line: bytes) -> Any:
    try:
        value = _FAST.decode(line)
        if _has_plain_escapes(line) and line.count(b":") == _encode(value).count(b":"):
            return value
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ArithmeticError, OverflowError):
        pass
    return _decode_slowly(line)


class _Information(msgspec.Struct):
    model_map_value: msgspec.Raw = msgspec.Raw()


class _Metadata(msgspec.Struct):
    model_map_information: _Information = msgspec.field(default_factory=_Information)


class _LoggedRow(msgspec.Struct):
    # None where the line is the metadata alone, as a column holds them.
    metadata: _Metadata | None = None


class _PriceEntries:
    """The price entries met so far: two thirds of a logged row, and the same for every model.

    A known entry is cut out before its row is decoded. It is itself sound, and what is around it
    is as sound without it: the quotes of its name stand as they stood, so it is either the value
    of a key, or the line is broken with it and without it.
    """

    _NAME = b'"model_map_value":'
    _BEGINNING = 64
    _MOST = 256

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self._learning = Lock()

    def without_known(self, line: bytes) -> bytes | None:
        """The line with `{}` for its price entry; None where it has none that is known."""
        place = line.find(self._NAME)
        if place < 0:
            return None
        start = self._start(line, place)
        known = self._known.get(line[start : start + self._BEGINNING])
        if known is None or not line.startswith(known, start):
            return None
        return line[:start] + b"{}" + line[start + len(known) :]

    def learn_from(self, line: bytes) -> None:
        """Remember the price entry of a line that was found sound."""
        place = line.find(self._NAME)
        if place < 0:
            return
        try:
            row = msgspec.json.decode(line, type=_LoggedRow)
            metadata = row.metadata or msgspec.json.decode(line, type=_Metadata)
        except msgspec.MsgspecError:
            return
        entry = bytes(metadata.model_map_information.model_map_value)
        start = self._start(line, place)
        if entry[:1] == b"{" and line.startswith(entry, start):
            # Blocks are read ahead of the rows that are read strictly, so two learn at a time.
            with self._learning:
                self._known[entry[: self._BEGINNING]] = entry
                if len(self._known) > self._MOST:
                    # The oldest goes: a new price list brings new entries for every model.
                    del self._known[next(iter(self._known))]

    def find_known(self, lines: bytes) -> Iterator[tuple[int, int]]:
        """Begin and end of every known entry of many lines; others are learned on the way."""
        place = lines.find(self._NAME)
        while place >= 0:
            start = end = self._start(lines, place)
            beginning = lines[start : start + self._BEGINNING]
            known = self._known.get(beginning)
            if known is None and beginning[:1] == b"{":
                known = self._learn_at(lines, place, beginning)
            if known is not None and lines.startswith(known, start):
                end = start + len(known)
                yield start, end
            place = lines.find(self._NAME, max(end, place + 1))

    def _learn_at(self, lines: bytes, place: int, beginning: bytes) -> bytes | None:
        first = lines.rfind(b"\n", 0, place) + 1
        line = lines[first:].partition(b"\n")[0]
        try:
            _decode(line)
        except RefusedError:
            return None
        self.learn_from(line)
        return self._known.get(beginning)

    def _start(self, line: bytes, place: int) -> int:
        start = place + len(self._NAME)
        return start + (line[start : start + 1] == b" ")


PRICE_ENTRIES = _PriceEntries()


def _has_plain_escapes(line: bytes) -> bool:
    r"""Whether no string has an escaped NUL, and none an escaped colon.

    Then a colon is written as itself wherever there is one, so the decoded value, encoded again,
    holds as many as the line, unless a key stood twice and its first value fell away.
    """
    if b"\\" not in line or b"\\u00" not in line:
        return True
    return b"\\u0000" not in line and b"\\u003" not in line


def _decode_slowly(line: bytes) -> Any:
    value = read_json(decode_text(line))
    refusal = find_refusal(value)
    if refusal is not None:
        raise RefusedError(refusal.code, refusal.reason)
    return value


def decode_text(data: bytes) -> str:
    """The bytes as UTF-8 text.

    Raises:
        RefusedError: bad_encoding.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError("bad_encoding", f"not UTF-8 at byte {error.start}") from error


def read_json(text: str) -> Any:
    """The JSON value of a text, with NaN and Infinity as numbers that are refused where they count.

    Objects with a repeated key are kept as RepeatedKeyObject, for find_refusal to find.

    Raises:
        RefusedError: invalid_json.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=decimal_from_json,
            parse_constant=Decimal,
        )
    except RecursionError as error:
        raise RefusedError("invalid_json", "nested too deeply") from error
    except ValueError as error:
        # The decoder's own message names a place, never the text that stands there.
        raise RefusedError("invalid_json", f"not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = RepeatedKeyObject(found)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            repeated.repeated = key
            break
        seen.add(key)
    return repeated


def find_refusal(value: Any) -> Refusal | None:
    """Why a decoded value is refused as a whole: a repeated key or broken text anywhere inside."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, RepeatedKeyObject):
            return Refusal("duplicate_json_key", "", f"{named(item.repeated)} stands twice")
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str) and is_broken_text(item):
            return Refusal("bad_encoding", "", "a NUL or half a surrogate pair in a string")
    return None


def named(key: str) -> str:
    """A key as a message may name it: it is somebody's text too, so only a plain field name."""
    return f"key '{key}'" if key.isascii() and key.isidentifier() and len(key) <= 40 else "a key"


def is_broken_text(text: str) -> bool:
    """Whether a string holds a NUL or half a surrogate pair."""
    if "\x00" in text:
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
