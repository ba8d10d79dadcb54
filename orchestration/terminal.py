"""What people read on a terminal: tables, exact money, escaped text, and progress."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.status import Status

# Rows a table shows; the other formats give all.
TABLE_ROWS = 200
# A text cell longer than this is cut in a table, and the cut is visible; numbers never are.
CELL_CHARACTERS = 80
# Something is said at least this often while a run is busy; the contract asks for five seconds.
HEARTBEAT_SECONDS = 4.0
# Lines of one step that come faster than this are skipped.
QUIET_SECONDS = 1.0
_DISPLAY_PLACES = 6
# A spreadsheet takes a text that begins with one of these as a formula, or hides what follows.
_FORMULA_STARTS = frozenset("=+-@\t\r\0")
# Two-column characters, so that tables with them stay aligned.
_WIDE = frozenset("WF")


def printable(text: object) -> str:
    """The text with control characters, bidirectional marks and the like escaped."""
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def shortened(text: str, limit: int = CELL_CHARACTERS) -> str:
    """The text cut to `limit` characters, the cut marked."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def money(amount: Decimal | None, places: int = _DISPLAY_PLACES) -> str:
    """An amount for reading, rounded half-even to `places`; `unknown` where it cannot be known."""
    if amount is None:
        return "unknown"
    return f"{amount:,.{places}f}"


def count(number: int | None) -> str:
    """A whole number with separators."""
    return "" if number is None else f"{number:,}"


def moment(at: datetime | None) -> str:
    """A UTC time to the second, or a dash."""
    return "-" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def say(line: str = "") -> None:
    """One line on standard output."""
    sys.stdout.write(line + "\n")


def complain(line: str) -> None:
    """One line on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


# ---------------------------------------------------------------- tables


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in _WIDE)
        for c in text
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> list[str]:
    """Aligned lines: a header, a rule, the rows.

    Args:
        headers: Column names.
        rows: Texts, already printable.
        right: One letter per column; `r` sets it flush right.
    """
    widths = [
        max([_width(header), *(_width(row[i]) for row in rows)]) for i, header in enumerate(headers)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for i, cell in enumerate(cells):
            gap = " " * (widths[i] - _width(cell))
            padded.append(gap + cell if right[i : i + 1] == "r" else cell + gap)
        return "  ".join(padded).rstrip()

    return [line(headers), "  ".join("-" * width for width in widths), *map(line, rows)]


def result_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A query's rows as a table, or one column a line where the table is wider than the screen."""
    texts = _texts(rows, len(columns))
    names = [printable(column) for column in columns]
    right = "".join(
        "r" if any(_is_number(row[i]) for row in rows) else "l" for i in range(len(columns))
    )
    lines = table(names, texts, right=right)
    if max(map(_width, lines)) <= shutil.get_terminal_size(fallback=(120, 24)).columns:
        return lines
    return list(_records(names, texts))


def _records(names: Sequence[str], texts: Sequence[Sequence[str]]) -> Iterator[str]:
    width = max(map(_width, names))
    for number, row in enumerate(texts, 1):
        yield f"-- row {number}"
        for name, text in zip(names, row, strict=True):
            yield f"{name}{' ' * (width - _width(name))}  {text}".rstrip()


def _texts(rows: Sequence[Sequence[Any]], width: int) -> list[list[str]]:
    """Cells as text; the decimals of a column get as many places as its longest needs."""
    places = [max((_places(row[i]) for row in rows), default=0) for i in range(width)]
    return [
        [
            f"{cell:.{places[i]}f}"
            if isinstance(cell, Decimal) and cell.is_finite()
            else shortened(printable(plain(cell)))
            for i, cell in enumerate(row)
        ]
        for row in rows
    ]


def _places(value: Any) -> int:
    if not isinstance(value, Decimal) or not value.is_finite():
        return 0
    return len(f"{value:f}".partition(".")[2].rstrip("0"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def plain(value: Any) -> str:
    """A value of the warehouse as text: decimals written out, times as SQL writes them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(_json_value(value), ensure_ascii=False)
    return str(value)


# ---------------------------------------------------------------- CSV and JSON


def without_formula(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula: a leading ' where it would."""
    for character in text:
        if character in _FORMULA_STARTS:
            return "'" + text
        if not character.isspace():
            return text
    return text


def write_csv(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO, *, is_raw: bool
) -> None:
    """Rows as CSV: NULL is empty, numbers stay exact, text is made harmless unless `is_raw`."""
    escape = printable if stream.isatty() else str
    guard: Callable[[str], str] = str if is_raw else without_formula
    writer = csv.writer(stream, lineterminator="\n")

    def cell(value: Any) -> str:
        text = plain(value)
        if _is_number(value) or isinstance(value, date | bool):
            return text
        return escape(guard(text))

    writer.writerow([escape(guard(column)) for column in columns])
    for row in rows:
        writer.writerow([cell(value) for value in row])


def write_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO) -> None:
    """Rows as a JSON array, one object a line; decimals as text, so that no reader rounds them."""
    separator = "[\n"
    for row in rows:
        values = {
            name: _json_value(value) for name, value in zip(_distinct(columns), row, strict=True)
        }
        stream.write(separator + _escaped(json.dumps(values, ensure_ascii=False)))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {plain(name): _json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(each) for each in value]
    return plain(value)


def _escaped(text: str) -> str:
    """JSON leaves DEL, C1 and bidirectional marks as they are; inside its strings they may be \\u."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else json.dumps(c)[1:-1] if not c.isascii() else f"\\u{ord(c):04x}"
        for c in text
    )


def _distinct(columns: Sequence[str]) -> list[str]:
    """The names with a number behind each that stood before."""
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        names.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return names


# ---------------------------------------------------------------- progress


class Progress:
    """Says what is going on: a moving line on a terminal, dated lines elsewhere, never both.

    Something is written at least every HEARTBEAT_SECONDS, also while nothing is reported.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._begun = time.monotonic()
        self._last = ""
        self._step = ""
        self._said_at = 0.0
        self._status: Status | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console
            from rich.status import Status

            self._status = Status("", console=Console(file=self._stream))
            self._status.start()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        if self._status is not None:
            self._status.stop()

    def __call__(self, line: str) -> None:
        """Report what is being done now."""
        text = shortened(printable(line), 120)
        step = text.partition(" ")[0]
        with self._lock:
            self._last = text
            now = time.monotonic()
            if self._status is not None:
                self._show()
            elif step != self._step or now - self._said_at >= QUIET_SECONDS:
                self._write(text)
            self._step = step

    def _beat(self) -> None:
        pause = 0.5 if self._status is not None else 0.2
        while not self._done.wait(pause):
            with self._lock:
                if self._status is not None:
                    self._show()
                elif self._last and time.monotonic() - self._said_at >= HEARTBEAT_SECONDS:
                    self._write(f"{self._last} ({self._elapsed()})")

    def _show(self) -> None:
        from rich.text import Text

        if self._status is not None:
            self._status.update(Text(f"{self._last} ({self._elapsed()})"))

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._begun:.0f} s"

    def _write(self, text: str) -> None:
        self._said_at = time.monotonic()
        self._stream.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {text}\n")
        self._stream.flush()
