"""Strict JSON: exact numbers, no duplicate keys, no NUL, no lone surrogates."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

from orchestration.core.refusals import RefusedError

_FAST = msgspec.json.Decoder(float_hook=Decimal)
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')


class _DuplicateKeyError(ValueError):
    pass


def decode_row(line: bytes) -> Any:
    """The JSON value of one row; numbers with a fraction become Decimal of their own text.

    Raises:
        RefusedError: invalid_json, duplicate_json_key or bad_encoding.
    """
    if b"\\u0000" in line or b"\\ud" in line or b"\\uD" in line:
        return _decode_slowly(line)
    try:
        value = _FAST.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError):
        return _decode_slowly(line)
    if _keys_certainly_unique(line, value):
        return value
    return _decode_slowly(line)


def _keys_certainly_unique(line: bytes, value: Any) -> bool:
    """Whether as many keys were written as were kept.

    A key's closing quote stands directly before a colon. An escaped quote before a colon is text
    inside a string, unless the backslash itself is escaped. Where these signs are in doubt the
    slow decoder decides.
    """
    if b'\\\\":' in line or _SPACED_COLON.search(line):
        return False
    written = line.count(b'":') - line.count(b'\\":')
    return written == _count_keys(value)


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        total = len(value)
        for item in value.values():
            if isinstance(item, dict | list) and item:
                total += _count_keys(item)
        return total
    if isinstance(value, list):
        total = 0
        for item in value:
            if isinstance(item, dict | list) and item:
                total += _count_keys(item)
        return total
    return 0


def _decode_slowly(line: bytes) -> Any:
    text = decode_text(line)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_float=Decimal, parse_constant=Decimal
        )
    except _DuplicateKeyError as error:
        raise RefusedError("duplicate_json_key", f"{_named(str(error))} stands twice") from error
    except RecursionError as error:
        raise RefusedError("invalid_json", "nested too deeply") from error
    except ValueError as error:
        raise RefusedError("invalid_json", f"not JSON: {error}") from error
    _refuse_broken_text(value)
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found


def _refuse_broken_text(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str) and ("\x00" in item or not _is_encodable(item)):
            raise RefusedError("bad_encoding", "a NUL or half a surrogate pair in a string")


def _named(key: str) -> str:
    # A key is somebody's text too: only a plain field name is repeated in a message.
    return f"key '{key}'" if key.isidentifier() and len(key) <= 40 else "a key"


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
