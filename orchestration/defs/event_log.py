"""Dagster's event log on SQLite, with its connections kept for the length of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as db
from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy.pool import StaticPool

_BUSY_SECONDS = 20


class RunEventLog(SqliteEventLogStorage):
    """The same files and tables; Dagster's own storage connects five times for each event.

    A run of a hundred models stores some 450 events, which took longer than the models. It also
    asks for each event whether the tables have been migrated, which they stay once they are.
    """

    def __init__(self, base_dir: str) -> None:
        self._engines: dict[str, db.Engine] = {}
        self._found: set[str] = set()
        super().__init__(base_dir)

    def has_table(self, table_name: str) -> bool:
        """Whether a table is there; asked once."""
        return self._is_found(table_name, lambda: super(RunEventLog, self).has_table(table_name))

    def _has_asset_key_col_on_connection(self, conn: db.Connection, column_name: str) -> bool:
        """Whether the table of asset keys has a column; asked once."""
        ask = super()._has_asset_key_col_on_connection
        return self._is_found(f"asset_keys.{column_name}", lambda: ask(conn, column_name))

    def _is_found(self, name: str, ask: Callable[[], bool]) -> bool:
        if name not in self._found and ask():
            self._found.add(name)
        return name in self._found

    @contextmanager
    def _connect(self, shard: str) -> Iterator[db.Connection]:
        with self._db_lock:
            if shard not in self._engines:
                self._engines[shard] = self._new_engine(shard)
            with self._engines[shard].connect() as connection, connection.begin():
                yield connection

    def _new_engine(self, shard: str) -> db.Engine:
        engine = db.create_engine(
            self.conn_string_for_shard(shard),
            poolclass=StaticPool,
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        )
        self._initdb(engine)
        with engine.connect() as connection:
            # With a write-ahead log a power cut may cost the last events, never the file.
            connection.execute(db.text("pragma synchronous = normal"))
        return engine

    def dispose(self) -> None:
        """Close every file."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()


def keep_connections(instance: DagsterInstance) -> None:
    """Have the instance write its events through connections that stay open."""
    storage = instance.event_log_storage
    if type(storage) is SqliteEventLogStorage:
        kept = RunEventLog(storage._base_dir)
        kept.register_instance(instance)
        instance._event_storage = kept
