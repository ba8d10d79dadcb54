"""Pages of an API in landing: named by feed, window and observation, whole or not there at all.

A chain is what one look at one window gave: `<feed>-<first day>-<day behind the last>` then
`.observed-<moment>` then `__p0001.json`, `__p0002.json`, ... Its last page says that there is no
further one. While pages are missing a hidden marker lies beside them, and the next run goes on
behind the last page.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestration.landing.forgotten import read_forgotten, without_people
from orchestration.landing.write import land
from orchestration.sources.feeds import Window

_DAY, _MOMENT = "%Y%m%d", "%Y%m%dT%H%M%SZ"
_STEM = (
    r"(?P<feed>[a-z0-9_]+)-(?P<start>[0-9]{8})-(?P<end>[0-9]{8})"
    r"\.observed-(?P<at>[0-9]{8}T[0-9]{6}Z)"
)
_PAGE_NAME = re.compile(rf"{_STEM}__p(?P<number>[0-9]{{4,}})\.json")
_MARKER_NAME = re.compile(rf"\.{_STEM}\.open")


@dataclass(frozen=True, slots=True, order=True)
class Chain:
    """One look at one window of a feed.

    Attributes:
        observed_at: When it was begun, to the second; naive UTC.
    """

    feed: str
    window: Window
    observed_at: datetime

    @property
    def stem(self) -> str:
        """What the names of its pages have in common."""
        first, behind = (day.strftime(_DAY) for day in (self.window.start, self.window.end))
        return f"{self.feed}-{first}-{behind}.observed-{self.observed_at.strftime(_MOMENT)}"

    def page_name(self, number: int) -> str:
        """The name of a page, from 1."""
        return f"{self.stem}__p{number:04d}.json"

    @property
    def marker_name(self) -> str:
        """The name of what lies beside its pages while some are missing."""
        return f".{self.stem}.open"


def _chain(match: re.Match[str]) -> Chain:
    start, end = (_parsed(match[name], _DAY).date() for name in ("start", "end"))
    return Chain(match["feed"], Window(start, end), _parsed(match["at"], _MOMENT))


def _parsed(text: str, form: str) -> datetime:
    return datetime.strptime(text, form)  # noqa: DTZ007  # naive UTC


def read_page_name(name: str) -> tuple[Chain, int] | None:
    """The chain a file belongs to and its number in it; None for a file that is no such page."""
    match = _PAGE_NAME.fullmatch(name.rpartition("/")[2])
    try:
        return (_chain(match), int(match["number"])) if match else None
    except ValueError:
        return None


class PageFolder:
    """The pages of one file kind of one source.

    Args:
        ledger_names: Names of files that were loaded, also of those that are gone by now.
    """

    def __init__(self, folder: Path, ledger_names: Sequence[str] = ()) -> None:
        self.folder = folder
        self._newest: dict[tuple[str, Window], Chain] = {}
        self._complete: dict[tuple[str, Window], Chain] = {}
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        self._open = {
            _chain(match) for match in map(_MARKER_NAME.fullmatch, names) if match is not None
        }
        for name in (*ledger_names, *names):
            found = read_page_name(name)
            if found is not None:
                self._take_up(found[0])

    def _take_up(self, chain: Chain) -> None:
        place = (chain.feed, chain.window)
        if place not in self._newest or self._newest[place] < chain:
            self._newest[place] = chain
        if chain not in self._open and (
            place not in self._complete or self._complete[place] < chain
        ):
            self._complete[place] = chain

    def complete(self, feed: str, window: Window) -> Chain | None:
        """The newest chain of a window that has all its pages."""
        return self._complete.get((feed, window))

    def unfinished(self, feed: str, window: Window) -> Chain | None:
        """The newest chain of a window, if pages are missing."""
        newest = self._newest.get((feed, window))
        return newest if newest in self._open else None

    def newest(self, feed: str, window: Window) -> Chain | None:
        """The newest chain of a window, whole or not."""
        return self._newest.get((feed, window))

    def begun_at(self, feed: str, window: Window, as_of: datetime) -> datetime:
        """A moment for a new chain: the clock's, or the first behind every chain there is."""
        moment = as_of.replace(microsecond=0)
        newest = self._newest.get((feed, window))
        return moment if newest is None else max(moment, newest.observed_at + timedelta(seconds=1))

    def count_pages(self, chain: Chain) -> int:
        """How many pages of a chain still lie here, up to the first that does not."""
        number = 0
        while (self.folder / chain.page_name(number + 1)).is_file():
            number += 1
        return number

    def read(self, chain: Chain, number: int) -> bytes:
        """One page as it was landed."""
        return (self.folder / chain.page_name(number)).read_bytes()

    def pages(self, chain: Chain) -> Iterator[bytes]:
        """Those pages, in order."""
        for number in range(1, self.count_pages(chain) + 1):
            yield self.read(chain, number)

    def begin(self, chain: Chain) -> None:
        """Note that the pages of a chain are coming."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / chain.marker_name).touch()
        self._open.add(chain)

    def write(self, chain: Chain, number: int, body: bytes) -> str:
        """Land one page; its path below the source's folder."""
        target = self.folder / chain.page_name(number)
        part = self.folder / f".{target.name}.{os.getpid()}.part"
        part.write_bytes(body)
        land(part, target)
        self._take_up(chain)
        return f"{self.folder.name}/{target.name}"

    def end(self, chain: Chain) -> None:
        """Note that a chain has all its pages."""
        (self.folder / chain.marker_name).unlink(missing_ok=True)
        self._open.discard(chain)
        self._take_up(chain)


class ChainWriter:
    """Lands the pages of a new chain, unless they say what the last complete chain said.

    Pages that are equal wait until one differs: a look that brought no news leaves no file.
    """

    def __init__(
        self,
        folder: PageFolder,
        chain: Chain,
        *,
        before: Chain | None,
        volatile: frozenset[str],
    ) -> None:
        self._folder = folder
        self._chain = chain
        self._volatile = volatile
        self._before = before
        self._pages_before = folder.count_pages(before) if before is not None else 0
        self._is_new = not self._pages_before
        # A page lies in landing/<source>/<kind>.
        self._forgotten = read_forgotten(folder.folder.parent.parent)
        self._number = 0
        self._equal = 0
        self.landed: list[str] = []

    def go_on(self, pages: int) -> None:
        """Continue behind pages that an earlier run landed."""
        self._number, self._is_new = pages, True

    def add(self, body: bytes, document: Mapping[str, Any]) -> None:
        """Take the next page; whom it names and who is to be forgotten does not land."""
        body = without_people(body, self._forgotten)
        document = self._forgotten.without(document)
        if not self._is_new and self._is_equal(self._equal + 1, document):
            self._equal += 1
            return
        self._flush()
        self._land(body)

    def finish(self) -> None:
        """The last page was taken."""
        if not self._is_new and self._equal == self._pages_before and self._before is not None:
            # What was cut off then is whole after all.
            self._folder.end(self._before)
            return
        self._flush()
        self._folder.end(self._chain)

    def _flush(self) -> None:
        """Land the pages that were equal, as they lie in the chain before."""
        if self._is_new or self._before is None:
            return
        self._is_new = True
        for number in range(1, self._equal + 1):
            self._land(self._folder.read(self._before, number))

    def _land(self, body: bytes) -> None:
        if not self._number:
            self._folder.begin(self._chain)
        self._number += 1
        self.landed.append(self._folder.write(self._chain, self._number, body))

    def _is_equal(self, number: int, document: Mapping[str, Any]) -> bool:
        if self._before is None or number > self._pages_before:
            return False
        try:
            before = json.loads(self._folder.read(self._before, number), parse_float=Decimal)
        except ValueError:
            return False
        return self._print(before) == self._print(document)

    def _print(self, document: Mapping[str, Any]) -> str:
        return _canonical(document, self._volatile)


def _canonical(value: Any, volatile: frozenset[str]) -> str:
    """The value as text, in any order of keys and rows, without what changes by itself."""
    if isinstance(value, Mapping):
        pairs = sorted((str(key), each) for key, each in value.items() if key not in volatile)
        return "{" + ",".join(f"{key}:{_canonical(each, volatile)}" for key, each in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(_canonical(each, volatile) for each in value)) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)
