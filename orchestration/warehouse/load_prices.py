"""Price catalogs into raw: which models a snapshot lists, and each distinct entry's prices once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.config import Runtime
from orchestration.core.prices import PricePoint
from orchestration.core.refusals import FILE_NOTE_CODES, Refusal, RefusedError, shown
from orchestration.core.values import read_time
from orchestration.landing.files import LandedFile
from orchestration.landing.json_text import RepeatedKeyObject, find_refusal, named
from orchestration.landing.observed import first_seen, stated_observation
from orchestration.landing.rows import Row, read_document_of, read_rows
from orchestration.sources.price_catalogs import (
    read_genai_model,
    read_genai_price,
    read_litellm_entry,
    read_price_row,
)
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined

LITELLM, GENAI_PRICES = "litellm", "genai_prices"
_CSV_REQUIRED = (
    "provider",
    "model",
    "unit",
    "unit_price",
    "unit_size",
    "currency",
    "valid_from_at",
    "observed_at",
    "source",
)
_CSV_COLUMNS = frozenset(
    {
        *_CSV_REQUIRED,
        "context_band",
        "contract_price_id",
        "discount_rate",
        "is_batch",
        "priority",
        "provider_account_id",
        "region",
        "service_tier",
        "valid_to_at",
    }
)
_PROJECTION_FIELDS = frozenset({"provider_id", "model_id", "price_key", "usd_per_unit", "unit"})


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


_ReadEntry = Callable[[Row], tuple[CatalogEntry, list[str]]]


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
    file.refuse_change()
    known = _find_observation(ledger, batch, catalog.stated_at)
    if known is not None:
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


def _find_observation(ledger: Ledger, batch: Batch, stated_at: datetime | None) -> Batch | None:
    """The entry that already says what this file says."""
    if stated_at is None:
        return ledger.find_same_bytes(batch, (batch.kind,))
    return ledger.find_observation(batch, stated_at)


def _read_catalog(file: LandedFile, runtime: Runtime) -> _Catalog:
    if file.format in ("csv", "parquet"):
        return _read_table(file, runtime)
    document = read_document_of(file, runtime.settings.limits)
    if document is None:
        return _empty()
    if isinstance(document, dict) and isinstance(document.get("providers"), list):
        document = document["providers"]
    if isinstance(document, dict):
        return _read_cost_map(document, file)
    if isinstance(document, list) and any(
        isinstance(row, dict) and "usd_per_unit" in row for row in document
    ):
        return _read_projection(document, file)
    providers = document if isinstance(document, list) else []
    if providers and all(isinstance(each, dict) and "models" in each for each in providers):
        return _read_providers(providers, file)
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
    elif not any(_is_model(entry) for entry in models.values()):
        # An error page saved as a catalog would otherwise say that every model is gone.
        raise RefusedError("schema_mismatch", "no entry has a price, a mode or a litellm_provider")
    for line, (price_key, entry) in enumerate(models.items(), 1):
        fields = {"price_key": price_key}
        _take(catalog, Row(line, entry), fields, lambda r, k=price_key: _litellm(k, r))
    return catalog


def _is_model(entry: Any) -> bool:
    return isinstance(entry, dict) and any(
        name in ("litellm_provider", "mode") or "cost" in name for name in entry
    )


def _litellm(price_key: str, row: Row) -> tuple[CatalogEntry, list[str]]:
    _refuse_unsound({price_key: row.value})
    points, codes = read_litellm_entry(price_key, row.value)
    return CatalogEntry(row.line, LITELLM, price_key, tuple(points)), codes


def _refuse_unsound(value: Any) -> None:
    refusal = find_refusal(value)
    if refusal is not None:
        raise RefusedError(refusal.code, refusal.reason, refusal.field)


def _read_projection(document: list[Any], file: LandedFile) -> _Catalog:
    catalog = _Catalog(
        rows_in=len(document), stated_at=stated_observation(file.name, None), is_complete=True
    )
    for line, row in enumerate(document, 1):
        _take(catalog, Row(line, row), _listed(row, _PROJECTION_FIELDS), _genai)
    catalog.entries = _grouped(catalog.entries)
    return catalog


def _read_providers(providers: list[dict[str, Any]], file: LandedFile) -> _Catalog:
    """genai-prices' own data: providers with their models, each model a row."""
    models = [
        (str(provider.get("id") or ""), model)
        for provider in providers
        for model in provider["models"] or ()
    ]
    catalog = _Catalog(rows_in=len(models), stated_at=stated_observation(file.name, None))
    for line, (provider_id, model) in enumerate(models, 1):
        fields = {"provider_id": provider_id, **_listed(model, frozenset({"id"}))}
        _take(catalog, Row(line, model), fields, lambda r, p=provider_id: _genai_model(p, r))
    return catalog


def _genai_model(provider_id: str, row: Row) -> tuple[CatalogEntry, list[str]]:
    if not isinstance(row.value, dict):
        raise RefusedError("not_object", f"expected an object, found {shown(row.value)}")
    _refuse_unsound(row.value)
    points, codes = read_genai_model(provider_id, row.value)
    return CatalogEntry(row.line, GENAI_PRICES, str(row.value["id"]), tuple(points)), codes


def _genai(row: Row) -> tuple[CatalogEntry, list[str]]:
    value = row.value
    if not isinstance(value, dict):
        raise RefusedError("not_object", f"expected an object, found {shown(value)}")
    _refuse_unsound(value)
    points, codes = read_genai_price(value)
    key = points[0].price_key if points else str(value.get("model_id"))
    return CatalogEntry(row.line, GENAI_PRICES, key, tuple(points)), codes


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
    rows = read_rows(file, runtime.settings.limits, columns_found=_refuse_missing_columns)
    for row in rows:
        catalog.rows_in += 1
        if row.refusal is not None:
            _refuse(catalog, row, row.refusal, {})
        else:
            _take(catalog, row, _listed(row.value, _CSV_COLUMNS), _table_row)
    if catalog.rows_in == 0:
        catalog.codes.append((0, "empty_file"))
    return catalog


def _refuse_missing_columns(names: list[str]) -> None:
    missing = [name for name in _CSV_REQUIRED if name not in names]
    if missing:
        raise RefusedError("missing_columns", f"no column {', '.join(missing)}")


def _table_row(row: Row) -> tuple[CatalogEntry, list[str]]:
    cells = {name: None if value is None else str(value) for name, value in row.value.items()}
    point = read_price_row(cells)
    for name in ("valid_from_at", "observed_at", "source"):
        if not (cells.get(name) or "").strip():
            raise RefusedError("missing_field", "required and empty", name)
    observed_at = read_time(cells["observed_at"], "observed_at")[0]
    catalog = str(cells["source"]).strip()
    codes = [] if cells.keys() <= _CSV_COLUMNS else ["schema_drift"]
    return CatalogEntry(row.line, catalog, point.price_key, (point,), observed_at), codes


def _take(catalog: _Catalog, row: Row, fields: dict[str, Any], read: _ReadEntry) -> None:
    """Add what `read` makes of a row, or the row's listed `fields` and why it is refused."""
    try:
        entry, codes = read(row)
    except RefusedError as error:
        _refuse(catalog, row, error.refusal, fields)
        return
    catalog.entries.append(entry)
    catalog.codes.extend((row.line, code) for code in codes)


def _listed(value: Any, names: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {name: item for name, item in value.items() if name in names}


def _refuse(catalog: _Catalog, row: Row, refusal: Refusal, fields: dict[str, Any]) -> None:
    kept = json.dumps({name: shown(value, 256) for name, value in fields.items()}, sort_keys=True)
    catalog.quarantined.append(Quarantined(row.line, refusal, row.sha256(), kept))


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
        ledger.insert_flags(
            batch, [c for c in catalog.codes if c[0] and c[1] not in FILE_NOTE_CODES]
        )
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
