"""Exports of other gateways from the landing folder to the marts, beside LiteLLM's."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.gateway_exports import (
    ACTIVITY,
    BIFROST,
    CANONICAL_PRESETS,
    CLOUDFLARE,
    GATEWAY_SOURCES,
    GENERATION,
    HELICONE,
    KONG,
    PORTKEY,
    SPAN,
    VERCEL,
    canonical,
    lines,
    otlp,
    table,
)
from fixtures.loader_homes import LoaderHome
from fixtures.spend_logs import key_hash
from integration.homes import REPOSITORY, SPEND_LOGS, Home, differing, rest

from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.retry import retry_quarantine

PROMPT, RAW_KEY = "CANARY-PROMPT-7f3a", "sk-CANARYrawkeyofgateway1"
SOURCES = (
    GATEWAY_SOURCES
    + """  - {name: routic, kind: gateway_usage}
  - {name: routic_billing, kind: gateway_usage, gateway: routic, preset: routic, source_priority: 1}
  - {name: routero, kind: gateway_usage}
  - {name: routor, kind: gateway_usage}
  - {name: enterprise_router, kind: gateway_usage}
  - {name: flatkey, kind: gateway_usage}
"""
)
PRICES = {
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1e-6,
        "cache_read_input_token_cost": 1e-7,
        "output_cost_per_token": 4e-6,
    }
}


def gateway_home(path: Path) -> Home:
    """A home whose sources are gateways of every kind, with one price."""
    home = Home.create(path)
    config = home.path / "tollbook.yml"
    config.write_text(config.read_text().replace("sources:\n", SOURCES))
    home.drop_prices("20260601", PRICES)
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One call, seen by every gateway, in the marts."""
    home = gateway_home(tmp_path_factory.mktemp("gateways") / "home")
    home.drop("vercel/report.json", json.dumps({"results": [VERCEL]}))
    home.drop("portkey/export.jsonl", lines(PORTKEY))
    home.drop("helicone/rows.jsonl", lines(HELICONE))
    home.drop("kong/kong.log", lines(KONG))
    home.drop("bifrost/logs.jsonl", lines(BIFROST))
    home.drop("otel_genai/traces.jsonl", lines(otlp(SPAN)))
    home.drop("openrouter/generation.json", json.dumps({"data": GENERATION}))
    home.drop("openrouter_days/activity.json", json.dumps({"data": [ACTIVITY]}))
    home.drop("cloudflare/page.json", json.dumps({"success": True, "result": [CLOUDFLARE]}))
    for preset in CANONICAL_PRESETS:
        home.drop(f"{preset}/usage.csv", table(canonical(600)))
    # With every hard check between the layers.
    outcome = home.run()
    assert (outcome.status, outcome.exit_code, outcome.problems) == ("published", 0, [])
    return home


def record(home: Home, gateway: str, *columns: str) -> tuple[Any, ...]:
    (row,) = home.query(
        f"select {', '.join(columns)} from marts.usage_records where gateway = ?", [gateway]
    )
    return row


# ---------------------------------------------------------------- one call, seen by all


def test_every_gateway_reaches_the_marts(home: Home) -> None:
    gateways = {gateway for (gateway,) in home.query("select gateway from marts.daily_spend")}

    assert gateways == {
        "vercel", "portkey", "helicone", "kong", "bifrost", "otel_genai", "openrouter",
        "cloudflare", *CANONICAL_PRESETS,
    }  # fmt: skip
    assert home.query("select count(*) from audit.quarantine") == [(0,)]


# What the call costs at list price: 400 uncached and 600 cached tokens in, 200 out.
LIST = Decimal("0.00126")
# Where a log does not tell cached tokens apart, all of them count as uncached.
LIST_CACHE_BLIND = Decimal("0.0018")


@pytest.mark.parametrize(
    ("gateway", "list_cost", "gateway_cost", "provider_rate"),
    [
        ("portkey", LIST_CACHE_BLIND, "0.0003", None),
        ("helicone", LIST, "0.0003", None),
        ("kong", LIST_CACHE_BLIND, "0.0005", None),
        ("bifrost", LIST, "0.0003", None),
        ("otel_genai", LIST, None, None),
        ("openrouter", LIST, "0.0003", None),
        ("vercel", 7 * LIST, "0.0021", "0.0024"),
        *((preset, LIST, "0.00033", "0.0003") for preset in CANONICAL_PRESETS),
    ],
)
def test_a_record_has_its_list_price_and_what_its_gateway_wrote(
    home: Home, gateway: str, list_cost: Decimal, gateway_cost: str | None, provider_rate: str
) -> None:
    found = record(home, gateway, "list_cost", "gateway_cost", "gateway_provider_cost")

    wanted = [None if each is None else Decimal(each) for each in (gateway_cost, provider_rate)]
    assert found == (list_cost, *wanted)


def test_what_a_gateway_charges_is_what_its_usage_costs_by_default(home: Home) -> None:
    found = dict(home.query("select gateway, billed_basis from marts.usage_records"))

    charging = {"openrouter", "vercel", *CANONICAL_PRESETS}
    assert {gateway for gateway, basis in found.items() if basis == "charge"} == charging
    assert {gateway for gateway, basis in found.items() if basis == "rule"} == {
        "portkey", "helicone", "kong", "bifrost", "otel_genai", "cloudflare",
    }  # fmt: skip


def test_units_are_disjoint_and_add_up_to_the_totals(home: Home) -> None:
    split = (
        "input_text_uncached_tokens", "input_cached_read_tokens", "output_text_tokens",
        "output_reasoning_tokens", "input_total_tokens", "output_total_tokens",
    )  # fmt: skip

    assert record(home, "openrouter", *split) == (400, 600, 150, 50, 1000, 200)
    assert record(home, "bifrost", *split) == (400, 600, 200, 0, 1000, 200)
    assert record(home, "routic", *split) == (400, 600, 200, 0, 1000, 200)
    assert record(home, "portkey", *split) == (1000, 0, 200, 0, 1000, 200)


def test_words_of_the_call_are_those_of_the_contract(home: Home) -> None:
    columns = ("routing_mode", "is_streaming", "latency_ms", "endpoint", "status", "provider")

    assert record(home, "routic", *columns) == ("auto", True, 1250, "other", "success", "openai")
    assert record(home, "portkey", *columns) == (
        "fallback", None, 1250, "chat", "success", "openai",
    )  # fmt: skip
    assert record(home, "vercel", *columns)[:3] == (None, None, None)
    assert record(home, "cloudflare", "attempt", "provider", "team_id") == (2, "google", "checkout")


def test_a_sum_counts_for_the_calls_it_stands_for(home: Home) -> None:
    found = home.query(
        "select requests, successful_requests from marts.daily_spend where gateway = 'vercel'"
    )

    assert found == [(7, 7)]
    assert record(home, "vercel", "defect_codes") == ("aggregated_requests",)


def test_a_daily_aggregate_is_a_control_and_no_usage(home: Home) -> None:
    raw = home.query("select usage, requests, cached_tokens from raw.openrouter__activity")

    assert raw == [(Decimal("0.0003"), 1, 600)]
    assert len(home.query("select 1 from marts.usage_records where gateway = 'openrouter'")) == 1
    # The first day of a log may not be whole.
    assert home.query(
        "select counter, counted_requests, logged_records, counted_cost, logged_cost, status "
        "from marts.gateway_reconciliation"
    ) == [("openrouter_activity", 1, 1, Decimal("0.0003"), Decimal("0.0003"), "before_history")]


def test_nothing_a_body_or_header_held_is_kept(home: Home) -> None:
    left = [
        path
        for path in home.path.rglob("*")
        if path.is_file() and (b"CANARY" in path.read_bytes() or path.name == "kong.log")
    ]

    assert left == []
    assert (home.path / "landing" / "kong" / "kong.log.scrubbed.parquet").is_file()


# ---------------------------------------------------------------- identity


def records_of(home: Home, gateway: str) -> list[tuple[Any, ...]]:
    return home.query(
        "select request_id, occurrence, status, gateway_cost, duplicate_of "
        "from marts.usage_records where gateway = ? order by all",
        [gateway],
    )


def test_a_later_word_replaces_an_earlier_one_and_two_sources_count_once(tmp_path: Path) -> None:
    home = gateway_home(tmp_path / "home")
    # Under way first, then over; the export has no time of change.
    home.drop("bifrost/a.jsonl", lines({**BIFROST, "status": "processing", "cost": None}))
    home.drop("bifrost/b.jsonl", lines(BIFROST))
    restated = {**HELICONE, "cost": 400000, "updated_at": "2026-06-15 10:00:03.000"}
    home.drop("helicone/new.jsonl", lines(restated))
    home.drop("helicone/old.jsonl", lines(HELICONE))
    # A day's sum that grew.
    grown = {**VERCEL, "total_cost": 0.003, "request_count": 9}
    home.drop("vercel/r.observed-20260616T060000Z.json", json.dumps({"results": [grown]}))
    home.drop("vercel/r.observed-20260615T180000Z.json", json.dumps({"results": [VERCEL]}))
    # Two sources of one gateway that differ: the preferred one holds.
    home.drop("routic_billing/bill.csv", table(canonical(1, cost="0.5")))
    home.drop("routic/log.csv", table(canonical(1, cost="0.4"), canonical(2)))
    # The same id again at another time: equal calls repeat, others collide.
    again = [canonical(1, timestamp="2026-06-16T00:00:00Z")]
    other = [canonical(1, timestamp="2026-06-17T00:00:00Z", prompt_tokens="999")]
    home.drop("routor/log.csv", table(canonical(1), *again, *other))

    home.load_and_build()

    assert records_of(home, "bifrost") == [("bf-1", 1, "success", Decimal("0.0003"), None)]
    assert [row[3] for row in records_of(home, "helicone")] == [Decimal("0.0004")]
    assert [row[3] for row in records_of(home, "vercel")] == [Decimal("0.003")]
    assert [row[3] for row in records_of(home, "routic")] == [Decimal("0.5"), Decimal("0.00033")]
    assert [(row[1], row[4]) for row in records_of(home, "routor")] == [
        (1, None),
        (2, "routor/req-000001/1"),
        (3, None),
    ]


# ---------------------------------------------------------------- odd records


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Records with something odd about them, each of a gateway of its own."""
    home = gateway_home(tmp_path_factory.mktemp("odd") / "home")
    home.drop("routic/log.csv", table(canonical(1, cached_tokens="1001")))
    home.drop("openrouter/g.json", json.dumps({**GENERATION, "is_byok": True, "total_cost": 0}))
    rates = "rate_date,base_currency,quote_currency,rate,source\n"
    # A rate the other way round is no rate.
    rates += "2026-06-15,GBP,USD,1.25,bank\n2026-06-15,USD,EUR,0.9,bank\n"
    (home.path / "seeds" / "fx_rates.csv").write_text(rates)
    pounds = {**PORTKEY, "id": "pk-2", "cost_currency": "GBP"}
    home.drop("portkey/export.jsonl", lines({**PORTKEY, "cost_currency": "EUR"}, pounds))
    attributes = {**SPAN["attributes"], "gen_ai.operation.name": "invoke_agent"}
    agent = {**SPAN, "spanId": "b7ad6b7169203330", "attributes": attributes}
    agent["startTimeUnixNano"] = "1781517600000000000"
    home.drop("otel_genai/traces.jsonl", lines(otlp(agent, SPAN)))
    home.load_and_build()
    return home


def test_parts_that_exceed_their_total_are_seen_and_not_priced(odd: Home) -> None:
    assert record(odd, "routic", "defect_codes", "cost_status", "list_cost") == (
        "inclusion_mismatch",
        "quantity_unknown",
        None,
    )


def test_a_key_of_the_customers_own_is_not_billed_by_the_gateway(odd: Home) -> None:
    assert record(odd, "openrouter", "billing_mode", "gateway_cost") == ("byok", 0)


def test_a_charge_in_another_currency_is_converted_or_unknown_and_an_exception(odd: Home) -> None:
    assert odd.query(
        "select logged_currency, logged_cost, gateway_fx_rate, gateway_cost, currency "
        "from marts.usage_records where gateway = 'portkey' order by request_id"
    ) == [
        ("EUR", Decimal("0.0003"), None, None, "USD"),
        ("GBP", Decimal("0.0003"), Decimal("1.25"), Decimal("0.000375"), "USD"),
    ]
    assert odd.query(
        "select currency, amount_at_stake from marts.exceptions "
        "where exception_type = 'currency_mismatch'"
    ) == [("EUR", Decimal("0.0003"))]


def test_an_agents_span_is_no_request_and_costs_nothing(odd: Home) -> None:
    found = odd.query(
        "select requests, list_cost, duplicate_of from marts.usage_records "
        "where gateway = 'otel_genai' order by started_at"
    )

    assert found == [(0, 0, None), (1, LIST, None)]


# ---------------------------------------------------------------- any arrangement, the same marts


def mixed_files() -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(source, ending, rows) of several gateways, with repeats, restatements and collisions."""
    rng = random.Random(20260615)  # noqa: S311  # the same files in every run
    routic = [
        canonical(
            number,
            model=rng.choice(["gpt-4o-mini", "unheard-of"]),
            status=rng.choice(["ok", "ok", "error"]),
            timestamp=f"2026-06-{rng.choice(['15', '16', '17'])}T{number % 24:02}:00:00Z",
            request_id=f"req-{rng.randrange(40)}",
            cost=str(rng.randrange(1, 10**6) / 10**9),
        )
        for number in range(60)
    ]
    helicone = [
        {
            **HELICONE,
            "request_id": f"h-{rng.randrange(10)}",
            "updated_at": f"2026-06-15 10:00:{second:02}",
            "cost": rng.randrange(10**6),
            "user_id": f"cust-{second % 3}",
        }
        for second in range(30)
    ]
    bifrost = [
        {**BIFROST, "id": f"b-{n % 8}", "status": "success" if n < 8 else "processing"}
        for n in range(16)
    ]
    billing = [{**row, "cost": "0.9"} for row in routic[:10]]
    spans = [
        {
            **SPAN,
            "spanId": f"{n:016x}",
            "attributes": {**SPAN["attributes"], "gen_ai.response.id": f"c-{n % 5}"},
        }
        for n in range(10)
    ]
    generations = [{**GENERATION, "id": f"gen-{n}"} for n in range(6)]
    litellm = [
        {
            "request_id": f"gen-{n}" if n < 4 else f"chatcmpl-{n % 20}",
            "call_type": "acompletion", "spend": 0.001 * n,
            "startTime": f"2026-06-1{5 + n % 3}T10:00:00Z", "api_key": key_hash("k"),
            "model": "gpt-4o-mini", "custom_llm_provider": "openai", "prompt_tokens": 10,
            "completion_tokens": 5, "total_tokens": 15, "status": "success",
        }
        for n in range(40)
    ]  # fmt: skip
    return [
        ("routic", "csv", routic),
        ("routic_billing", "csv", billing),
        ("helicone", "jsonl", helicone),
        ("bifrost", "jsonl", bifrost),
        ("otel_genai", "jsonl", spans),
        ("openrouter", "jsonl", generations),
        (SPEND_LOGS, "jsonl", litellm),
    ]


def arranged(seed: int) -> Iterator[tuple[str, bytes]]:
    """The same rows in another order, in other files, some of them twice."""
    rng = random.Random(seed)  # noqa: S311
    files = []
    for source, ending, rows in mixed_files():
        shuffled = rng.sample(rows, len(rows))
        cut = rng.randrange(1, len(rows))
        parts = [shuffled[:cut], shuffled[cut:], rng.sample(shuffled, 5)]
        write = table if ending == "csv" else lines
        files += [
            (f"{source}/{seed}-{number}.{ending}", write(*part))
            for number, part in enumerate(parts)
        ]
    rng.shuffle(files)
    yield from files


@pytest.mark.long
def test_mixed_gateways_end_in_the_same_marts_in_every_arrangement(tmp_path: Path) -> None:
    at_once = gateway_home(tmp_path / "at_once")
    for name, content in arranged(1):
        at_once.drop(name, content)
    at_once.load_and_build()

    in_parts = gateway_home(tmp_path / "in_parts")
    files = list(arranged(2))
    for part in (files[:7], files[7:]):
        for name, content in part:
            in_parts.drop(name, content)
        in_parts.load_and_build()
    # Everything once more: nothing is new.
    for name, content in files:
        in_parts.drop(name.replace("/", "/again-"), content)
    in_parts.load_and_build()

    # Of six generations LiteLLM logged two on the same day, and those count once.
    assert at_once.query(
        "select count(*), count(duplicate_of) from marts.usage_records where gateway = 'openrouter'"
    ) == [(6, 2)]
    assert at_once.query("select count(*) > 90 from marts.usage_records") == [(True,)]
    assert differing(at_once.marts(), in_parts.marts()) == []
    in_parts.load_and_build(full_refresh=True)
    assert differing(at_once.marts(), in_parts.marts()) == []


# ---------------------------------------------------------------- a gateway by YAML alone


def example_of_docs() -> dict[str, str]:
    """The files that the page about gateway_usage shows, by name."""
    page = (REPOSITORY / "docs" / "sources" / "gateway_usage.md").read_text()
    blocks = re.findall(r"```\w+ title=\"([^\"]+)\"\n(.*?)```", page, flags=re.DOTALL)
    return dict(blocks)


def test_the_example_of_the_docs_adds_a_gateway_by_yaml_alone(tmp_path: Path) -> None:
    shown = example_of_docs()
    home = Home.create(tmp_path / "home")
    home.drop_prices("20260601", PRICES)
    config = home.path / "tollbook.yml"
    line = shown["tollbook.yml"].removeprefix("sources:\n")
    config.write_text(config.read_text().replace("sources:\n", f"sources:\n{line}"))
    mapping = home.path / "mappings" / "acme.yml"
    mapping.parent.mkdir()
    mapping.write_text(shown["mappings/acme.yml"])
    home.drop("acme/calls.jsonl", shown["landing/acme/calls.jsonl"])

    home.load_and_build()

    found = home.query(
        "select request_id, status, model, team_id, latency_ms, input_text_uncached_tokens, "
        "input_cached_read_tokens, output_text_tokens, gateway_cost, gateway_provider_cost, "
        "list_cost, billed_basis from marts.usage_records where gateway = 'acme' order by 1"
    )
    assert found == [
        (
            "call-1", "success", "gpt-4o-mini", "checkout", 1250, 400, 600, 200,
            Decimal("0.00033"), Decimal("0.0003"), LIST, "charge",
        ),
        (
            "call-2", "failure", "gpt-4o-mini", "search", 80, 0, 0, 0, 0, None, 0, "charge",
        ),
    ]  # fmt: skip
    assert home.query("select codes from audit.load_batches where source = 'acme'") == [("",)]


# ---------------------------------------------------------------- what was refused, after a fix


def test_a_refused_row_passes_once_its_mapping_explains_it(loader_home: LoaderHome) -> None:
    mappings = loader_home.path / "mappings"
    mappings.mkdir()
    preset = REPOSITORY / "orchestration" / "mappings" / "routic.yml"
    mine = mappings / "routic.yml"
    mine.write_text(preset.read_text())
    rows = [canonical(1), canonical(2, status="throttled", key_id=RAW_KEY, prompt=PROMPT)]
    loader_home.drop("log.csv", table({**rows[0], "prompt": "x"}, rows[1]), source="routic")
    (first,) = loader_home.load().batches
    ((fields,),) = loader_home.query("select fields from audit.quarantine")

    explained = "      throttled: failure\n      ok: success"
    mine.write_text(mine.read_text().replace("      ok: success", explained))
    with open_warehouse(loader_home.runtime()) as connection:
        report = retry_quarantine(connection, loader_home.runtime())

    assert (first.rows_loaded, first.rows_quarantined) == (1, 1)
    assert "CANARY" not in fields
    assert (report.loaded, report.refused) == (1, 0)
    assert loader_home.query(
        "select status, api_key_id from raw.gateway__usage where request_id = 'req-000002'"
    ) == [("failure", key_hash(RAW_KEY))]


def test_what_replaces_an_export_loads_the_same_again(
    loader_home: LoaderHome, second_loader_home: LoaderHome
) -> None:
    loader_home.drop("log.csv", table(*(canonical(n) for n in range(20))), source="routic")
    loader_home.load()
    (evidence,) = loader_home.folder("routic").iterdir()
    copy = second_loader_home.folder("routic") / evidence.name
    copy.write_bytes(evidence.read_bytes())
    rest(copy)

    second_loader_home.load()

    name = "gateway__usage"
    assert second_loader_home.raw_rows()[name] == loader_home.raw_rows()[name]
    assert len(loader_home.raw_rows()[name]) == 20


def test_a_folder_without_a_mapping_says_what_is_missing(loader_home: LoaderHome) -> None:
    loader_home.drop("log.csv", table(canonical(1)), source="gateway_usage")

    (batch,) = loader_home.load().batches

    assert (batch.status, batch.reason_code) == ("rejected", "schema_mismatch")
    assert "give source gateway_usage `mapping:`" in (batch.reason or "")
