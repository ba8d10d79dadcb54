"""The dbt project as a whole: its unit tests, its contracts, and what it says of its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from integration.homes import Home

from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.expectation_suites import VARIANCE_CAUSES
from orchestration.warehouse.transform import (
    CI_TAG,
    PROJECT,
    _read_kept_parse,
    build_variables,
    invoke_dbt,
    manifest_path,
    plan_build,
    read_manifest,
)


@pytest.fixture(scope="module")
def home(example_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return example_home.copy(tmp_path_factory.mktemp("dbt") / "home")


@pytest.fixture(scope="module")
def manifest(home: Home) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads(manifest_path(home.runtime).read_text())


def test_every_dbt_unit_test_passes(home: Home) -> None:
    runtime = home.runtime
    with open_warehouse(runtime) as connection:
        variables = build_variables(runtime, plan_build(connection, runtime))

    results = invoke_dbt(runtime, ["test", "--select", "test_type:unit"], variables=variables)

    assert len(results) >= 80
    assert [(node.unique_id, node.message) for node in results if node.status != "pass"] == []


def test_every_mart_promises_its_columns(manifest: dict[str, dict[str, dict]]) -> None:
    marts = {
        node["name"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "marts"
    }

    assert len(marts) >= 8
    assert [name for name, mart in marts.items() if not mart["contract"]["enforced"]] == []
    assert [name for name, mart in marts.items() if not mart["description"]] == []


def test_a_parse_that_was_kept_reads_as_it_was_parsed(home: Home) -> None:
    parsed = read_manifest(home.runtime)

    kept = _read_kept_parse(home.runtime)

    assert len(parsed.nodes) > 300
    for part in ("nodes", "sources", "macros", "unit_tests", "docs"):
        as_parsed, as_kept = getattr(parsed, part), getattr(kept, part)
        assert as_kept.keys() == as_parsed.keys()
        assert [key for key in as_kept if as_kept[key].to_dict() != as_parsed[key].to_dict()] == []
    assert kept.flat_graph == parsed.flat_graph


@pytest.mark.parametrize("mart", ["invoice_reconciliation", "provider_reconciliation"])
def test_the_expectations_add_up_the_causes_of_the_models(home: Home, mart: str) -> None:
    columns = [
        name
        for (name,) in home.query(
            "select column_name from duckdb_columns() "
            "where schema_name = 'marts' and table_name = ? order by column_index",
            [mart],
        )
    ]
    first, last = columns.index("variance_amount") + 1, columns.index("unexplained_amount")

    assert columns[first : last + 1] == [f"{cause}_amount" for cause in VARIANCE_CAUSES]


def test_every_published_table_and_column_says_what_it_is(home: Home) -> None:
    undescribed = home.query("""
        select schema_name || '.' || table_name || '.' || column_name
        from duckdb_columns()
        where schema_name in ('marts', 'audit', 'reference') and comment is null
        union all
        select schema_name || '.' || table_name
        from duckdb_tables()
        where schema_name in ('marts', 'audit', 'reference') and comment is null
        """)

    assert undescribed == []


def test_every_model_states_its_grain_first() -> None:
    models = sorted(Path(PROJECT / "models").rglob("*.sql"))

    silent = [
        path.name
        for path in models
        if not any(line.startswith("-- Grain:") for line in path.read_text().splitlines()[:8])
    ]

    assert len(models) > 25
    assert silent == []


def test_what_follows_from_the_models_alone_holds_on_the_example(home: Home) -> None:
    runtime = home.runtime
    with open_warehouse(runtime) as connection:
        variables = build_variables(runtime, plan_build(connection, runtime))

    results = invoke_dbt(runtime, ["test", "--select", f"tag:{CI_TAG}"], variables=variables)

    assert len(results) >= 20
    assert [(node.unique_id, node.message) for node in results if node.status != "pass"] == []
