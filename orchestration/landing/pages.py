"""API pages taken apart: one row per result, one window per bucket, one chain for many pages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestration.core.refusals import Refusal, RefusedError
from orchestration.core.values import read_time
from orchestration.landing.json_text import RepeatedKeyObject, find_refusal, named
from orchestration.landing.rows import Row
from orchestration.sources import anthropic_pages, openai_pages
from orchestration.sources.provider_fields import read_unix

# Pages of one chain share their name up to this (contract, table T8).
_PAGE_NUMBER = re.compile(r"__p([0-9]{4,9})(?=\.)")
# The files of one export as AWS (`-00001`) and Azure (`part_0_0001`) number them.
_PART_NUMBER = re.compile(r"-(?P<aws>0[0-9]{4})(?=\.)|part_(?P<azure>[0-9]{1,4})_[0-9]{4}(?=\.)")
_ENDING = re.compile(r"\.(?:jsonl|json|csv|parquet)(?:\.gz|\.zst)?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PageKind:
    """How the pages of one file kind are taken apart.

    Attributes:
        is_page: Whether a document is an envelope of this provider's.
        start, end: Fields of a bucket that bound it.
        read_start: Such a field to an instant.
        endpoints: Every endpoint whose results are of this kind.
        endpoint_of: The endpoint a result says it comes from.
        words: Endpoints by what stands for them in the names of files.
        flatten: A result to a row with our names.
        identity: What of a row may stand once in a bucket.
    """

    is_page: Callable[[Mapping[str, Any]], bool]
    start: str
    end: str
    read_start: Callable[[object, str], datetime]
    endpoints: tuple[str, ...]
    endpoint_of: Callable[[Mapping[str, Any]], str | None]
    words: Mapping[str, str]
    flatten: Callable[[Mapping[str, Any]], dict[str, Any]]
    identity: Callable[[Mapping[str, Any]], tuple[Any, ...]]


def _read_iso(value: object, field_name: str) -> datetime:
    return read_time(value, field_name)[0]


PAGE_KINDS: Mapping[str, PageKind] = {
    "openai_usage": PageKind(
        is_page=openai_pages.is_page,
        start="start_time",
        end="end_time",
        read_start=read_unix,
        endpoints=tuple(openai_pages.USAGE_MEASURES),
        endpoint_of=openai_pages.endpoint_of,
        words={name: name for name in openai_pages.USAGE_MEASURES},
        flatten=openai_pages.flatten_usage,
        identity=openai_pages.usage_identity,
    ),
    "openai_costs": PageKind(
        is_page=openai_pages.is_page,
        start="start_time",
        end="end_time",
        read_start=read_unix,
        endpoints=(openai_pages.COSTS,),
        endpoint_of=openai_pages.endpoint_of,
        words={"cost": openai_pages.COSTS},
        flatten=openai_pages.flatten_cost,
        identity=openai_pages.cost_identity,
    ),
    "anthropic_usage": PageKind(
        is_page=anthropic_pages.is_page,
        start="starting_at",
        end="ending_at",
        read_start=_read_iso,
        endpoints=(anthropic_pages.MESSAGES,),
        endpoint_of=anthropic_pages.endpoint_of,
        words={"usage": anthropic_pages.MESSAGES},
        flatten=anthropic_pages.flatten_usage,
        identity=anthropic_pages.usage_identity,
    ),
    "anthropic_costs": PageKind(
        is_page=anthropic_pages.is_page,
        start="starting_at",
        end="ending_at",
        read_start=_read_iso,
        endpoints=(anthropic_pages.COST_REPORT, anthropic_pages.ANALYTICS),
        endpoint_of=anthropic_pages.endpoint_of,
        words={
            "cost": anthropic_pages.COST_REPORT,
            "analytics": anthropic_pages.ANALYTICS,
        },
        flatten=anthropic_pages.flatten_cost,
        identity=anthropic_pages.cost_identity,
    ),
}


@dataclass(frozen=True, slots=True)
class Window:
    """A bucket, or a billing period, as one file states it.

    Attributes:
        start_at, end_at: Half-open, naive UTC; None for a page without a bucket.
        content_sha256: Hash of what the file says of it.
        rows: Results on it, refused ones included.
        first_row_at, last_row_at: Between which moments the rows of a bill lie.
    """

    start_at: datetime | None = None
    end_at: datetime | None = None
    content_sha256: str = ""
    rows: int = 0
    first_row_at: datetime | None = None
    last_row_at: datetime | None = None


@dataclass(slots=True)
class Page:
    """One page: its results as rows, in order, and its buckets.

    Attributes:
        endpoint: Where it was asked for; None where nothing on it says so.
        has_more: Whether the source has a further page.
    """

    endpoint: str | None
    has_more: bool
    rows: list[Row] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)


def chain_of(name: str) -> tuple[str, int]:
    """The chain a file is a page of, and which page; a file without a number is its only page.

    >>> chain_of("openai/costs-2026-10__p0002.json.gz")
    ('openai/costs-2026-10', 2)
    """
    match = _PAGE_NUMBER.search(name)
    if match is None:
        return _ENDING.sub("", name), 1
    return name[: match.start()], int(match[1])


def bill_chain_of(name: str) -> tuple[str, int]:
    """The export a file of a cloud bill is a part of, and which part.

    >>> bill_chain_of("bedrock/october-00002.snappy.parquet")
    ('bedrock/october.snappy', 2)
    >>> bill_chain_of("foundry/october_part_1_0001.csv")
    ('foundry/october_', 2)
    """
    match = None if _PAGE_NUMBER.search(name) else _PART_NUMBER.search(name)
    if match is None:
        return chain_of(name)
    # What follows the number, as the moment of the observation, tells exports apart.
    chain = _ENDING.sub("", name[: match.start()] + name[match.end() :])
    return chain, int(match["aws"]) if match["aws"] else int(match["azure"]) + 1


def recognise_page(document: Any, kinds: Sequence[str], name: str) -> str:
    """The one kind among `kinds` whose page a document is.

    Raises:
        RefusedError: not_a_page, or schema_mismatch where its results are of another kind.
    """
    _refuse_no_page(document, kinds)
    fitting = [kind for kind in kinds if _endpoint_in(document, PAGE_KINDS[kind]) is not None]
    if len(fitting) == 1:
        return fitting[0]
    if any(isinstance(result, dict) for result in _results(document)):
        raise RefusedError("schema_mismatch", f"no result is one of {' or '.join(kinds)} alone")
    # A page without results says nothing of its kind; its name may.
    named_so = [kind for kind in kinds if _endpoint_named(PAGE_KINDS[kind], name) is not None]
    return named_so[0] if len(named_so) == 1 else kinds[0]


def _refuse_no_page(document: Any, kinds: Sequence[str]) -> None:
    if isinstance(document, RepeatedKeyObject):
        raise RefusedError("duplicate_json_key", f"{named(document.repeated)} stands twice")
    if (
        not isinstance(document, dict)
        or not isinstance(document.get("data"), list)
        or not any(PAGE_KINDS[kind].is_page(document) for kind in kinds)
        or not all(isinstance(b.get("results"), list) for b in document["data"])
        or not isinstance(document.get("has_more"), bool)
    ):
        raise RefusedError(
            "not_a_page", "expected a page as the API returns it: data with buckets, has_more"
        )
    if document["has_more"] and not document.get("next_page"):
        raise RefusedError("pagination", "has_more without next_page")


def _results(document: Mapping[str, Any]) -> Iterator[Any]:
    for bucket in document["data"]:
        yield from bucket["results"]


def _endpoint_in(document: Mapping[str, Any], kind: PageKind) -> str | None:
    """The endpoint of this kind that the page's results name first."""
    for result in _results(document):
        endpoint = kind.endpoint_of(result) if isinstance(result, dict) else None
        if endpoint in kind.endpoints:
            return endpoint
    return None


def _endpoint_named(kind: PageKind, name: str) -> str | None:
    """The endpoint that a file's own name speaks of, the longest word first."""
    own = name.rpartition("/")[2]
    words = sorted((word for word in kind.words if word in own), key=len, reverse=True)
    return kind.words[words[0]] if words else None


def unfold(document: Mapping[str, Any], kind_name: str, name: str) -> Page:
    """The rows and windows of a page that was recognised."""
    kind = PAGE_KINDS[kind_name]
    endpoint = _endpoint_in(document, kind) or _endpoint_named(kind, name)
    if endpoint is None and len(kind.endpoints) == 1:
        endpoint = kind.endpoints[0]
    page = Page(endpoint=endpoint, has_more=document["has_more"])
    seen: set[tuple[str, str]] = set()
    for bucket in document["data"]:
        window = _window(bucket, kind)
        if window is not None:
            page.windows.append(window)
        place = {
            "endpoint": endpoint,
            "bucket_start_at": bucket.get(kind.start),
            "bucket_end_at": bucket.get(kind.end),
            "content_sha256": _hash(bucket["results"]),
        }
        for number, result in enumerate(bucket["results"], 1):
            row = _row(kind, result, {**place, "bucket_position": number}, len(page.rows) + 1)
            page.rows.append(_refused_if_repeated(row, seen))
    if not page.windows:
        page.windows.append(Window())
    return page


def unfold_cost_export(rows: Iterable[Row]) -> Page:
    """The rows and windows of OpenAI's cost export: like a page, but a line is one of the file.

    Lines of one span are one bucket, wherever they stand. What a line of text cannot be, a line of
    the file, is refused in its place.
    """
    kind = PAGE_KINDS["openai_costs"]
    page = Page(endpoint=openai_pages.COST_EXPORT, has_more=False)
    buckets: dict[str, tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]] = {}
    for row in rows:
        if row.refusal is not None or not isinstance(row.value, dict):
            page.rows.append(row)
            continue
        span, result = openai_pages.bucket_of_export(row.value)
        _, lines = buckets.setdefault(repr(span), (span, []))
        if result is not None:
            lines.append((row.line, result))
    seen: set[tuple[str, str]] = set()
    for span, lines in buckets.values():
        bucket = {**span, "results": [result for _, result in lines]}
        window = _window(bucket, kind)
        if window is not None:
            page.windows.append(window)
        place = {
            "endpoint": page.endpoint,
            "bucket_start_at": span[kind.start],
            "bucket_end_at": span[kind.end],
            "content_sha256": _hash(bucket["results"]),
        }
        for number, (line, result) in enumerate(lines, 1):
            place["bucket_position"] = number
            page.rows.append(_refused_if_repeated(_row(kind, result, place, line), seen))
    return page


def _window(bucket: Mapping[str, Any], kind: PageKind) -> Window | None:
    """The bucket's window; None where it is no span of time, for then its rows are refused."""
    try:
        start = kind.read_start(bucket.get(kind.start), kind.start)
        end = kind.read_start(bucket.get(kind.end), kind.end)
    except RefusedError:
        return None
    results = bucket["results"]
    return Window(start, end, _hash(results), len(results)) if start < end else None


def _hash(results: list[Any]) -> str:
    """A hash of a bucket's results as they stand, in whatever order their fields come."""
    return hashlib.sha256(_content_of(results)).hexdigest()[:32]


def _content_of(value: Any) -> bytes:
    try:
        return json.dumps(value, sort_keys=True, default=str).encode()
    except RecursionError:
        return b"nested too deeply"


def _row(kind: PageKind, result: Any, place: Mapping[str, Any], number: int) -> Row:
    content = _content_of(result)
    refusal = find_refusal(result)
    if refusal is None and not isinstance(result, dict):
        refusal = Refusal("not_object", "", "expected an object of fields")
    if refusal is not None:
        return Row(number, None, refusal, content)
    # What a result says it is goes before what the page is taken for.
    stated = kind.endpoint_of(result)
    if stated is not None and stated != place["endpoint"]:
        reason = f"expected a result of {place['endpoint']}, found one of {stated}"
        return Row(number, None, Refusal("bad_type", "object", reason), content)
    try:
        flat = kind.flatten(result)
    except RefusedError as error:
        return Row(number, None, error.refusal, content)
    dimensions = _hash(list(kind.identity(flat)))
    flat.pop(openai_pages.PERSON.name, None)
    return Row(number, {**flat, **place, "dimensions_sha256": dimensions}, None, content)


def _refused_if_repeated(row: Row, seen: set[tuple[str, str]]) -> Row:
    if row.value is None:
        return row
    identity = (repr(row.value["bucket_start_at"]), row.value["dimensions_sha256"])
    if identity in seen:
        refusal = Refusal(
            "duplicate_cost_line", "", "its bucket and dimensions stand on the page already"
        )
        return Row(row.line, row.value, refusal, row.content)
    seen.add(identity)
    return row
