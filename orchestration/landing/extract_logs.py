"""Extraction of gateway logs behind an API: allow-listed rows that were not landed before.

A span of time is read whole, counted against what the gateway says it holds, or halved. Spans
follow each other, so what was landed last tells where to go on; the lateness of the job decides
how far before that rows are asked for again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Protocol

from orchestration.config import Runtime, SourceSettings
from orchestration.landing.extract_pages import gap_code, paced
from orchestration.landing.log_files import FILE_ROWS, LogFolder, LogRow
from orchestration.landing.long_rereads import LongRereads
from orchestration.landing.source_report import Gap, SourceReport
from orchestration.sources import cloudflare_api, litellm_api, openrouter_api
from orchestration.sources.feeds import DEFAULT_HISTORY
from orchestration.sources.http_client import HttpClient, NotThereError
from orchestration.sources.litellm_postgres import Privacy
from orchestration.sources.log_api import FIRST_SPAN, LONGEST, SHORTEST, LogApi
from orchestration.sources.source_error import SourceError

Progress = Callable[[str], None]
# Generations one run asks for: the rest is left to the next.
GENERATIONS_AT_ONCE = 5_000
GENERATION_DAYS = timedelta(days=30)


class IncompleteError(SourceError):
    """A span whose rows are fewer than the gateway counts, also when it is asked again."""


class KnownGenerations(Protocol):
    """Which generations other sources speak of."""

    def generation_ids(self, since: datetime) -> Collection[str]:
        """Ids of OpenRouter generations in records that began at `since` or later."""
        ...


def log_api(runtime: Runtime, source: SourceSettings) -> LogApi:
    """The log that a source names.

    Raises:
        SourceError: the key or the address cannot be used.
    """
    key, privacy = source.api_key or "", runtime.settings.privacy
    if source.kind == "litellm_api":
        kept = Privacy(
            client_ip=privacy.client_ip == "keep",
            user_agent=privacy.user_agent == "keep",
            user_id=privacy.user_id == "keep",
        )
        return litellm_api.log_api(key, source.base_url or "", kept)
    return cloudflare_api.log_api(
        key,
        source.base_url,
        account=source.account or "",
        gateway=source.gateway_id or source.gateway_name,
        keeps_users=privacy.user_id == "keep",
    )


def extract_logs(
    runtime: Runtime, source: SourceSettings, depth: str, progress: Progress
) -> SourceReport:
    """Land the rows of a gateway's log that are not known."""
    report = SourceReport(source.name)
    rereads = LongRereads(runtime.home, source.name)
    depth = rereads.due_depth(depth, runtime.as_of)
    try:
        api = log_api(runtime, source)
        client = HttpClient(paced(api.access, source), progress=progress)
    except SourceError as error:
        report.miss(Gap("source", None, None, "unusable", str(error)))
        return report
    with client:
        reader = _LogReader(runtime, source, api, client, report, progress)
        if reader.read(depth) and not report.problems:
            rereads.remember(depth, runtime.as_of)
    return report


class _LogReader:
    """One look at one log."""

    def __init__(
        self,
        runtime: Runtime,
        source: SourceSettings,
        api: LogApi,
        client: HttpClient,
        report: SourceReport,
        progress: Progress,
    ) -> None:
        self.source = source
        self.api = api
        self.client = client
        self.report = report
        self.progress = progress
        self.as_of = runtime.as_of
        self.lateness = runtime.settings.lateness
        folder = runtime.landing / source.name / api.kind
        self.folder = LogFolder(folder, api.stem, runtime.as_of)
        self.waiting: dict[str, LogRow] = {}
        self.received = hashlib.sha256()
        self.received_rows = 0
        self.reached: datetime | None = None

    def read(self, depth: str) -> bool:
        """Read from the last landed row, less the lateness, up to now; whether that was done."""
        # Rows between two seconds belong to both; the one that is running is read by the next run.
        end = self.as_of.replace(microsecond=0)
        start = self._start(depth).replace(microsecond=0)
        try:
            first = self._first_start(start, end)
            if first is not None:
                self._read_spans(first.replace(microsecond=0), end)
            self.report.read.append(self.api.stem)
        except SourceError as error:
            gap = Gap(self.api.stem, self.reached or start, end, gap_code(error), str(error))
            self.report.miss(gap)
            return False
        finally:
            self._land()
            self.report.add_page(self.api.kind, self.folder.landed, self.folder.rows)
        return True

    def _start(self, depth: str) -> datetime:
        since = self.source.since or self.as_of - DEFAULT_HISTORY
        watermark = self.folder.watermark
        if watermark is None:
            return since
        return max(min(watermark, self.as_of) - getattr(self.lateness, depth), since)

    def _first_start(self, start: datetime, end: datetime) -> datetime | None:
        """The first row of a span, so that nobody asks hour after hour where there is nothing."""
        params = self.api.page(start, end, 1, 1)
        page = self.api.read(self.client.get(self.api.path, params).document)
        return self.api.started_at(page.rows[0]) if page.rows else None

    def _read_spans(self, start: datetime, end: datetime) -> None:
        span = FIRST_SPAN
        while start < end:
            last = min(start + span, end)
            self.reached = start
            self.progress(f"extract {self.source.name}: {self.api.stem} from {start}")
            rows = self._read_span(start, last)
            if rows is None and last - start > SHORTEST:
                span = max((last - start) // 2, SHORTEST)
                span = timedelta(seconds=int(span.total_seconds()))
                continue
            if rows is None:
                self._miss_span(start, last)
                rows = 0
            start = last
            if rows < self.api.most_rows // 4:
                span = min(span * 2, LONGEST)
        self.reached = end

    def _miss_span(self, start: datetime, last: datetime) -> None:
        line = (
            f"{self.api.stem} {start}: {self.api.access.system} gives fewer rows than it counts, "
            "or more than a second's worth can be asked for; read its database or an export"
        )
        # Later runs go on behind it, so nothing would ever say it again.
        self.report.miss(Gap(self.api.stem, start, last, "incomplete", line, is_final=True))
        self.report.problems.append(line)

    def _read_span(self, first: datetime, last: datetime) -> int | None:
        """Take every row of a span; None where it is too much, or not all of it came."""
        for _ in range(2):
            rows: dict[str, LogRow] = {}
            count, number, total = 0, 1, 0
            while True:
                params = self.api.page(first, last, number, self.api.page_rows)
                answer = self.client.get(self.api.path, params)
                page = self.api.read(answer.document)
                if number == 1:
                    total = page.total
                    if (page.is_capped or total > self.api.most_rows) and last - first > SHORTEST:
                        return None
                self.received.update(answer.body)
                for row in page.rows:
                    taken = self._taken(row)
                    rows[taken.row_hash] = taken
                count += len(page.rows)
                if len(page.rows) < self.api.page_rows or count > self.api.most_rows:
                    break
                number += 1
            self.received_rows += count
            self._take(rows, first, last)
            if len(rows) >= total and not page.is_capped:
                return len(rows)
        return None

    def _taken(self, row: object) -> LogRow:
        fields = self.api.allowed(row if isinstance(row, dict) else {})
        return LogRow.of(fields, self.api.started_at(row if isinstance(row, dict) else {}))

    def _take(self, rows: dict[str, LogRow], first: datetime, last: datetime) -> None:
        known = self.folder.known_hashes(first, last + SHORTEST)
        self.waiting |= {name: row for name, row in rows.items() if name not in known}
        if len(self.waiting) >= FILE_ROWS:
            self._land()

    def _land(self) -> None:
        if not self.waiting:
            return
        received = {
            "received_rows": self.received_rows,
            "received_sha256": self.received.hexdigest(),
        }
        self.folder.write(self.waiting.values(), received=received)
        self.waiting, self.received, self.received_rows = {}, hashlib.sha256(), 0


# ---------------------------------------------------------------- OpenRouter's generations


def extract_generations(
    runtime: Runtime, source: SourceSettings, known: KnownGenerations, progress: Progress
) -> SourceReport:
    """Land the generations that other sources' records name and that were not landed before.

    OpenRouter lists no generations; it answers for one whose id is known, some seconds after it
    ended and for some weeks.
    """
    report = SourceReport(source.name)
    kind = "openrouter_generations"
    folder = LogFolder(runtime.landing / source.name / kind, "generations", runtime.as_of)
    since = max(runtime.as_of - GENERATION_DAYS, source.since or datetime.min)  # noqa: DTZ901
    wanted = sorted(set(known.generation_ids(since)) - folder.known_ids())
    rows: list[LogRow] = []
    body = hashlib.sha256()
    absent = 0
    try:
        access = openrouter_api.generation_access(source.api_key or "", source.base_url)
        with HttpClient(paced(access, source), progress=progress) as client:
            for number, generation in enumerate(wanted[:GENERATIONS_AT_ONCE], 1):
                progress(f"extract {source.name}: generation {number:,} of {len(wanted):,}")
                try:
                    params = openrouter_api.generation_params(generation)
                    answer = client.get(openrouter_api.GENERATION_PATH, params)
                except NotThereError:
                    absent += 1
                    continue
                fields = openrouter_api.read_generation(answer.document)
                body.update(answer.body)
                rows.append(LogRow.of(fields, cloudflare_api.started_at(fields)))
    except SourceError as error:
        report.miss(Gap("generations", None, None, gap_code(error), str(error)))
    else:
        report.read.append("generations")
        if absent:
            line = f"OpenRouter does not know {absent:,} generations (404), or not yet; asked again"
            report.gaps.append(Gap("generations", None, None, "not_found", line))
            report.notes.append(f"{source.name}: {line}")
    if rows:
        received = {"received_rows": len(rows), "received_sha256": body.hexdigest()}
        folder.write(rows, received=received)
    report.add_page(kind, folder.landed, folder.rows)
    return report
