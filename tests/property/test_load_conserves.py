"""Whatever is dropped, in whatever order: every row is accounted for, and every digit of money."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.loader_homes import LoaderHome
from fixtures.spend_logs import DROP, row, with_text
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Shrinking reloads a warehouse for every step and takes minutes; a failing example is small anyway.
few_examples = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True)
class Line:
    """One line of a file.

    Attributes:
        text: The line as it is written.
        fact: What identifies the row and its content; None where it must be refused.
        spend: What it costs, as the oracle reads it.
    """

    text: bytes
    fact: tuple[Any, ...] | None = None
    spend: Decimal = Decimal(0)


EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)

amounts = st.one_of(
    st.decimals(min_value=0, max_value=10**12, places=18),
    st.decimals(min_value=0, max_value=1, places=24),
    st.floats(min_value=0, max_value=10**6, allow_subnormal=False).map(lambda f: Decimal(repr(f))),
    st.sampled_from(
        [Decimal(0), Decimal("1E-18"), Decimal("999999999999999999.000000000000000001")]
    ),
)


@st.composite
def good_lines(draw: st.DrawFn) -> Line:
    """A row of one of a few requests, so that many rows repeat, restate or collide."""
    number = draw(st.integers(1, 12))
    spend = draw(amounts)
    model = draw(st.sampled_from(["m", "n"]))
    start = f"2026-06-{draw(st.sampled_from(['14', '15']))}T10:00:00Z"
    literal = str(spend) if draw(st.booleans()) else f'"{spend}"'
    values = row(number, model=model, startTime=start)
    stored = spend.quantize(Decimal("1e-18"), context=EXACT)
    return Line(with_text(values, "spend", literal), (number, start, model, stored), stored)


def bad(**changes: Any) -> Line:
    return Line(json.dumps(row(1, **changes)).encode())


BAD = [
    Line(b"{broken"),
    Line(b"[]"),
    Line(json.dumps(row(1)).encode()[:-1] + b', "spend": 2}'),
    Line(with_text(row(1), "spend", "NaN")),
    Line(with_text(row(1), "spend", "1e20")),
    Line(with_text(row(1), "model", r'"\ud800"')),
    bad(spend=-1),
    bad(spend="1_000"),
    bad(spend=None),
    bad(request_id=""),
    bad(startTime="soon"),
    bad(startTime=DROP),
    bad(prompt_tokens=1.5),
    bad(model={"a": 1}),
    bad(currency="EUR"),
]
rows = st.lists(st.one_of(good_lines(), good_lines(), st.sampled_from(BAD)), max_size=40)


@st.composite
def filed(draw: st.DrawFn) -> tuple[list[list[Line]], list[list[Line]]]:
    """The same lines in two arrangements: other files, another order, some files twice."""
    lines = draw(rows)
    arrangements = []
    for _ in range(2):
        shuffled = draw(st.permutations(lines))
        cuts = sorted(draw(st.lists(st.integers(0, len(lines)), max_size=3)))
        edges = [0, *cuts, len(lines)]
        files = [shuffled[a:b] for a, b in itertools.pairwise(edges)]
        if draw(st.booleans()):
            files.append(files[0])
        arrangements.append(files)
    return arrangements[0], arrangements[1]


@contextmanager
def fresh_home(empty_warehouse: Path) -> Iterator[LoaderHome]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield LoaderHome.create(folder / "home", empty_warehouse)
    finally:
        shutil.rmtree(folder)


def load(home: LoaderHome, files: list[list[Line]], *, runs: int) -> list[Any]:
    """The ledger entries of these files, loaded in so many runs."""
    batches: list[Any] = []
    for number, lines in enumerate(files):
        # A blank line tells files of equal rows apart, so that none is skipped by its bytes.
        text = b"\n" * number + b"".join(line.text + b"\n" for line in lines)
        home.drop(f"{number}.jsonl", text)
        if number < runs - 1:
            batches += home.load().batches
    return batches + home.load().batches


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.landing.files.SETTLE_SECONDS", 0)


@few_examples
@given(arrangement=filed(), runs=st.integers(1, 2))
def test_rows_and_money_are_conserved_in_every_arrangement(
    arrangement: tuple[list[list[Line]], list[list[Line]]], runs: int, empty_warehouse: Path
) -> None:
    one, two = arrangement
    facts = {line.fact: line.spend for lines in one for line in lines if line.fact}

    with fresh_home(empty_warehouse) as first, fresh_home(empty_warehouse) as second:
        batches = load(first, one, runs=runs)
        load(second, two, runs=1)
        raw, other_raw = first.raw_rows(), second.raw_rows()
        total = first.query("select coalesce(sum(spend), 0) from raw.litellm__spend_logs")[0][0]

    assert len(batches) == len(one)
    for batch, lines in zip(batches, one, strict=True):
        refused = sum(line.fact is None for line in lines)
        is_unreadable = bool(lines) and batch.status == "rejected"
        # A file without a single line that is an object is refused as a whole.
        assert not is_unreadable or all(line.text in (b"{broken", b"[]") for line in lines)
        if not is_unreadable:
            assert (batch.rows_in, batch.rows_quarantined) == (len(lines), refused)
        parts = (batch.rows_loaded, batch.rows_already_known, batch.rows_quarantined)
        assert batch.rows_in == sum(parts)
        assert min(parts) >= 0
    assert sum(batch.rows_loaded for batch in batches) == len(facts)
    assert len(raw["litellm__spend_logs"]) == len(facts)
    oracle = Decimal(0)
    for spend in facts.values():
        oracle = EXACT.add(oracle, spend)
    assert total == oracle
    assert raw == other_raw
