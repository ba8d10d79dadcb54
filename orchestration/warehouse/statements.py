"""`tollbook statement`: documents about one month of an account or team, numbered without gaps.

What was issued is a landed file for each number, so that marts.statements follows from landing; the
document itself is made of the published figures, and the same figures give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.core.allocation import round_lines, round_total
from orchestration.core.currencies import MINOR_UNIT_PLACES
from orchestration.core.spreadsheets import without_formula
from orchestration.warehouse.connection import open_reader
from orchestration.warehouse.packet import folder_name
from orchestration.warehouse.reading import published_file

# The landing folder and kind of what was issued.
STATEMENTS = "statements"
KINDS = {"statement": "S", "receipt": "R", "proforma": "P", "statutory": "T"}
_TITLES = {
    "statement": "Statement",
    "receipt": "Receipt",
    "proforma": "Proforma invoice",
    "statutory": "Invoice",
}
_COLUMNS = ("line_no", "description", "cost_center", "team_id", "requests", "amount", "currency")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a document; its amount is exact until the document rounds it."""

    description: str
    amount: Decimal
    cost_center: str = ""
    team_id: str = ""
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: which month, whose, what kind of document."""

    month: str
    account: str
    kind: str
    team: str | None = None
    currency: str | None = None
    tax_rate: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A document that was issued, or issued before with the same content.

    Attributes:
        is_new: Whether it has got its number now.
        supersedes: Number of the document whose place it takes.
    """

    number: str
    pdf: Path
    csv: Path
    total: Decimal
    currency: str
    is_new: bool
    supersedes: str | None


@dataclass(frozen=True, slots=True)
class _Content:
    request: Request
    currency: str
    status: str
    party: dict[str, str]
    lines: list[Line]
    amounts: list[Decimal]
    subtotal: Decimal
    tax: Decimal | None
    total: Decimal

    @property
    def sha256(self) -> str:
        """A hash of all that stands on it but its number and date."""
        said = {
            "account": self.request.account,
            "currency": self.currency,
            "kind": self.request.kind,
            "lines": [
                [each.description, each.cost_center, each.team_id, each.requests, f"{amount:f}"]
                for each, amount in zip(self.lines, self.amounts, strict=True)
            ],
            "month": self.request.month,
            "party": self.party,
            "status": self.status,
            "tax": None if self.tax is None else f"{self.tax:f}",
            "team": self.request.team,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def issue_statement(runtime: Runtime, request: Request) -> Statement:
    """Issue a document, or write the one again that says the same already.

    Raises:
        ConfigurationError: there is nothing to state, or what a statutory document needs is absent.
        NotPublishedError: no run has published yet.
    """
    with open_reader(published_file(runtime)) as connection:
        content = _read_content(connection, request)
    issued = _read_issued(runtime.landing / STATEMENTS, request.account)
    same = [each for each in issued if _is_about(each, content)]
    last = same[-1] if same else None
    if last is not None and last["content_sha256"] == content.sha256:
        return _write_again(runtime, content, last)
    return _issue(runtime, content, issued, supersedes=last["statement_number"] if last else None)


# ---------------------------------------------------------------- what stands on it


def _read_content(connection: duckdb.DuckDBPyConnection, request: Request) -> _Content:
    status, party = _read_party(connection, request)
    read = _read_payments if request.kind == "receipt" else _read_charges
    found = read(connection, request)
    if not found:
        whose = f"team {request.team} of " if request.team else ""
        raise ConfigurationError(
            f"{whose}account {request.account} has nothing to state for {request.month}"
        )
    if request.currency is None and len(found) > 1:
        raise ConfigurationError(
            f"{request.month} has amounts in {', '.join(sorted(found))}; name one: --currency"
        )
    currency = request.currency or next(iter(found))
    if currency not in found:
        raise ConfigurationError(
            f"--currency {currency}: {request.month} has amounts in {', '.join(sorted(found))}"
        )
    lines, taxes = found[currency]
    places = MINOR_UNIT_PLACES.get(currency, 2)
    amounts = round_lines([each.amount for each in lines], places=places)
    subtotal = round_total([each.amount for each in lines], places=places)
    tax = None if taxes is None else round_total([taxes], places=places)
    if request.tax_rate is not None:
        tax = round_total([subtotal * request.tax_rate], places=places)
    return _Content(
        request, currency, status, party, lines, amounts, subtotal, tax, subtotal + (tax or 0)
    )


def _read_party(
    connection: duckdb.DuckDBPyConnection, request: Request
) -> tuple[str, dict[str, str]]:
    """Whether the month is closed, and who the document is for."""
    periods = connection.execute(
        "select status, packet_sha256 from marts.periods where account_id = ? "
        "and billing_month = ?",
        [request.account, request.month],
    ).fetchall()
    if not periods and request.kind != "receipt":
        known = connection.execute(
            "select string_agg(distinct account_id, ', ' order by account_id) from marts.periods "
            "where billing_month = ?",
            [request.month],
        ).fetchall()[0][0]
        raise ConfigurationError(
            f"account {request.account} has no {request.month}; accounts with that month: "
            f"{known or 'none'}"
        )
    status = periods[0][0] if periods else "open"
    rows = connection.execute(
        "select name, legal_name, legal_address, tax_id from reference.accounts "
        "where account_id = ?",
        [request.account],
    ).fetchall()
    name, *legal = rows[0] if rows else (request.account, None, None, None)
    party = {"name": name or request.account}
    party |= {
        key: value
        for key, value in zip(("legal_name", "legal_address", "tax_id"), legal, strict=True)
        if value
    }
    if request.kind == "statutory":
        missing = [key for key in ("legal_name", "legal_address", "tax_id") if key not in party]
        if missing:
            raise ConfigurationError(
                f"a statutory document needs {', '.join(missing)} of account {request.account}; "
                "write them into seeds/accounts.csv"
            )
        if status != "closed":
            raise ConfigurationError(
                f"a statutory document is of a closed month; `tollbook close {request.month}` first"
            )
    return status, party


_Found = dict[str, tuple[list[Line], Decimal | None]]


def _read_charges(connection: duckdb.DuckDBPyConnection, request: Request) -> _Found:
    """What the account or team bears, by provider and model, fees and corrections on their own."""
    rows = connection.execute(
        """
        with charged as (
            select * from marts.chargeback
            where account_id = $account and billing_month = $month
                and ($team is null or team_id = $team)
        )
        select currency, 1 as place, coalesce(cost_center, '') as cost_center,
            coalesce(team_id, '') as team_id,
            concat_ws(' ', provider, coalesce(model, 'fees and subscriptions')) as description,
            sum(direct_cost) as amount, sum(requests) as requests
        from charged group by all having sum(direct_cost) <> 0
        union all
        select currency, 2, coalesce(cost_center, ''), coalesce(team_id, ''),
            'Share of common costs (' || coalesce(allocation_rule, 'unallocated') || ')',
            sum(shared_cost), null
        from charged group by all having sum(shared_cost) <> 0
        union all
        select currency, 3, coalesce(cost_center, ''), coalesce(team_id, ''),
            'Corrections of closed months', sum(adjustments), null
        from charged group by all having sum(adjustments) <> 0
        order by currency, place, cost_center, team_id, description
        """,
        {"account": request.account, "month": request.month, "team": request.team},
    ).fetchall()
    found: _Found = {}
    for currency, _, cost_center, team, description, amount, requests in rows:
        line = Line(description, amount, cost_center, team, requests)
        found.setdefault(currency, ([], None))[0].append(line)
    return found


def _read_payments(connection: duckdb.DuckDBPyConnection, request: Request) -> _Found:
    """What was paid into the account's wallet, and paid back, without the tax in it."""
    rows = connection.execute(
        """
        select coalesce(payment_currency, currency), occurred_at, entry_type,
            coalesce(payment_reference, reference),
            coalesce(gross, amount) - coalesce(tax, 0), tax
        from marts.wallet_ledger
        where account_id = ? and billing_month = ? and entry_type in ('purchase', 'refund')
            and origin <> 'opening'
        order by 1, 2, entry_id
        """,
        [request.account, request.month],
    ).fetchall()
    found: _Found = {}
    for currency, at, kind, reference, amount, tax in rows:
        lines, taxes = found.get(currency, ([], None))
        words = "Top-up" if kind == "purchase" else "Refund"
        lines.append(Line(f"{words} {at:%Y-%m-%d}, {reference}", amount or Decimal(0)))
        found[currency] = (lines, taxes if tax is None else (taxes or Decimal(0)) + tax)
    return found


# ---------------------------------------------------------------- what was issued before


def _read_issued(folder: Path, account: str) -> list[dict[str, Any]]:
    """The documents of an account in the order of their numbers."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.glob(f"{folder_name(account)}-*.jsonl"):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["account_id"] == account:
            found.append(row)
    return sorted(found, key=lambda row: row["statement_number"])


def _is_about(row: dict[str, Any], content: _Content) -> bool:
    """Whether an issued document is about the same month, owner, kind and currency."""
    request = content.request
    return (row["billing_month"], row.get("team_id"), row["kind"], row["currency"]) == (
        request.month,
        request.team,
        request.kind,
        content.currency,
    )


def _write_again(runtime: Runtime, content: _Content, row: dict[str, Any]) -> Statement:
    issued_at = datetime.fromisoformat(row["issued_at"].removesuffix("Z"))
    number, supersedes = row["statement_number"], row.get("supersedes")
    pdf, table = _render(content, number, issued_at, supersedes)
    return _write(runtime, content, number, supersedes, pdf, table, is_new=False)


def _issue(
    runtime: Runtime,
    content: _Content,
    issued: Sequence[dict[str, Any]],
    *,
    supersedes: str | None,
) -> Statement:
    """Take the next number of the account and kind; whoever comes second takes the one after."""
    request = content.request
    issued_at = runtime.as_of.replace(microsecond=0)
    stem = f"{folder_name(request.account)}-{KINDS[request.kind]}"
    next_number = 1 + sum(row["kind"] == request.kind for row in issued)
    while True:
        number = f"{stem}{next_number:05d}"
        pdf, table = _render(content, number, issued_at, supersedes)
        row = {
            "statement_number": number,
            "account_id": request.account,
            "team_id": request.team,
            "billing_month": request.month,
            "kind": request.kind,
            "currency": content.currency,
            "subtotal": f"{content.subtotal:f}",
            "tax": None if content.tax is None else f"{content.tax:f}",
            "total": f"{content.total:f}",
            "issued_at": f"{issued_at:%Y-%m-%dT%H:%M:%S}Z",
            "supersedes": supersedes,
            "content_sha256": content.sha256,
            "file_sha256": hashlib.sha256(pdf).hexdigest(),
            "csv_sha256": hashlib.sha256(table).hexdigest(),
        }
        known = {name: value for name, value in row.items() if value is not None}
        if _land_number(runtime.landing / STATEMENTS, number, known):
            return _write(runtime, content, number, supersedes, pdf, table, is_new=True)
        next_number += 1


def _land_number(folder: Path, number: str, row: dict[str, Any]) -> bool:
    """Whether the number was free; then it is taken, on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{number}.{os.getpid()}.part"
    with part.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(part, folder / f"{number}.jsonl")
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


# ---------------------------------------------------------------- the files


def _write(
    runtime: Runtime,
    content: _Content,
    number: str,
    supersedes: str | None,
    pdf: bytes,
    table: bytes,
    *,
    is_new: bool,
) -> Statement:
    folder = runtime.home / STATEMENTS / folder_name(content.request.account)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{number}.pdf", folder / f"{number}.csv"
    for path, data in zip(paths, (pdf, table), strict=True):
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(data)
        part.replace(path)
    return Statement(
        number, *paths, content.total, content.currency, is_new=is_new, supersedes=supersedes
    )


def _render(
    content: _Content, number: str, issued_at: datetime, supersedes: str | None
) -> tuple[bytes, bytes]:
    # It needs fonts, which no other command does.
    from orchestration.warehouse.packet_report import Section, pdf_document

    request = content.request
    money = content.currency
    rows = [
        (each.description, each.cost_center, each.team_id, _count(each.requests), f"{amount:,f}")
        for each, amount in zip(content.lines, content.amounts, strict=True)
    ]
    totals = [("Subtotal", f"{content.subtotal:,f} {money}")]
    if content.tax is not None:
        totals.append(("Tax", f"{content.tax:,f} {money}"))
    totals.append(("Total", f"{content.total:,f} {money}"))
    for_whom = [*content.party.values()]
    if request.team:
        for_whom.append(f"team {request.team}")
    notes = [f"Issued {issued_at:%Y-%m-%d} for {request.month}, which is {content.status}."]
    if request.kind == "proforma":
        notes.append("This is not a tax invoice.")
    if supersedes:
        notes.append(f"It takes the place of {supersedes}.")
    if content.tax is None:
        notes.append("No tax is stated.")
    sections = [
        Section("For", ", ".join(for_whom), header=("", ""), rows=totals, align="lr"),
        Section(
            "Lines",
            "Rounded once, by largest remainder, so that the lines add up to the subtotal.",
            header=("", "cost center", "team", "requests", money),
            rows=rows,
            align="lllrr",
        ),
    ]
    pdf = pdf_document(f"{_TITLES[request.kind]} {number}", " ".join(notes), sections)
    return pdf, _table(content)


def _count(requests: int | None) -> str:
    return "" if requests is None else f"{requests:,}"


def _table(content: _Content) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    rows = [
        (
            without_formula(each.description),
            without_formula(each.cost_center),
            without_formula(each.team_id),
            "" if each.requests is None else each.requests,
            f"{amount:f}",
        )
        for each, amount in zip(content.lines, content.amounts, strict=True)
    ]
    if content.tax is not None:
        rows.append(("Tax", "", "", "", f"{content.tax:f}"))
    rows.append(("Total", "", "", "", f"{content.total:f}"))
    for number, row in enumerate(rows, start=1):
        writer.writerow((number, *row, content.currency))
    return stream.getvalue().encode()
