"""Price catalogs into raw: which models a snapshot lists, and each distinct entry's prices once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.config import Runtime
from orchestration.core.prices import PricePoint
from orchestration.core.refusals import Refusal, RefusedError, shown
from orchestration.core.values import read_time
from orchestration.landing.files import LandedFile
from orchestration.landing.observed import first_seen, stated_observation
from orchestration.landing.json_text import RepeatedKeyObject, find_refusal, named
from orchestration.landing.rows import read_document_of, read_rows
from orchestration.sources.price_catalogs import (
    read_genai_price,
    read_litellm_entry,
    read_price_row,
)
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined

LITELLM, GENAI_PRICES = "litellm", "genai_prices"
_CSV_REQUIRED = ("provider", "model", "unit", "unit_price", "unit_size", "currency")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model of a catalog: its prices, or none.

    Attributes:
        line: Position in the file, from 1.
        observed_at: When the catalog said so; None = when the file was observed.
    """

    line: int
    catalog: str
    price_key: str
    points: tuple[PricePoint, ...]
    observed_at: datetime | None = None

    @property
    def entry_hash(self) -> str:
        """A hash of what the entry prices, so that an unchanged entry is stored once."""
        text = repr([(self.catalog, self.price_key), *sorted(map(repr, self.points))])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(slots=True)
class _Catalog:
    entries: list[CatalogEntry] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    codes: list[tuple[int, str]] = field(default_factory=list)
    rows_in: int = 0
    is_complete: bool = True
    stated_at: datetime | None = None


def load_catalog(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    file: LandedFile,
    runtime: Runtime,
    batch: Batch,
) -> Batch:
    """Load one observation of a price catalog; a row is a model of it.

    The same bytes observed again at another stated time are a new observation: a price that
    went away and came back is known only from both.

    Raises:
        RefusedError: a file code.
    """
    catalog = _read_catalog(file, runtime)
    known = ledger.find_same_bytes(batch)
    if known is not None and catalog.stated_at in (None, known.observed_at):
        batch = replace(
            batch,
            status="already_known",
            rows_in=known.rows_in,
            rows_already_known=known.rows_in,
            reason=f"the same bytes as {known.file_name}",
        )
        ledger.write(batch)
        return batch
    observed_at = catalog.stated_at or first_seen(runtime.landing, batch.file_sha256, runtime.as_of)
    return _commit(connection, ledger, catalog, replace(batch, observed_at=observed_at))


def _read_catalog(file: LandedFile, runtime: Runtime) -> _Catalog:
    if file.format in ("csv", "parquet"):
        return _read_table(file, runtime)
    document = read_document_of(file, runtime.settings.limits)
    if document is None:
        return _empty()
    if isinstance(document, dict):
        return _read_cost_map(document, file)
    if isinstance(document, list) and any(
        isinstance(row, dict) and "usd_per_unit" in row for row in document
    ):
        return _read_projection(document, file)
    raise RefusedError(
        "schema_mismatch", "expected LiteLLM's object of models or genai-prices' list of prices"
    )


def _empty() -> _Catalog:
    return _Catalog(codes=[(0, "empty_file")])


def _read_cost_map(document: dict[str, Any], file: LandedFile) -> _Catalog:
    if not isinstance(document.get("observed_at"), dict | None):
        models = {key: value for key, value in document.items() if key != "observed_at"}
    else:
        models = document
    if isinstance(document, RepeatedKeyObject):
        raise RefusedError("duplicate_json_key", f"{named(document.repeated)} stands twice")
    catalog = _Catalog(rows_in=len(models), stated_at=stated_observation(file.name, document))
    if not models:
        catalog.codes.append((0, "empty_file"))
    for line, (price_key, entry) in enumerate(models.items(), 1):
        _take(catalog, line, price_key, lambda k=price_key, e=entry: _litellm(k, e))
    return catalog


def _litellm(price_key: str, entry: Any) -> tuple[str, str, list[PricePoint], list[str]]:
    refusal = find_refusal(entry)
    if refusal is not None:
        raise RefusedError(refusal.code, refusal.reason, refusal.field)
    points, codes = read_litellm_entry(price_key, entry)
    return LITELLM, price_key, points, codes


def _read_projection(document: list[Any], file: LandedFile) -> _Catalog:
    catalog = _Catalog(
        rows_in=len(document), stated_at=stated_observation(file.name, None), is_complete=True
    )
    for line, row in enumerate(document, 1):
        _take(catalog, line, str(line), lambda r=row: _genai(r))
    catalog.entries = _grouped(catalog.entries)
    return catalog


def _genai(row: Any) -> tuple[str, str, list[PricePoint], list[str]]:
    if not isinstance(row, dict):
        raise RefusedError("not_object", f"expected an object, found {shown(row)}")
    points, codes = read_genai_price(row)
    key = points[0].price_key if points else str(row.get("model_id"))
    return GENAI_PRICES, key, points, codes


def _grouped(entries: list[CatalogEntry]) -> list[CatalogEntry]:
    """One entry a model: genai-prices writes a row a price."""
    by_model: dict[tuple[str, str], list[CatalogEntry]] = {}
    for entry in entries:
        provider = entry.points[0].catalog_provider if entry.points else ""
        by_model.setdefault((provider, entry.price_key), []).append(entry)
    return [
        replace(group[0], points=tuple(point for entry in group for point in entry.points))
        for group in by_model.values()
    ]


def _read_table(file: LandedFile, runtime: Runtime) -> _Catalog:
    catalog = _Catalog(is_complete=False, stated_at=stated_observation(file.name, None))
    for row in read_rows(file, runtime.settings.limits):
        if catalog.rows_in == 0 and isinstance(row.value, dict):
            missing = [name for name in _CSV_REQUIRED if name not in row.value]
            if missing:
                raise RefusedError("missing_columns", f"no column {', '.join(missing)}")
        catalog.rows_in += 1
        if row.refusal is not None:
            _refuse(catalog, row.line, row.refusal, row.value)
        else:
            _take(catalog, row.line, "", lambda v=row.value: _table_row(v), row.value)
    if catalog.rows_in == 0:
        return _empty()
    return catalog


def _table_row(value: Any) -> tuple[str, str, list[PricePoint], list[str]]:
    row = {name: None if v is None else str(v) for name, v in value.items()}
    point = read_price_row(row)
    return row.get("source") or "csv", point.price_key, [point], []


def _take(catalog: _Catalog, line: int, price_key: str, read: Any, value: Any = None) -> None:
    try:
        name, key, points, codes = read()
        observed = value.get("observed_at") if isinstance(value, dict) else None
        observed_at = read_time(observed, "observed_at")[0] if observed else None
    except RefusedError as error:
        _refuse(catalog, line, error.refusal, {"price_key": price_key} if price_key else value)
        return
    catalog.entries.append(CatalogEntry(line, name, key, tuple(points), observed_at))
    catalog.codes.extend((line, code) for code in codes)


def _refuse(catalog: _Catalog, line: int, refusal: Refusal, value: Any) -> None:
    shown_fields = {k: shown(v, 256) for k, v in value.items()} if isinstance(value, dict) else {}
    fields = json.dumps(shown_fields, sort_keys=True)
    sha256 = hashlib.sha256(repr(value).encode("utf-8", "replace")).hexdigest()
    catalog.quarantined.append(Quarantined(line, refusal, sha256, fields))


# ---------------------------------------------------------------- DuckDB


def _commit(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, catalog: _Catalog, batch: Batch
) -> Batch:
    moments = [entry.observed_at or batch.observed_at for entry in catalog.entries]
    batch = replace(
        batch,
        status="loaded",
        rows_in=catalog.rows_in,
        rows_loaded=catalog.rows_in - len(catalog.quarantined),
        rows_quarantined=len(catalog.quarantined),
        rows_flagged=len({line for line, _ in catalog.codes if line}),
        codes=",".join(
            sorted({c for _, c in catalog.codes} | {q.refusal.code for q in catalog.quarantined})
        ),
        min_event_at=min(filter(None, moments), default=None),
        max_event_at=max(filter(None, moments), default=None),
    )
    connection.execute("begin")
    try:
        _insert_prices(connection, catalog, batch)
        _insert_entries(connection, catalog, batch)
        connection.execute(
            "insert into audit.touched_days values ('price_catalog__entries', ?)",
            [batch.observed_at],
        )
        ledger.insert(batch)
        ledger.insert_quarantine(batch, catalog.quarantined)
        ledger.insert_flags(batch, [code for code in catalog.codes if code[0]])
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return batch


def _insert_entries(connection: duckdb.DuckDBPyConnection, catalog: _Catalog, batch: Batch) -> None:
    rows = [
        {
            "catalog": entry.catalog,
            "price_key": entry.price_key,
            "observed_at": entry.observed_at or batch.observed_at,
            "snapshot_sha256": batch.file_sha256,
            "is_complete_snapshot": catalog.is_complete,
            "entry_hash": entry.entry_hash,
            "catalog_provider": entry.points[0].catalog_provider if entry.points else None,
            "mode": entry.points[0].mode if entry.points else None,
            "_gateway": batch.gateway,
            "_source": batch.source,
            "_load_batch_id": batch.load_batch_id,
            "_source_file": batch.file_name,
            "_source_line": entry.line,
        }
        for entry in catalog.entries
    ]
    _append(connection, "raw.price_catalog__entries", rows)


def _insert_prices(connection: duckdb.DuckDBPyConnection, catalog: _Catalog, batch: Batch) -> None:
    known = {
        row[0]
        for row in connection.execute(
            "select distinct entry_hash from raw.price_catalog__prices"
        ).fetchall()
    }
    rows = list(_price_rows(catalog, batch, known))
    _append(connection, "raw.price_catalog__prices", rows)


def _price_rows(catalog: _Catalog, batch: Batch, known: set[str]) -> Iterator[dict[str, Any]]:
    for entry in catalog.entries:
        entry_hash = entry.entry_hash
        if entry_hash in known:
            continue
        known.add(entry_hash)
        for point in entry.points:
            yield {
                "catalog": entry.catalog,
                "price_key": entry.price_key,
                "entry_hash": entry_hash,
                "unit": point.unit,
                "service_tier": point.service_tier,
                "is_batch": point.is_batch,
                "context_above_tokens": point.context_above_tokens,
                "region": point.region,
                "unit_price": point.unit_price,
                "currency": point.currency,
                "valid_from_at": point.valid_from_at,
                "valid_to_at": point.valid_to_at,
                "priority": point.priority,
                "_gateway": batch.gateway,
                "_source": batch.source,
                "_load_batch_id": batch.load_batch_id,
                "_source_file": batch.file_name,
                "_source_line": entry.line,
            }


def _append(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    types = dict(
        connection.execute(
            "select column_name, data_type from information_schema.columns "
            "where table_schema || '.' || table_name = ?",
            [table],
        ).fetchall()
    )
    arrays = {name: pa.array([row[name] for row in rows], _arrow(types[name])) for name in rows[0]}
    connection.register("arriving", pa.table(arrays))
    connection.execute(f"insert into {table} by name select * from arriving")
    connection.unregister("arriving")


def _arrow(duckdb_type: str) -> pa.DataType:
    if duckdb_type.startswith("DECIMAL"):
        return pa.decimal128(38, 18)
    return {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMP": pa.timestamp("us"),
    }[duckdb_type]
