"""Another try for what was refused: kept fields are read again, rejected files forgotten."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import msgspec

from orchestration.config import Runtime, SourceSettings, mapping_of
from orchestration.core.refusals import (
    FILE_NOTE_CODES,
    ROW_CODES,
    Refusal,
    RefusedError,
    with_hashed_secrets,
    without_secrets,
)
from orchestration.landing.json_text import decode_row
from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.landing.observed import stated_observation
from orchestration.sources import litellm_spend_logs as spend_logs
from orchestration.sources import owners
from orchestration.sources.gateway_mapping import (
    FLAG_FIELDS,
    PERSONAL_FIELDS,
    TEXT_FIELDS,
    find,
)
from orchestration.sources.records import Record, RecordContext, read_key_id
from orchestration.warehouse import evidence, privacy, staged
from orchestration.warehouse.closed_periods import closed_period_test, closed_until
from orchestration.warehouse.ledger import Batch, Ledger

# A text beyond these is no name, id or tag; whatever it is, it may be content.
KEPT_CHARACTERS = 256
KEPT_WORDS = 9
# What may stand where a number or a time should: more letters could be a sentence.
_FIGURE_CHARACTERS, _FIGURE_LETTERS = 40, 4
# Keys of a kept row that are no fields of it: flags its content earned, fields not kept.
CODES, NOT_KEPT = "_codes", "_not_kept"
_JSON = msgspec.json.Encoder(decimal_format="number", order="sorted")


# ---------------------------------------------------------------- what is kept of a refused row


class _Kept:
    """The allow-listed part of a refused row, as it grows."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.codes: set[str] = set()
        self.not_kept: set[str] = set()

    def add(self, name: str, value: Any, *, is_figure: bool = False) -> None:
        """Keep a plain value; of anything else only that it was there."""
        if value is None or value == "":
            return
        kept = _plain(value)
        if is_figure and isinstance(kept, str) and not _may_be_figure(kept):
            kept = None
        if kept is None:
            self.not_kept.add(name)
        else:
            self.fields[name] = kept

    def add_id(self, name: str, value: Any) -> None:
        """Keep an id as the reader would: with the hash of a credential in its place."""
        clean = with_hashed_secrets(value) if isinstance(value, str) else value
        self.codes |= {"raw_key_hashed"} if clean != value else set()
        self.add(name, clean)

    def add_key(self, name: str, value: Any) -> None:
        """Keep a key's hash; whatever else stands there is hashed as the reader would."""
        if value is None or value == "":
            return
        if isinstance(value, dict | list):
            self.not_kept.add(name)
            return
        self.fields[name], was_raw = read_key_id(str(value))
        self.codes |= {"raw_key_hashed"} if was_raw else set()

    def encoded(self) -> str:
        """The row as JSON; numbers keep every digit they were written with."""
        notes = {CODES: sorted(self.codes), NOT_KEPT: sorted(self.not_kept)}
        kept = {**self.fields, **{name: note for name, note in notes.items() if note}}
        return _JSON.encode(kept).decode()


def _plain(value: Any) -> Any:
    """A short text without secrets, a number with its digits, an ISO 8601 time; None for the rest.

    Binary doubles go by the shortest decimal that means them, as every reader takes them.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return number if number.is_finite() else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) and _may_be_name(value):
        return without_secrets(value)
    return None


def _may_be_name(text: str) -> bool:
    return len(text) <= KEPT_CHARACTERS and "\n" not in text and len(text.split()) <= KEPT_WORDS


def _may_be_figure(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    return len(text) <= _FIGURE_CHARACTERS and letters <= _FIGURE_LETTERS


def kept_fields(kind: FileKind, value: Any, context: RecordContext) -> str:
    """The allow-listed fields of a refused row as JSON: enough to show it and to read it again.

    Never content, never a raw key; personal fields only where the settings keep them. `_codes`
    holds the flags that what was left out had earned, `_not_kept` the fields that could not be
    kept.
    """
    if not isinstance(value, dict):
        return "{}"
    kept = _Kept()
    _KEEPERS.get(kind.name, _keep_columns)(kept, kind, value, context)
    return kept.encoded()


# Ids that a reader keeps apart by their hash where they look like a credential.
_ID_COLUMNS = frozenset({"request_id", "transaction_id", "payment_reference", "related_request_id"})


def _keep_columns(
    kept: _Kept, kind: FileKind, row: Mapping[str, Any], _context: RecordContext
) -> None:
    """For files whose shape is ours, columns of raw are the fields of the row.

    So they are of rows that can be laid out so; what else those hold was never asked for.
    """
    if kind.lay_out is not None:
        row = kind.lay_out(row)
    for column in kind.table.columns:
        value = row.get(column.name)
        if column.name == "api_key_id":
            kept.add_key(column.name, value)
        elif column.name in _ID_COLUMNS:
            kept.add_id(column.name, value)
        else:
            kept.add(column.name, value, is_figure=column.type != "varchar")
    if not row.keys() <= {column.name for column in kind.table.columns}:
        kept.codes.add("schema_drift")


# Fields of a spend log that are taken as they stand, and those of them that hold no text.
_LOG_TEXTS = (
    *(name for name in spend_logs.TEXT if name != "request_id"),
    "cache_hit",
    "currency",
    "end_user",
    "source_hash",
)
_LOG_FIGURES = (
    "completionStartTime",
    "completion_tokens",
    "created_at",
    "endTime",
    "observed_at",
    "prompt_tokens",
    "request_duration_ms",
    "spend",
    "startTime",
    "total_tokens",
    "updated_at",
)
_LOG_METADATA = (
    *spend_logs.METADATA_TEXT.values(),
    "attempted_fallbacks",
    "attempted_retries",
    "batch_failed_requests",
    "batch_successful_requests",
    "billed_retry_attempt",
    "is_silent_experiment",
    "status",
    "used_client_oauth_token",
    "user_api_key_org_id",
    "user_api_key_team_id",
)
_LOG_METADATA_PARTS = {
    "cost_breakdown": ("data_residency", "service_tier", "vertex_location"),
    "error_information": ("error_class", "error_code"),
}
_USAGE_NAMES = {
    "": (*spend_logs.FLAT_NAMES, *spend_logs.SECONDS_NAMES),
    "prompt_tokens_details": (*spend_logs.PROMPT_NAMES, *spend_logs.SECONDS_NAMES),
    "completion_tokens_details": tuple(spend_logs.COMPLETION_NAMES),
    "server_tool_use": tuple(spend_logs.TOOL_NAMES),
    "cache_creation_token_details": tuple(spend_logs.LIFETIME_NAMES),
}
_USAGE_TEXTS = ("service_tier", "speed", "inference_geo")


def _keep_spend_log(
    kept: _Kept, kind: FileKind, row: Mapping[str, Any], context: RecordContext
) -> None:
    row = {**row, **{name: _decoded(row.get(name)) for name in kind.json_fields}}
    personal = ["user"] if context.keep_user_id else []
    personal += ["requester_ip_address"] if context.keep_client_ip else []
    for name in (*_LOG_TEXTS, *personal):
        kept.add(name, row.get(name))
    for name in _LOG_FIGURES:
        kept.add(name, row.get(name), is_figure=True)
    kept.add_id("request_id", row.get("request_id"))
    kept.add_key("api_key", row.get("api_key"))
    if isinstance(row.get("api_base"), str):
        base, was_stripped = spend_logs.without_credentials(row["api_base"])
        kept.add("api_base", base)
        kept.codes |= {"url_secret_stripped"} if was_stripped else set()
    _keep_tags(kept, row.get("request_tags"))
    found = Record(values={})
    metadata = spend_logs.read_metadata(row, found)
    kept.codes |= found.codes
    if metadata:
        _keep_metadata(kept, metadata, context)
    if not row.keys() <= spend_logs.KNOWN:
        kept.codes.add("schema_drift")
    if spend_logs.holds_content(row, metadata):
        kept.codes.add("content_dropped")


def _decoded(value: Any) -> Any:
    """JSON that CSV and Parquet hold as text; the text itself where it is none."""
    if not isinstance(value, str) or not value:
        return value
    try:
        return decode_row(value.encode("utf-8", "surrogatepass"))
    except RefusedError:
        return value


def _keep_tags(kept: _Kept, tags: Any) -> None:
    if tags is None or tags == "":
        return
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        kept.codes.add("tags_unparsed")
        return
    # LiteLLM adds the caller's user agent as a tag of its own.
    own = [tag for tag in tags if tag and not tag.startswith("User-Agent:")]
    names = [plain for tag in own if (plain := _plain(tag)) is not None]
    if len(names) < len(own):
        kept.not_kept.add("request_tags")
    kept.fields["request_tags"] = names


def _keep_metadata(kept: _Kept, metadata: Mapping[str, Any], context: RecordContext) -> None:
    names = [*_LOG_METADATA]
    names += ["user_api_key_user_id"] if context.keep_user_id else []
    names += ["user_agent"] if context.keep_user_agent else []
    found = _picked(kept, metadata, names)
    for part, its_names in _LOG_METADATA_PARTS.items():
        if isinstance(metadata.get(part), dict):
            found[part] = _picked(kept, metadata[part], its_names)
    own = metadata.get("spend_logs_metadata")
    if isinstance(own, dict):
        known = [name for name in own if spend_logs.owner_column(name)]
        found["spend_logs_metadata"] = _picked(kept, own, known)
    for name in ("usage_object", "additional_usage_values"):
        if isinstance(metadata.get(name), dict):
            found[name] = _kept_usage(metadata[name])
    kept.fields["metadata"] = found


def _picked(kept: _Kept, holder: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Plain values by name; objects and lists count as absent for the reader as well."""
    found = {}
    for name in names:
        value = holder.get(name)
        if value is None or isinstance(value, dict | list):
            continue
        plain = _plain(value)
        if plain is None:
            kept.not_kept.add(f"metadata.{name}")
        else:
            found[name] = plain
    return found


def _kept_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Quantities and tiers by the names the reader knows; nothing else of a usage object."""
    found = _numbers(usage, "")
    for part in ("prompt_tokens_details", "completion_tokens_details", "server_tool_use"):
        if isinstance(usage.get(part), dict):
            found[part] = _numbers(usage[part], part)
    lifetimes = "cache_creation_token_details"
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict) and isinstance(details.get(lifetimes), dict):
        found["prompt_tokens_details"][lifetimes] = _numbers(details[lifetimes], lifetimes)
    for name in _USAGE_TEXTS:
        if isinstance(usage.get(name), str):
            found[name] = without_secrets(usage[name][:64])
    by_model = usage.get("batch_usage_by_model")
    if isinstance(by_model, dict) and by_model:
        found["batch_usage_by_model"] = {
            without_secrets(str(model)[:KEPT_CHARACTERS]): _kept_usage(each)
            for model, each in by_model.items()
            if isinstance(each, dict)
        }
    # An object with quantities that no reader knows is still a usage object.
    return found or ({"unlisted": True} if usage else {})


def _numbers(holder: Mapping[str, Any], part: str) -> dict[str, Any]:
    numbers = {name: _plain(holder.get(name)) for name in _USAGE_NAMES[part]}
    return {name: value for name, value in numbers.items() if isinstance(value, Decimal)}


def _keep_gateway_usage(
    kept: _Kept, kind: FileKind, row: Mapping[str, Any], context: RecordContext
) -> None:
    """The mapped fields by the names the mapping has for them, one beside the other."""
    mapping = kind.mapping
    if mapping is None:
        return
    row = {**row, **{name: _decoded(row.get(name)) for name in kind.json_fields}}
    key = mapping.fields.get("api_key_id")
    # A field that may hold a key is kept as its hash; one that holds its id, as an id.
    keys = key.names if key is not None and key.hash_if_raw else ()
    ids = {*mapping.fields["request_id"].names, *(key.names if key is not None else ())}
    kept_people = [name for name in PERSONAL_FIELDS if getattr(context, f"keep_{name}")]
    texts = {
        name
        for ours in ("status", *TEXT_FIELDS, *FLAG_FIELDS, *kept_people)
        if ours in mapping.fields
        for name in mapping.fields[ours].names
    }
    for name in sorted(mapping.named):
        value = find(row, name)
        if name in mapping.personal_names - texts:
            # Without it an id it is part of cannot be made again.
            kept.not_kept.update({name} & ids if value is not None else ())
        elif name in keys:
            kept.add_key(name, value)
        elif name in ids:
            kept.add_id(name, value)
        else:
            kept.add(name, value, is_figure=name not in texts)
    if "observed_at" not in mapping.named:
        kept.add("observed_at", row.get("observed_at"), is_figure=True)
    if mapping.has_unknown(row):
        kept.codes.add("schema_drift")


def _keep_owner(
    kept: _Kept, _kind: FileKind, row: Mapping[str, Any], context: RecordContext
) -> None:
    table = owners.find_table(row)
    if table is None:
        return
    kept.fields[owners.TABLE_FIELD] = table.name
    for name in ("observed_at", "updated_at"):
        kept.add(name, row.get(name), is_figure=True)
    for each in table.fields:
        if each.type == "key":
            kept.add_key(each.theirs, row.get(each.theirs))
        elif each.type != "person" or context.keep_user_id:
            kept.add(each.theirs, row.get(each.theirs))


def _keep_invoice_line(
    kept: _Kept, kind: FileKind, row: Mapping[str, Any], context: RecordContext
) -> None:
    """The line is shown; it is accepted only with the whole invoice, from a file with all of it."""
    _keep_columns(kept, kind, row, context)
    kept.not_kept.add("the other lines of its invoice")


def _keep_billing_row(
    kept: _Kept, kind: FileKind, row: Mapping[str, Any], context: RecordContext
) -> None:
    """A row of Google's export without its credits: read again, it would lose them."""
    others = {name: value for name, value in row.items() if name != "credits"}
    _keep_columns(kept, kind, others, context)
    if len(others) < len(row):
        kept.not_kept.add("credits")


_Keeper = Callable[[_Kept, FileKind, Mapping[str, Any], RecordContext], None]
_KEEPERS: dict[str, _Keeper] = {
    "gcp_billing": _keep_billing_row,
    "litellm_spend_logs": _keep_spend_log,
    "owners": _keep_owner,
    "invoices": _keep_invoice_line,
    **{kind.name: _keep_gateway_usage for kind in ROW_KINDS.values() if kind.is_mapped},
}


# ---------------------------------------------------------------- another try


@dataclass(frozen=True, slots=True)
class StillRefused:
    """A row that stays in quarantine, and why now.

    Attributes:
        is_readable: Whether enough of it was kept to read it again.
    """

    line_number: int
    code: str
    reason: str
    is_readable: bool = True


@dataclass(frozen=True, slots=True)
class RetriedBatch:
    """What another try made of one file's refused rows.

    Attributes:
        batch: Its ledger entry afterwards.
        loaded: Rows that are in raw now.
        already_known: Rows that passed and that raw held already.
    """

    batch: Batch
    loaded: int
    already_known: int
    refused: list[StillRefused]


@dataclass(slots=True)
class RetryReport:
    """What one retry did.

    Attributes:
        batches: Files with refused rows, in order of loading.
        forgotten: Rejected files that the next run reads again.
        gone: Rejected files that no longer lie in landing.
    """

    batches: list[RetriedBatch] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    @property
    def loaded(self) -> int:
        """Rows that are in raw now."""
        return sum(each.loaded for each in self.batches)

    @property
    def refused(self) -> int:
        """Rows that stay in quarantine."""
        return sum(len(each.refused) for each in self.batches)


@dataclass(frozen=True, slots=True)
class _Read:
    """One refused row, read again: its record, or why not."""

    line: int
    record: Record | None
    refusal: StillRefused | None


def retry_quarantine(
    connection: duckdb.DuckDBPyConnection,
    runtime: Runtime,
    *,
    batch_id: str | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> RetryReport:
    """Read refused rows again by today's clock and settings; forget rejected files.

    Rows that pass move from audit.quarantine to raw, each file's in one transaction with its
    ledger entry, and the file's evidence is written anew. A rejected file that still lies in
    landing loses its entry, so that the next run reads it again.
    """
    ledger = Ledger(connection)
    privacy.read_into(connection, runtime.landing)
    report = RetryReport()
    for batch in _batches(connection, ledger, batch_id):
        if batch.status == "rejected":
            _forget(connection, ledger, runtime, batch, report)
        else:
            progress(f"retry {batch.file_name}: {batch.rows_quarantined:,} rows")
            report.batches.append(_retry_rows(connection, ledger, runtime, batch))
    connection.execute("checkpoint")
    return report


def _batches(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, batch_id: str | None
) -> list[Batch]:
    rows = connection.execute(
        """
        select load_batch_id
        from audit.load_batches
        where
            ($batch is null or load_batch_id = $batch)
            and (
                status = 'rejected'
                or load_batch_id in (select load_batch_id from audit.quarantine)
            )
        order by batch_number
        """,
        {"batch": batch_id},
    ).fetchall()
    return [batch for (name,) in rows if (batch := ledger.find(name)) is not None]


def _forget(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    runtime: Runtime,
    batch: Batch,
    report: RetryReport,
) -> None:
    """Delete a rejected entry; the head goes first, so that a kill cannot look like a loss."""
    if not (runtime.landing / batch.file_name).exists():
        report.gone.append(batch.file_name)
        return
    connection.execute("begin")
    try:
        connection.execute(
            "delete from audit.load_batches where load_batch_id = ?", [batch.load_batch_id]
        )
        ledger.write_head(runtime.home)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    report.forgotten.append(batch.file_name)


def _retry_rows(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, runtime: Runtime, batch: Batch
) -> RetriedBatch:
    kind = ROW_KINDS.get(batch.kind)
    stored = connection.execute(
        "select line_number, reason_code, reason, fields from audit.quarantine "
        "where load_batch_id = ? order by line_number",
        [batch.load_batch_id],
    ).fetchall()
    if kind is not None:
        kind = kind.mapped_by(mapping_of(runtime, _source_of(runtime, batch)))
    context = replace(
        read_context(runtime, batch.gateway, source=batch.source),
        stated_at=stated_observation(batch.file_name, None),
    )
    read = [_read_again(kind, context, *row) for row in stored]
    passed = [(each.line, each.record) for each in read if each.record is not None]
    refused = [each.refusal for each in read if each.refusal is not None]
    if kind is None or not passed:
        _note_reasons(connection, batch, refused)
        return RetriedBatch(batch, loaded=0, already_known=0, refused=refused)
    _stage(connection, kind, passed)
    connection.execute("begin")
    try:
        batch, loaded = _move(connection, ledger, kind, batch, passed, refused)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    evidence.rewrite(connection, ledger, runtime, batch)
    return RetriedBatch(batch, loaded, already_known=len(passed) - loaded, refused=refused)


def read_context(runtime: Runtime, gateway: str, *, source: str) -> RecordContext:
    """What reading a row of a source depends on, by the settings and the clock in use."""
    privacy = runtime.settings.privacy
    mine = next((each for each in runtime.settings.sources if each.name == source), None)
    return RecordContext(
        as_of=runtime.as_of,
        field_characters=runtime.settings.limits.field_characters,
        keep_client_ip=privacy.client_ip == "keep",
        keep_user_agent=privacy.user_agent == "keep",
        keep_user_id=privacy.user_id == "keep",
        is_closed=closed_period_test(runtime.seeds, gateway),
        closed_until=closed_until(runtime.seeds),
        webhook_secret=mine.webhook_secret if mine is not None else None,
        accepts_test_mode=mine is not None and mine.accepts_test_mode,
        source_priority=mine.source_priority if mine is not None else 0,
    )


def _source_of(runtime: Runtime, batch: Batch) -> SourceSettings:
    """The source a file came from; one that is no longer configured goes by what is known of it."""
    for source in runtime.settings.sources:
        if source.name == batch.source:
            return source
    return SourceSettings(name=batch.source, kind=batch.kind, gateway=batch.gateway)


def _read_again(
    kind: FileKind | None,
    context: RecordContext,
    line: int,
    code: str,
    reason: str,
    fields: str,
) -> _Read:
    row = json.loads(fields or "{}", parse_float=Decimal)
    codes = row.pop(CODES, [])
    not_kept = row.pop(NOT_KEPT, [])
    if kind is None or not row or not_kept:
        return _Read(line, None, StillRefused(line, code, reason, is_readable=False))
    try:
        record = kind.read(row, context)
    except RefusedError as error:
        return _Read(line, None, StillRefused(line, error.refusal.code, _words(error.refusal)))
    record.codes.update(codes)
    return _Read(line, record, None)


def _words(refusal: Refusal) -> str:
    return f"{refusal.field}: {refusal.reason}".removeprefix(": ")


def _note_reasons(
    connection: duckdb.DuckDBPyConnection, batch: Batch, refused: list[StillRefused]
) -> None:
    """Say of every row why it is refused now, which may be for another reason than before."""
    changed = [
        (each.code, each.reason, batch.load_batch_id, each.line_number, each.reason)
        for each in refused
        if each.is_readable
    ]
    if changed:
        connection.executemany(
            "update audit.quarantine set reason_code = ?, reason = ? "
            "where load_batch_id = ? and line_number = ? and reason <> ?",
            changed,
        )


def _stage(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, passed: list[tuple[int, Record]]
) -> None:
    for table in (kind.table, *kind.children):
        staged.create_incoming(connection, table)
    staged.insert_incoming(
        connection, kind.table, [(line, record.values) for line, record in passed]
    )
    for child in kind.children:
        parts = [
            (line, part) for line, record in passed for part in record.children.get(child.name, ())
        ]
        if parts:
            staged.insert_incoming(connection, child, parts)


def _move(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    kind: FileKind,
    batch: Batch,
    passed: list[tuple[int, Record]],
    refused: list[StillRefused],
) -> tuple[Batch, int]:
    """Passed rows from quarantine to raw within the caller's transaction; (entry, rows loaded)."""
    loaded, low, high = staged.insert_new_rows(connection, kind, batch)
    connection.executemany(
        "delete from audit.quarantine where load_batch_id = ? and line_number = ?",
        [(batch.load_batch_id, line) for line, _ in passed],
    )
    _note_reasons(connection, batch, refused)
    codes = [(line, code) for line, record in passed for code in sorted(record.codes)]
    ledger.insert_flags(batch, [each for each in codes if each[1] not in FILE_NOTE_CODES])
    kept = {code for code in batch.codes.split(",") if code and code not in ROW_CODES}
    batch = replace(
        batch,
        rows_loaded=batch.rows_loaded + loaded,
        rows_already_known=batch.rows_already_known + len(passed) - loaded,
        rows_quarantined=batch.rows_quarantined - len(passed),
        rows_flagged=batch.rows_flagged + sum(bool(record.codes) for _, record in passed),
        codes=",".join(
            sorted(kept | {code for _, code in codes} | {each.code for each in refused})
        ),
        reason=_note(batch.reason, codes),
        min_event_at=min(filter(None, (batch.min_event_at, low)), default=None),
        max_event_at=max(filter(None, (batch.max_event_at, high)), default=None),
    )
    _update_entry(connection, batch)
    return batch, loaded


def _note(reason: str | None, codes: list[tuple[int, str]]) -> str | None:
    """The entry's note of file codes (`naive_timestamp 3, schema_drift 1`) with further rows."""
    counted: Counter[str] = Counter()
    for part in (reason or "").split(", "):
        code, _, number = part.partition(" ")
        if code in FILE_NOTE_CODES and number.isdigit():
            counted[code] += int(number)
    counted.update(code for _, code in codes if code in FILE_NOTE_CODES)
    return ", ".join(f"{code} {number}" for code, number in sorted(counted.items())) or None


_UPDATED = (
    "rows_loaded",
    "rows_already_known",
    "rows_quarantined",
    "rows_flagged",
    "codes",
    "reason",
    "min_event_at",
    "max_event_at",
)


def _update_entry(connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """The entry keeps its number and its time: nothing arrived, it is only accepted now."""
    assignments = ", ".join(f"{name} = ?" for name in _UPDATED)
    connection.execute(
        f"update audit.load_batches set {assignments} where load_batch_id = ?",
        [*(getattr(batch, name) for name in _UPDATED), batch.load_batch_id],
    )
