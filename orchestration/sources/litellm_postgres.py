"""LiteLLM's PostgreSQL database: what it has, what may be read of it, read in short steps.

Only allow-listed columns and named keys of `metadata` cross the wire; prompts, responses and
request bodies are never selected. Every read is a read-only transaction of its own with time
limits, bounded by a window and a row limit on the index of "startTime".
Source: LiteLLM proxy migrations and code, release 1.109.1, read 2026-11-21; PostgreSQL 12 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import stamina

from orchestration.sources.litellm_spend_logs import OWNER_NAMES
from orchestration.sources.owners import OWNER_TABLES, OwnerTable
from orchestration.sources.source_error import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

SPEND_LOGS = "LiteLLM_SpendLogs"
EDGE_COUNTS = "LiteLLM_DailyGatewayRequests"
# One table for each question: the total, and what teams are charged by. The others fan out.
DAILY_SPEND = {"LiteLLM_DailyUserSpend": "user_id", "LiteLLM_DailyTeamSpend": "team_id"}
# Customers may be millions and budgets change daily; neither says who owns a key.
OWNERS = tuple(
    table
    for table in OWNER_TABLES
    if table.name.startswith("LiteLLM_") and table.entity not in ("customer", "budget")
)

PAGE_ROWS = 25_000
_FEWEST_PAGE_ROWS = 500
CONNECT_SECONDS = 10
LOCK_TIMEOUT_MS = 5_000
# Keys, teams or people of one gateway: more than this is something else.
OWNER_ROWS = 1_000_000
ATTEMPTS = 4
# How old the last replayed change of a replica may be before a run says so.
REPLICA_DELAY = timedelta(minutes=5)


class _TransientError(Exception):
    """A connection that broke, or a server that asks to come again: worth another try."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _TooSlowError(SourceError):
    """A statement that met its time limit."""

    def __init__(self) -> None:
        super().__init__("an answer takes longer than statement_timeout; raise it in tollbook.yml")


# ---------------------------------------------------------------- the connection

# Parameters of libpq; the others of LiteLLM's DATABASE_URL are Prisma's and mean nothing to it.
_LIBPQ = frozenset(
    {
        "application_name",
        "channel_binding",
        "connect_timeout",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "options",
        "passfile",
        "password",
        "port",
        "require_auth",
        "service",
        "sslcert",
        "sslcompression",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)


@dataclass(frozen=True, slots=True)
class Dsn:
    """A connection string as libpq reads it, and the schema that Prisma's `schema=` names."""

    uri: str = field(repr=False)
    schema: str | None = None

    @classmethod
    def parse(cls, text: str) -> Dsn:
        """The parts of `postgresql://user:password@host:5432/litellm?sslmode=require`.

        Raises:
            ValueError: it is no such URL; the text is not repeated, as it holds a password.
        """
        parts = urlsplit(text)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        kept = {name: value for name, value in given.items() if name in _LIBPQ}
        kept.setdefault("application_name", "tollbook")
        kept.setdefault("connect_timeout", str(CONNECT_SECONDS))
        # A slash stays as it is: `host=/run/postgresql` names a folder.
        query = urlencode(kept, safe="/")
        uri = urlunsplit(("postgresql", parts.netloc, parts.path, query.replace("+", "%20"), ""))
        return cls(uri=uri, schema=given.get("schema"))


class Database:
    """Reads one database in short transactions, and connects anew when the connection breaks."""

    def __init__(self, dsn: str, *, statement_timeout: timedelta, attempts: int = ATTEMPTS) -> None:
        try:
            self._dsn = Dsn.parse(dsn)
        except ValueError:
            # Its own message may repeat part of a password.
            raise SourceError(
                "its dsn is no URL like postgresql://USER:PASSWORD@HOST:5432/DATABASE; "
                "write / @ : ? # in a password as %2F %40 %3A %3F %23"
            ) from None
        self._attempts = attempts
        self._connection: Any = None
        limits = {
            "statement_timeout": str(int(statement_timeout.total_seconds() * 1000)),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            # The shortest text that means the same double.
            "extra_float_digits": "3",
            "standard_conforming_strings": "on",
        }
        # Within the transaction, so that a pooler between us and the server hands none of it on.
        self._limits = "select " + ", ".join(
            f"set_config({literal(name)}, {literal(value)}, true)" for name, value in limits.items()
        )

    def table(self, name: str) -> str:
        """A table's name as SQL, in the schema the connection string names."""
        schema = f"{identifier(self._dsn.schema)}." if self._dsn.schema else ""
        return f"{schema}{identifier(name)}"

    def read(self, sql: str) -> pa.Table:
        """The rows of one query, in a read-only transaction of its own.

        Raises:
            SourceError: in one line, after a few tries where another try may help.
        """
        try:
            for attempt in stamina.retry_context(
                on=_TransientError,
                attempts=self._attempts,
                timeout=None,
                wait_initial=0.2,
                wait_max=5.0,
            ):
                with attempt:
                    return self._read_once(sql)
        except _TransientError as error:
            raise SourceError(error.message) from None
        raise AssertionError("the last attempt returns or raises")

    def _read_once(self, sql: str) -> pa.Table:
        try:
            if self._connection is None:
                self._connection = _connect(self._dsn.uri)
            with self._connection.cursor() as cursor:
                cursor.execute("begin read only")
                cursor.execute(self._limits)
                cursor.fetchall()
                cursor.execute(sql)
                rows = cursor.fetch_arrow_table()
                cursor.execute("commit")
        except Exception as error:
            self.close()
            raise _explained(error) from None
        return rows

    def close(self) -> None:
        """Give the connection back; the next read opens another."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None


def _connect(uri: str) -> Any:
    import adbc_driver_postgresql.dbapi as postgresql

    # Begun and ended by hand: the driver would begin the next transaction at once, to lie idle.
    return postgresql.connect(uri, autocommit=True)


_DENIED = "check the user and password in its dsn"
_ADDRESS = "check the host and port in its dsn"
# By SQLSTATE or the beginning of one; what the server says itself may repeat data or the query.
_PERMANENT = {
    "28": f"the database refused the login; {_DENIED}",
    "3D000": "the server has no database of that name; check its dsn",
    "42501": 'a permission is missing; `grant select on all tables in schema ... to "user"`',
    "42P01": "a table is missing that was there when the read began",
    "42703": "a column is missing that was there when the read began",
    "55P03": "a table is locked for longer than we wait; the next run tries again",
}
_TEMPORARY = {
    "08": "the connection broke",
    "57P": "the server closed the connection",
    "53": "the server has no room for another connection",
    "40": "the server cancelled the read in favour of replication",
    "25P": "the server ended an idle transaction",
}
_BY_TEXT = (
    (r"password authentication failed|no password supplied|no pg_hba.conf entry", None, "28"),
    (r"database .* does not exist", None, "3D000"),
    (r"Connection refused|No such file or directory", f"nothing answers there; {_ADDRESS}", ""),
    (
        r"could not translate host name|Name or service not known",
        f"its host is not known; {_ADDRESS}",
        "",
    ),
    (r"timeout expired|timed out", "the server does not answer in time", ""),
    (r"starting up|shutting down|recovery mode", "the server is starting or stopping", ""),
    (r"SSL|certificate", "the server and we do not agree on encryption", ""),
    (r"closed the connection|connection to server|terminat|no connection", _TEMPORARY["57P"], ""),
)
# Ends the line of a trouble that may pass by itself.
AGAIN = "; the next run reads what is missing"


def _explained(error: Exception) -> Exception:
    """What went wrong in our words: a server's own text may repeat the query, data or the dsn."""
    state = (getattr(error, "sqlstate", None) or "").strip("\x00")
    text = str(error)
    if not state:
        found = re.search(r"SQLSTATE:? (\w{5})", text)
        state = found[1] if found and found[1] != "00000" else ""
    if state == "57014":
        return _TooSlowError()
    for prefix, meaning in _PERMANENT.items():
        if state.startswith(prefix):
            return SourceError(f"{meaning} ({state})")
    for prefix, meaning in _TEMPORARY.items():
        if state.startswith(prefix):
            return _TransientError(f"{meaning} ({state}){AGAIN}")
    for pattern, meaning, as_state in _BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            if as_state:
                return SourceError(_PERMANENT[as_state])
            return _TransientError(f"{meaning}{AGAIN}")
    return SourceError(f"the read failed ({state or type(error).__name__})")


def literal(text: str) -> str:
    """The text as an SQL string; backslashes stand for themselves (standard_conforming_strings)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------- what the database has


@dataclass(frozen=True, slots=True)
class Shape:
    """What one database has of the tables we read.

    Attributes:
        columns: Readable columns and their types by table, in the order of the table.
        hidden: Columns that exist and that the user may not read, by table.
        start_indexes: Whether some index of LiteLLM_SpendLogs begins with "startTime".
        replica_lag: How old the last replayed change is, on a replica that is behind.
    """

    columns: Mapping[str, Mapping[str, str]]
    hidden: Mapping[str, Collection[str]]
    start_indexes: bool
    replica_lag: timedelta | None

    def has(self, table: str) -> bool:
        """Whether the table exists."""
        return table in self.columns

    def refuse_missing(self, table: str, needed: Sequence[str]) -> None:
        """Make sure that a table has the columns without which it means nothing.

        Raises:
            SourceError: it names the table and the columns.
        """
        if table not in self.columns:
            raise SourceError(
                f'no table "{table}" in the schema; name another with ?schema= in dsn'
            )
        missing = [name for name in needed if name not in self.columns[table]]
        hidden = [name for name in missing if name in self.hidden.get(table, ())]
        if hidden:
            raise SourceError(
                f"{table}: no permission to read {_listed(hidden)}; grant select on it"
            )
        if missing:
            raise SourceError(f"{table}: no column {_listed(missing)}; is it LiteLLM's own table?")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def inspect(database: Database) -> Shape:
    """Ask the catalog which tables, columns and indexes there are, and whether it is a replica.

    Raises:
        SourceError: the database cannot be read.
    """
    wanted = [SPEND_LOGS, EDGE_COUNTS, *DAILY_SPEND, *(table.name for table in OWNERS)]
    names = ", ".join(f"({literal(name)}, {literal(database.table(name))})" for name in wanted)
    found = database.read(f"""
        select t.name, a.attname::text as column_name, format_type(a.atttypid, null) as type,
            has_column_privilege(a.attrelid, a.attnum, 'select') as readable
        from (values {names}) as t(name, path)
        inner join pg_attribute as a on a.attrelid = to_regclass(t.path)
        where a.attnum > 0 and not a.attisdropped
        order by t.name, a.attnum
        """).to_pylist()
    columns: dict[str, dict[str, str]] = {}
    hidden: dict[str, set[str]] = {}
    for row in found:
        table = columns.setdefault(row["name"], {})
        if row["readable"]:
            table[row["column_name"]] = row["type"]
        else:
            hidden.setdefault(row["name"], set()).add(row["column_name"])
    return Shape(
        columns=columns,
        hidden=hidden,
        start_indexes=_has_start_index(database),
        replica_lag=_replica_lag(database),
    )


def _has_start_index(database: Database) -> bool:
    path = literal(database.table(SPEND_LOGS))
    (row,) = database.read(f"""
        select count(*) as indexes
        from pg_index as i
        inner join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = to_regclass({path}) and a.attname = 'startTime' and i.indisvalid
            and i.indpred is null
        """).to_pylist()
    return row["indexes"] > 0


def _replica_lag(database: Database) -> timedelta | None:
    """How far a replica is behind; None for a primary and for a replica that has all there is.

    A primary at rest sends nothing to replay: only a replica that has received more than it has
    replayed, or whose connection is gone, is behind.
    """
    (row,) = database.read("""
        select extract(epoch from clock_timestamp() - coalesce(
            pg_last_xact_replay_timestamp(), pg_postmaster_start_time()
        ))::float8 as age
        where pg_is_in_recovery()
            and (
                pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn()
                or not exists (select 1 from pg_stat_wal_receiver)
            )
        union all
        select null
        limit 1
        """).to_pylist()
    return None if row["age"] is None else timedelta(seconds=row["age"])


# ---------------------------------------------------------------- spend logs

_NEEDED = ("request_id", "startTime", "api_key", "spend")
PLAIN = (
    "call_type",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "request_duration_ms",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "cache_hit",
    "team_id",
    "organization_id",
    "end_user",
    "session_id",
    "status",
    "mcp_namespaced_tool_name",
    "agent_id",
    "litellm_call_id",
)
TIMES = ("startTime", "endTime", "completionStartTime", "created_at", "updated_at")
# What tells nothing about the row itself: a migration writes it, or we do.
_NOT_HASHED = frozenset({"created_at"})
METADATA_KEYS = (
    "additional_usage_values",
    "attempted_fallbacks",
    "attempted_retries",
    "batch_failed_requests",
    "batch_successful_requests",
    "billed_retry_attempt",
    "internal_call_origin",
    "is_silent_experiment",
    "original_model_group",
    "status",
    "upstream_provider",
    "usage_object",
    "used_client_oauth_token",
    "user_api_key_alias",
    "user_api_key_org_id",
    "user_api_key_project_alias",
    "user_api_key_project_id",
    "user_api_key_team_alias",
    "user_api_key_team_id",
)
# Of these only the named parts: beside them stand messages, tracebacks and prices.
METADATA_PARTS = {
    "cost_breakdown": ("data_residency", "service_tier", "vertex_location"),
    "error_information": ("error_class", "error_code"),
}
FREE_FORM = "spend_logs_metadata"
_NAMED_KEYS = (
    "'^(litellm_proxy_master_key|litellm-internal-health-check|litellm-cli|unassigned"
    "|cli-session-[A-Za-z0-9_-]+|hashed-jwt-[0-9a-fA-F]{64})$'"
)


@dataclass(frozen=True, slots=True)
class Privacy:
    """Which personal fields may be read."""

    client_ip: bool = False
    user_agent: bool = False
    user_id: bool = True


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in LiteLLM_SpendLogs in the order of ("startTime", request_id).

    Attributes:
        started_at: Naive UTC.
        request_id: Rows up to this one are behind; None: from the beginning of `started_at` on.
    """

    started_at: datetime
    request_id: str | None = None


class SpendLogs:
    """The queries on LiteLLM_SpendLogs of one database."""

    def __init__(self, database: Database, shape: Shape, privacy: Privacy) -> None:
        shape.refuse_missing(SPEND_LOGS, _NEEDED)
        if not shape.start_indexes:
            raise SourceError(
                f'{SPEND_LOGS}: no index begins with "startTime", so a read would scan the table; '
                'create index concurrently on "LiteLLM_SpendLogs" ("startTime", request_id)'
            )
        self._database = database
        self._table = database.table(SPEND_LOGS)
        self._types = shape.columns[SPEND_LOGS]
        self._columns = _spend_log_columns(self._types, privacy)
        self._lateral = _metadata_lateral(privacy) if "metadata" in self._types else ""

    def first_start(self, after: datetime) -> datetime | None:
        """The earliest "startTime" from `after` on; naive UTC."""
        found = self._database.read(self.first_start_sql(after)).to_pylist()
        return found[0]["started_at"].replace(tzinfo=None) if found else None

    def first_start_sql(self, after: datetime) -> str:
        """The query of first_start."""
        utc = self._utc('s."startTime"')
        return f"""
            select {utc} as started_at
            from {self._table} as s
            where s."startTime" >= {self._moment(after)}
            order by s."startTime"
            limit 1
            """

    def rows_sql(self, cursor: Cursor, end: datetime | None, *, limit: int) -> str:
        """Rows with all their columns and their hash, in order of the keyset."""
        names = ", ".join(f"x.{identifier(name)}" for name in self._columns)
        return f"""
            select {names}, {self._hash()} as source_hash
            from ({self._inner(self._window(cursor, end), limit)}) as x
            """

    def keys_sql(self, cursor: Cursor, end: datetime | None, *, limit: int) -> str:
        """Keys and hashes alone, in order of the keyset."""
        return f"""
            select x.request_id, x."startTime", {self._hash()} as source_hash
            from ({self._inner(self._window(cursor, end), limit)}) as x
            """

    def named_sql(self, ids: Sequence[str], first: datetime, last: datetime) -> str:
        """The rows of these ids between two starts, both included."""
        names = ", ".join(f"x.{identifier(name)}" for name in self._columns)
        listed = ", ".join(literal(each) for each in ids)
        where = (
            f's."startTime" >= {self._moment(first)} and s."startTime" <= {self._moment(last)} '
            f"and s.request_id in ({listed})"
        )
        return f"""
            select {names}, {self._hash()} as source_hash
            from ({self._inner(where, None)}) as x
            """

    def _window(self, cursor: Cursor, end: datetime | None) -> str:
        moment = self._moment(cursor.started_at)
        where = f's."startTime" >= {moment}'
        if cursor.request_id is not None:
            where += (
                f' and (s."startTime", s.request_id) > ({moment}, {literal(cursor.request_id)})'
            )
        if end is not None:
            where += f' and s."startTime" < {self._moment(end)}'
        return where

    def _inner(self, where: str, limit: int | None) -> str:
        selected = ", ".join(f"{sql} as {identifier(name)}" for name, sql in self._columns.items())
        # Behind `offset 0` every expression is computed once, however often it is used.
        bound = "offset 0" if limit is None else f"limit {limit}"
        order = "" if limit is None else 'order by s."startTime", s.request_id'
        return (
            f"select {selected} from {self._table} as s {self._lateral} "
            f"where {where} {order} {bound}"
        )

    def _hash(self) -> str:
        """SQL for the hash of a row: a column that is NULL, or not there yet, does not count."""
        parts = ", ".join(
            f"{literal(name + '=')} || x.{identifier(name)}::text"
            for name in sorted(self._columns)
            if name not in _NOT_HASHED
        )
        return f"md5(concat_ws(chr(31), {parts}))"

    def _moment(self, moment: datetime) -> str:
        zone = "timestamptz" if self._types["startTime"].endswith("with time zone") else "timestamp"
        suffix = "+00" if zone == "timestamptz" else ""
        return f"{zone} '{moment.isoformat(sep=' ')}{suffix}'"

    def _utc(self, column: str) -> str:
        return _in_utc(column, self._types["startTime"])


def _in_utc(column: str, kind: str) -> str:
    """A time as an instant: LiteLLM writes UTC without a zone."""
    return column if kind.endswith("with time zone") else f"{column} at time zone 'UTC'"


def _spend_log_columns(types: Mapping[str, str], privacy: Privacy) -> dict[str, str]:
    """Column to SQL, for every allow-listed column this database has."""
    columns = {"request_id": "s.request_id", "api_key": hashed_key_sql("s.api_key")}
    columns["spend"] = "s.spend::text"
    personal = (("user", privacy.user_id), ("requester_ip_address", privacy.client_ip))
    for name in (*PLAIN, *(name for name, is_kept in personal if is_kept)):
        if name in types:
            columns[name] = f"s.{identifier(name)}"
    for name in TIMES:
        if name in types:
            columns[name] = _in_utc(f"s.{identifier(name)}", types[name])
    if "api_base" in types:
        columns["api_base"] = _BARE_URL
    if "request_tags" in types:
        columns["request_tags"] = f"({_tags_sql(privacy)})::text"
    if "metadata" in types:
        columns["metadata"] = f"json_strip_nulls({_metadata_sql(privacy)})::text"
    return columns


def unreadable_columns(shape: Shape, privacy: Privacy) -> list[str]:
    """Columns of LiteLLM_SpendLogs we would read and may not; none where no row can be read."""
    hidden = dict.fromkeys(shape.hidden.get(SPEND_LOGS, ()), "")
    if not hidden.keys().isdisjoint(_NEEDED):
        return []
    return sorted(hidden.keys() & _spend_log_columns(hidden, privacy).keys())


# Without user name, password, query and fragment.
_BARE_URL = r"""
    case when s.api_base ~ '[@?#]'
        then regexp_replace(
            regexp_replace(s.api_base, '[?#].*$', ''), '^([^/]*//)?[^/]*@', '\1')
        else s.api_base end
    """


def hashed_key_sql(column: str) -> str:
    """SQL for a key's hash: a raw key (LiteLLM issue 30736) never leaves the database."""
    # Without a regular expression where it can be: one costs as much as the rest of the row.
    return (
        f"case when length({column}) in (0, 64) "
        f"and translate({column}, '0123456789abcdefABCDEF', '') = '' then {column} "
        f"when {column} ~ {_NAMED_KEYS} then {column} "
        f"else encode(sha256(convert_to({column}, 'UTF8')), 'hex') end"
    )


def _tags_sql(privacy: Privacy) -> str:
    tags = "s.request_tags::jsonb"
    if privacy.user_agent:
        return tags
    # LiteLLM adds the caller's user agent as a tag of its own.
    return f"""jsonb_path_query_array({tags}, '$[*] ? (!(@ starts with "User-Agent:"))')"""


def _metadata_keys(privacy: Privacy) -> tuple[str, ...]:
    personal = ["user_api_key_user_id"] if privacy.user_id else []
    personal += ["user_agent"] if privacy.user_agent else []
    return (*METADATA_KEYS, *personal)


def _metadata_lateral(privacy: Privacy) -> str:
    """The named keys as columns of `m`: a row's metadata is fetched and inflated once."""
    names = (*_metadata_keys(privacy), *METADATA_PARTS, FREE_FORM)
    listed = ", ".join(f"{identifier(name)} jsonb" for name in names)
    an_object = """jsonb_path_query_first(s.metadata::jsonb, '$ ? (@.type() == "object")')"""
    return f"left join lateral jsonb_to_record({an_object}) as m({listed}) on true"


def _metadata_sql(privacy: Privacy) -> str:
    parts = [f"{literal(name)}, m.{identifier(name)}" for name in _metadata_keys(privacy)]
    for name, its_names in METADATA_PARTS.items():
        named = ", ".join(f"{literal(n)}, m.{name} -> {literal(n)}" for n in its_names)
        parts.append(
            f"{literal(name)}, "
            f"case when jsonb_typeof(m.{name}) = 'object' then json_build_object({named}) end"
        )
    parts.append(f"{literal(FREE_FORM)}, {owner_columns_sql(f'm.{FREE_FORM}')}")
    return f"json_build_object({', '.join(parts)})"


def owner_columns_sql(metadata: str) -> str:
    """SQL for the owner columns of a free-form object, as JSON under their own names."""
    names = sorted({name for names in OWNER_NAMES.values() for name in names})
    listed = ", ".join(literal(name) for name in names)
    return f"""(
        select json_object_agg(e.key, e.value)
        from jsonb_each(
            case when jsonb_typeof({metadata}) = 'object' then {metadata} end
        ) as e(key, value)
        where replace(lower(btrim(e.key)), '-', '_') in ({listed})
            and jsonb_typeof(e.value) in ('string', 'number')
    )"""


def page(database: Database, sql: Any, *, limit: int = PAGE_ROWS) -> tuple[pa.Table, int]:
    """One page of `sql(limit)`, smaller where the server does not manage it in time; and its limit.

    Raises:
        SourceError: even a small page takes too long, or the database cannot be read.
    """
    while True:
        try:
            return database.read(sql(limit)), limit
        except _TooSlowError:
            if limit <= _FEWEST_PAGE_ROWS:
                raise SourceError(
                    f"{limit} rows take longer than statement_timeout; raise it in tollbook.yml"
                ) from None
            limit = max(limit // 4, _FEWEST_PAGE_ROWS)


# ---------------------------------------------------------------- owners

_FLOAT = ("double precision", "real", "numeric")


def owner_rows(database: Database, shape: Shape, table: OwnerTable) -> pa.Table:
    """Every row of an owner table by its allow-listed columns and hash.

    Raises:
        SourceError: the table has no id column or too many rows, or the database cannot be read.
    """
    try:
        rows = database.read(owner_sql(database, shape, table))
    except _TooSlowError:
        raise SourceError("takes longer than statement_timeout; raise it in tollbook.yml") from None
    if rows.num_rows > OWNER_ROWS:
        raise SourceError(f"more than {OWNER_ROWS:,} rows; that many owners are not read")
    return rows


def owner_sql(database: Database, shape: Shape, table: OwnerTable) -> str:
    """The query of owner_rows: one row per id, and at most one more than may be read."""
    key = table.fields[0].theirs
    shape.refuse_missing(table.name, [key])
    types = shape.columns[table.name]
    columns = {
        each.theirs: _owner_column(each.theirs, types[each.theirs], each.type)
        for each in table.fields
        if each.theirs in types
    }
    if table.has_metadata and "metadata" in types:
        columns["metadata"] = _owner_metadata_sql()
    version = (
        _in_utc("s.updated_at", types["updated_at"]) if "updated_at" in types else "null::text"
    )
    hashed = ", ".join(f"{literal(n + '=')} || x.{identifier(n)}::text" for n in sorted(columns))
    selected = ", ".join(f"{sql} as {identifier(name)}" for name, sql in columns.items())
    # A key archived twice is known by its newest entry.
    is_archive = {"deleted_at", "id"} <= types.keys()
    distinct = f"distinct on (s.{identifier(key)})" if is_archive else ""
    order = f'order by s.{identifier(key)}, s.deleted_at desc, s."id"' if is_archive else ""
    return f"""
        select x.*, md5(concat_ws(chr(31), {hashed})) as source_hash
        from (
            select {distinct} {selected}, {version} as updated_at
            from {database.table(table.name)} as s
            {order}
            limit {OWNER_ROWS + 1}
        ) as x
        """


def _owner_column(name: str, kind: str, ours: str) -> str:
    column = f"s.{identifier(name)}"
    if ours == "key":
        return hashed_key_sql(column)
    if kind.startswith("timestamp"):
        return _in_utc(column, kind)
    if kind in _FLOAT:
        return f"{column}::text"
    return f"to_json({column})::text" if kind.endswith("[]") else column


def _owner_metadata_sql() -> str:
    """The owner columns of a free-form metadata, those below it, and tags written `name:value`."""
    names = sorted({name for names in OWNER_NAMES.values() for name in names})
    listed = ", ".join(literal(name) for name in names)
    tag_name = "replace(lower(btrim(split_part(t.tag, ':', 1))), '-', '_')"
    metadata = "s.metadata::jsonb"
    return f"""(
        coalesce({owner_columns_sql(metadata)}::jsonb, '{{}}')
        || jsonb_strip_nulls(jsonb_build_object(
            {literal(FREE_FORM)}, {owner_columns_sql(f"({metadata} -> '{FREE_FORM}')")}::jsonb,
            'tags', (
                select jsonb_agg(t.tag)
                from jsonb_array_elements_text(
                    case when jsonb_typeof({metadata} -> 'tags') = 'array'
                        then {metadata} -> 'tags' end
                ) as t(tag)
                where {tag_name} in ({listed})
            )
        ))
    )::text"""


# ---------------------------------------------------------------- counters and controls


def edge_counts_sql(database: Database, since: str, before: str) -> str:
    """Requests to model routes by UTC day, as counted where the gateway answers them."""
    return f"""
        select s.date,
            sum(s.successful_requests)::bigint as successful_requests,
            sum(s.failed_requests)::bigint as failed_requests
        from {database.table(EDGE_COUNTS)} as s
        where s.date >= {literal(since)} and s.date < {literal(before)} and s.category = 'llm'
        group by s.date
        order by s.date
        """


EDGE_COLUMNS = ("date", "category", "successful_requests", "failed_requests")
DAILY_COLUMNS = (
    "date",
    "api_key",
    "model",
    "model_group",
    "custom_llm_provider",
    "mcp_namespaced_tool_name",
    "endpoint",
    "prompt_tokens",
    "completion_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "spend",
    "api_requests",
    "successful_requests",
    "failed_requests",
    "updated_at",
)


def daily_spend_sql(
    database: Database,
    shape: Shape,
    table: str,
    *,
    day: str,
    after: str,
    limit: int,
    keeps_users: bool = True,
) -> str:
    """One page of a daily roll-up: rows of one UTC day behind the row id `after`."""
    shape.refuse_missing(table, ("id", "date", "api_key", "spend"))
    types = shape.columns[table]
    entity = DAILY_SPEND[table]
    columns = {"id": "s.id"}
    if entity in types and (keeps_users or entity != "user_id"):
        columns["entity_id"] = f"s.{identifier(entity)}"
    for name in DAILY_COLUMNS:
        if name in types:
            columns[name] = f"s.{identifier(name)}"
    columns["api_key"] = hashed_key_sql("s.api_key")
    columns["spend"] = "s.spend::text"
    if "updated_at" in types:
        columns["updated_at"] = _in_utc("s.updated_at", types["updated_at"])
    selected = ", ".join(f"{sql} as {identifier(name)}" for name, sql in columns.items())
    hashed = ", ".join(f"{literal(n + '=')} || x.{identifier(n)}::text" for n in sorted(columns))
    return f"""
        select x.*, md5(concat_ws(chr(31), {hashed})) as source_hash
        from (
            select {selected}
            from {database.table(table)} as s
            where s.date = {literal(day)}
            -- The day is found by its index before its rows are put in order.
            offset 0
        ) as x
        where x.id > {literal(after)}
        order by x.id
        limit {limit}
        """
