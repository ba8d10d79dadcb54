"""Costs against what the gateway itself computed: its genuine rows, and the bundled example."""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard
from integration.homes import CATALOGS, EXAMPLE, REPOSITORY, SHARED, SPEND_LOGS, Home, query

LOGS = SHARED / "data" / "litellm_spend_logs_2026-11-01_07.jsonl.zst"
PRICES = SHARED / "data" / "litellm_prices_1.109.1.json.zst"
ACCURACY = REPOSITORY / "docs" / "accuracy.md"
# 1e-9 USD: a ten-millionth of a cent, the tolerance of quality.cost_tolerance.
TOLERANCE = Decimal("1e-9")

genuine = pytest.mark.skipif(not LOGS.exists(), reason="no genuine rows beside the checkout")


# ---------------------------------------------------------------- (a) genuine rows


def read_genuine_rows() -> Iterator[dict[str, Any]]:
    with LOGS.open("rb") as stream:
        text = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stream), "utf-8")
        for line in text:
            yield json.loads(line, parse_float=Decimal)


def read_genuine_prices() -> dict[str, Any]:
    return json.loads(zstandard.ZstdDecompressor().stream_reader(PRICES.open("rb")).read())


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return list(read_genuine_rows())


@pytest.fixture(scope="module")
def genuine_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.create(tmp_path_factory.mktemp("genuine") / "home")
    home.drop(f"{SPEND_LOGS}/{LOGS.name}", LOGS.read_bytes())
    home.drop(f"{CATALOGS}/prices.observed-20261020T000000Z.json.zst", PRICES.read_bytes())
    home.load_and_build()
    return home


@pytest.mark.shared
@genuine
def test_every_genuine_row_arrives_with_its_spend(
    genuine_home: Home, rows: list[dict[str, Any]]
) -> None:
    """The file, raw and the records: equal counts and sums per model as logged."""
    written: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for row in rows:
        key = (row["call_type"], row["model"])
        count, spend = written.get(key, (0, Decimal(0)))
        written[key] = (count + 1, spend + round(Decimal(row["spend"]), 18))

    in_raw = genuine_home.query("""
        select call_type, coalesce(model, ''), count(*), sum(spend)
        from raw.litellm__spend_logs group by all
        """)
    in_marts = genuine_home.query("""
        select r.call_type, coalesce(r.model, ''), count(*), sum(u.gateway_cost)
        from raw.litellm__spend_logs as r
        join marts.usage_records as u
            on u.request_id = r.request_id and u.source_line = r._source_line
        group by all
        """)

    assert len(rows) == 14_066
    assert {(call, model): (n, spend) for call, model, n, spend in in_raw} == written
    assert {(call, model): (n, spend) for call, model, n, spend in in_marts} == written


@pytest.mark.shared
@genuine
def test_list_cost_is_what_litellm_computed(genuine_home: Home) -> None:
    ((compared, equal, largest),) = genuine_home.query(f"""
        select
            count(*),
            count(*) filter (where abs(u.list_cost - r.spend) <= {TOLERANCE:f}),
            max(abs(u.list_cost - r.spend))
        from raw.litellm__spend_logs as r
        left join marts.usage_records as u
            on u.request_id = r.request_id and u.source_line = r._source_line
        where r.spend > 0 and r.call_type not in ('aspeech', 'atranscription')
        """)

    assert compared == 12_875
    assert equal >= compared * Decimal("0.999")
    # Beyond the bar: what is left is the noise of LiteLLM's binary sums.
    assert equal == compared
    assert largest < Decimal("1e-15")


@pytest.mark.shared
@genuine
def test_rows_without_a_cost_are_the_ones_that_state_no_quantity_or_have_no_price(
    genuine_home: Home,
) -> None:
    left_out = genuine_home.query("""
        select call_type, model, cost_status, count(*), sum(list_cost), sum(gateway_cost)
        from marts.usage_records where list_cost is null group by all order by all
        """)
    listed = genuine_home.query("""
        select exception_type, subject_id, amount_at_stake from marts.exceptions
        where exception_type in ('quantity_unknown', 'unpriced_usage') order by all
        """)

    assert left_out == [
        ("aimage_generation", "dall-e-3", "unpriced", 41, None, Decimal(0)),
        ("aspeech", "tts-1", "quantity_unknown", 132, None, Decimal("0.210525")),
        ("atranscription", "whisper-1", "quantity_unknown", 153, None, Decimal("0.65025")),
    ]
    assert listed == [
        ("quantity_unknown", "litellm/tts-1/aspeech", Decimal("0.210525")),
        ("quantity_unknown", "litellm/whisper-1/atranscription", Decimal("0.65025")),
        ("unpriced_usage", "litellm/dall-e-3/output_images", None),
    ]


@pytest.mark.shared
@genuine
def test_list_cost_does_not_lean_on_what_the_gateway_computed(
    genuine_home: Home, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The same costs without spend, cost breakdown, price entry and the provider's own cost."""
    home = Home.create(tmp_path / "home")
    lines = (json.dumps(without_costs(row), default=float) + "\n" for row in rows)
    home.drop(f"{SPEND_LOGS}/stripped.jsonl", "".join(lines))
    home.drop(f"{CATALOGS}/prices.observed-20261020T000000Z.json.zst", PRICES.read_bytes())

    home.load_and_build()

    assert home.query("select sum(gateway_cost) from marts.usage_records") == [(Decimal(0),)]
    assert costs(home) == costs(genuine_home)


def without_costs(row: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        name: value
        for name, value in row["metadata"].items()
        if name not in ("cost_breakdown", "model_map_information")
    }
    for name in ("usage_object", "additional_usage_values"):
        metadata[name] = without_key(metadata.get(name), "cost")
    return row | {"spend": 0, "metadata": metadata}


def without_key(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: without_key(each, name) for key, each in value.items() if key != name}
    return [without_key(each, name) for each in value] if isinstance(value, list) else value


def costs(home: Home) -> dict[tuple[str, int], tuple[Decimal | None, str]]:
    found = home.query(
        "select request_id, occurrence, list_cost, cost_status from marts.usage_records"
    )
    return {(request, occurrence): (cost, status) for request, occurrence, cost, status in found}


@pytest.mark.shared
@genuine
def test_a_changed_price_changes_its_model_by_the_difference_and_nothing_else(
    genuine_home: Home, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """gpt-4o's input price doubles before the week: 2.5e-6 more per uncached input token."""
    prices = read_genuine_prices()
    assert prices["gpt-4o"]["input_cost_per_token"] == 2.5e-06
    prices["gpt-4o"]["input_cost_per_token"] = 5e-06
    before = costs(genuine_home)
    expected = {
        row["request_id"]: (prompt_tokens(row) - cached_tokens(row)) * Decimal("2.5e-6")
        for row in rows
        if row["model"] == "openai/gpt-4o"
    }
    home = genuine_home.copy(tmp_path / "home")

    home.drop_prices("20261025", prices)
    home.load_and_build()

    found = {
        request: cost - before[request, occurrence][0]
        for (request, occurrence), (cost, _) in costs(home).items()
        if cost != before[request, occurrence][0]
    }
    assert len(expected) == 1_930
    assert found == expected


def prompt_tokens(row: dict[str, Any]) -> int:
    return row["metadata"]["usage_object"]["prompt_tokens"]


def cached_tokens(row: dict[str, Any]) -> int:
    details = row["metadata"]["usage_object"].get("prompt_tokens_details") or {}
    return details.get("cached_tokens") or 0


@pytest.mark.shared
@genuine
def test_accuracy_page_shows_these_figures(genuine_home: Home) -> None:
    """docs/accuracy.md holds what this query finds; TOLLBOOK_WRITE_DOCS=1 writes it anew."""
    page = ACCURACY.read_text(encoding="utf-8")
    shown = replaced(page, "compared", compared_table(genuine_home))
    shown = replaced(shown, "left-out", left_out_table(genuine_home))

    if os.environ.get("TOLLBOOK_WRITE_DOCS"):
        ACCURACY.write_text(shown, encoding="utf-8")

    assert ACCURACY.read_text(encoding="utf-8") == shown


def replaced(page: str, name: str, table: str) -> str:
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text, count = re.subn(pattern, lambda found: found[1] + table + found[2], page, flags=re.DOTALL)
    assert count == 1, f"the page has no place for {name}"
    return text


def compared_table(home: Home) -> str:
    found = home.query(f"""
        select
            call_type, model, cost_status, count(*),
            count(*) filter (where gateway_cost > 0),
            count(*) filter (
                where gateway_cost > 0 and abs(list_cost - gateway_cost) <= {TOLERANCE:f}
            ),
            sum(gateway_cost), sum(list_cost), max(abs(list_cost - gateway_cost))
        from marts.usage_records
        where list_cost is not null
        group by all order by all
        """)
    head = (
        "| call type | model | cost status | rows | rows compared | equal within 1e-9 "
        "| spend, USD | list cost, USD | largest difference, USD |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    lines = [
        f"| {call} | {model or '(none)'} | {status} | {n:,} | {compared:,} | {equal:,} "
        f"| {plain(spend)} | {plain(cost)} | {short(largest)} |\n"
        for call, model, status, n, compared, equal, spend, cost, largest in found
    ]
    totals = [sum(row[place] for row in found) for place in range(3, 8)]
    counts = " | ".join(f"{count:,}" for count in totals[:3])
    total = (
        f"| all | | | {counts} | {plain(totals[3])} | {plain(totals[4])} "
        f"| {short(max(row[8] for row in found))} |\n"
    )
    return head + "".join(lines) + total


def left_out_table(home: Home) -> str:
    found = home.query("""
        select call_type, model, cost_status, count(*), sum(gateway_cost)
        from marts.usage_records where list_cost is null group by all order by all
        """)
    head = (
        "| call type | model | cost status | rows | spend, USD |\n"
        "| --- | --- | --- | ---: | ---: |\n"
    )
    return head + "".join(
        f"| {call} | {model} | {status} | {n:,} | {plain(spend)} |\n"
        for call, model, status, n, spend in found
    )


def plain(amount: Decimal) -> str:
    """Every digit that counts."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(amount: Decimal) -> str:
    return "0" if amount == 0 else f"{amount.normalize():E}".replace("E", "e")


# ---------------------------------------------------------------- (b) the bundled example


def test_every_priced_record_of_the_example_costs_what_its_gateway_wrote(
    example_home: Home,
) -> None:
    """To the last digit, per attempt: a batch of two models has its charge on the first."""
    different = query(
        example_home.published,
        """
        select request_id, started_at, sum(list_cost), sum(gateway_cost)
        from marts.usage_records
        where cost_status not in ('quantity_unknown', 'unpriced')
        group by request_id, started_at
        having sum(list_cost) is distinct from sum(gateway_cost)
        """,
    )
    statuses = query(
        example_home.published,
        "select cost_status, count(*), sum(list_cost) from marts.usage_records group by all",
    )

    assert different == []
    assert {status: (n, cost) for status, n, cost in statuses} == {
        "priced": (567, Decimal("18.50938605")),
        "cache_hit": (28, Decimal(0)),
        "failed": (21, Decimal(0)),
        "free": (2, Decimal(0)),
        "unpriced": (16, None),
        "quantity_unknown": (2, None),
    }


def test_records_of_the_example_without_a_list_cost_are_the_ones_its_page_names(
    example_home: Home,
) -> None:
    found = query(
        example_home.published,
        "select model, call_type, cost_status, count(*), sum(gateway_cost) "
        "from marts.usage_records where list_cost is null group by all order by all",
    )

    assert found == [
        ("llama-3.3-70b-instruct", "acompletion", "unpriced", 16, Decimal(0)),
        ("tts-1", "aspeech", "quantity_unknown", 1, Decimal("0.04005")),
        ("whisper-1", "atranscription", "quantity_unknown", 1, Decimal("0.029236")),
    ]


def test_spend_of_the_example_by_provider_is_what_its_page_says(example_home: Home) -> None:
    found = query(
        example_home.published,
        """
        select
            case
                when account.provider = 'aws' then 'bedrock'
                when account.provider = 'google' then 'gemini'
                else coalesce(account.provider, '(none)')
            end,
            cast(sum(case when batch then 1 else records end) as bigint),
            sum(spend)
        from (
            select
                provider, request_id, started_at, count(*) as records,
                bool_or(defect_codes like '%batch_of_several_models%') as batch,
                sum(gateway_cost) as spend
            from marts.usage_records where duplicate_of is null group by all
        ) as account
        group by all
        """,
    )

    stated = {
        provider: (int(records), Decimal(spend))
        for provider, records, spend in page_table("providers")
        if provider != "all"
    }
    assert {provider: (n, spend) for provider, n, spend in found} == stated


def test_exceptions_of_the_example_are_the_planted_faults_and_no_others(
    example_home: Home,
) -> None:
    found = query(
        example_home.published,
        "select exception_type, subject_id, amount_at_stake from marts.exceptions",
    )

    planted = Counter(
        (kind, subject(where), None if amount == "unknown" else Decimal(amount))
        for kind, where, amount in page_table("faults")
    )
    known = {kind: (int(count), Decimal(usd)) for kind, count, usd in page_table("worth-knowing")}
    besides: dict[str, tuple[int, Decimal]] = {}
    for kind, _, amount in found:
        if kind in known:
            count, usd = besides.get(kind, (0, Decimal(0)))
            besides[kind] = (count + 1, usd + amount)
    assert planted.total() == 11
    assert Counter(each for each in found if each[0] not in known) == planted
    assert besides == known


def test_evidence_of_every_exception_is_a_query_that_runs(example_home: Home) -> None:
    """It shows the records concerned; a record that is missing has none to show."""
    exceptions = query(
        example_home.published,
        "select exception_type, subject_type, evidence from marts.exceptions",
    )

    for kind, subject_type, evidence in exceptions:
        shown = query(example_home.published, evidence)
        assert bool(shown) is (subject_type != "app_request"), (kind, evidence)


def page_table(name: str) -> list[list[str]]:
    """The rows of one table of examples/README.md, as text."""
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, flags=re.DOTALL)
    assert found is not None
    lines = found[1].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def subject(where: str) -> str:
    """The subject of the exception that a line of the page's table of faults describes."""
    (named,) = re.findall(r"`([^`]+)`", where)
    bare = named.rpartition("/")[2]
    if " in the hour " in where:
        return f"litellm/{where.rpartition(' in the hour ')[2][:10]}/{bare}"
    if re.search(r"`, [0-9]+ requests$", where):
        return f"litellm/{bare}/input_text_uncached_tokens"
    call_type = where.rpartition("`, ")[2] if "`, " in where else ""
    return f"litellm/{bare}/{call_type}" if call_type else f"litellm/{bare}"
