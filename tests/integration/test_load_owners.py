"""Owner maps and LiteLLM's owner tables: into raw as dated observations, without secrets."""

from __future__ import annotations

import json
from datetime import date, datetime

import pytest
from fixtures.loader_homes import LoaderHome
from fixtures.owner_tables import CURRENT, RETIRED, ROTATED, owner_tables
from fixtures.spend_logs import lines, table

from orchestration.sources.owners import OWNER_TABLES

OWNER_MAP = {
    "api_key_id": CURRENT,
    "gateway": "litellm",
    "api_key_name": "checkout-prod",
    "team_id": "team-checkout",
    "cost_center": "CC-1200",
    "batch_allowed": "true",
    "allowed_service_tiers": "standard;batch",
    "valid_from_date": "2026-01-01",
    "valid_to_date": "",
}


def at(moment: str) -> datetime:
    """A moment as raw holds it: naive UTC."""
    return datetime.fromisoformat(moment)


def document() -> str:
    return json.dumps(owner_tables())


@pytest.mark.parametrize("source", ["owners", "litellm_files"])
def test_a_document_of_owner_tables_fills_a_table_each(
    source: str, loader_home: LoaderHome
) -> None:
    loader_home.drop("tables.observed-20260630T090000Z.json", document(), source=source)

    (batch,) = loader_home.load().batches

    assert (batch.kind, batch.rows_in, batch.rows_loaded) == ("owners", 10, 10)
    found = loader_home.query(
        "select entity, entity_id, observed_at from raw.owners__observations order by all"
    )
    assert {observed for _, _, observed in found} == {at("2026-06-30T09:00")}
    assert {entity for entity, _, _ in found} == {
        each.entity for each in OWNER_TABLES if each.entity != "owner_map"
    }
    assert loader_home.query(
        "select api_key_id, active_api_key_id, revoke_at from raw.litellm__deprecated_keys"
    ) == [(ROTATED, CURRENT, at("2026-07-01T00:00"))]
    assert loader_home.query(
        "select api_key_id, team_id, deleted_at from raw.litellm__deleted_keys"
    ) == [(RETIRED, "team-retired", at("2026-06-10T08:00"))]
    assert loader_home.query("select user_id, team_ids from raw.litellm__users") == [
        ("u-1", "team-checkout,team-research")
    ]


def test_owner_columns_come_from_named_metadata_alone(loader_home: LoaderHome) -> None:
    loader_home.drop("tables.json", document(), source="owners")

    loader_home.load()

    assert loader_home.query(
        "select api_key_name, cost_center, environment, workflow, source_version_at "
        "from raw.litellm__keys"
    ) == [("checkout-prod", "CC-1200", "prod", "pay", at("2026-06-20T00:00"))]
    assert loader_home.query("select team_name, cost_center from raw.litellm__teams") == [
        ("Checkout", "CC-1200")
    ]
    everything = str(loader_home.raw_rows())
    assert "CANARY" not in everything
    assert "free text" not in everything


def test_an_unchanged_export_of_a_later_day_is_a_further_observation(
    loader_home: LoaderHome,
) -> None:
    row = {"team_id": "t-1", "team_alias": "One", "observed_at": "2026-06-01T00:00:00Z"}
    again = {**row, "observed_at": "2026-06-02T00:00:00Z"}
    loader_home.drop("a.jsonl", lines(row), source="owners")
    loader_home.drop("b.jsonl", lines(row, again), source="owners")

    report = loader_home.load()

    assert [(b.rows_loaded, b.rows_already_known) for b in report.batches] == [(1, 0), (1, 1)]
    assert loader_home.query("select count(*) from raw.litellm__teams") == [(2,)]


def test_an_owner_map_is_read_as_the_seed_of_its_name(loader_home: LoaderHome) -> None:
    raw_key = {**OWNER_MAP, "api_key_id": "sk-CANARYrawkeyowner7"}
    loader_home.drop("owners.csv", table(OWNER_MAP, raw_key), source="owners")

    (batch,) = loader_home.load().batches

    assert (batch.rows_loaded, batch.codes) == (2, "raw_key_hashed")
    found = loader_home.query(
        "select batch_allowed, valid_from_date, valid_to_date, observed_at "
        "from raw.owners__key_owners"
    )
    assert found == [(True, date(2026, 1, 1), date(9999, 12, 31), at("2026-06-30T12:00"))] * 2
    assert "CANARY" not in str(loader_home.raw_rows())


def test_a_rebuild_observes_what_was_observed_first(loader_home: LoaderHome) -> None:
    loader_home.drop("owners.csv", table(OWNER_MAP), source="owners")
    loader_home.load(as_of="2026-06-01T00:00:00Z")
    before = loader_home.table("raw.owners__key_owners")
    (loader_home.path / "warehouse.duckdb").unlink()

    loader_home.load(as_of="2026-06-30T00:00:00Z")

    assert loader_home.table("raw.owners__key_owners") == before


def test_overlapping_owners_of_a_key_name_both_lines_and_the_rest_is_loaded(
    loader_home: LoaderHome,
) -> None:
    ended = {**OWNER_MAP, "valid_to_date": "2026-03-01"}
    overlapping = {**OWNER_MAP, "valid_from_date": "2026-02-01"}
    other = {**OWNER_MAP, "gateway": "other"}
    loader_home.drop("owners.csv", table(ended, overlapping, other), source="owners")

    (batch,) = loader_home.load().batches

    assert (batch.rows_loaded, batch.rows_quarantined) == (1, 2)
    refused = loader_home.query(
        "select line_number, reason_code, reason from audit.quarantine order by all"
    )
    assert [(line, code) for line, code, _ in refused] == [
        (2, "overlapping_validity"),
        (3, "overlapping_validity"),
    ]
    assert all("lines 2 and 3" in reason for _, _, reason in refused)


def test_an_overlap_is_not_cured_by_reading_one_row_alone(loader_home: LoaderHome) -> None:
    from orchestration.warehouse.connection import open_warehouse
    from orchestration.warehouse.retry import retry_quarantine

    ended = {**OWNER_MAP, "valid_to_date": "2026-03-01"}
    loader_home.drop("owners.csv", table(ended, OWNER_MAP), source="owners")
    loader_home.load()

    runtime = loader_home.runtime()
    with open_warehouse(runtime) as connection:
        retry_quarantine(connection, runtime, batch_id=None, progress=lambda _line: None)

    assert loader_home.query("select count(*) from raw.owners__key_owners") == [(0,)]
    assert loader_home.query("select count(*) from audit.quarantine") == [(2,)]


def test_a_row_of_no_owner_table_is_refused_by_its_name(loader_home: LoaderHome) -> None:
    rows = {**owner_tables(), "LiteLLM_ProxyModelTable": [{"litellm_params": "CANARY"}]}
    loader_home.drop("tables.json", json.dumps(rows), source="owners")

    (batch,) = loader_home.load().batches

    assert (batch.rows_loaded, batch.rows_quarantined) == (10, 1)
    ((reason, fields),) = loader_home.query("select reason, fields from audit.quarantine")
    assert "LiteLLM_ProxyModelTable" in reason
    assert "CANARY" not in fields


def test_people_are_nameless_where_user_ids_are_dropped(loader_home: LoaderHome) -> None:
    config = loader_home.path / "tollbook.yml"
    config.write_text(config.read_text() + "privacy: {user_id: drop}\n")
    loader_home.drop("tables.json", document(), source="owners")

    loader_home.load()

    ((user_id, name),) = loader_home.query("select user_id, user_name from raw.litellm__users")
    assert (len(user_id), name) == (64, None)
    assert loader_home.query("select user_id from raw.litellm__keys") == [(None,)]


def test_a_warehouse_of_an_earlier_version_is_widened_in_place(loader_home: LoaderHome) -> None:
    from orchestration.warehouse.connection import open_warehouse

    with open_warehouse(loader_home.runtime()) as connection:
        connection.execute("alter table raw.litellm__keys drop column cost_center")
        connection.execute("alter table raw.litellm__spend_logs drop column source_hash")
    loader_home.drop("tables.json", document(), source="owners")

    loader_home.load()

    assert loader_home.query("select cost_center from raw.litellm__keys") == [("CC-1200",)]
    assert loader_home.query("select source_hash from raw.litellm__spend_logs") == []
