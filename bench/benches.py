"""The benches: what each measures, against which anchor, and what it must reach."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import generate
from generate import Logs
from harness import (
    Bar,
    BenchError,
    Comparison,
    Result,
    Sample,
    compare,
    figure_of,
    result_of,
    same_facts,
)
from homes import Workplace, say

# Bytes of one row in LiteLLM's own PostgreSQL table with its indexes (reference, section 4).
POSTGRES_ROW_BYTES = 989
AS_OF = "2026-09-30T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each bench takes on.

    Attributes:
        load, parquet, build, price, exact, check, peer: Rows.
        genuine_mb: Megabytes of genuine rows.
        history, hour: Rows of the history, and of each hour that follows it.
        flat: Rows of the large history of the bench `flat`.
        query: Rows of the history that questions are asked of.
        price_dates: Days on which a price catalog was observed.
        ledger: Entries of the wallets' ledger that an hour is added to.
        pairs: Measurements of each side.
        extract: Spend logs of the database that is read.
        is_one_history: Whether all benches share one history, to save its preparation.
    """

    load: int
    genuine_mb: int
    parquet: int
    build: int
    history: int
    hour: int
    flat: int
    price: int
    exact: int
    check: int
    query: int
    peer: int
    price_dates: int
    pairs: int
    extract: int = 3_000
    ledger: int = 2_400
    is_one_history: bool = False


SIZES = {
    "quick": Sizes(
        load=3_000,
        genuine_mb=8,
        parquet=3_000,
        build=3_000,
        history=3_000,
        hour=300,
        flat=6_000,
        price=3_000,
        exact=3_000,
        check=3_000,
        query=3_000,
        peer=3_000,
        price_dates=2,
        pairs=1,
        is_one_history=True,
    ),
    "default": Sizes(
        load=200_000,
        genuine_mb=200,
        parquet=200_000,
        build=500_000,
        history=500_000,
        hour=5_000,
        flat=2_000_000,
        price=2_000_000,
        exact=200_000,
        check=500_000,
        query=2_000_000,
        peer=100_000,
        price_dates=50,
        pairs=5,
        extract=200_000,
        ledger=2_000_000,
    ),
    "full": Sizes(
        load=2_000_000,
        genuine_mb=1_000,
        parquet=2_000_000,
        build=10_000_000,
        history=10_000_000,
        hour=100_000,
        flat=100_000_000,
        price=10_000_000,
        exact=10_000_000,
        check=1_000_000,
        query=100_000_000,
        peer=1_000_000,
        price_dates=50,
        pairs=5,
        extract=1_000_000,
        ledger=10_000_000,
    ),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench as run.py calls it: gives the table's lines it measured."""

    name: str
    run: Callable[[Workplace, Sizes], list[Result]]
    is_quick: bool = True


def _anchor_settings(place: Workplace) -> dict[str, Any]:
    return {"memory_limit": place.memory_limit, "threads": place.threads}


def _no_gate(_ours: Sample, _theirs: Sample) -> None:
    """The sides answer different questions; each was held against the generator by itself."""


# ---------------------------------------------------------------- loading


def _loading(
    place: Workplace,
    sizes: Sizes,
    file: Path,
    *,
    name: str,
    variant: str,
    rows: int,
    bar: Bar,
    anchor: tuple[str, str],
    anchor_name: str,
) -> Result:
    database = place.folder / "scratch" / "anchor.duckdb"

    def target(_pair: int) -> Sample:
        home = place.new_home("load")
        place.drop(file, home)
        return place.children.act("product.py", "load", home=home)

    def other(_pair: int) -> Sample:
        script, action = anchor
        request = {"database": database, **_anchor_settings(place)} if action == "load" else {}
        return place.children.act(script, action, file=file, **request)

    found = compare(target, other, pairs=sizes.pairs)
    size = file.stat().st_size
    seconds = sorted(sample.wall for sample in found.target)[len(found.target) // 2]
    lines = found.target[0].facts["lines"]
    database.unlink(missing_ok=True)
    return result_of(
        found,
        bar,
        name=name,
        variant=variant,
        anchor_name=anchor_name,
        rows=rows,
        details={"rows_per_s": round(lines / seconds), "mb_per_s": round(size / seconds / 1e6, 1)},
    )


def load_jsonl(place: Workplace, sizes: Sizes) -> list[Result]:
    """Strict load of JSON lines, plain and zstd."""
    return [
        _loading(
            place,
            sizes,
            place.logs(Logs(0, sizes.load), ending),
            name="load-jsonl",
            variant=variant,
            rows=sizes.load,
            bar=Bar(2, 1.1),
            anchor=("anchors/read_json.py", "load"),
            anchor_name="DuckDB, explicit columns, into a table",
        )
        for ending, variant in (("jsonl", "plain"), ("jsonl.zst", "zstd"))
    ]


def load_genuine(place: Workplace, sizes: Sizes) -> list[Result]:
    """Genuine rows of 12 kB, repeated under new ids."""
    source = _shared_data(place) / "litellm_spend_logs_2026-11-01_07.jsonl.zst"
    if not source.is_file():
        say(f"  skipped: {source} is not there")
        return []
    file = place.genuine(source, sizes.genuine_mb)
    with file.open("rb") as stream:
        rows = sum(1 for _ in stream)
    return [
        _loading(
            place,
            sizes,
            file,
            name="load-genuine",
            variant="",
            rows=rows,
            bar=Bar(4, 1.5),
            anchor=("anchors/read_lines.py", "read"),
            anchor_name="reading its lines",
        )
    ]


def _shared_data(place: Workplace) -> Path:
    beside = place.children.project.parent / "shared" / "data"
    return beside if beside.is_dir() else Path(__file__).resolve().parents[2] / "shared" / "data"


def load_parquet(place: Workplace, sizes: Sizes) -> list[Result]:
    """The rows of load-jsonl as Parquet."""
    return [
        _loading(
            place,
            sizes,
            place.logs(Logs(0, sizes.parquet), "parquet"),
            name="load-parquet",
            variant="",
            rows=sizes.parquet,
            bar=Bar(2, 1.2),
            anchor=("anchors/copy_parquet.py", "load"),
            anchor_name="create table as from the file",
        )
    ]


# ---------------------------------------------------------------- extracting


def extract_postgres(place: Workplace, sizes: Sizes) -> list[Result]:
    """Every spend log of a LiteLLM database into landing files."""
    from postgres import litellm_server

    with litellm_server(sizes.extract, days=10) as (_, dsn):
        home = place.folder / "scratch" / "extract"

        def ours(_pair: int) -> Sample:
            return place.children.act("extract.py", "land", home=home, dsn=dsn)

        def theirs(_pair: int) -> Sample:
            return place.children.act("anchors/adbc_read.py", "read", dsn=dsn)

        found = compare(ours, theirs, pairs=sizes.pairs)
    shutil.rmtree(home, ignore_errors=True)
    seconds = sorted(sample.wall for sample in found.target)[len(found.target) // 2]
    return [
        result_of(
            found,
            Bar(1.4, 1.05),
            name="extract-postgres",
            variant="",
            anchor_name="the same columns by ADBC alone",
            rows=sizes.extract,
            details={"rows_per_s": round(sizes.extract / seconds)},
        )
    ]


# ---------------------------------------------------------------- building


def _spread_over_days(sizes: Sizes, rows: int, days: float, **fields: Any) -> Logs:
    """Rows that take so many days of the log's clock."""
    if sizes.is_one_history:
        return build_logs(sizes.history, sizes)
    rate = max(1, round(rows / (days * 24)))
    return Logs(0, rows, rows_per_hour=rate, price_dates=sizes.price_dates, **fields)


def build_logs(rows: int, sizes: Sizes) -> Logs:
    """A history as the hourly benches have it: a hundred hours, whatever its size."""
    return Logs(0, rows, rows_per_hour=max(1, rows // 100), price_dates=sizes.price_dates)


def full_build(place: Workplace, sizes: Sizes) -> list[Result]:
    """Raw to all marts from empty, with dbt and its data tests."""
    found = _build_pairs(place, sizes, sizes.build, memory_limit="")
    return [
        result_of(
            found,
            Bar(3, 1.5),
            name="full-build",
            variant="",
            anchor_name="one hand-written script",
            rows=sizes.build,
        )
    ]


def _build_pairs(place: Workplace, sizes: Sizes, rows: int, *, memory_limit: str) -> Comparison:
    logs = build_logs(rows, sizes)
    prepared = place.raw_home(logs)
    database = place.folder / "scratch" / "anchor.duckdb"
    totals = generate.expected([logs])

    def target(_pair: int) -> Sample:
        home = place.copy(prepared, "build")
        if memory_limit:
            config = home / "tollbook.yml"
            text = config.read_text().replace(place.memory_limit, memory_limit)
            config.write_text(text)
        sample = place.children.act("product.py", "build", home=home, full_refresh=True)
        _expect(sample, totals)
        place.discard(home)
        return sample

    def anchor(_pair: int) -> Sample:
        settings = _anchor_settings(place)
        if memory_limit:
            settings["memory_limit"] = memory_limit
        return place.children.act(
            "anchors/one_script.py", "build", home=prepared, database=database, **settings
        )

    try:
        return compare(target, anchor, pairs=sizes.pairs)
    finally:
        database.unlink(missing_ok=True)


def _expect(sample: Sample, totals: dict[str, Any]) -> None:
    """Every attempt one record, and list cost and spend what the generator made."""
    for fact, wanted in (
        ("records", totals["records"]),
        ("spend", totals["spend"]),
        ("list_cost", totals["spend"]),
        ("daily_list_cost", totals["spend"]),
    ):
        if sample.facts[fact] != wanted:
            raise BenchError(f"{fact}: {sample.facts[fact]}, the generator says {wanted}")


def memory(place: Workplace, sizes: Sizes) -> list[Result]:
    """Peak memory of full-build where DuckDB may use 2 GB."""
    found = _build_pairs(place, replace(sizes, pairs=1), sizes.build, memory_limit="2GB")
    peak = max(sample.rss_mb for sample in found.target)
    return [
        figure_of(
            peak,
            2e9 / 2**20,
            Bar(1.25, 1.05),
            name="memory",
            variant="",
            unit="MiB",
            anchor_name="memory_limit",
            rows=sizes.build,
            details={
                "anchor_peak_mib": round(max(sample.rss_mb for sample in found.anchor)),
                "s_build": round(found.target[0].wall, 1),
            },
        )
    ]


def storage(place: Workplace, sizes: Sizes) -> list[Result]:
    """Bytes per usage record, raw and marts together."""
    home = place.built_home(build_logs(sizes.build, sizes))
    found = place.children.act("product.py", "storage", home=home).facts
    records = found["records"]
    return [
        figure_of(
            found["bytes"] / records,
            POSTGRES_ROW_BYTES,
            Bar(1 / 4, 1 / 8),
            name="storage",
            variant="",
            unit="B",
            anchor_name="LiteLLM's PostgreSQL row",
            rows=sizes.build,
            details={
                "file_bytes_per_record": round(found["file_bytes"] / records, 1),
                **{
                    f"b_{table}": round(size / records, 1)
                    for table, size in found["tables"].items()
                    if size / records >= 1
                },
            },
        )
    ]


def checks(place: Workplace, sizes: Sizes) -> list[Result]:
    """All checks over freshly built marts, after their libraries are imported."""
    home = place.built_home(build_logs(sizes.check, sizes))
    settings = _anchor_settings(place)

    def target(_pair: int) -> Sample:
        copied = place.copy(home, "checks")
        sample = place.children.act("product.py", "check", home=copied)
        place.discard(copied)
        return sample

    def gate(ours: Sample, theirs: Sample) -> None:
        if ours.facts["failed"] or theirs.facts["records"] != theirs.facts["ids"]:
            raise BenchError(f"a hard check failed: {ours.facts}, {theirs.facts}")

    found = compare(
        target,
        lambda _pair: place.children.act("anchors/count_scan.py", "scan", home=home, **settings),
        pairs=sizes.pairs,
        gate=gate,
    )
    return [
        result_of(
            found,
            Bar(20, 5),
            name="checks",
            variant="",
            anchor_name="one scan: rows, distinct ids",
            rows=sizes.check,
        )
    ]


def price_join(place: Workplace, sizes: Sizes) -> list[Result]:
    """Usage to prices as the model joins them, against ASOF JOIN.

    The model joins the sets of each day of use, a table that a run makes of its days; what making
    it of all days takes stands in the details.
    """
    logs = _spread_over_days(sizes, sizes.price, sizes.price_dates - 0.5)
    built = place.built_home(logs)
    scratch = place.folder / "scratch" / "prices.duckdb"
    making, clause, equal = _price_join_of(built)
    units = _units_in_use(built, scratch)
    cost = " + ".join(
        f"coalesce(cast(cast(usage.{unit} as decimal(12, 0)) "
        f"* cast(prices.{unit}_price as decimal(25, 18)) as decimal(38, 18)), 0)"
        for unit in units
    )
    sql = f"select count(*), sum({cost}) from usage left join prices_of_days as prices on {clause}"
    found = compare(
        lambda _pair: place.children.act("product.py", "price_join", scratch=scratch, sql=sql),
        lambda _pair: place.children.act(
            "anchors/asof_join.py",
            "join",
            scratch=scratch,
            cost=cost,
            equal=equal,
            **_anchor_settings(place),
        ),
        pairs=sizes.pairs,
    )
    made = place.children.act("product.py", "price_sets_of_days", home=built, sql=making)
    details = {
        "units": len(units),
        "price_rows": _count_prices(scratch),
        "price_rows_of_days": made.facts["rows"],
        "cpu_of_days": round(made.cpu, 3),
    }
    scratch.unlink()
    return [
        result_of(
            found,
            Bar(0.3, 0.14),
            name="price-join",
            variant="",
            anchor_name="ASOF JOIN, same tables",
            rows=sizes.price,
            details=details,
        )
    ]


def _price_join_of(home: Path) -> tuple[str, str, str]:
    """As the models have it: what makes the sets of each day of use, the condition under which
    usage joins them, and that part of it which any way of joining needs."""
    folder = home / "dbt/compiled/tollbook/models/intermediate"
    making = (folder / "int_prices__of_usage_days.sql").read_text()
    model = (folder / "int_usage__priced.sql").read_text()
    found = re.search(r"left join prices\s+on\s(.*?)\n\)", model, re.DOTALL)
    if found is None:
        raise BenchError(
            "int_usage__priced joins prices in another way: bring benches.py up to date"
        )
    clause = " ".join(found[1].split())
    parts = [part for part in clause.split(" and ") if "valid_" not in part and "_date" not in part]
    return making, clause, " and ".join(parts)


def _units_in_use(home: Path, scratch: Path) -> list[str]:
    """Narrow tables `usage`, `prices` and `prices_of_days` of a built home; the units that any
    record has."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    scratch.unlink(missing_ok=True)
    keys = "price_provider, price_model, service_tier, is_batch, context_above_tokens, price_region"
    with duckdb.connect(str(scratch)) as connection:
        connection.execute(f"attach '{home}/warehouse.duckdb' as warehouse (read_only)")
        connection.execute("use warehouse")
        units = [
            name
            for (name,) in connection.execute("""
                select column_name from duckdb_columns()
                where schema_name = 'marts' and table_name = 'usage_records'
                    and column_name like '%tokens' and column_name not like '%total%'
                order by column_index
                """).fetchall()
            if connection.execute(
                f"select 1 from marts.usage_records where {name} > 0 limit 1"
            ).fetchall()
        ]
        valid = f"valid_from_at, valid_to_at, {', '.join(f'{unit}_price' for unit in units)}"
        for table, columns, relation in (
            ("usage", f"started_at, {', '.join(units)}", "intermediate.int_usage__classified"),
            ("prices", valid, "marts.price_sets"),
            (
                "prices_of_days",
                f"usage_date, {valid}",
                "intermediate.int_prices__of_usage_days",
            ),
        ):
            connection.execute(
                f"create table prices.{table} as select {keys}, {columns} from {relation}"
            )
    return units


def _count_prices(scratch: Path) -> int:
    with duckdb.connect(str(scratch), read_only=True) as connection:
        return connection.execute("select count(*) from prices").fetchall()[0][0]


def exact(place: Workplace, sizes: Sizes) -> list[Result]:
    """Totals over 20 runs and thread counts; marts over other splits of the same rows."""
    logs = build_logs(sizes.exact, sizes)
    home = place.built_home(logs)
    repeated = place.children.act("product.py", "exact", home=home, runs=20, threads=[1, 2, 4])
    whole = place.children.act("product.py", "fingerprints", home=home).facts
    split = _split_marts(place, logs, home)
    distinct = max(repeated.facts["distinct_totals"], len({json.dumps(whole), json.dumps(split)}))
    if whole != split:
        say(f"  marts differ by how the rows were split: {whole} and {split}")
    return [
        figure_of(
            distinct,
            1,
            Bar(1, 1),
            name="exact",
            variant="",
            unit="distinct",
            anchor_name="20 runs, 1/2/4 threads, 1 and 4 batches",
            rows=sizes.exact,
            details={"runs": 20},
        )
    ]


def _split_marts(place: Workplace, logs: Logs, home: Path) -> dict[str, Any]:
    """Hashes of the marts when the same rows came in four loads, each built incrementally."""
    other = place.new_home("split")
    shutil.copytree(home / "landing" / "price_catalog", other / "landing" / "price_catalog")
    place.children.act("product.py", "load", home=other)
    quarter = -(-logs.rows // 4)
    with place.children.worker("product.py") as worker:
        for first in range(0, logs.rows, quarter):
            rows = min(quarter, logs.rows - first)
            part = replace(logs, first=logs.first + first, rows=rows)
            worker.act("stage", home=other, logs=[asdict(part)])
            worker.act("build", home=other)
        found = worker.act("fingerprints", home=other).facts
    place.discard(other)
    return found


# ---------------------------------------------------------------- hours


def _hour(history: Logs, hour: int, rows: int, **fields: Any) -> Logs:
    """The rows that follow a history and `hour` further hours."""
    return replace(history, first=history.first + history.rows + hour * rows, rows=rows, **fields)


def _hours_gate(history: Logs, hour_rows: int) -> Callable[[Sample, int], None]:
    def check(sample: Sample, hour: int) -> None:
        parts = [replace(history, rows=history.rows + (hour + 1) * hour_rows)]
        _expect(sample, generate.expected(parts))

    return check


def hour_sql_and_warm(place: Workplace, sizes: Sizes) -> list[Result]:
    """Consecutive hours: a warm run, then the same hour's statements alone, then parsing alone."""
    history = build_logs(sizes.history, sizes)
    base = place.built_home(history)
    warm, bare = place.copy(base, "warm"), place.copy(base, "bare")
    statements = place.folder / "scratch" / "statements.json"
    expect = _hours_gate(history, sizes.hour)
    samples: dict[str, list[Sample]] = {"warm": [], "sql": [], "parse": []}
    with place.children.worker("product.py") as worker:
        for hour in range(sizes.pairs + (sizes.pairs > 1)):
            file = place.logs(_hour(history, hour, sizes.hour), "jsonl")
            for home in (warm, bare):
                place.drop(file, home)
            ran = worker.act("run", home=warm, record=statements)
            alone = place.children.act("product.py", "hour_sql", home=bare, statements=statements)
            parsed = place.children.act(
                "anchors/parse_only.py", "parse", file=file, **_anchor_settings(place)
            )
            same_facts(ran, alone)
            expect(ran, hour)
            # The first hour warms the worker up.
            if hour or sizes.pairs == 1:
                for name, sample in (("warm", ran), ("sql", alone), ("parse", parsed)):
                    samples[name].append(sample)
    statements.unlink()
    for home in (warm, bare):
        place.discard(home)
    return _hour_results(samples, sizes)


def _hour_results(samples: dict[str, list[Sample]], sizes: Sizes) -> list[Result]:
    def of(target: str, anchor: str) -> Comparison:
        return Comparison(target=tuple(samples[target]), anchor=tuple(samples[anchor]))

    details = {"history_rows": sizes.history}
    return [
        result_of(
            of("sql", "parse"),
            Bar(15, 5),
            name="hour-sql",
            variant="",
            anchor_name="parse-only of the file",
            rows=sizes.hour,
            details=details,
        ),
        result_of(
            of("warm", "sql"),
            Bar(8, 4),
            name="hour-warm",
            variant="",
            anchor_name="hour-sql",
            rows=sizes.hour,
            details=details,
        ),
    ]


_RUN = "import sys; from orchestration.cli import main; sys.argv[0] = 'tollbook'; main()"


def _tollbook_run(place: Workplace, home: Path) -> Sample:
    options = ("--config", str(home / "tollbook.yml"), "--home", str(home), "--as-of", AS_OF)
    return place.children.whole("-c", _RUN, "run", *options)


def hour_cold(place: Workplace, sizes: Sizes) -> list[Result]:
    """`tollbook run` in a new process, one hour after the other."""
    history = build_logs(sizes.history, sizes)
    home = place.copy(place.built_home(history), "cold")
    expect = _hours_gate(history, sizes.hour)

    def target(hour: int) -> Sample:
        place.drop(place.logs(_hour(history, hour, sizes.hour), "jsonl"), home)
        sample = _tollbook_run(place, home)
        expect(place.children.act("product.py", "facts", home=home), hour)
        return replace(sample, phases=_recorded_phases(home))

    found = compare(
        target,
        lambda _hour: place.children.whole(str(Path(__file__).parent / _IMPORTS)),
        pairs=sizes.pairs,
        gate=_published_gate,
    )
    place.discard(home)
    return [
        result_of(
            found,
            Bar(2, 1.2),
            name="hour-cold",
            variant="",
            anchor_name="importing dagster, dbt, great_expectations",
            rows=sizes.hour,
            details={"history_rows": sizes.history},
        )
    ]


_IMPORTS = "anchors/import_libraries.py"


def _published_gate(ours: Sample, _theirs: Sample) -> None:
    said = ours.facts["said"]
    if not said or "published version" not in said[0]:
        raise BenchError(f"the run said: {said}")


def _recorded_phases(home: Path) -> dict[str, float]:
    """Seconds by step of the newest run, as the product recorded them."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute("""
            select step, cast(seconds as double) from audit.runs
            qualify run = first_value(run) over (order by started_at desc)
            """).fetchall()
    return dict(rows)


def no_news(place: Workplace, sizes: Sizes) -> list[Result]:
    """`tollbook run` when nothing is new."""
    home = place.copy(place.built_home(build_logs(sizes.history, sizes)), "no-news")

    def gate(ours: Sample, _theirs: Sample) -> None:
        if not ours.facts["said"] or "Nothing new" not in ours.facts["said"][0]:
            raise BenchError(f"the run said: {ours.facts['said']}")

    found = compare(
        lambda _pair: _tollbook_run(place, home),
        lambda _pair: place.children.whole("-c", "import duckdb"),
        pairs=max(sizes.pairs, 2 * sizes.pairs - 1),
        gate=gate,
    )
    place.discard(home)
    return [
        result_of(
            found,
            Bar(8, 2),
            name="no-news",
            variant="",
            anchor_name='python -c "import duckdb"',
            rows=sizes.history,
        )
    ]


def _without_first(found: Comparison) -> Comparison:
    """The comparison without its first pair, which warmed the workers up."""
    return Comparison(target=found.target[1:], anchor=found.anchor[1:])


def _whole_days(rows: int, rows_per_hour: int) -> int:
    """About as many rows, at so many an hour, that the last of them ends a day."""
    return max(1, round(rows / (24 * rows_per_hour))) * 24 * rows_per_hour


def flat(place: Workplace, sizes: Sizes) -> list[Result]:
    """An hour, landed file to flipped snapshot, on a large history and on a tenth of it or less.

    Both histories run at the same rows an hour and end with a day, so that the hours that follow
    fall into days that are equally full.
    """
    rate = sizes.hour
    small = Logs(
        0, _whole_days(sizes.history, rate), rows_per_hour=rate, price_dates=sizes.price_dates
    )
    large = replace(small, rows=_whole_days(sizes.flat, rate))
    homes = [
        place.copy(place.built_home(logs), f"flat-{which}")
        for which, logs in (("large", large), ("small", small))
    ]
    with place.children.worker("product.py") as big, place.children.worker("product.py") as little:
        sides = [(big, homes[0], large), (little, homes[1], small)]

        def side(which: int) -> Callable[[int], Sample]:
            worker, home, logs = sides[which]

            def hour(pair: int) -> Sample:
                place.drop(place.logs(_hour(logs, pair, sizes.hour), "jsonl"), home)
                sample = worker.act("run", home=home)
                parts = [replace(logs, rows=logs.rows + (pair + 1) * sizes.hour)]
                _expect(sample, generate.expected(parts))
                return sample

            return hour

        found = compare(side(0), side(1), pairs=sizes.pairs + 1, gate=_no_gate)
    for home in homes:
        place.discard(home)
    warm = _without_first(found)
    return [
        result_of(
            warm,
            Bar(1.3, 1.1),
            name="flat",
            variant="",
            anchor_name=f"the same hour on {small.rows:,} rows",
            rows=large.rows,
            details={"hour_rows": sizes.hour, "anchor_phases": warm.anchor[-1].phases},
        )
    ]


def late(place: Workplace, sizes: Sizes) -> list[Result]:
    """An hour with 5 % of rows up to 30 days late, against a clean one; history of 31 days."""
    history = _spread_over_days(sizes, sizes.history, 31, late_share=0)
    base = place.built_home(history)
    homes = [place.copy(base, "late"), place.copy(base, "clean")]
    with place.children.worker("product.py") as one, place.children.worker("product.py") as other:

        def side(worker: Any, home: Path, **fields: Any) -> Callable[[int], Sample]:
            def hour(pair: int) -> Sample:
                logs = _hour(history, pair, sizes.hour, **fields)
                place.drop(place.logs(logs, "jsonl"), home)
                sample = worker.act("run", home=home)
                parts = [_hour(history, n, sizes.hour, **fields) for n in range(pair + 1)]
                _expect(sample, generate.expected([history, *parts]))
                return sample

            return hour

        found = compare(
            side(one, homes[0], late_share=50, late_days=30, copies_from=history.rows),
            side(other, homes[1], copies=0),
            pairs=sizes.pairs + 1,
            gate=_no_gate,
        )
    for home in homes:
        place.discard(home)
    warm = _without_first(found)
    return [
        result_of(
            warm,
            Bar(2, 1.3),
            name="late",
            variant="",
            anchor_name="a clean hour",
            rows=sizes.hour,
            details={"history_rows": sizes.history, "anchor_phases": warm.anchor[-1].phases},
        )
    ]


def ledger_hour(place: Workplace, sizes: Sizes) -> list[Result]:
    """One more hour of every wallet on a ledger of years, against drawing every balance anew.

    Measured are the statements of the models that draw the ledger: dbt's own work is hour-warm's.
    """
    wallets = max(10, sizes.ledger // 8_760)
    hours = sizes.ledger // wallets
    home = place.copy(place.built_home(build_logs(sizes.history, sizes)), "ledger")
    place.children.act("product.py", "fill_ledger", home=home, wallets=wallets, hours=hours)
    with place.children.worker("product.py") as worker:
        found = compare(
            lambda pair: worker.act("ledger_hour", home=home, wallets=wallets, hour=hours + pair),
            lambda _: place.children.act(
                "anchors/running_balance.py", "draw", home=home, **_anchor_settings(place)
            ),
            pairs=sizes.pairs,
        )
    entries = found.target[-1].facts["entries"]
    if entries != wallets * (hours + sizes.pairs + 1):
        raise BenchError(f"the ledger has {entries} entries, one for each wallet and hour expected")
    place.discard(home)
    return [
        result_of(
            found,
            Bar(0.1, 0.02),
            name="ledger-hour",
            variant="",
            anchor_name="full running balance",
            rows=sizes.ledger,
            details={"wallets": wallets},
        )
    ]


def publish(place: Workplace, sizes: Sizes) -> list[Result]:
    """The snapshot after each of some hours, against writing the rows of the touched days."""
    history = build_logs(sizes.history, sizes)
    home = place.copy(place.built_home(history), "publish")
    target_file = place.folder / "scratch" / "touched.duckdb"
    days: list[str] = []
    with place.children.worker("product.py") as worker:

        def target(pair: int) -> Sample:
            place.drop(place.logs(_hour(history, pair, sizes.hour), "jsonl"), home)
            days[:] = worker.act("prepare_publish", home=home).facts["days"]
            sample = worker.act("publish", home=home)
            rows = history.rows + (pair + 1) * sizes.hour
            if sample.facts["rows"] != rows:
                raise BenchError(f"published {sample.facts['rows']} records of {rows}")
            return sample

        found = compare(
            target,
            lambda _pair: place.children.act(
                "anchors/touched_days.py",
                "write",
                home=home,
                days=days,
                target=target_file,
                **_anchor_settings(place),
            ),
            pairs=sizes.pairs,
            gate=_no_gate,
        )
    size = (home / "warehouse.duckdb").stat().st_size
    target_file.unlink(missing_ok=True)
    place.discard(home)
    return [
        result_of(
            found,
            Bar(10, 3),
            name="publish",
            variant="",
            anchor_name="writing the touched days' rows",
            rows=sizes.history,
            details={
                "touched_days": len(days),
                "touched_rows": found.anchor[-1].facts["touched_rows"],
                "warehouse_mb": round(size / 1e6),
            },
        )
    ]


# ---------------------------------------------------------------- questions and peers


def queries(place: Workplace, sizes: Sizes) -> list[Result]:
    """The ten questions of bench/queries on the published file.

    Each file holds the question, then after a line `-- anchor` the scan it is held against.
    """
    logs = _spread_over_days(sizes, sizes.query, 40)
    home = place.built_home(logs)
    database = home / "published" / "tollbook.duckdb"
    results = []
    for path in sorted((Path(__file__).parent / "queries").glob("*.sql")):
        question, _, scan = path.read_text().partition("-- anchor\n")
        values = _example_values(database)
        name = path.stem
        is_aggregate = name.startswith("aggregate")
        bar = Bar(1 / 20, 1 / 50) if is_aggregate else Bar(3, 1.5)

        def asked(sql: str, values: dict[str, str] = values) -> Callable[[int], Sample]:
            filled = sql.format(**values)
            return lambda _pair: place.children.act(
                "product.py", "question", database=database, sql=filled
            )

        gate = same_facts if is_aggregate else _no_gate
        found = compare(asked(question), asked(scan), pairs=sizes.pairs, gate=gate)
        results.append(
            result_of(
                found,
                bar,
                name="queries",
                variant=name,
                anchor_name="full scan" if is_aggregate else "scan of its days",
                rows=sizes.query,
                details={"answer_rows": found.target[0].facts["rows"]},
            )
        )
    return results


def _example_values(database: Path) -> dict[str, str]:
    """A busy day, month, team, key and session of the published records."""
    with duckdb.connect(str(database), read_only=True) as connection:
        day, team, key, session = connection.execute("""
            select cast(usage_date as varchar), team_id, api_key_id, session_id
            from marts.usage_records
            where duplicate_of is null
            order by md5(request_id) limit 1
            """).fetchall()[0]
        first, last = connection.execute(
            "select cast(min(usage_date) as varchar), cast(max(usage_date) as varchar) "
            "from marts.usage_records where session_id = ?",
            [session],
        ).fetchall()[0]
    return {
        "day": day,
        "team": team,
        "key": key,
        "session": session,
        "session_first": first,
        "session_last": last,
        "month": day[:7],
    }


def peers(place: Workplace, sizes: Sizes) -> list[Result]:
    """Load and exact daily roll-up by other tools.

    PostgreSQL runs as the tests have it; the others in the environment at <folder>/peers.
    """
    results = _postgres_peer(place, sizes)
    python = place.folder.parent / "peers" / "bin" / "python"
    if not python.is_file():
        say(f"  no peers environment at {python.parent.parent} (bench/peers/README.md)")
        return results
    file = place.logs(Logs(0, sizes.peer), "jsonl")
    others = replace(place.children, python=str(python))
    for peer, bar in (
        ("pandas", Bar(1 / 10, 1 / 25)),
        ("polars", Bar(1, 1)),
        ("dlt", Bar(1 / 10, 1 / 40)),
    ):

        def theirs(_pair: int, peer: str = peer) -> Sample:
            scratch = place.folder / "scratch" / f"peer-{peer}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            return others.act(f"peers/{peer}_rollup.py", "load", file=file, folder=scratch)

        found = compare(_as_peers(place, file), theirs, pairs=min(sizes.pairs, 3))
        results.append(
            result_of(
                found,
                bar,
                name="peers",
                variant=peer,
                anchor_name=f"{peer}: load and daily roll-up",
                rows=sizes.peer,
            )
        )
    return results


def _as_peers(place: Workplace, file: Path) -> Callable[[int], Sample]:
    """Our side: the file loaded into an empty home, then the spend of each day."""

    def ours(_pair: int) -> Sample:
        home = place.new_home("peer")
        place.drop(file, home)
        return place.children.act("product.py", "load_and_roll_up", home=home)

    return ours


def _postgres_peer(place: Workplace, sizes: Sizes) -> list[Result]:
    """Load and roll-up apart; of rows that come once, as a primary key takes no others."""
    from postgres import COPIED, empty_litellm_server

    file = place.logs(Logs(0, sizes.peer, copies=0), "jsonl")
    with empty_litellm_server(file) as (server, copied):
        uri = server.dsn("litellm").replace("&schema=public", "")

        def theirs(_pair: int) -> Sample:
            return place.children.act(
                "peers/postgres_rollup.py",
                "load",
                uri=uri,
                file=copied,
                columns=list(COPIED),
                data_folder=server.folder,
            )

        found = compare(_as_peers(place, file), theirs, pairs=min(sizes.pairs, 3))
    return [
        result_of(
            _phase_of(found, phase),
            bar,
            name="peers",
            variant=f"postgres {phase.replace('_', '-')}",
            anchor_name=f"PostgreSQL: {phase.replace('_', '-')}",
            rows=sizes.peer,
        )
        for phase, bar in (("load", Bar(1, 1 / 6)), ("roll_up", Bar(1, 1 / 25)))
    ]


def _phase_of(found: Comparison, phase: str) -> Comparison:
    """The same measurements of one phase alone."""

    def part(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(
            replace(each, wall=each.phases[phase], cpu=each.phases[f"{phase}_cpu"], phases={})
            for each in samples
        )

    return Comparison(target=part(found.target), anchor=part(found.anchor))


BENCHES = (
    Bench("load-jsonl", load_jsonl),
    Bench("load-genuine", load_genuine),
    Bench("load-parquet", load_parquet),
    Bench("extract-postgres", extract_postgres),
    Bench("full-build", full_build),
    Bench("hour-sql", hour_sql_and_warm),
    Bench("hour-cold", hour_cold),
    Bench("no-news", no_news),
    Bench("flat", flat, is_quick=False),
    Bench("late", late, is_quick=False),
    Bench("price-join", price_join),
    Bench("ledger-hour", ledger_hour),
    Bench("exact", exact, is_quick=False),
    Bench("memory", memory, is_quick=False),
    Bench("storage", storage),
    Bench("checks", checks, is_quick=False),
    Bench("publish", publish),
    Bench("peers", peers, is_quick=False),
    Bench("queries", queries),
)
# Lines of the table, in its order; the two hours come from one bench.
ORDER = (
    "load-jsonl",
    "load-genuine",
    "load-parquet",
    "extract-postgres",
    "full-build",
    "hour-sql",
    "hour-warm",
    "hour-cold",
    "no-news",
    "flat",
    "late",
    "price-join",
    "ledger-hour",
    "exact",
    "memory",
    "storage",
    "checks",
    "publish",
    "peers",
    "queries",
)
