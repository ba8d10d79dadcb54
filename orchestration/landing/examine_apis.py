"""Whether the API of a source answers, and what its key may read there; nothing is landed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from orchestration.config import Runtime, SourceSettings
from orchestration.landing.extract_logs import log_api
from orchestration.landing.extract_pages import PAGED_APIS
from orchestration.sources import openrouter_api
from orchestration.sources.feeds import DAY, Feed, PagedApi, Window
from orchestration.sources.http_client import (
    AGAIN,
    Access,
    HttpClient,
    KeyRefusedError,
    NotThereError,
    Params,
    UnavailableError,
)
from orchestration.sources.source_error import SourceError

# Whoever asks waits for the answer; a handful of small questions may follow each other quickly.
_PACE = timedelta(milliseconds=200)
_Trial = tuple[str, Callable[[HttpClient], object]]


def try_api(runtime: Runtime, source: SourceSettings) -> tuple[str, list[str]]:
    """Ask each list of an API for as little as possible.

    Returns:
        What can be read, in one line, and what cannot, in a line each.
    """
    try:
        access, trials = _trials(runtime, source)
        client = HttpClient(replace(access, pace=min(access.pace, _PACE)), attempts=1)
    except SourceError as error:
        return "", [str(error)]
    problems: list[str] = []
    with client:
        for name, ask in trials:
            try:
                ask(client)
            except (KeyRefusedError, UnavailableError) as error:
                return "", [str(error).removesuffix(AGAIN)]
            except SourceError as error:
                problems.append(f"{name}: {error}".removesuffix(AGAIN))
    read = len(trials) - len(problems)
    return f"{access.system} answers; {read} of {len(trials)} lists to read", problems


def _trials(runtime: Runtime, source: SourceSettings) -> tuple[Access, list[_Trial]]:
    if source.kind in PAGED_APIS:
        api = PAGED_APIS[source.kind](source.api_key or "", source.base_url)
        return api.access, _feed_trials(runtime, api)
    if source.kind == "openrouter_generations":
        access = openrouter_api.generation_access(source.api_key or "", source.base_url)
        return access, [("generations", _ask_for_no_generation)]
    api = log_api(runtime, source)
    end = runtime.as_of.replace(microsecond=0)

    def ask(client: HttpClient) -> object:
        params = api.page(end - timedelta(minutes=5), end, 1, 1)
        return api.read(client.get(api.path, params).document)

    return api.access, [(api.stem, ask)]


def _feed_trials(runtime: Runtime, api: PagedApi) -> list[_Trial]:
    today = runtime.as_of.date()
    # The last day that is over: every list has it, and it is in nobody's future.
    yesterday = Window(today - DAY, today)

    def trial(feed: Feed) -> _Trial:
        return feed.name, lambda client: _ask(client, feed, feed.first(yesterday, 1))

    return [trial(feed) for feed in api.feeds]


def _ask(client: HttpClient, feed: Feed, params: Params) -> None:
    try:
        feed.rows(client.get(feed.path, params).document)
    except NotThereError:
        if not feed.is_optional:
            raise


def _ask_for_no_generation(client: HttpClient) -> None:
    """A key that may ask is told that there is no such generation."""
    try:
        client.get(openrouter_api.GENERATION_PATH, openrouter_api.generation_params("gen-none"))
    except NotThereError:
        return
