"""Whatever the order in which pages and bills arrive: the same windows, rows and amounts."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from fixtures.loader_homes import LoaderHome
from fixtures.provider_pages import aws_line, cost_line, openai_bucket, openai_page
from fixtures.spend_logs import table
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

few_examples = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
COSTS, AWS = "openai_costs", "aws_cur2"
MODELS = Path(__file__).resolve().parents[2] / "models" / "staging"


@dataclass(frozen=True)
class Landed:
    """One file, where it lies."""

    source: str
    name: str
    data: bytes


def line(amount: str, item: str = "a, input") -> dict[str, Any]:
    return cost_line(amount={"value": amount, "currency": "usd"}, line_item=item)


def chain(
    stem: str, hour: int, *pages: list[dict[str, Any]], is_whole: bool = True
) -> list[Landed]:
    """The pages of a look at `hour` o'clock; unless it is whole, a further one is missing."""
    files = []
    for number, buckets in enumerate(pages, 1):
        has_more = number < len(pages) or not is_whole
        more = {"has_more": has_more, "next_page": "page_x" if has_more else None}
        name = f"{stem}.observed-20260620T{hour:02}0000Z__p{number:04}.json"
        files.append(Landed(COSTS, name, openai_page(*buckets, **more)))
    return files


def bill(hour: int, *rows: dict[str, Any]) -> Landed:
    return Landed(AWS, f"bill.observed-20260620T{hour:02}0000Z.csv", table(*rows))


# Day 0 changes and changes back; day 1 loses a line; day 2 has only ever been read in part.
FILES = [
    *chain(
        "costs-a", 1, [openai_bucket(line("1"))], [openai_bucket(line("2"), line("4", "b"), day=1)]
    ),
    *chain("costs-b", 2, [openai_bucket(line("3"))], [openai_bucket(line("2"), day=1)]),
    *chain("costs-c", 3, [openai_bucket(line("1"))]),
    *chain("costs-d", 4, [openai_bucket(line("9"))], is_whole=False),
    *chain("costs-e", 5, [openai_bucket(line("8"), day=2)], is_whole=False),
    bill(1, aws_line(), aws_line(line_item_unblended_cost="5")),
    bill(2, aws_line(line_item_unblended_cost="7")),
    Landed(COSTS, "copy.observed-20260620T000000Z.json", openai_page(openai_bucket(line("1")))),
]
WANTED_COSTS = [
    ("2026-06-15", "a, input", Decimal(1), True),
    ("2026-06-16", "a, input", Decimal(2), True),
    ("2026-06-17", "a, input", Decimal(8), False),
]
WANTED_BILL = [("USE1-Claude4.6Sonnet-input-tokens", Decimal(7))]


def drop(home: LoaderHome, file: Landed, copy: int = 0) -> None:
    # Once more under a name of its own, it is the same look at the same span.
    name = file.name.replace(".observed", f"-again{copy}.observed") if copy else file.name
    home.drop(name, file.data, source=file.source)


@pytest.fixture(scope="module")
def compiled() -> dict[str, str]:
    """The staging models, with their sources and references as plain names."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701  # SQL
    environment.globals |= {
        "config": lambda **_: "",
        "source": lambda _, name: f"raw.{name}",
        "ref": lambda name: name,
    }
    macros = (MODELS.parents[1] / "dbt_project" / "macros" / "provider_pages.sql").read_text()

    def plain(path: Path) -> str:
        return environment.from_string(macros + path.read_text()).render()

    names = ("provider/stg_provider__pages", "provider/stg_provider__windows")
    names += ("openai/stg_openai__costs", "aws/stg_aws__line_items")
    return {name.rpartition("/")[2]: plain(MODELS / f"{name}.sql") for name in names}


def staged(home: LoaderHome, compiled: dict[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    """What staging says, without where a row was seen first."""
    with duckdb.connect(str(home.path / "warehouse.duckdb")) as connection:
        for name, sql in compiled.items():
            connection.execute(f"create or replace temp table {name} as {sql}")
        return {
            "costs": connection.execute("""
                select cast(provider_date as varchar), line_item, amount, is_complete
                from stg_openai__costs order by all
                """).fetchall(),
            "bill": connection.execute("""
                select line_item, amount from stg_aws__line_items order by all
                """).fetchall(),
            "windows": connection.execute("""
                select source, scope, window_start_at, content_sha256, is_complete, observed_at
                from stg_provider__windows order by all
                """).fetchall(),
        }


def in_runs(files: list[Landed], cuts: list[int]) -> Iterator[list[Landed]]:
    for start, end in itertools.pairwise([0, *sorted(cuts), len(files)]):
        yield files[start:end]


@few_examples
@given(
    order=st.permutations(range(len(FILES))), cuts=st.lists(st.integers(0, len(FILES)), max_size=3)
)
def test_pages_and_bills_in_any_order_and_any_number_of_runs_say_the_same(
    order: list[int], cuts: list[int], empty_warehouse: Path, compiled: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = LoaderHome.create(Path(folder) / "home", empty_warehouse)

        for run in in_runs([FILES[place] for place in order], cuts):
            for file in run:
                drop(home, file)
            home.load()
        home.load()

        found = staged(home, compiled)

    assert found["costs"] == WANTED_COSTS
    assert found["bill"] == WANTED_BILL


def test_pages_replayed_under_other_names_change_nothing(
    loader_home: LoaderHome, compiled: dict[str, str]
) -> None:
    for file in FILES:
        drop(loader_home, file)
    loader_home.load()
    before = staged(loader_home, compiled)
    rows = loader_home.query("select count(*) from raw.openai__costs")

    for copy in (1, 2):
        for file in reversed(FILES):
            drop(loader_home, file, copy)
        report = loader_home.load()
        assert {batch.status for batch in report.batches} == {"already_known"}

    assert staged(loader_home, compiled) == before
    assert loader_home.query("select count(*) from raw.openai__costs") == rows
    assert before["costs"] == WANTED_COSTS
