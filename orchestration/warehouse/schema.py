"""The tables the loader owns: raw and audit, with a comment on every table and column."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from orchestration.landing.kinds import ROW_KINDS
from orchestration.sources.records import Column, RawTable
from orchestration.warehouse.connection import quoted
from orchestration.warehouse.staged import request_hash_sql

# Where a row of raw came from. Rows are never changed once written.
LINEAGE = (
    ("_gateway", "varchar", "Gateway (or source, where no gateway is meant) that was observed."),
    ("_source", "varchar", "Source of tollbook.yml whose folder held the file."),
    ("_load_batch_id", "varchar", "Load batch that wrote the row."),
    ("_source_file", "varchar", "File below the landing folder."),
    ("_source_line", "bigint", "Line of the file, or position of the element, from 1."),
    ("_row_hash", "ubigint", "Low half of the md5 of the allow-listed fields."),
)

PRICE_ENTRIES = RawTable(
    name="price_catalog__entries",
    columns=(
        Column("catalog", "varchar"),
        Column("price_key", "varchar"),
        Column("observed_at", "timestamp"),
        Column("snapshot_sha256", "varchar"),
        Column("is_complete_snapshot", "boolean"),
        Column("entry_hash", "varchar"),
        Column("catalog_provider", "varchar"),
        Column("mode", "varchar"),
    ),
    key=("catalog", "price_key", "observed_at", "snapshot_sha256", "entry_hash"),
    event_at="observed_at",
)
PRICE_POINTS = RawTable(
    name="price_catalog__prices",
    columns=(
        Column("catalog", "varchar"),
        Column("price_key", "varchar"),
        Column("entry_hash", "varchar"),
        Column("unit", "varchar"),
        Column("service_tier", "varchar"),
        Column("is_batch", "boolean"),
        Column("context_above_tokens", "bigint"),
        Column("region", "varchar"),
        Column("unit_price", "decimal(38, 18)"),
        Column("currency", "varchar"),
        Column("valid_from_at", "timestamp"),
        Column("valid_to_at", "timestamp"),
        Column("priority", "bigint"),
    ),
    key=("catalog", "price_key", "entry_hash", "unit", "service_tier"),
    event_at="valid_from_at",
)

OBSERVATIONS = RawTable(
    name="provider__observations",
    columns=(
        Column("kind", "varchar"),
        Column("scope", "varchar"),
        Column("chain", "varchar"),
        Column("page_number", "bigint"),
        Column("has_more", "boolean"),
        Column("page_sha256", "varchar"),
        Column("window_start_at", "timestamp"),
        Column("window_end_at", "timestamp"),
        Column("content_sha256", "varchar"),
        Column("window_rows", "bigint"),
        Column("first_row_at", "timestamp", is_content=False),
        Column("last_row_at", "timestamp", is_content=False),
        Column("observed_at", "timestamp"),
    ),
    key=("kind", "chain", "page_number", "window_start_at", "content_sha256"),
    event_at="observed_at",
)


_SOURCES = (
    ("source", "varchar", "Name of the source."),
    ("kind", "varchar", "Kind of source as the contract names it."),
    ("gateway", "varchar", "Gateway it observes."),
    ("expected_interval_minutes", "bigint", "How often something should arrive; null: no plan."),
    ("last_asked_at", "timestamp", "When it last answered a question for news; null: never asked."),
)


_KEPT_DETAIL = (("detail_from", "timestamp", "Midnight, UTC; null: all records keep it."),)


_FORGOTTEN_PERSONS = (
    ("salt", "varchar", "Precedes an id when it is hashed."),
    ("id_sha256", "varchar", "sha256 of salt and id, as hex."),
)


_REFUSED_SEED_ROWS = (
    ("seed", "varchar", "Seed file, without .csv."),
    ("line_number", "bigint", "Line of the file, from 1."),
    ("column_name", "varchar", "Column concerned."),
    ("reason_code", "varchar", "Why the row was left out, or noted."),
    ("reason", "varchar", "The same in words, with the fix."),
    ("subject_id", "varchar", "First key column of the row, such as the API key."),
    ("is_refused", "boolean", "Whether the row was left out; otherwise it is a note."),
)


@dataclass(frozen=True, slots=True)
class AuditTable:
    """A table of schema audit: its meaning, and (name, type, meaning) of each column."""

    name: str
    description: str
    columns: tuple[tuple[str, str, str], ...]


AUDIT_TABLES = (
    AuditTable(
        "load_batches",
        "One row per landed file: what was read, loaded, already known and refused. "
        "rows_in = rows_loaded + rows_already_known + rows_quarantined, always.",
        (
            ("load_batch_id", "varchar", "Hash of gateway, kind, file name and file bytes."),
            ("source", "varchar", "Source of tollbook.yml whose folder held the file."),
            ("kind", "varchar", "Kind of file as the contract names it."),
            ("file_name", "varchar", "Path below the landing folder."),
            ("file_sha256", "varchar", "sha256 of the file's bytes as received."),
            ("status", "varchar", "loaded, rejected or already_known."),
            ("reason_code", "varchar", "Why the file was rejected."),
            ("reason", "varchar", "The same in words, with the fix."),
            ("rows_in", "bigint", "Rows the file holds; 0 when rejected."),
            ("rows_loaded", "bigint", "Rows written to raw."),
            ("rows_already_known", "bigint", "Rows raw already held, or held earlier in the file."),
            ("rows_quarantined", "bigint", "Rows refused; audit.quarantine says why."),
            ("rows_flagged", "bigint", "Accepted rows that carry at least one code."),
            ("codes", "varchar", "Reason and flag codes met, sorted, comma-separated."),
            ("min_event_at", "timestamp", "Earliest event of an accepted row, UTC."),
            ("max_event_at", "timestamp", "Latest event of an accepted row, UTC."),
            ("loaded_at", "timestamp", "The run's clock (as_of) when the file was loaded, UTC."),
            ("batch_number", "bigint", "Counts batches in order of loading."),
            ("gateway", "varchar", "Gateway the source observes."),
            ("file_size", "bigint", "Bytes of the file as it lies in landing."),
            ("file_changed_ns", "bigint", "Modification time of that file, ns since 1970."),
            ("observed_at", "timestamp", "When the file's content was observed, if it says so."),
            ("evidence_name", "varchar", "Name of its allow-listed remainder in landing."),
            ("evidence_size", "bigint", "Bytes of that remainder."),
            ("evidence_changed_ns", "bigint", "Modification time of that remainder."),
        ),
    ),
    AuditTable(
        "quarantine",
        "One row per refused row of a landed file.",
        (
            ("load_batch_id", "varchar", "Load batch of the file."),
            ("source", "varchar", "Source of tollbook.yml."),
            ("file_name", "varchar", "Path below the landing folder."),
            ("line_number", "bigint", "Line of the file, or position of the element, from 1."),
            ("reason_code", "varchar", "Why the row was refused, from the closed list."),
            ("reason", "varchar", "The same in words: field, what was found, what is accepted."),
            ("row_sha256", "varchar", "Hash of the row as received."),
            ("fields", "varchar", "Allow-listed fields of the row as JSON; never content."),
        ),
    ),
    AuditTable(
        "row_flags",
        "One row per loaded row and code that a person would follow up.",
        (
            ("load_batch_id", "varchar", "Load batch of the file."),
            ("line_number", "bigint", "Line of the file."),
            ("code", "varchar", "Flag code."),
        ),
    ),
    AuditTable(
        "refused_invoices",
        "One row per invoice of a landed file that was refused whole, as far as it could be read.",
        (
            ("load_batch_id", "varchar", "Load batch of the file."),
            ("vendor", "varchar", "Who sent the invoice."),
            ("invoice_number", "varchar", "Its number."),
            ("reason_code", "varchar", "Why it was refused."),
            ("currency", "varchar", "ISO 4217 code of its amounts; null: not readable."),
            ("dated_at", "timestamp", "Its issue, else the end of its period, UTC."),
            ("stated_amount", "decimal(38, 18)", "What its amounts should add up to."),
            ("computed_amount", "decimal(38, 18)", "What they add up to; null: not readable."),
        ),
    ),
    AuditTable(
        "runs",
        "One row per run and step.",
        (
            ("run", "varchar", "Run id of the orchestrator."),
            ("step", "varchar", "extract, load, build, check, publish, export or run."),
            ("started_at", "timestamp", "Wall clock at its start, UTC."),
            ("seconds", "decimal(12, 3)", "How long it took."),
            ("rows", "bigint", "Rows the step handled, where that has a meaning."),
            ("status", "varchar", "done, failed, or nothing_new."),
        ),
    ),
    AuditTable(
        "extract_gaps",
        "One row per part of a source and window that was asked for and could not be read.",
        (
            ("source", "varchar", "Source of tollbook.yml."),
            ("part", "varchar", "List or table of the source, such as costs or events."),
            ("from_at", "timestamp", "First moment that is missing, UTC; null: unknown."),
            ("to_at", "timestamp", "Moment behind the last that is missing, UTC."),
            ("code", "varchar", "Why, in a word, such as unauthorized, unavailable or too_old."),
            ("reason", "varchar", "The same as one line: system, what, fix."),
            ("is_final", "boolean", "Whether it cannot be had and is not asked for again."),
            ("first_seen_at", "timestamp", "The run's clock (as_of) when it was first met, UTC."),
            ("last_seen_at", "timestamp", "The run's clock when it was last met, UTC."),
            ("closed_at", "timestamp", "The run's clock when it was read after all; null: open."),
        ),
    ),
    AuditTable(
        "check_results",
        "One row per check of the last run.",
        (
            ("check", "varchar", "What was checked."),
            ("table", "varchar", "Table it judges."),
            ("severity", "varchar", "hard (stops a publish) or warning."),
            ("passed", "boolean", "Whether it held."),
            ("failing_rows", "bigint", "Rows that broke it."),
            ("amount_at_stake", "decimal(38, 18)", "Money of those rows, where it is known."),
            ("failing_keys", "varchar", "Up to 20 keys of those rows."),
            ("checked_at", "timestamp", "The run's clock (as_of), UTC."),
        ),
    ),
    AuditTable(
        "touched_days",
        "Days whose usage changed since the marts were last built.",
        (
            ("table_name", "varchar", "Raw table."),
            ("touched_date", "date", "UTC day of the records concerned."),
        ),
    ),
    AuditTable(
        "pending_days",
        "Days that a build changed and a later step has yet to take up.",
        (
            ("consumer", "varchar", "Step that has yet to take it up: build, check or publish."),
            ("usage_date", "date", "UTC day of usage; null stands for every day."),
        ),
    ),
    AuditTable(
        "day_totals",
        "Rows of each table of days when its day was last checked.",
        (
            ("table_name", "varchar", "Table written schema.table."),
            ("usage_date", "date", "UTC day of usage."),
            ("rows", "bigint", "Rows of that day."),
        ),
    ),
    AuditTable(
        "used_price_sets",
        "Price sets that records name, with the span of their use when it was last checked.",
        (
            ("price_set_id", "varchar", "Price set."),
            ("first_used_at", "timestamp", "Start of the earliest record that names it."),
            ("last_used_at", "timestamp", "Start of the latest record that names it."),
        ),
    ),
    AuditTable(
        "check_days",
        "What a check found on each day of usage when that day was last checked.",
        (
            ("check", "varchar", "What was checked."),
            ("usage_date", "date", "UTC day of usage."),
            ("currency", "varchar", "Currency of the amount; empty where there is none."),
            ("failing_rows", "bigint", "Rows that broke it."),
            ("amount", "decimal(38, 18)", "Money of those rows, where it is known."),
            ("failures", "varchar", "JSON: [key, amount] of those with most money at stake."),
        ),
    ),
    AuditTable(
        "snapshots",
        "One row per published version whose file is kept.",
        (
            ("version", "bigint", "Its number."),
            ("file_size", "bigint", "Bytes of its file."),
            ("file_changed_ns", "bigint", "Modification time of its file, ns since 1970."),
        ),
    ),
    AuditTable(
        "snapshot_parts",
        "One row per published version, table and part of it; marts of days have a part per day.",
        (
            ("version", "bigint", "Published version."),
            ("table_name", "varchar", "Table written schema.table."),
            ("part", "varchar", "Day or other value the rows share; empty: the table is one part."),
            ("rows", "bigint", "Rows of the part."),
            ("amount", "decimal(38, 18)", "Sum of the first money column of the table."),
            ("fingerprint", "hugeint", "Sum of the hashes of the rows."),
        ),
    ),
    AuditTable(
        "state",
        "What a run must remember for the next: fingerprints and the next due moment.",
        (
            ("name", "varchar", "What is remembered."),
            ("value", "varchar", "Its value."),
        ),
    ),
)


def raw_tables() -> tuple[RawTable, ...]:
    """Every table of schema raw."""
    tables = [table for kind in ROW_KINDS.values() for table in (kind.table, *kind.children)]
    # Several kinds may fill one table.
    return (*dict.fromkeys(tables), PRICE_ENTRIES, PRICE_POINTS, OBSERVATIONS)


def create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing of raw and audit, and say what each thing is."""
    existing = {
        f"{schema}.{table}"
        for schema, table in connection.execute(
            "select table_schema, table_name from information_schema.tables"
        ).fetchall()
    }
    for schema in ("raw", "audit", "reference", "staging", "intermediate", "marts", "exports"):
        connection.execute(f"create schema if not exists {schema}")
    for table in raw_tables():
        if f"raw.{table.name}" not in existing:
            _create_raw(connection, table)
    _add_missing_columns(connection)
    for audit in AUDIT_TABLES:
        if f"audit.{audit.name}" not in existing:
            _create_audit(connection, audit)
    if "reference.sources" in existing and not _has_column(
        connection, "reference", "sources", "last_asked_at"
    ):
        # An earlier version's; every run fills it anew.
        connection.execute("drop table reference.sources")
        existing.discard("reference.sources")
    if "reference.sources" not in existing:
        _create(connection, "reference.sources", "One row per source of tollbook.yml.", _SOURCES)
    if "reference.refused_seed_rows" not in existing:
        meaning = "One row per thing wrong with a row of people's reference data."
        _create(connection, "reference.refused_seed_rows", meaning, _REFUSED_SEED_ROWS)
    if "raw.kept_detail" not in existing:
        meaning = "One row: from when on records keep what tells people and conversations apart."
        _create(connection, "raw.kept_detail", meaning, _KEPT_DETAIL)
    if "raw.forgotten_persons" not in existing:
        meaning = "One row per person who is to be forgotten, by a salted hash of the id."
        _create(connection, "raw.forgotten_persons", meaning, _FORGOTTEN_PERSONS)
    for table in raw_tables():
        if table.contested:
            _create_request_tables(connection, table, existing)


def _has_column(
    connection: duckdb.DuckDBPyConnection, schema: str, table: str, column: str
) -> bool:
    found = connection.execute(
        "select 1 from duckdb_columns() where database_name = current_database() "
        "and schema_name = ? and table_name = ? and column_name = ?",
        [schema, table, column],
    ).fetchall()
    return bool(found)


def _create_raw(connection: duckdb.DuckDBPyConnection, table: RawTable) -> None:
    columns = [(c.name, c.type, f"Field of the source row: {c.name}.") for c in table.columns]
    _create(
        connection,
        f"raw.{table.name}",
        "Append-only rows as landed, allow-listed and typed; a correction is a further row.",
        (*columns, *LINEAGE),
    )


def _add_missing_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """Widen tables that an earlier version created; their rows are NULL there."""
    present = set(
        connection.execute(
            "select table_name, column_name from information_schema.columns "
            "where table_schema = 'raw' and table_catalog = current_database()"
        ).fetchall()
    )
    for table in raw_tables():
        for column in table.columns:
            if (table.name, column.name) not in present:
                name = f"raw.{table.name}"
                connection.execute(f'alter table {name} add column "{column.name}" {column.type}')
                meaning = quoted(f"Field of the source row: {column.name}.")
                connection.execute(f'comment on column {name}."{column.name}" is {meaning}')


def create_audit_table(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Create one table of schema audit if it is missing."""
    found = connection.execute(
        "select 1 from duckdb_tables() where schema_name = 'audit' and table_name = ? "
        "and database_name = current_database()",
        [name],
    ).fetchall()
    if not found:
        connection.execute("create schema if not exists audit")
        _create_audit(connection, next(each for each in AUDIT_TABLES if each.name == name))


def _create_audit(connection: duckdb.DuckDBPyConnection, audit: AuditTable) -> None:
    _create(connection, f"audit.{audit.name}", audit.description, audit.columns)


def _create_request_tables(
    connection: duckdb.DuckDBPyConnection, table: RawTable, existing: set[str]
) -> None:
    if f"raw.{table.contested}" not in existing:
        _create(
            connection,
            f"raw.{table.contested}",
            "Request ids of which raw holds more than one row: restated, repeated or colliding.",
            (
                ("_gateway", "varchar", "Gateway."),
                ("request_id", "varchar", "Request id."),
            ),
        )
    if f"raw.{table.request_days}" not in existing:
        _create_request_days(connection, table)


def _create_request_days(connection: duckdb.DuckDBPyConnection, table: RawTable) -> None:
    """The table of request hashes, with those of rows that an earlier version loaded."""
    name = f"raw.{table.request_days}"
    _create(
        connection,
        name,
        "A hash of the request id of every row that was loaded, and its day: tells ids met before.",
        (
            ("request_hash", "ubigint", "Hash of gateway and request id."),
            ("event_date", "date", "UTC day of the row."),
        ),
    )
    connection.execute(f"""
        insert into {name}
        select {request_hash_sql("_gateway", "request_id")}, cast({table.event_at} as date)
        from raw.{table.name}
        """)


def _create(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    description: str,
    columns: tuple[tuple[str, str, str], ...],
) -> None:
    listed = ", ".join(f'"{column}" {kind}' for column, kind, _ in columns)
    connection.execute(f"create table {name} ({listed})")
    connection.execute(f"comment on table {name} is {quoted(description)}")
    for column, _, meaning in columns:
        connection.execute(f'comment on column {name}."{column}" is {quoted(meaning)}')
