"""Decisions of reviewers: what they are about, as published, and the file that says so."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.core.refusals import RefusedError
from orchestration.landing.json_text import decode_row
from orchestration.landing.write import land
from orchestration.sources.contract_files import DECISION_FIELDS, read_decision
from orchestration.sources.records import RecordContext, read_key_id
from orchestration.warehouse.connection import open_reader
from orchestration.warehouse.reading import published_file

KIND = "decisions"
# A text field of a landed file holds 4,096 characters: that many hashes with their commas.
_HASHES_PER_ROW = 120
# What begins an exception's id; fewer digits would hit several before long.
_ID = re.compile(r"[0-9a-f]{4,32}\Z")
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])\Z")
_FIELDS = {rule.name: rule for rule in DECISION_FIELDS}
_SUBJECT_TYPES = _FIELDS["subject_type"].choices
_SHOWN = 5
# Subjects by type: the mart that must be published, and a query of every id.
_SUBJECTS = {
    "invoice": ("invoices", "select vendor || '/' || invoice_number as id from marts.invoices"),
    "invoice_line": (
        "invoice_lines",
        "select vendor || '/' || invoice_number || '/' || line_no as id from marts.invoice_lines",
    ),
    "recharge": ("recharges", "select recharge_id as id from marts.recharges"),
    "dispute": ("disputes", "select dispute_id as id from marts.disputes"),
    "batch": (
        "usage_records",
        "select distinct coalesce(session_id, coalesce(api_key_id, '') || '/' || usage_date) as id "
        "from marts.usage_records where is_batch",
    ),
    "api_key": (
        "usage_records",
        "select distinct api_key_id as id from marts.usage_records where api_key_id is not null "
        "union select api_key_id from marts.key_owners",
    ),
    "period": (
        "usage_records",
        "select distinct account_id || '/' || billing_month as id from marts.usage_records",
    ),
}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a reviewer decides, as the fields of a decisions file (contract, table T3).

    Attributes:
        amount: Money it is about, in `currency`; None where the subject says it.
        valid_to_date: First day it no longer holds for; None: it holds on.
    """

    decision: str
    owner: str
    ticket: str
    amount: Decimal | None = None
    currency: str | None = None
    valid_to_date: date | None = None
    related_type: str | None = None
    related_id: str | None = None
    note: str | None = None

    def fields(self) -> dict[str, str]:
        """Those that were given, as text."""
        named = {
            name: getattr(self, name)
            for name in _FIELDS
            if name not in ("decision_id", "subject_type", "subject_id", "decided_at")
            and getattr(self, name, None) is not None
        }
        return {name: _plain(value) for name, value in named.items()}


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that is decided about.

    Attributes:
        hashes: Of the evidence of the exceptions it stands for, as published.
        words: What it is, for people.
    """

    type: str
    id: str
    hashes: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one subject; `is_new` is false where the same was decided before."""

    subject: Subject
    decision_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class DecideReport:
    """What `decide` did; no path where nothing was new."""

    path: Path | None
    decided: Sequence[Decided]


def decide(runtime: Runtime, texts: Sequence[str], ruling: Ruling) -> DecideReport:
    """Land one file with a decision about each subject; all of them or none.

    The id of a decision follows from its subject, the evidence seen and what is decided, so that
    the same command twice decides once.

    Raises:
        NotPublishedError: nothing was published that a subject could be looked up in.
        ConfigurationError: a subject is unknown or not unique, or a value is not accepted.
    """
    _check(runtime, ruling)
    with open_reader(published_file(runtime)) as connection:
        subjects = [_find(connection, text) for text in dict.fromkeys(texts)]
    folder = _folder(runtime)
    known = _latest_by_subject(folder)
    decided: list[Decided] = []
    rows: list[Mapping[str, str]] = []
    for subject in {(each.type, each.id): each for each in subjects}.values():
        for part in _in_parts(subject):
            row, is_new = _row(runtime, part, ruling, known)
            decided.append(Decided(part, row["decision_id"], is_new))
            rows += [row] if is_new else []
    return DecideReport(_write(folder, rows) if rows else None, decided)


def _check(runtime: Runtime, ruling: Ruling) -> None:
    """Refuse what the loader would refuse, before anything is written."""
    if ruling.amount is not None and ruling.currency is None:
        raise ConfigurationError("--amount: add --currency, such as USD")
    row = {
        **ruling.fields(),
        "decision_id": "d",
        "subject_type": "exception",
        "subject_id": "s",
        "decided_at": _moment(runtime),
    }
    try:
        read = read_decision(row, RecordContext(as_of=runtime.as_of))
    except RefusedError as error:
        found = error.refusal
        name = f"--{found.field.replace('_', '-')}" if found.field else "decide"
        raise ConfigurationError(f"{name}: {found.reason}") from error
    for name in ("owner", "ticket"):
        if read.values.get(name) != row.get(name) or not row.get(name, "").isprintable():
            raise ConfigurationError(
                f"--{name}: expected a name without credentials or control characters"
            )


# ---------------------------------------------------------------- subjects


def _find(connection: duckdb.DuckDBPyConnection, text: str) -> Subject:
    """The published thing a text names.

    Raises:
        ConfigurationError: there is none, or several.
    """
    head, _, rest = text.strip().partition("/")
    if head == "exception" and rest:
        return _exception(connection, rest)
    if head == "exception_type" and rest:
        return _exceptions_of_type(connection, rest)
    if head in _SUBJECTS and rest:
        return _other(connection, head, rest)
    if "/" in text:
        return _exceptions_of_type(connection, text.strip())
    return _exception(connection, text.strip())


def _exception(connection: duckdb.DuckDBPyConnection, text: str) -> Subject:
    if not _ID.match(text):
        raise ConfigurationError(
            f"SUBJECT '{text}': expected an exception_id (4 digits of it or more), "
            f"<exception_type>/<account>/<YYYY-MM>, or one of {', '.join(_SUBJECTS)} with a / and "
            "its id"
        )
    rows = _ask(
        connection,
        "exceptions",
        "select exception_id, exception_type, account_id, billing_month, subject_id, evidence_hash "
        "from marts.exceptions where starts_with(exception_id, ?) order by exception_id limit ?",
        [text, _SHOWN + 1],
    )
    if not rows:
        raise ConfigurationError(
            f"SUBJECT '{text}': no published exception begins so; `tollbook query "
            '"select exception_id, exception_type, subject_id from marts.exceptions"` lists them'
        )
    if len(rows) > 1:
        ids = ", ".join(row[0] for row in rows[:_SHOWN])
        raise ConfigurationError(f"SUBJECT '{text}': several exceptions begin so: {ids}")
    exception_id, kind, account, month, subject_id, evidence_hash = rows[0]
    words = f"{kind} of {subject_id}, {account} {month}"
    return Subject("exception", exception_id, (evidence_hash,), words)


def _exceptions_of_type(connection: duckdb.DuckDBPyConnection, text: str) -> Subject:
    kind, _, place = text.partition("/")
    account, _, month = place.rpartition("/")
    if not kind or not account or not _MONTH.match(month):
        raise ConfigurationError(
            f"SUBJECT '{text}': expected <exception_type>/<account>/<YYYY-MM>, or one of "
            f"{', '.join(_SUBJECTS)} with a / and its id"
        )
    rows = _ask(
        connection,
        "exceptions",
        "select evidence_hash, status = 'open' from marts.exceptions where exception_type = ? "
        "and account_id = ? and billing_month = ? order by evidence_hash",
        [kind, account, month],
    )
    if not rows:
        others = _ask(
            connection,
            "exceptions",
            "select distinct exception_type || '/' || account_id || '/' || billing_month as id "
            "from marts.exceptions where exception_type = ? order by id limit ?",
            [kind, _SHOWN],
        )
        found = ", ".join(row[0] for row in others) or f"no {kind} at all"
        raise ConfigurationError(f"SUBJECT '{text}': no such exception; published: {found}")
    words = f"{len(rows):,} {kind}, {account} {month}, {sum(row[1] for row in rows):,} open"
    return Subject("exception_type", text, tuple(row[0] for row in rows), words)


def _other(connection: duckdb.DuckDBPyConnection, kind: str, subject_id: str) -> Subject:
    mart, sql = _SUBJECTS[kind]
    if kind == "api_key":
        # A key itself is written nowhere; what is no hash of one becomes one.
        subject_id = read_key_id(subject_id)[0] or ""
    # A dispute's id is a hash, and may be cut as an exception's.
    where = "starts_with(id, ?)" if kind == "dispute" and len(subject_id) >= 4 else "id = ?"
    rows = _ask(
        connection, mart, f"select id from ({sql}) as known where {where} limit 2", [subject_id]
    )
    if len(rows) != 1:
        what = "several are published" if rows else "none is published"
        raise ConfigurationError(
            f"SUBJECT '{kind}/{subject_id}': {what}; `tollbook query \"{sql}\"` lists them"
        )
    return Subject(kind, rows[0][0], (), f"{kind} {rows[0][0]}")


def _ask(
    connection: duckdb.DuckDBPyConnection, mart: str, sql: str, parameters: Sequence[Any]
) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(sql, parameters).fetchall()
    except duckdb.CatalogException as error:
        raise ConfigurationError(
            f"SUBJECT: marts.{mart} is not published yet; `tollbook run` publishes it"
        ) from error


def _in_parts(subject: Subject) -> Iterable[Subject]:
    """The subject once, or as often as its hashes need rows."""
    yield Subject(subject.type, subject.id, subject.hashes[:_HASHES_PER_ROW], subject.words)
    for start in range(_HASHES_PER_ROW, len(subject.hashes), _HASHES_PER_ROW):
        hashes = subject.hashes[start : start + _HASHES_PER_ROW]
        yield Subject(subject.type, subject.id, hashes, f"further {len(hashes):,} of them")


# ---------------------------------------------------------------- the file

# Decisions landed before, by subject and evidence.
_Known = dict[tuple[str, str, str], list[Mapping[str, str]]]


def _row(
    runtime: Runtime, subject: Subject, ruling: Ruling, known: _Known
) -> tuple[Mapping[str, str], bool]:
    """The row of a decision, and whether it is new."""
    fields = {"subject_type": subject.type, "subject_id": subject.id, **ruling.fields()}
    if subject.hashes:
        fields["evidence_hashes"] = ",".join(sorted(subject.hashes))
    before = known.get((subject.type, subject.id, fields.get("evidence_hashes", "")), [])
    if before:
        last = before[-1]
        if fields == {k: v for k, v in last.items() if k not in ("decision_id", "decided_at")}:
            return last, False
    # Numbered, so that of two decisions of one moment the later has the larger id.
    text = json.dumps([len(before), fields], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    decision_id = f"decide-{len(before) + 1:04d}-{digest}"
    return {"decision_id": decision_id, **fields, "decided_at": _moment(runtime)}, True


def _folder(runtime: Runtime) -> Path:
    """Where decisions land: the folder of the source that has them, else that of the kind."""
    kinds = {source.name: source.kind for source in runtime.settings.sources}
    names = [name for name, kind in kinds.items() if kind == KIND]
    if names:
        return runtime.landing / names[0]
    return runtime.landing / KIND / KIND if KIND in kinds else runtime.landing / KIND


def _latest_by_subject(folder: Path) -> _Known:
    """What this command landed before, in the order of its numbers."""
    rows: _Known = {}
    for path in sorted(folder.glob("decide-*.jsonl")) if folder.is_dir() else ():
        for line in path.read_bytes().splitlines():
            row = decode_row(line)
            key = (row["subject_type"], row["subject_id"], row.get("evidence_hashes", ""))
            rows.setdefault(key, []).append(row)
    for found in rows.values():
        found.sort(key=lambda row: row["decision_id"])
    return rows


def _write(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """The landed file: whole or not there, named by its content."""
    folder.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    digest = hashlib.sha256(content).hexdigest()[:12]
    moment = rows[0]["decided_at"].replace("-", "").replace(":", "")
    target = folder / f"decide-{moment}-{digest}.jsonl"
    part = folder / f".decide.{os.getpid()}.part"
    part.write_bytes(content)
    land(part, target)
    return target


def _moment(runtime: Runtime) -> str:
    return f"{runtime.as_of:%Y-%m-%dT%H:%M:%SZ}"


def _plain(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
