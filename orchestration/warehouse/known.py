"""What was landed of a source before, loaded or not: read from ledger, raw and landing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.config import Runtime, SourceSettings
from orchestration.landing.write import last_event, unscrubbed
from orchestration.warehouse.connection import open_warehouse, quoted

_SPEND_LOGS = "litellm_spend_logs"


class KnownRows:
    """Answers what an extractor need not land again.

    The warehouse is opened for each question and closed behind it: it is not held while a source
    is slow to answer.
    """

    def __init__(self, runtime: Runtime, source: SourceSettings) -> None:
        self._runtime = runtime
        self._source = source
        self._folder = runtime.landing / source.name

    def watermark(self) -> datetime | None:
        """The last "startTime" that was read, by the names of the files it was landed in."""
        like = f"{self._source.name}/{_SPEND_LOGS}/spend_logs-%"
        names = [
            name
            for (name,) in self._ask(
                f"select file_name from audit.load_batches where file_name like {quoted(like)} "
                "and status <> 'rejected'"
            )
        ]
        folder = self._folder / _SPEND_LOGS
        names += [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return max(filter(None, map(last_event, names)), default=None)

    def spend_log_hashes(self, start: datetime, end: datetime | None) -> Collection[str]:
        """Hashes of rows that start in [start, end): in raw, refused, or landed and not loaded."""
        until = "" if end is None else f"and started_at < {_moment(end)}"
        loaded = self._ask(f"""
            select distinct source_hash
            from raw.litellm__spend_logs
            where _gateway = {quoted(self._source.gateway_name)} and source_hash is not null
                and started_at >= {_moment(start)} {until}
            """)
        return {*(row[0] for row in loaded), *self._beside_raw}

    @cached_property
    def _beside_raw(self) -> frozenset[str]:
        """Hashes of spend logs that were refused, or were landed and not loaded, whenever.

        Asked for once: what this extraction lands itself it does not ask for again.
        """
        refused = self._ask(f"""
            select json_extract_string(fields, '$.source_hash') as source_hash
            from audit.quarantine
            where source = {quoted(self._source.name)}
                and json_extract_string(fields, '$.source_hash') is not null
            """)
        waiting = self._waiting(_SPEND_LOGS, ["source_hash"])
        return frozenset(
            {row[0] for row in refused}
            | {each for rows in waiting for each in rows.column("source_hash").to_pylist()}
        )

    def loaded_names(self, kind: str) -> Sequence[str]:
        """Names of files of a kind that the ledger has, also of those that are gone by now."""
        like = f"{self._source.name}/{kind}/%"
        rows = self._ask(
            "select file_name from audit.load_batches "
            f"where file_name like {quoted(like)} and status <> 'rejected'"
        )
        return [name for (name,) in rows]

    def final_gaps(self) -> Collection[tuple[str, datetime | None, datetime | None]]:
        """(part, from, to) of what the source refused for good."""
        return self._ask(
            "select part, from_at, to_at from audit.extract_gaps "
            f"where source = {quoted(self._source.name)} and is_final and closed_at is null"
        )

    def generation_ids(self, since: datetime) -> Collection[str]:
        """Ids of OpenRouter generations in records that began at `since` or later.

        LiteLLM keeps the id of the answer, and applications log it.
        """
        found: set[str] = set()
        for sql in (
            "select request_id from raw.litellm__spend_logs "
            f"where started_at >= {_moment(since)} and request_id like 'gen-%'",
            "select request_id from raw.app__requests "
            f"where occurred_at >= {_moment(since)} and request_id like 'gen-%'",
        ):
            found.update(name for (name,) in self._ask(sql))
        # Earlier attempts bear the id of the last with a number behind it.
        return {name.partition("-attempt-")[0].partition("_cache_hit")[0] for name in found}

    def owner_hashes(self, entity: str) -> Mapping[str, str | None]:
        """Source hash by entity id of its newest observation; None where it was gone."""
        from orchestration.sources.owners import OWNER_TABLES

        newest: dict[str, tuple[datetime, str | None]] = {}
        for entity_id, observed_at, source_hash, is_gone in self._ask(f"""
            select entity_id, observed_at, source_hash, is_gone
            from raw.owners__observations
            where _gateway = {quoted(self._source.gateway_name)} and entity = {quoted(entity)}
                and (source_hash is not null or is_gone)
            qualify row_number() over (
                partition by entity_id order by observed_at desc, _row_hash desc
            ) = 1
            """):
            newest[entity_id] = (observed_at, None if is_gone else source_hash)
        (table,) = (each for each in OWNER_TABLES if each.entity == entity)
        key = table.fields[0].theirs
        for rows in self._waiting("owners", [key, "litellm_table", "observed_at"], optional=True):
            for row in rows.to_pylist():
                if row.get("litellm_table") != table.name:
                    continue
                seen = (row["observed_at"].replace(tzinfo=None), row.get("source_hash"))
                if row[key] not in newest or seen[0] >= newest[row[key]][0]:
                    newest[row[key]] = seen
        return {entity_id: source_hash for entity_id, (_, source_hash) in newest.items()}

    def edge_counts(self) -> Collection[tuple[datetime, int, int]]:
        """(day, successful, failed) of the counts landed before."""
        counts = {
            tuple(row)
            for row in self._ask(f"""
                select hour_at, successful_requests, failed_requests
                from raw.gateway__counts
                where _source = {quoted(self._source.name)} and hours = 24
                """)
        }
        names = ["hour_at", "successful_requests", "failed_requests"]
        for rows in self._waiting("gateway_counts", names):
            for row in rows.to_pylist():
                moment = row["hour_at"].replace(tzinfo=None)
                counts.add((moment, row["successful_requests"], row["failed_requests"]))
        return counts

    def daily_hashes(self, table: str, days: tuple[str, str]) -> Collection[str]:
        """Source hashes of a roll-up's rows of the days in [first, last)."""
        loaded = self._ask(f"""
            select source_hash
            from raw.litellm__daily_spend
            where _gateway = {quoted(self._source.gateway_name)} and source_hash is not null
                and litellm_table = {quoted(table)}
                and usage_at >= timestamp {quoted(days[0])}
                and usage_at < timestamp {quoted(days[1])}
            """)
        waiting = self._waiting("litellm_daily_spend", ["source_hash"])
        return {
            *(row[0] for row in loaded),
            *(row["source_hash"] for rows in waiting for row in rows.to_pylist()),
        }

    def _ask(self, sql: str) -> list[tuple]:
        if not self._runtime.database.is_file():
            return []
        with open_warehouse(self._runtime) as connection:
            try:
                return connection.execute(sql).fetchall()
            except (duckdb.CatalogException, duckdb.BinderException):
                # A warehouse that was never set up, or by an earlier version: nothing is known.
                return []

    def _waiting(
        self, kind: str, columns: list[str], *, optional: bool = False
    ) -> Iterator[pa.Table]:
        """The named columns of files that were landed and are not in the ledger yet."""
        folder = self._folder / kind
        paths = list(unscrubbed(folder))
        known = self._loaded_names(folder) if paths else set()
        for path in paths:
            if path.name in known:
                continue
            names = pq.read_schema(path).names
            if optional:
                wanted = [name for name in (*columns, "source_hash") if name in names]
                if not set(columns) <= set(names):
                    continue
            else:
                wanted = columns
            yield pq.read_table(path, columns=wanted)

    def _loaded_names(self, folder: Path) -> set[str]:
        like = f"{self._source.name}/{folder.name}/%"
        rows = self._ask(
            f"select file_name from audit.load_batches where file_name like {quoted(like)}"
        )
        return {name.rpartition("/")[2] for (name,) in rows}


def _moment(moment: datetime) -> str:
    return f"timestamp {quoted(moment.isoformat(sep=' '))}"
