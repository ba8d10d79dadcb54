"""Owner tables live, as dated observations; counts of the edge; roll-ups as a control."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from fixtures.litellm_database import AGES
from fixtures.spend_logs import key_hash

NOON = datetime.fromisoformat("2026-11-01T12:00:00")
KEY, ROTATED, RETIRED = key_hash("checkout"), key_hash("checkout 2025"), key_hash("retired")


def own(gateway: Any) -> None:
    gateway.execute(
        f'insert into "LiteLLM_VerificationToken" (token, key_name, key_alias, team_id, metadata, '
        f"max_budget, spend) values ('{KEY}', 'sk-...aa', 'checkout', 'team-1', "
        """'{"cost_center": "CC-7", "tags": ["env:prod", "CANARY"], """
        """"spend_logs_metadata": {"feature": "pay"}}', 50.5, 12)""",
        'insert into "LiteLLM_TeamTable" (team_id, team_alias, organization_id, metadata) '
        """values ('team-1', 'Checkout', 'org-1', '{"Cost-Center": "CC-1"}')""",
        'insert into "LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id) '
        "values ('org-1', 'Brindlemoor', 'b-1')",
        'insert into "LiteLLM_UserTable" (user_id, user_alias, user_email, teams, user_role) '
        "values ('u-1', 'Una', 'CANARY@example.invalid', '{team-2,team-1}', 'internal_user')",
    )


def observe(gateway: Any) -> int:
    report = gateway.extract()
    assert report.problems == []
    gateway.load()
    return report.rows.get("owners", 0)


@pytest.mark.parametrize("age", AGES)
def test_owners_of_a_gateway_of_any_age_are_observed(
    age: str, make_gateway: Callable[..., Any]
) -> None:
    gateway = make_gateway(age)
    own(gateway)

    assert observe(gateway) == 4

    assert gateway.raw(
        "select api_key_id, api_key_name, team_id, cost_center, environment, workflow, "
        "max_budget::varchar, observed_at from raw.litellm__keys"
    ) == [(KEY, "checkout", "team-1", "CC-7", "prod", "pay", "50.500000000000000000", NOON)]
    assert gateway.raw("select team_name, cost_center from raw.litellm__teams") == [
        ("Checkout", "CC-1")
    ]
    assert gateway.raw("select user_id, user_name, team_ids from raw.litellm__users") == [
        ("u-1", "Una", "team-1,team-2")
    ]
    assert gateway.raw("select distinct codes from audit.load_batches") == [("",)]


def test_only_what_changed_lands_again(gateway: Any) -> None:
    own(gateway)
    observe(gateway)
    # Money spent is no change of an owner, nor is the time of that change.
    gateway.execute('update "LiteLLM_VerificationToken" set spend = 99, updated_at = now()')
    gateway.as_of = NOON + timedelta(hours=1)
    assert observe(gateway) == 0

    gateway.execute("update \"LiteLLM_TeamTable\" set team_alias = 'Pay' where team_id = 'team-1'")
    assert observe(gateway) == 1
    gateway.execute("update \"LiteLLM_TeamTable\" set team_alias = 'Checkout'")
    gateway.as_of = NOON + timedelta(hours=2)
    assert observe(gateway) == 1

    names = gateway.raw(
        "select team_name, observed_at from raw.litellm__teams order by observed_at"
    )
    assert names == [
        ("Checkout", NOON),
        ("Pay", NOON + timedelta(hours=1)),
        ("Checkout", NOON + timedelta(hours=2)),
    ]


def test_observations_that_wait_for_the_loader_do_not_land_again(gateway: Any) -> None:
    own(gateway)

    first, second = gateway.extract(), gateway.extract()

    assert (first.rows["owners"], second.rows["owners"]) == (4, 0)


def test_a_rotated_and_a_deleted_key_and_a_deleted_team_leave_a_trace(gateway: Any) -> None:
    own(gateway)
    observe(gateway)
    gateway.execute(
        'insert into "LiteLLM_DeprecatedVerificationToken" (id, token, active_token_id, revoke_at) '
        f"values ('d1', '{ROTATED}', '{KEY}', '2026-11-02')",
        'insert into "LiteLLM_DeletedVerificationToken" (id, token, team_id, deleted_at) values '
        f"('x1', '{RETIRED}', 'team-1', '2026-10-01'), ('x2', '{RETIRED}', 'team-2', '2026-10-05')",
        'delete from "LiteLLM_TeamTable"',
        'insert into "LiteLLM_DeletedTeamTable" (id, team_id, team_alias, deleted_at) values '
        "('t1', 'team-1', 'Checkout', '2026-11-01')",
    )
    gateway.as_of = NOON + timedelta(hours=1)

    assert observe(gateway) == 4
    assert observe(gateway) == 0

    assert gateway.raw(
        "select api_key_id, active_api_key_id from raw.litellm__deprecated_keys"
    ) == [(ROTATED, KEY)]
    assert gateway.raw("select api_key_id, team_id from raw.litellm__deleted_keys") == [
        (RETIRED, "team-2")
    ]
    assert gateway.raw(
        "select team_id, is_gone, team_name from raw.litellm__teams order by observed_at"
    ) == [("team-1", False, "Checkout"), ("team-1", True, None)]


def test_a_team_that_comes_back_is_observed_again(gateway: Any) -> None:
    own(gateway)
    observe(gateway)
    gateway.execute('delete from "LiteLLM_TeamTable"')
    gateway.as_of = NOON + timedelta(hours=1)
    observe(gateway)
    gateway.execute(
        "insert into \"LiteLLM_TeamTable\" (team_id, team_alias) values ('team-1', 'Checkout')"
    )
    gateway.as_of = NOON + timedelta(hours=2)

    assert observe(gateway) == 1
    assert gateway.raw("select is_gone from raw.litellm__teams order by observed_at") == [
        (False,),
        (True,),
        (False,),
    ]


def test_the_five_minute_job_leaves_owners_and_controls_to_the_hourly_one(gateway: Any) -> None:
    own(gateway)

    report = gateway.extract("sync")

    assert report.rows == {}


def count(gateway: Any, day: str, succeeded: int, failed: int) -> None:
    gateway.execute(
        'insert into "LiteLLM_DailyGatewayRequests" '
        f"(date, category, route, successful_requests, failed_requests) values "
        f"('{day}', 'llm', '/chat/completions', {succeeded}, 0), "
        f"('{day}', 'llm', '/embeddings', 0, {failed}), ('{day}', 'mcp', '/mcp', 77, 0) "
        "on conflict (date, category, route) do update set "
        "successful_requests = excluded.successful_requests"
    )


def test_requests_at_the_edge_are_counted_by_day_once_the_day_is_over(gateway: Any) -> None:
    count(gateway, "2026-10-31", 10, 2)
    count(gateway, "2026-11-01", 5, 0)

    first = gateway.extract()
    gateway.load()
    again = gateway.extract()
    count(gateway, "2026-10-31", 11, 2)
    later = gateway.extract()
    gateway.load()

    assert [each.rows["gateway_counts"] for each in (first, again, later)] == [1, 0, 1]
    assert gateway.raw(
        "select gateway, hour_at, hours, model, requests, successful_requests, failed_requests "
        "from raw.gateway__counts order by requests"
    ) == [
        ("litellm", datetime.fromisoformat("2026-10-31"), 24, None, 12, 10, 2),
        ("litellm", datetime.fromisoformat("2026-10-31"), 24, None, 13, 11, 2),
    ]


def test_roll_ups_of_past_days_land_as_a_control(gateway: Any) -> None:
    def roll_up(row: str, day: str, spend: float) -> None:
        gateway.execute(
            'insert into "LiteLLM_DailyUserSpend" (id, user_id, date, api_key, model, spend, '
            f"api_requests) values ('{row}', 'u-1', '{day}', '{KEY}', 'm', {spend}, 3) "
            "on conflict (id) do update set spend = excluded.spend"
        )

    roll_up("r1", "2026-10-31", 0.1)
    roll_up("r2", "2026-11-01", 0.2)
    roll_up("r3", "2026-10-01", 0.3)

    first = gateway.extract()
    gateway.load()
    again = gateway.extract()
    roll_up("r1", "2026-10-31", 0.15)
    later = gateway.extract()
    gateway.load()

    rows = [each.rows["litellm_daily_spend"] for each in (first, again, later)]
    assert rows == [1, 0, 1]
    assert gateway.raw(
        "select litellm_table, row_id, entity_id, spend::varchar from raw.litellm__daily_spend "
        "order by spend"
    ) == [
        ("LiteLLM_DailyUserSpend", "r1", "u-1", "0.100000000000000000"),
        ("LiteLLM_DailyUserSpend", "r1", "u-1", "0.150000000000000000"),
    ]
