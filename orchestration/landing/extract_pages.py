"""Extraction of page chains: provider and payment APIs whose pages land as they were returned.

What was read is told by the names of landed files alone, so a killed run loses nothing: the next
goes on behind the last page. A window that was never read whole is asked for until it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from orchestration.config import Runtime, SourceSettings
from orchestration.landing.long_rereads import LongRereads
from orchestration.landing.page_files import Chain, ChainWriter, PageFolder
from orchestration.landing.source_report import Gap, SourceReport
from orchestration.landing.windows import wanted_windows
from orchestration.sources import (
    anthropic_api,
    openai_api,
    openrouter_api,
    razorpay_api,
    stripe_api,
)
from orchestration.sources.feeds import (
    DAY,
    Feed,
    PagedApi,
    PageShapeError,
    TooDenseError,
    TooOldError,
    Window,
)
from orchestration.sources.http_client import (
    ATTEMPTS,
    Access,
    HttpClient,
    KeyRefusedError,
    NotJsonError,
    NotPermittedError,
    NotThereError,
    Page,
    Params,
    RequestRefusedError,
    TooManyRequestsError,
    UnavailableError,
)
from orchestration.sources.source_error import SourceError

Progress = Callable[[str], None]
PAGED_APIS: Mapping[str, Callable[[str, str | None], PagedApi]] = {
    "openai_admin": openai_api.paged_api,
    "anthropic_admin": anthropic_api.paged_api,
    "stripe": stripe_api.paged_api,
    "razorpay": razorpay_api.paged_api,
    "openrouter_activity": openrouter_api.paged_api,
}
# Pages of one chain; more than this never ends.
DAY_PAGES, MONTH_PAGES = 1_000, 10_000
# A chain that was cut off is gone on with for so long; behind that its cursor may mean nothing.
RESUMED_WITHIN = timedelta(hours=24)
# A feed that fails this often in a row is left to the next run.
_FAILURES = 3


class KnownPages(Protocol):
    """What has been landed of one source before, and what cannot be had of it."""

    def loaded_names(self, kind: str) -> Sequence[str]:
        """Names of files of a kind that the ledger has, also of those that are gone by now."""
        ...

    def final_gaps(self) -> Collection[tuple[str, datetime | None, datetime | None]]:
        """(part, from, to) of what was refused for good."""
        ...


class RepeatedPageError(SourceError):
    """A page that leads back to one before it."""


class EndlessChainError(SourceError):
    """A chain with more pages than any window can have."""


class NotAgainError(Exception):
    """A chain that cannot be gone on with: it is begun anew."""


_CODES: tuple[tuple[type[SourceError], str], ...] = (
    (KeyRefusedError, "unauthorized"),
    (NotPermittedError, "forbidden"),
    (NotThereError, "not_found"),
    (NotJsonError, "not_json"),
    (TooManyRequestsError, "too_many_requests"),
    (UnavailableError, "unavailable"),
    (PageShapeError, "changed_shape"),
    (RepeatedPageError, "repeated_page"),
    (EndlessChainError, "endless"),
    (TooDenseError, "too_dense"),
    (TooOldError, "too_old"),
)


def gap_code(error: SourceError) -> str:
    """The code of a gap, by what went wrong."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), "refused")


def open_client(
    api: PagedApi, source: SourceSettings, progress: Progress, *, attempts: int = ATTEMPTS
) -> HttpClient:
    """A client of the API, at the pace that tollbook.yml sets if it does.

    Raises:
        SourceError: the key or the address cannot be used.
    """
    return HttpClient(paced(api.access, source), progress=progress, attempts=attempts)


def paced(access: Access, source: SourceSettings) -> Access:
    """The access at the pace of tollbook.yml, where it names one."""
    if source.requests_per_minute is None:
        return access
    return replace(access, pace=timedelta(minutes=1) / source.requests_per_minute)


def extract_pages(
    runtime: Runtime, source: SourceSettings, known: KnownPages, depth: str, progress: Progress
) -> SourceReport:
    """Land the pages of every feed of one source that are new or changed."""
    report = SourceReport(source.name)
    try:
        api = PAGED_APIS[source.kind](source.api_key or "", source.base_url)
        client = open_client(api, source, progress)
    except SourceError as error:
        report.miss(Gap("source", None, None, "unusable", str(error)))
        return report
    rereads = LongRereads(runtime.home, source.name)
    depth = rereads.due_depth(depth, runtime.as_of)
    with client:
        reader = _Reader(runtime, source, api, client, known, depth, report, progress)
        reader.read()
    if not report.problems:
        rereads.remember(depth, runtime.as_of)
    return report


@dataclass(slots=True)
class _Reader:
    """One look at one API."""

    runtime: Runtime
    source: SourceSettings
    api: PagedApi
    client: HttpClient
    known: KnownPages
    depth: str
    report: SourceReport
    progress: Progress
    _folders: dict[str, PageFolder] = field(default_factory=dict)
    _final: frozenset[tuple[str, datetime | None, datetime | None]] = frozenset()

    def read(self) -> None:
        """Read every feed; what stops one feed does not stop the others, what stops all does."""
        self._final = frozenset(self.known.final_gaps())
        feeds = list(self.api.feeds)
        silent = 0
        for number, feed in enumerate(feeds):
            error = self._read_feed(feed)
            if isinstance(error, NotThereError) and feed.is_optional:
                self.report.read.append(feed.name)
                continue
            silent = silent + 1 if isinstance(error, UnavailableError) else 0
            is_over = isinstance(error, KeyRefusedError | TooManyRequestsError) or silent > 1
            if error is not None and is_over:
                for other in feeds[number + 1 :]:
                    self._miss_from(other, self._wanted(other), error)
                return

    def _wanted(self, feed: Feed) -> list[Window]:
        lateness = getattr(self.runtime.settings.lateness, self.depth)
        if self.depth == "weekly":
            lateness = max(lateness, feed.weekly_reach)
        windows = wanted_windows(
            feed,
            self._folder(feed.kind),
            as_of=self.runtime.as_of,
            since=self.source.since,
            reach=lateness,
        )
        return [each for each in windows if not self._is_final(feed, each)]

    def _is_final(self, feed: Feed, window: Window) -> bool:
        return (feed.name, window.start_at, window.end_at) in self._final

    def _folder(self, kind: str) -> PageFolder:
        if kind not in self._folders:
            folder = self.runtime.landing / self.source.name / kind
            self._folders[kind] = PageFolder(folder, self.known.loaded_names(kind))
        return self._folders[kind]

    def _read_feed(self, feed: Feed) -> SourceError | None:
        """Read the windows of a feed; what it was given up for, if it was."""
        windows = self._wanted(feed)
        failures = 0
        for number, window in enumerate(windows):
            try:
                self._read_window(feed, window)
            except (PageShapeError, NotThereError, NotPermittedError) as error:
                if not (feed.is_optional and isinstance(error, NotThereError)):
                    self._miss_from(feed, windows[number:], error)
                return error
            except UnavailableError as error:
                self._miss_from(feed, windows[number:], error)
                return error
            except KeyRefusedError as error:
                self._miss_from(feed, windows[number:], error)
                return error
            except SourceError as error:
                failures += 1
                self._miss(feed, window, error)
                if failures == _FAILURES:
                    self._miss_from(feed, windows[number + 1 :], error)
                    return error
            else:
                failures = 0
        self.report.read.append(feed.name)
        return None

    def _miss(self, feed: Feed, window: Window, error: SourceError) -> None:
        is_final = isinstance(error, TooOldError)
        line = f"{feed.name} {window}: {error}"
        gap = Gap(feed.name, window.start_at, window.end_at, gap_code(error), line, is_final)
        self.report.miss(gap)

    def _miss_from(self, feed: Feed, windows: list[Window], error: SourceError) -> None:
        """One gap for all windows that were not read."""
        if not windows:
            return
        is_everywhere = isinstance(error, KeyRefusedError | UnavailableError)
        line = str(error) if is_everywhere else f"{feed.name} {windows[0]}: {error}"
        start, end = windows[0].start_at, windows[-1].end_at
        self.report.miss(Gap(feed.name, start, end, gap_code(error), line))

    # ------------------------------------------------------------ one window

    def _read_window(self, feed: Feed, window: Window) -> None:
        """Land what a window has, a page at a time, with fewer rows to a page where it must be."""
        folder = self._folder(feed.kind)
        unfinished = folder.unfinished(feed.name, window)
        if unfinished is not None and self.depth == "hourly":
            self._refuse_endless(folder, unfinished)
        if unfinished is not None and self._may_resume(unfinished):
            try:
                self._read_chain(feed, window, feed.limit, resumed=unfinished)
            except NotAgainError:
                pass
            else:
                return
        limit = feed.limit
        while True:
            try:
                self._read_chain(feed, window, limit)
            except TooDenseError:
                if limit <= feed.least_limit:
                    raise
                limit = max(limit // 2, feed.least_limit)
                self.progress(f"extract {self.source.name}: {feed.name} {window}, {limit} a page")
            else:
                return

    def _refuse_endless(self, folder: PageFolder, chain: Chain) -> None:
        """Leave a chain that met its bound alone until the next daily re-read."""
        bound = self._bound(chain.window)
        if (folder.folder / chain.page_name(bound)).is_file():
            raise self._endless(bound)

    def _endless(self, pages: int) -> EndlessChainError:
        return EndlessChainError(
            f"{self.api.access.system} has a further page behind {pages:,} of them; that never "
            "ends; the next daily re-read asks again"
        )

    def _may_resume(self, chain: Chain) -> bool:
        return abs(self.runtime.as_of - chain.observed_at) < RESUMED_WITHIN

    def _read_chain(
        self, feed: Feed, window: Window, limit: int, *, resumed: Chain | None = None
    ) -> None:
        folder = self._folder(feed.kind)
        asked = self._first(feed, window, limit)
        seen = {asked}
        before = folder.newest(feed.name, window)
        begun_at = folder.begun_at(feed.name, window, self.runtime.as_of)
        chain = resumed or Chain(feed.name, window, begun_at)
        writer = ChainWriter(folder, chain, before=before, volatile=feed.volatile)
        pages = 0
        if resumed is not None:
            for body in folder.pages(resumed):
                following = feed.following(json.loads(body, parse_float=Decimal), asked)
                pages += 1
                if following is None:
                    folder.end(resumed)
                    return
                seen.add(following)
                asked = following
            if not pages or pages >= self._bound(window):
                raise NotAgainError
            writer.go_on(pages)
        rows: list[int] = []
        try:
            while True:
                page = self._ask(feed, window, asked, is_resumed=resumed is not None and not rows)
                count = len(feed.rows(page.document))
                following = feed.following(page.document, asked)
                if following is not None and following in seen:
                    raise RepeatedPageError(
                        f"{self.api.access.system} leads back to a page it gave before"
                        "; the next run asks again"
                    )
                writer.add(page.body, page.document)
                rows.append(count)
                pages += 1
                if following is None:
                    writer.finish()
                    return
                if pages >= self._bound(window):
                    raise self._endless(pages)
                seen.add(following)
                asked = following
                self.progress(f"extract {self.source.name}: {feed.name} {window}, page {pages + 1}")
        finally:
            if writer.landed:
                self.report.add_page(feed.kind, writer.landed, sum(rows))

    def _first(self, feed: Feed, window: Window, limit: int) -> Params:
        asked = feed.first(window, limit)
        if feed.end_parameter and window.end_at > self.runtime.as_of:
            asked = tuple(pair for pair in asked if pair[0] != feed.end_parameter)
        return asked

    def _ask(self, feed: Feed, window: Window, asked: Params, *, is_resumed: bool) -> Page:
        try:
            return self.client.get(feed.path, asked)
        except (RequestRefusedError, NotThereError) as error:
            if is_resumed:
                # Its cursor means nothing any more.
                raise NotAgainError from None
            meaning = (
                feed.explain(error, window) if isinstance(error, RequestRefusedError) else None
            )
            raise meaning or error from None

    def _bound(self, window: Window) -> int:
        return DAY_PAGES if window.end - window.start == DAY else MONTH_PAGES
