"""Whatever an API answers, reading it ends in rows or in one clear line, never in a traceback."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.landing.extract_pages import PAGED_APIS
from orchestration.landing.log_files import LogRow
from orchestration.sources import cloudflare_api, litellm_api, openrouter_api
from orchestration.sources.feeds import Window
from orchestration.sources.litellm_postgres import Privacy
from orchestration.sources.source_error import SourceError

SCALARS = st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=8)
# The names that are looked for, so that what stands under them is not only ever missing.
NAMES = st.sampled_from(
    [
        "data",
        "items",
        "result",
        "results",
        "result_info",
        "total",
        "total_count",
        "total_is_capped",
        "has_more",
        "next_page",
        "id",
        "entity",
        "created_at",
        "startTime",
        "metadata",
        "spend_logs_metadata",
        "request_tags",
        "api_base",
        "api_key",
        "request_id",
        "total_credits",
        "provider_responses",
        "path",
    ]
)
VALUES = st.recursive(
    SCALARS | st.just("2026-11-05T12:00:00Z") | st.just("http://[::1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=6)
WINDOW = Window(date(2026, 11, 4), date(2026, 11, 5))
KEYS = {"razorpay": "id:secret"}
FEEDS = [
    feed
    for kind, api in PAGED_APIS.items()
    for feed in api(KEYS.get(kind, "key"), "http://127.0.0.1:9").feeds
]


def assert_one_line(error: SourceError) -> None:
    assert "\n" not in str(error)


def quick(test: Any) -> Any:
    checks = [HealthCheck.too_slow]
    return settings(max_examples=300, deadline=None, suppress_health_check=checks)(test)


@quick
@given(document=DOCUMENTS)
def test_any_page_is_read_or_named(document: dict[str, Any]) -> None:
    for feed in FEEDS:
        asked = feed.first(WINDOW, feed.limit)
        try:
            rows = feed.rows(document)
            following = feed.following(document, asked)
        except SourceError as error:
            assert_one_line(error)
            continue
        assert isinstance(rows, list)
        assert following is None or (
            following != asked and all(len(pair) == 2 for pair in following)
        )


@quick
@given(document=DOCUMENTS, row=DOCUMENTS)
def test_any_row_of_a_log_is_kept_in_part_or_named(
    document: dict[str, Any], row: dict[str, Any]
) -> None:
    logs = (
        litellm_api.log_api("key", "http://127.0.0.1:9", Privacy()),
        cloudflare_api.log_api("key", None, account="a", gateway="g", keeps_users=True),
    )
    for api in logs:
        try:
            page = api.read(document)
            moment = api.started_at(row)
        except SourceError as error:
            assert_one_line(error)
        else:
            assert isinstance(page.rows, list)
            assert isinstance(moment, datetime)
        assert len(LogRow.of(api.allowed(row), datetime.min).row_hash) == 32  # noqa: DTZ901


@quick
@given(document=DOCUMENTS)
def test_any_generation_is_kept_in_part_or_named(document: dict[str, Any]) -> None:
    try:
        kept = openrouter_api.read_generation(document)
    except SourceError as error:
        assert_one_line(error)
    else:
        assert set(kept) <= {*openrouter_api.GENERATION_FIELDS, "provider_responses"}
