"""People's reference data: seeds/*.csv read, typed and judged row by row (contract, table T2)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Context, Decimal
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestration.config import ConfigurationError
from orchestration.core.refusals import RefusedError, shown, without_secrets
from orchestration.core.values import read_count, read_date, read_decimal, read_time
from orchestration.landing.seed_tables import SEEDS, SeedColumn, SeedTable
from orchestration.sources.records import read_key_id

# A line that begins so is a comment; no value of ours begins with it.
COMMENT = "#"
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])\Z")
_CURRENCY = re.compile(r"[A-Za-z]{3}\Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
# Wide enough for every digit of a number whose size was checked.
_EXACT = Context(prec=80)
_OPEN_DATE = date(9999, 12, 31)
_OPEN_TIME = datetime(9999, 12, 31)  # noqa: DTZ001  # naive UTC


@dataclass(frozen=True, slots=True)
class SeedProblem:
    """One thing wrong with a seed file.

    Attributes:
        seed: Name of the table.
        line: Line of the file, from 1.
        code: Why, as one word.
        reason: What was found and what to write instead.
        subject: The row's first key column, so that what it left uncovered can be explained.
        is_refused: Whether the row was left out; otherwise it is only a note.
    """

    seed: str
    path: Path
    line: int
    column: str
    code: str
    reason: str
    subject: str = ""
    is_refused: bool = True

    def __str__(self) -> str:
        """One line naming file, line, column and fix."""
        return f"{self.path}:{self.line}: {self.column}: {self.code}: {self.reason}"


@dataclass(slots=True)
class CheckedSeed:
    """The accepted rows of one seed and what was wrong with the others.

    Attributes:
        rows: (line, value by column); absent values are None.
    """

    table: SeedTable
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    problems: list[SeedProblem] = field(default_factory=list)

    def to_csv(self) -> str:
        """The accepted rows with every column of the table, in canonical text."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.table.names)
        for _, values in self.rows:
            writer.writerow([_written(values.get(name)) for name in self.table.names])
        return stream.getvalue()


def read_seeds(folder: Path, *, fallback: Path) -> dict[str, CheckedSeed]:
    """Every seed of the folder by name; a missing file is empty, or ours where we ship one.

    Args:
        folder: The user's seeds.
        fallback: Our folder, for the tables marked as shipped.

    Raises:
        ConfigurationError: a file is unreadable or lacks a required column.
    """
    seeds = {}
    for table in SEEDS:
        path = folder / f"{table.name}.csv"
        if not path.is_file() and table.is_shipped:
            path = fallback / path.name
        seeds[table.name] = read_seed_file(path, table)
    for seed in seeds.values():
        _refuse_unknown_references(seed, seeds, folder)
    return seeds


def read_seed_file(path: Path, table: SeedTable) -> CheckedSeed:
    """One seed file; a missing one is empty.

    Raises:
        ConfigurationError: it is unreadable or lacks a required column.
    """
    seed = CheckedSeed(table)
    if not path.is_file():
        return seed
    lines = seed_lines(path)
    _, header = next(lines, (1, []))
    _check_header(seed, path, header)
    for line, cells in lines:
        _read_row(seed, path, line, dict(zip(header, cells, strict=False)), len(cells), len(header))
    fix = "end one when the other begins" if table.validity else "keep one"
    _refuse_overlaps(seed, path, table.key, fix)
    if table.choice:
        _refuse_overlaps(seed, path, table.choice, f"{fix}, or give one a lower priority")
    _refuse_partial_shares(seed, path)
    return seed


def seed_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row that is neither blank nor a comment, the header first.

    Raises:
        ConfigurationError: no UTF-8, or a quote that is never closed.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}:1: cannot be read as UTF-8; save it so") from error
    return iter(list(_rows(path, text)))


def _rows(path: Path, text: str) -> Iterable[tuple[int, list[str]]]:
    # Comments become blank lines, so that the reader keeps counting as people do.
    lines = ["\n" if line.startswith(COMMENT) else line for line in text.splitlines(keepends=True)]
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConfigurationError(
            f"{path}:{line}: not CSV ({error}); close the quote, or double one that is meant"
        ) from error


def _check_header(seed: CheckedSeed, path: Path, header: list[str]) -> None:
    required = [column.name for column in seed.table.columns if column.is_required]
    missing = [name for name in required if name not in header]
    if missing:
        raise ConfigurationError(
            f"{path}:1: {', '.join(missing)}: missing_columns: required; add the column"
        )
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ConfigurationError(
            f"{path}:1: {', '.join(repeated)}: duplicate_header: keep one column of the name"
        )
    for name in header:
        if name not in seed.table.names:
            reason = "unknown column, not read; remove it or correct its spelling"
            seed.problems.append(
                SeedProblem(
                    seed.table.name, path, 1, shown(name), "schema_drift", reason, is_refused=False
                )
            )


def _read_row(
    seed: CheckedSeed, path: Path, line: int, cells: dict[str, str], found: int, expected: int
) -> None:
    subject = _subject(seed.table, cells)
    refuse = partial(SeedProblem, seed.table.name, path, line)
    if found != expected:
        reason = f"{found} values under {expected} columns; quote a value that holds a comma"
        seed.problems.append(refuse("row", "column_count", reason, subject))
        return
    values: dict[str, Any] = {}
    for column in seed.table.columns:
        try:
            values[column.name] = _read_cell(cells, column)
        except RefusedError as error:
            refusal = error.refusal
            seed.problems.append(refuse(column.name, refusal.code, refusal.reason, subject))
            return
    start, end = _validity(seed.table, values)
    if start is not None and end is not None and end <= start:
        reason = f"ends {end} before it begins {start}; the end is the first moment after"
        column = seed.table.validity[1] if seed.table.validity else ""
        seed.problems.append(refuse(column, "bad_period", reason, subject))
        return
    seed.rows.append((line, values))


def _read_cell(cells: dict[str, str], column: SeedColumn) -> Any:
    text = cells.get(column.name, "")
    if text:
        return _READERS[column.type](text, column, cells)
    if column.is_required and not column.may_be_blank:
        raise RefusedError("missing_field", "required and empty; write a value")
    return _READERS[column.type](column.default, column, cells) if column.default else None


def _read_name(text: str, _column: SeedColumn, cells: dict[str, str]) -> str:
    # The id of a key is named like any other id where a scope says what it is.
    if _column.name == "scope_id" and cells.get("scope_type") == "key":
        return _read_key(text, _column, cells)
    if _column.name == "cost_kind" and text.startswith("key:"):
        return "key:" + _read_key(text.removeprefix("key:"), _column, cells)
    return without_secrets(text)


def _read_provider(text: str, _column: SeedColumn, _cells: dict[str, str]) -> str:
    """The name that usage has: people write what their gateway calls the provider."""
    word = without_secrets(text).lower()
    return next((name for name, begins in PROVIDERS if word.startswith(begins)), word)


def _read_key(text: str, _column: SeedColumn, _cells: dict[str, str]) -> str:
    return read_key_id(text)[0] or ""


def _read_choice(text: str, column: SeedColumn, _cells: dict[str, str]) -> str:
    if text not in column.choices:
        raise RefusedError(
            "bad_value", f"expected one of {', '.join(column.choices)}, found '{shown(text)}'"
        )
    return text


def _read_currency(text: str, _column: SeedColumn, _cells: dict[str, str]) -> str:
    if not _CURRENCY.match(text):
        raise RefusedError("unsupported_currency", f"write a code like USD, found '{shown(text)}'")
    return text.upper()


def _read_zone(text: str, _column: SeedColumn, _cells: dict[str, str]) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RefusedError(
            "bad_value", f"write an IANA name like Europe/Berlin, found '{shown(text)}'"
        ) from error
    return text


def _read_month(text: str, _column: SeedColumn, _cells: dict[str, str]) -> str:
    if not _MONTH.match(text):
        raise RefusedError("bad_value", f"write a month like 2026-05, found '{shown(text)}'")
    return text


def _read_day(text: str, _column: SeedColumn, _cells: dict[str, str]) -> date:
    if text == _OPEN_DATE.isoformat():
        return _OPEN_DATE
    if not _DAY.match(text):
        raise RefusedError("bad_timestamp", f"write a day like 2026-05-31, found '{shown(text)}'")
    return read_date(text, "")


def _read_moment(text: str, _column: SeedColumn, _cells: dict[str, str]) -> datetime:
    return _OPEN_TIME if text.startswith("9999-12-31") else read_time(text, "")[0]


def _read_number(text: str, column: SeedColumn, _cells: dict[str, str]) -> Decimal:
    number = read_decimal(text, "")
    whole, places = column.digits
    if abs(number) >= Decimal(10) ** whole:
        raise RefusedError("bad_number", f"1e{whole} or more: {shown(text)}")
    if number.quantize(Decimal(1).scaleb(-places), context=_EXACT) != number:
        raise RefusedError("bad_number", f"more than {places} decimal places: {shown(text)}")
    if number < 0 and not column.may_be_negative:
        raise RefusedError("bad_number", f"expected 0 or more, found {shown(text)}")
    return number


def _read_whole(text: str, _column: SeedColumn, _cells: dict[str, str]) -> int:
    return read_count(text, "")


def _read_boolean(text: str, _column: SeedColumn, _cells: dict[str, str]) -> bool:
    if text.lower() not in ("true", "false"):
        raise RefusedError("bad_value", f"write true or false, found '{shown(text)}'")
    return text.lower() == "true"


# As the macro provider_beginnings has them, which usage and catalogs are read by.
PROVIDERS = (
    ("azure", ("azure",)),
    ("google", ("gemini", "google", "palm", "vertex_ai")),
    ("aws", ("aws", "amazon", "bedrock", "sagemaker")),
    ("openai", ("text-completion-openai",)),
    ("anthropic", ("anthropic_text",)),
)

_READERS: dict[str, Callable[[str, SeedColumn, dict[str, str]], Any]] = {
    "text": _read_name,
    "key": _read_key,
    "provider": _read_provider,
    "choice": _read_choice,
    "currency": _read_currency,
    "zone": _read_zone,
    "month": _read_month,
    "date": _read_day,
    "time": _read_moment,
    "money": _read_number,
    "rate": _read_number,
    "count": _read_whole,
    "boolean": _read_boolean,
}


def _written(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def _subject(table: SeedTable, cells: dict[str, str]) -> str:
    text = cells.get(table.key[0], "")
    if table.column(table.key[0]).type == "key" and text:
        return read_key_id(text)[0] or ""
    return shown(text)


def _validity(table: SeedTable, values: dict[str, Any]) -> tuple[Any, Any]:
    """When the row holds; (None, None) for a table without validity."""
    if table.validity is None:
        return None, None
    start, end = (values[name] for name in table.validity)
    if end is None:
        end = _OPEN_TIME if table.column(table.validity[1]).type == "time" else _OPEN_DATE
    return start, end


def _refuse_overlaps(seed: CheckedSeed, path: Path, columns: tuple[str, ...], fix: str) -> None:
    """Leave out all rows alike in these columns that hold at once: which of them is meant?"""
    groups: dict[tuple[Any, ...], list[tuple[Any, Any, int]]] = {}
    for line, values in seed.rows:
        alike = tuple(values[name] for name in columns)
        groups.setdefault(alike, []).append((*_validity(seed.table, values), line))
    refused: dict[int, int] = {}
    for rows in groups.values():
        for earlier, later in _overlapping(rows):
            refused[earlier] = refused.get(earlier, later)
            refused[later] = earlier
    values_by_line = dict(seed.rows)
    seed.rows = [(line, values) for line, values in seed.rows if line not in refused]
    column = (seed.table.validity or seed.table.key)[0]
    for line, other in sorted(refused.items()):
        values = values_by_line[line]
        named = ", ".join(f"{name} {shown(values[name])}" for name in columns if values[name])
        reason = f"lines {min(line, other)} and {max(line, other)} hold at once for {named}; {fix}"
        subject = str(values[seed.table.key[0]])
        seed.problems.append(
            SeedProblem(seed.table.name, path, line, column, "overlapping_rows", reason, subject)
        )


def _overlapping(rows: list[tuple[Any, Any, int]]) -> Iterable[tuple[int, int]]:
    """Pairs of lines that hold at the same time; each line that overlaps is in one of them."""
    if len(rows) < 2:
        return
    if rows[0][0] is None:
        first, *others = sorted(line for _, _, line in rows)
        yield from ((first, other) for other in others)
        return
    ordered = sorted(rows)
    longest = ordered[0]
    for row in ordered[1:]:
        if row[0] < longest[1]:
            yield longest[2], row[2]
        longest = max(longest, row, key=lambda each: each[1])


def _refuse_partial_shares(seed: CheckedSeed, path: Path) -> None:
    """Fixed shares of one rule must share out everything: they sum to 1 (table T2)."""
    if seed.table.name != "shared_cost_rules":
        return
    groups: dict[tuple[Any, ...], list[tuple[int, Decimal]]] = {}
    for line, values in seed.rows:
        if values["method"] == "fixed":
            key = (values["rule_id"], values["valid_from_date"])
            groups.setdefault(key, []).append((line, values["share"] or Decimal(0)))
    for (rule, _), shares in groups.items():
        total = sum((share for _, share in shares), Decimal(0))
        if total == 1:
            continue
        lines = {line for line, _ in shares}
        seed.rows = [row for row in seed.rows if row[0] not in lines]
        reason = f"the fixed shares of rule {shown(rule)} sum to {total:f}; make them sum to 1"
        seed.problems += [
            SeedProblem(seed.table.name, path, line, "share", "bad_value", reason, str(rule))
            for line in sorted(lines)
        ]


def _refuse_unknown_references(
    seed: CheckedSeed, seeds: dict[str, CheckedSeed], folder: Path
) -> None:
    """Leave out rows that name an account or provider account nobody described."""
    for column, target in seed.table.references:
        known = {values[column] for _, values in seeds[target].rows}
        refused = {problem.subject for problem in seeds[target].problems}
        kept = []
        for line, values in seed.rows:
            if values[column] is None or values[column] in known:
                kept.append((line, values))
                continue
            why = "was refused in" if values[column] in refused else "is not in"
            reason = f"'{shown(values[column])}' {why} {target}.csv; correct it there or here"
            seed.problems.append(
                SeedProblem(
                    seed.table.name,
                    folder / f"{seed.table.name}.csv",
                    line,
                    column,
                    "unknown_reference",
                    reason,
                    str(values[seed.table.key[0]]),
                )
            )
        seed.rows = kept
