"""Whether every source can be read: its connection, what it may read there, and its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestration.config import Runtime, SourceSettings
from orchestration.landing.examine_apis import try_api
from orchestration.landing.extract import read_privacy
from orchestration.landing.files import list_landing, unfinished_files
from orchestration.sources import litellm_postgres as litellm
from orchestration.sources.litellm_postgres import SourceError

# Whoever asks waits for the answer.
_STATEMENT_TIMEOUT = timedelta(seconds=15)
# A file still called unfinished after this long was forgotten.
_UNFINISHED_SECONDS = 3600
_SHOWN = 5


class Verdict(StrEnum):
    """How something stands; a warning leaves runs whole, a failure does not."""

    ok = "ok"
    warning = "warning"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about one thing: how it stands, and where it does not stand well, what to do."""

    subject: str
    verdict: Verdict
    text: str


def examine_sources(runtime: Runtime) -> Iterator[Finding]:
    """How every source of tollbook.yml stands; at least one line each, in their order."""
    for source in runtime.settings.sources:
        yield from guarded(source.name, _examine_source(runtime, source))


def guarded(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; a folder or file that cannot even be looked at is the last of them."""
    try:
        yield from findings
    except OSError as error:
        text = f"{error.filename} cannot be read ({error.strerror}); chown or chmod it"
        yield Finding(subject, Verdict.failed, text)


def _examine_source(runtime: Runtime, source: SourceSettings) -> Iterator[Finding]:
    if source.kind == "litellm_postgres":
        yield from _examine_litellm(runtime, source)
    elif source.is_extracted:
        yield from _examine_api(runtime, source)
    if source.is_pulled and not source.is_extracted:
        text = f"this version has no connection for kind {source.kind}; drop its files instead"
        yield Finding(source.name, Verdict.warning, text)
    yield from _examine_folder(runtime, source)


def _examine_api(runtime: Runtime, source: SourceSettings) -> Iterator[Finding]:
    what, problems = try_api(runtime, source)
    for problem in problems:
        yield Finding(source.name, Verdict.failed, problem)
    if not problems:
        yield Finding(source.name, Verdict.ok, what)


# ---------------------------------------------------------------- LiteLLM's database


def _examine_litellm(runtime: Runtime, source: SourceSettings) -> Iterator[Finding]:
    timeout = min(source.statement_timeout, _STATEMENT_TIMEOUT)
    try:
        database = litellm.Database(source.dsn or "", statement_timeout=timeout, attempts=1)
        try:
            shape = litellm.inspect(database)
            problems = list(_litellm_problems(runtime, source, database, shape))
        finally:
            database.close()
    except SourceError as error:
        yield Finding(source.name, Verdict.failed, str(error).removesuffix(litellm.AGAIN))
        return
    for verdict, text in problems:
        yield Finding(source.name, verdict, text)
    if not problems:
        tables = sum(shape.has(table.name) for table in litellm.OWNERS)
        text = f"connects; spend logs and {tables} of {len(litellm.OWNERS)} owner tables to read"
        yield Finding(source.name, Verdict.ok, text)


def _litellm_problems(
    runtime: Runtime, source: SourceSettings, database: litellm.Database, shape: litellm.Shape
) -> Iterator[tuple[Verdict, str]]:
    privacy = read_privacy(runtime)
    trials: list[tuple[str, Callable[[], object]]] = [
        (litellm.SPEND_LOGS, lambda: _try_spend_logs(source, database, shape, privacy))
    ]
    for table in litellm.OWNERS:
        # Older gateways lack some of these tables; a run reads those that are there.
        if shape.has(table.name) and (table.entity != "user" or privacy.user_id):
            trials.append((table.name, lambda t=table: litellm.owner_sql(database, shape, t)))
    if shape.has(litellm.EDGE_COUNTS):
        columns = litellm.EDGE_COLUMNS
        trials.append(
            (litellm.EDGE_COUNTS, lambda: shape.refuse_missing(litellm.EDGE_COUNTS, columns))
        )
    for name in litellm.DAILY_SPEND:
        if shape.has(name):
            trials.append((name, lambda n=name: _try_daily_spend(database, shape, n)))
    for what, read in trials:
        try:
            read()
        except SourceError as error:
            line = str(error).removesuffix(litellm.AGAIN)
            yield Verdict.failed, line if what in line else f"{what}: {line}"
    unread = litellm.unreadable_columns(shape, privacy)
    if unread:
        listed = ", ".join(f'"{name}"' for name in unread)
        yield (
            Verdict.warning,
            f"{litellm.SPEND_LOGS}: no permission to read {listed}; "
            "what they hold stays unknown until select on them is granted",
        )
    if shape.replica_lag is not None and shape.replica_lag > litellm.REPLICA_DELAY:
        minutes = int(shape.replica_lag.total_seconds() // 60)
        yield (
            Verdict.warning,
            f"the replica is {minutes} minutes behind; runs read the rest once it has caught up",
        )


def _try_spend_logs(
    source: SourceSettings,
    database: litellm.Database,
    shape: litellm.Shape,
    privacy: litellm.Privacy,
) -> None:
    """Read one row as a run would: only that proves every permission and function it needs."""
    logs = litellm.SpendLogs(database, shape, privacy)
    first = logs.first_start(source.since or datetime(1970, 1, 1))  # noqa: DTZ001  # naive UTC
    if first is not None:
        database.read(logs.rows_sql(litellm.Cursor(first), None, limit=1))


def _try_daily_spend(database: litellm.Database, shape: litellm.Shape, table: str) -> None:
    litellm.daily_spend_sql(database, shape, table, day="", after="", limit=1)


# ---------------------------------------------------------------- landing folders


def _examine_folder(runtime: Runtime, source: SourceSettings) -> Iterator[Finding]:
    folder = runtime.landing / source.name
    # A folder named like the kind serves as well.
    names = dict.fromkeys((source.name, source.kind))
    places = [each for each in (runtime.landing / name for name in names) if each.exists()]
    if not places:
        # A connection makes its folder itself, with its first row.
        if not source.is_extracted:
            text = f"no folder {folder}; create it and drop files there"
            yield Finding(source.name, Verdict.warning, text)
        return
    for place in places:
        if not place.is_dir():
            text = f"{place} is no folder; move it away and create one of that name"
            yield Finding(source.name, Verdict.failed, text)
        elif not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            text = f"{place} cannot be read and written; chown or chmod it for this user"
            yield Finding(source.name, Verdict.failed, text)
        elif not source.is_extracted:
            yield Finding(source.name, Verdict.ok, f"{place} is there and readable")


def examine_landing(runtime: Runtime) -> Iterator[Finding]:
    """A warning for what lies in the landing folder and is left alone, by the reason."""
    if not os.access(runtime.landing, os.R_OK | os.X_OK):
        return
    sources = runtime.settings.sources
    # Only their names are asked for: what is known is neither waited for nor read.
    strays = list_landing(runtime.landing, sources, is_known=lambda *_: True).strays
    if strays:
        names = ", ".join(source.name for source in sources) or "none"
        fix = f"move them into the folder of a source of tollbook.yml ({names})"
        yield _ignored("in no folder of a source", list(strays), fix)
    unfinished = unfinished_files(runtime.landing, seconds=_UNFINISHED_SECONDS)
    forgotten = [path.relative_to(runtime.landing).as_posix() for path in unfinished]
    if forgotten:
        fix = "take .tmp or .part off the names of those that are whole"
        yield _ignored("unfinished by its name", forgotten, fix)


def _ignored(why: str, names: list[str], fix: str) -> Finding:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    listed = ", ".join(names[:_SHOWN]) + more
    return Finding("landing", Verdict.warning, f"left alone, {why}: {listed}; {fix}")
