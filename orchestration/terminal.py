"""What people read on a terminal: tables, exact money, escaped text, and progress."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from itertools import groupby, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from orchestration.core.spreadsheets import without_formula

if TYPE_CHECKING:
    from pathlib import Path

    from rich.status import Status as Spinner

    from orchestration.landing.extract import ExtractReport
    from orchestration.warehouse.close import Closed, Refusal
    from orchestration.warehouse.decide import DecideReport
    from orchestration.warehouse.ledger import Batch
    from orchestration.warehouse.load import LoadReport
    from orchestration.warehouse.packet_check import Verdict
    from orchestration.warehouse.reading import (
        InvoiceVerdict,
        OpenExceptions,
        PeriodStatus,
        RefusedBatch,
        RefusedFile,
        RefusedRow,
        RefusedRows,
        RunStatus,
        Spend,
        Status,
        Summary,
        Wallet,
    )
    from orchestration.warehouse.retry import RetryReport, StillRefused

# Rows a table shows; the other formats give all.
TABLE_ROWS = 200
# Months that `status` lists.
PERIODS_SHOWN = 24
# A text cell longer than this is cut in a table, and the cut is visible; numbers never are.
CELL_CHARACTERS = 80
# Something is said at least this often while a run is busy; the contract asks for five seconds.
HEARTBEAT_SECONDS = 4.0
# Lines of one step that come faster than this are skipped.
QUIET_SECONDS = 1.0
_DISPLAY_PLACES = 6
# A summary fits on one screen: 45 lines of 100 columns.
LINE_CHARACTERS = 100
NAME_CHARACTERS = 56
FILES_SHOWN, PROVIDERS_SHOWN, TEAMS_SHOWN, WALLETS_SHOWN, LINES_NAMED = 6, 8, 6, 3, 5
_ROW_COUNTS = ("rows_in", "rows_loaded", "rows_already_known", "rows_quarantined")
_FILE_COLUMNS = ("file", "in", "loaded", "known", "quarantined")
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


class ReaderGoneError(Exception):
    """Whoever read our output has stopped reading, as `head` does."""


def say(line: str = "") -> None:
    """One line on standard output.

    Raises:
        ReaderGoneError: nobody reads it any more.
    """
    try:
        sys.stdout.write(line + "\n")
    except BrokenPipeError as error:
        raise ReaderGoneError from error


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


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO) -> int:
    """The first TABLE_ROWS rows as a table, with a note where there are more; rows shown."""
    taken = list(islice(rows, TABLE_ROWS + 1))
    shown = taken[:TABLE_ROWS]
    lines = _result_lines(columns, shown)
    if len(taken) > len(shown):
        lines.append(f"(the first {TABLE_ROWS} rows; --format csv gives all)")
    elif not shown:
        lines.append("(no rows)")
    stream.write("\n".join(lines) + "\n")
    return len(shown)


def _result_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A table, or one column a line where the table is wider than the screen."""
    texts = _texts(rows, len(columns))
    names = [printable(column) for column in columns]
    right = "".join(
        "r" if any(_is_number(row[i]) for row in rows) else "l" for i in range(len(columns))
    )
    short = [[shortened(text) for text in row] for row in texts]
    lines = table(names, short, right=right)
    screen = shutil.get_terminal_size(fallback=(120, 24)).columns
    if not rows or max(map(_width, lines)) <= screen:
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
            else printable(plain(cell))
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
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(_json_value(value), ensure_ascii=False)
    return str(value)


# ---------------------------------------------------------------- CSV and JSON


def write_csv(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO, *, is_raw: bool
) -> int:
    """Rows as CSV, and how many: NULL is empty, numbers exact, text harmless unless `is_raw`."""
    escape = printable if stream.isatty() else str
    guard: Callable[[str], str] = str if is_raw else without_formula
    writer = csv.writer(stream, lineterminator="\n")

    def cell(value: Any) -> str:
        text = plain(value)
        if _is_number(value) or isinstance(value, date | bool):
            return text
        return escape(guard(text))

    writer.writerow([escape(guard(column)) for column in columns])
    written = 0
    for row in rows:
        writer.writerow([cell(value) for value in row])
        written += 1
    return written


def write_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO) -> int:
    """Rows as a JSON array, and how many; decimals as text, so that no reader rounds them."""
    separator = "[\n"
    names = _distinct(columns)
    written = 0
    for row in rows:
        values = {name: _json_value(value) for name, value in zip(names, row, strict=True)}
        stream.write(separator + _escaped(json.dumps(values, ensure_ascii=False)))
        separator = ",\n"
        written += 1
    stream.write("\n]\n" if written else "[]\n")
    return written


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
    """The JSON text with the marks escaped that JSON itself leaves: DEL, C1, bidirectional."""
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


# ---------------------------------------------------------------- a run's summary


def extract_lines(report: ExtractReport | None) -> list[str]:
    """What the sources with a connection gave, one line each."""
    lines = []
    for each in report.sources if report else ():
        landed = ", ".join(f"{count(n)} {kind}" for kind, n in sorted(each.rows.items()) if n)
        lines.append(f"Source {each.source}: {landed or 'nothing new'}")
        lines += [f"  not read: {printable(problem)}" for problem in each.problems]
        lines += [f"  {printable(note)}" for note in each.notes]
    return [shortened(line, LINE_CHARACTERS) for line in lines]


def load_lines(report: LoadReport | None, problems: Sequence[str]) -> list[str]:
    """What a load step read: totals, each file where they are few, and what was wrong with any."""
    if report is None:
        return []
    totals = [count(report.total(name)) for name in _ROW_COUNTS]
    lines = [
        f"Rows: {totals[0]} in = {totals[1]} loaded + {totals[2]} already known + {totals[3]} "
        f"quarantined, from {_several(len(report.batches), 'file')}"
    ]
    refused = [b for b in report.batches if b.status == "rejected" or b.rows_quarantined]
    shown = report.batches if len(report.batches) <= FILES_SHOWN else refused
    rows = [_file_row(batch) for batch in shown[:FILES_SHOWN]]
    lines += ["  " + line for line in table(_FILE_COLUMNS, rows, right="lrrrr")] if rows else []
    if len(shown) > FILES_SHOWN:
        lines.append(f"  ... and {len(shown) - FILES_SHOWN} more; tollbook quarantine list")
    lines += [f"  refused: {printable(problem)}" for problem in problems[:FILES_SHOWN]]
    notes: dict[str, Sequence[str]] = {
        "no source's folder, left alone": report.strays,
        "still growing, left for the next run": report.unsettled,
    }
    for what, names in notes.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  {what}: {_file(names[0])}{more}")
    return [shortened(line, LINE_CHARACTERS) for line in lines]


def _file_row(batch: Batch) -> list[str]:
    if batch.status == "rejected":
        return [_file(batch.file_name), "", "", "", "rejected"]
    return [_file(batch.file_name), *(count(getattr(batch, name)) for name in _ROW_COUNTS)]


def _file(name: str) -> str:
    """The end of a path tells files apart, so its beginning is what is cut."""
    text = printable(name)
    return text if len(text) <= NAME_CHARACTERS else "…" + text[1 - NAME_CHARACTERS :]


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summary_lines(summary: Summary) -> list[str]:
    """The figures a run ends with."""
    lines = ["", *_spend_lines("provider", summary.by_provider, summary, PROVIDERS_SHOWN)]
    lines += ["", *_spend_lines("team", summary.by_team, summary, TEAMS_SHOWN)]
    lines += ["", *_wallet_lines(summary.wallets), *_invoice_lines(summary.invoices), ""]
    return lines + exception_lines(summary.exceptions)


def _spend_lines(title: str, spends: list[Spend], summary: Summary, shown: int) -> list[str]:
    if not spends:
        return [f"Spend by {title}: no usage yet"]
    currencies = sorted({spend.currency for spend in spends})
    one = f", {currencies[0]}" if len(currencies) == 1 else ""
    days = f"{summary.first_date} to {summary.last_date}"
    rows = []
    for currency in currencies:
        mine = [spend for spend in spends if spend.currency == currency]
        rows += [_spend_row(spend) for spend in mine[:shown]]
        if len(mine) > shown:
            rest = _sum_of(mine[shown:], f"({len(mine) - shown} more)")
            rows.append(_spend_row(rest))
        rows.append(_spend_row(_sum_of(mine, f"all {'' if one else currency}".strip())))
    headers = [title, "requests", "gateway cost", "list cost", "billed cost", "unpriced"]
    lines = table(headers, rows, right="lrrrrr")
    return [f"Spend by {title}, {days} (UTC){one}, rounded to 6 places", *("  " + x for x in lines)]


def _spend_row(spend: Spend) -> list[str]:
    costs = [money(cost) for cost in (spend.gateway_cost, spend.list_cost, spend.billed_cost)]
    name = shortened(printable(spend.name), 28)
    return [name, count(spend.requests), *costs, count(spend.unpriced_requests)]


def _sum_of(spends: list[Spend], name: str) -> Spend:
    """Spend of several names of one currency; a cost nobody knows stays unknown."""
    first = spends[0]
    return replace(
        first,
        name=name,
        requests=sum(each.requests for each in spends),
        gateway_cost=_known_sum(each.gateway_cost for each in spends),
        list_cost=_known_sum(each.list_cost for each in spends),
        billed_cost=_known_sum(each.billed_cost for each in spends),
        unpriced_requests=sum(each.unpriced_requests for each in spends),
    )


def _known_sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    with localcontext(prec=60):
        return sum(known, Decimal(0)) if known else None


def _wallet_lines(wallets: list[Wallet]) -> list[str]:
    if not wallets:
        return ["Wallet: no wallet is configured"]
    lines = [
        f"Wallet {printable(wallet.wallet_id)}: {money(wallet.balance)} {wallet.currency}"
        + (f", {printable(wallet.status)}" if wallet.status else "")
        + ("" if wallet.runway_days is None else f", lasts {int(wallet.runway_days):,} days")
        for wallet in wallets[:WALLETS_SHOWN]
    ]
    left_out = len(wallets) - WALLETS_SHOWN
    return lines + ([f"{left_out:,} more in marts.wallet_balances"] if left_out > 0 else [])


def _invoice_lines(invoices: list[InvoiceVerdict]) -> list[str]:
    """The verdict on the invoices of each currency, and what makes most of their variance."""
    if not invoices:
        return ["Reconciliation: no invoice has been loaded yet"]
    lines = []
    for each in invoices:
        verdict = (
            f"{_several(each.unexplained_lines, 'line')} unexplained"
            if each.unexplained_lines
            else "all explained"
        )
        lines += [
            f"Reconciliation, {each.currency}: {_several(each.lines, 'invoice line')}, {verdict}",
            f"  invoiced {money(each.invoiced)}, expected {money(each.expected)}, "
            f"variance {money(each.variance)}, of it unexplained {money(each.unexplained)}",
        ]
        if each.causes:
            named = (f"{name.replace('_', ' ')} {money(amount)}" for name, amount in each.causes)
            lines.append(f"  largest causes: {', '.join(named)}")
    return lines


def exception_lines(exceptions: list[OpenExceptions]) -> list[str]:
    """Exceptions by type with the money at stake in the open ones, as far as it is known."""
    if not exceptions:
        return ["Exceptions: none is open"]
    rows = [
        [
            each.exception_type,
            each.severity,
            "yes" if each.is_blocking else "no",
            count(each.exceptions),
            count(each.decided) if each.decided else "",
            _at_stake(each),
            count(each.unknown) if each.unknown else "",
        ]
        for each in exceptions
    ]
    headers = ["type", "severity", "blocks", "open", "decided", "money at stake", "unknown"]
    total = sum(each.exceptions for each in exceptions)
    decided = sum(each.decided for each in exceptions)
    title = f"Exceptions: {total:,} open" + (f", {decided:,} decided" if decided else "")
    lines = table(headers, rows, right="lllrrrr")
    return [title, *("  " + line for line in lines)]


def _at_stake(found: OpenExceptions) -> str:
    if not found.exceptions:
        return ""
    return "unknown" if found.amount is None else f"{money(found.amount)} {found.currency}"


def decision_lines(report: DecideReport, *, decision: str) -> list[str]:
    """What became of each subject of a decision."""
    return [
        shortened(
            f"{'decided ' if each.is_new else 'known   '} {decision}: "
            f"{printable(each.subject.words)} ({each.decision_id})",
            160,
        )
        for each in report.decided
    ]


# What each step counts.
_HANDLED = {
    "extract": "rows landed",
    "load": "rows loaded",
    "build": "models and tests",
    "check": "checks",
    "publish": "rows written",
}


def step_lines(seconds: Mapping[str, float], handled: Mapping[str, int | None]) -> list[str]:
    """Where the time of a run went."""
    rows = [
        [step, f"{took:.1f} s", f"{count(handled.get(step))} {_HANDLED.get(step, '')}".strip()]
        for step, took in seconds.items()
    ]
    return ["Time by step", *("  " + line for line in table(["step", "took", "handled"], rows))]


def next_lines(*, published: Path, checks: Path, docs: Path, has_refusals: bool) -> list[str]:
    """Where to look next."""
    query = "select * from marts.exceptions order by amount_at_stake desc"
    lines = ["", "Next", "  tollbook status", f'  tollbook query "{query}"']
    lines += ["  tollbook quarantine list"] if has_refusals else []
    return [*lines, f"  checks     {checks}", f"  tables     {docs}", f"  published  {published}"]


# ---------------------------------------------------------------- status


def status_lines(status: Status) -> list[str]:
    """How sources, exceptions, checks and runs stand."""
    written = moment(status.written_at)
    lines = [f"Published: version {status.version}, written {written}; times are UTC", ""]
    rows = [
        [
            shortened(printable(each.source), 28),
            each.status,
            _minute(each.last_event_at),
            _minute(each.last_loaded_at),
            _lag(each.lag_minutes),
            count(each.rows_loaded),
            count(each.rows_quarantined),
            count(each.rejected_files),
        ]
        for each in status.sources
    ]
    headers = ["source", "status", "last event", "last load", "lag", "rows", "quarantined"]
    lines += table([*headers, "rejected"], rows, right="llllrrrr") if rows else []
    lines += [] if rows else ["Sources: none is configured"]
    lines += _period_lines(status.periods)
    lines += ["", *exception_lines(status.exceptions), "", *_check_lines(status)]
    return [*lines, "", *_run_lines(status.runs)]


def _period_lines(periods: list[PeriodStatus]) -> list[str]:
    """Which months are open, the latest of them, and what keeps each from being closed."""
    rows = [
        [
            shortened(printable(each.account_id), 28),
            each.billing_month,
            each.status,
            "-" if each.billed_cost is None else f"{money(each.billed_cost)} {each.currency}",
            "-" if not each.adjustments else money(each.adjustments),
            count(each.blocking_exceptions) if each.status == "open" else "",
        ]
        for each in periods[-PERIODS_SHOWN:]
    ]
    headers = ["account", "month", "period", "billed", "corrections", "blocking"]
    return ["", *table(headers, rows, right="lllrrr")] if rows else []


def _minute(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _lag(minutes: int | None) -> str:
    if minutes is None:
        return "-"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def _check_lines(status: Status) -> list[str]:
    if not status.checks:
        return ["Checks: none has run"]
    failed = status.failed_checks
    title = f"Checks as of {moment(status.checked_at)}: {status.checks - len(failed):,} passed"
    if not failed:
        return [f"{title}, none failed"]
    rows = [
        [
            shortened(printable(each.check), 60),
            each.table,
            each.severity,
            count(each.failing_rows),
            "" if each.amount is None else money(each.amount),
        ]
        for each in failed
    ]
    headers = ["check", "table", "severity", "rows", "money"]
    lines = table(headers, rows, right="lllrr")
    return [f"{title}, {len(failed):,} failed", *("  " + line for line in lines)]


def _run_lines(runs: list[RunStatus]) -> list[str]:
    rows = [[moment(r.started_at), f"{r.seconds:.1f} s", r.status, r.steps] for r in runs]
    if not rows:
        return ["Runs: none is recorded"]
    return table(["run", "took", "status", "steps before it was published"], rows, right="lrll")


# ---------------------------------------------------------------- close and verify


def refusal_lines(refusals: Sequence[Refusal]) -> list[str]:
    """Why months are not closed, what is at stake, and how each exception is decided."""
    lines = []
    for refusal in refusals:
        where = f"account {printable(refusal.account_id)}, {refusal.billing_month}"
        if refusal.reason:
            lines.append(f"tollbook: {where}: {printable(refusal.reason)}")
            continue
        number = sum(each.exceptions for each in refusal.blocking)
        lines.append(
            f"tollbook: {where}: not closed: {_several(number, 'blocking exception')} open"
        )
        for each in refusal.blocking:
            known = "" if each.amount is None else f"{money(each.amount)} {each.currency}"
            unknown = f"{each.unknown:,} of unknown amount" if each.unknown else ""
            stake = ", ".join(part for part in (known, unknown) if part)
            subject = f"{each.exception_type}/{refusal.account_id}/{refusal.billing_month}"
            lines += [
                f"  {each.exception_type}: {each.exceptions:,}, at stake {stake}",
                f"    {printable(each.suggested_action)}",
                f"    or: tollbook decide {printable(subject)} --decision approve "
                "--owner NAME --ticket ID",
            ]
    if any(refusal.blocking for refusal in refusals):
        lines.append("Nothing was closed. approve, write_off and dispute let a close go on.")
    return lines


def closed_lines(closed: Closed, *, short: Callable[[Path], Path]) -> list[str]:
    """What a closed month comes to, and where its packet lies."""
    lines = [f"closed   {printable(closed.account_id)}, {closed.billing_month}"]
    for currency, totals in sorted(closed.totals.items()):
        figures = (
            f"{name.replace('_', ' ')} {money(Decimal(totals[name]))}"
            for name in ("billed_cost", "shared_cost", "adjustments", "total_cost")
            if name in totals
        )
        lines.append(f"         {', '.join(figures)} {currency}")
    return [
        *lines,
        f"packet   {short(closed.folder)}",
        f"sha256   {closed.packet_sha256}",
        f"next     tollbook verify {short(closed.folder)}",
    ]


def verdict_lines(verdict: Verdict) -> list[str]:
    """What a packet proves: how much was read again, and the hash to compare it by."""
    lines = [
        f"verified {printable(verdict.account_id)}, {verdict.billing_month}: "
        f"{_several(verdict.files, 'file')}, {_several(verdict.tables, 'table')}; "
        "every hash and total holds"
    ]
    for currency, totals in sorted(verdict.totals.items()):
        if "total_cost" in totals:
            lines.append(f"         charged back {money(Decimal(totals['total_cost']))} {currency}")
    return [*lines, f"sha256   {verdict.packet_sha256} (compare with periods.packet_sha256)"]


# ---------------------------------------------------------------- quarantine


def refused_lines(
    files: list[RefusedFile], rows: list[RefusedRows], *, published: tuple[int, datetime] | None
) -> list[str]:
    """Rejected files, then refused rows file by file."""
    state = f"as published in version {published[0]}, {moment(published[1])}" if published else ""
    if not files and not rows:
        return [f"Nothing is in quarantine{', ' if state else ''}{state}."]
    total = sum(each.rows for each in rows)
    lines = [
        f"Quarantine{', ' if state else ''}{state}: {_several(len(files), 'rejected file')}, "
        f"{_several(total, 'refused row')}"
    ]
    for each in files:
        lines += ["", f"{each.load_batch_id}  {printable(each.file_name)}: rejected"]
        lines.append(f"  {each.code}: {printable(each.reason)}")
    for batch, found in groupby(rows, key=lambda each: each.load_batch_id):
        mine = list(found)
        refused = f"{sum(each.rows for each in mine):,} of {_several(mine[0].rows_in, 'row')}"
        lines += ["", f"{batch}  {printable(mine[0].file_name)}: {refused} refused"]
        for each in mine:
            lines += _reason_lines(each.code, each.rows, each.lines, each.reason)
    return [
        *lines,
        "",
        "tollbook quarantine show BATCH [LINE] shows what was kept of a row;",
        "tollbook quarantine retry reads them again by the settings and the clock of now.",
    ]


def refused_batch_lines(batch: RefusedBatch, rows: list[RefusedRow]) -> list[str]:
    """One file's entry and its refused rows with their kept fields."""
    lines = [
        f"batch     {batch.load_batch_id}",
        f"file      {printable(batch.file_name)} ({batch.kind}, source {printable(batch.source)})",
        f"sha256    {batch.file_sha256}",
        f"loaded    {moment(batch.loaded_at)}, {batch.status}",
        f"rows      {batch.rows_in:,} in = {batch.rows_loaded:,} loaded + "
        f"{batch.rows_already_known:,} already known + {batch.rows_quarantined:,} quarantined",
    ]
    if batch.status == "rejected":
        lines.append(f"reason    {batch.code}: {printable(batch.reason or '')}")
    for row in rows:
        lines += ["", f"line {row.line_number:,}: {row.code}: {printable(row.reason)}"]
        lines += [f"  {line}" for line in _field_lines(row.fields)]
        lines.append(f"  row sha256 {row.row_sha256}")
    if len(rows) < batch.rows_quarantined and len(rows) > 1:
        lines.append(f"... and {batch.rows_quarantined - len(rows):,} more; name a LINE")
    return lines


def _field_lines(fields: str) -> list[str]:
    kept = json.loads(fields or "{}", parse_float=Decimal)
    if not kept:
        return ["nothing of it was kept: it could not be read as a row"]
    width = min(28, max(map(len, kept)))
    return [
        f"{printable(name):<{width}}  {printable(plain(value))}"
        for name, value in sorted(kept.items(), key=lambda item: (item[0][:1] == "_", item[0]))
    ]


def retry_lines(report: RetryReport) -> list[str]:
    """What a retry moved, freed and left."""
    if not report.batches and not report.forgotten and not report.gone:
        return ["Nothing is in quarantine."]
    lines = []
    for each in report.batches:
        known = f", {each.already_known:,} already known" if each.already_known else ""
        name = printable(each.batch.file_name)
        lines.append(f"{name}: {each.loaded:,} loaded{known}, {len(each.refused):,} still refused")
        lines += _still_refused_lines(each.refused)
    lines += [f"{printable(name)}: will be read again" for name in report.forgotten]
    lines += [f"{printable(name)}: no longer in landing; drop it again" for name in report.gone]
    if report.loaded or report.forgotten:
        lines.append("`tollbook run` builds and publishes what changed.")
    return lines


def _still_refused_lines(refused: list[StillRefused]) -> list[str]:
    lines = []
    readable = sorted((row for row in refused if row.is_readable), key=lambda row: row.code)
    for code, found in groupby(readable, key=lambda row: row.code):
        mine = list(found)
        at = [row.line_number for row in mine[:LINES_NAMED]]
        lines += _reason_lines(code, len(mine), at, mine[0].reason)
    lost = sum(not row.is_readable for row in refused)
    if lost:
        lines.append(
            f"  {lost:>7,}  cannot be read again from what was kept: correct the file, drop it anew"
        )
    return lines


def _reason_lines(code: str, rows: int, lines: list[int], reason: str) -> list[str]:
    """How many rows have a code, where the first of them stand, and what the first says."""
    at = ", ".join(f"{line:,}" for line in lines) + (", ..." if rows > len(lines) else "")
    where = f"line{'' if rows == 1 else 's'} {at}"
    words = shortened(printable(reason), LINE_CHARACTERS)
    return [f"  {rows:>7,}  {code:<20}  {where}", f"           {words}"]


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
        self._status: Spinner | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            from rich.console import Console
            from rich.status import Status as Spinner

            console = Console(file=self._stream)
            # A terminal that cannot move its cursor gets plain lines.
            if not console.is_dumb_terminal:
                self._status = Spinner("", console=console)
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
