"""full-build: one hand-written SQL script that copies raw, prices it and aggregates it.

It knows what the generated data is like: catalogs come once a day at midnight, a price is quoted
for the standard tier and band wherever one is quoted at all, only restated rows share an id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from clock import Clock, serve

_UNITS = {
    "input": "input_text_uncached_tokens",
    "cached": "input_cached_read_tokens",
    "write_5m": "input_cache_write_5m_tokens",
    "write_1h": "input_cache_write_1h_tokens",
    "output": "output_text_tokens",
    "reasoning": "output_reasoning_tokens",
}


def _price(unit: str, where: str) -> str:
    return f"max(p.unit_price) filter (p.unit = '{unit}' and {where})"


def _prices_sql() -> str:
    """All prices of a model, day, tier and band in one row, a missing one taken from the base."""
    quoted = ", ".join(
        f"{_price(unit, 'p.service_tier = v.tier and p.context_above_tokens = v.band')} as {name}, "
        f"{_price(unit, _BASE)} as base_{name}"
        for name, unit in _UNITS.items()
    )
    resolved = ", ".join(
        f"cast(coalesce({name}, base_{name}) as decimal(25, 18)) as {name}"
        for name in _UNITS
        if name != "reasoning"
    )
    return f"""
    create table prices as
    with variants(tier, band) as (
        values ('standard', 0), ('priority', 0), ('flex', 0), ('standard', 200000)
    ),
    quoted as (
        select e.price_key as model, cast(e.observed_at as date) as day, v.tier, v.band, {quoted}
        from source.raw.price_catalog__entries as e
        inner join source.raw.price_catalog__prices as p on e.entry_hash = p.entry_hash
        cross join variants as v
        group by all
    )
    select model, day, tier, band, {resolved},
        cast(coalesce(reasoning, output, base_reasoning, base_output) as decimal(25, 18))
            as reasoning
    from quoted
    """


_BASE = "p.service_tier = 'standard' and p.context_above_tokens = 0"
_COST = """
    case when r.cache_hit or r.status = 'failure' then 0 else
        cast(cast(r.prompt_tokens - r.cached_tokens - r.cache_write_tokens as decimal(12, 0))
            * p.input as decimal(38, 18))
        + cast(cast(r.cached_tokens as decimal(12, 0)) * p.cached as decimal(38, 18))
        + coalesce(cast(cast(r.cache_write_5m_tokens as decimal(12, 0)) * p.write_5m
            as decimal(38, 18)), 0)
        + coalesce(cast(cast(r.cache_write_1h_tokens as decimal(12, 0)) * p.write_1h
            as decimal(38, 18)), 0)
        + cast(cast(r.completion_tokens - r.reasoning_tokens as decimal(12, 0)) * p.output
            as decimal(38, 18))
        + cast(cast(r.reasoning_tokens as decimal(12, 0)) * p.reasoning as decimal(38, 18))
    end
"""
_RECORDS = f"""
    create table usage_records as
    with newest as (
        select request_id, max(source_version_at) as source_version_at
        from source.raw.litellm__spend_logs
        where request_id in (select request_id from source.raw.litellm__contested_requests)
        group by request_id
    ),
    days as (select min(day) as first_day, max(day) as last_day from prices)
    select r.*, cast(r.started_at as date) as usage_date, cast({_COST} as decimal(38, 18))
        as list_cost
    from source.raw.litellm__spend_logs as r
    cross join days
    left join newest as n on r.request_id = n.request_id
    left join prices as p
        on r.model = p.model
        and greatest(least(cast(r.started_at as date), last_day), first_day) = p.day
        and coalesce(r.billed_service_tier, 'standard') = p.tier
        and case when r.prompt_tokens > 200000 then 200000 else 0 end = p.band
    where n.request_id is null or n.source_version_at = r.source_version_at
"""
_DAILY = """
    create table daily_spend as
    select usage_date, custom_llm_provider, model, team_id, api_key_id, environment, workflow,
        billed_service_tier, count(*) as requests,
        sum(case when not cache_hit then prompt_tokens else 0 end) as input_tokens,
        sum(case when not cache_hit then completion_tokens else 0 end) as output_tokens,
        sum(spend) as gateway_cost, sum(list_cost) as list_cost
    from usage_records
    group by all
"""


def build(
    clock: Clock, *, home: str, database: str, memory_limit: str, threads: int
) -> dict[str, Any]:
    """Run the script over the raw tables of a home, into a new database."""
    Path(database).unlink(missing_ok=True)
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    with duckdb.connect(database, config=settings) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach '{home}/warehouse.duckdb' as source (read_only)")
        with clock:
            for statement in (_prices_sql(), _RECORDS, _DAILY, "checkpoint"):
                connection.execute(statement)
        return _facts(connection)


def _facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    records, spend, list_cost = connection.execute(
        "select count(*), sum(spend), sum(list_cost) from usage_records"
    ).fetchall()[0]
    requests, cost, tokens = connection.execute(
        "select sum(requests), sum(list_cost), sum(input_tokens + output_tokens) from daily_spend"
    ).fetchall()[0]
    return {
        "records": records,
        "requests": requests,
        "spend": f"{spend:.12f}",
        "list_cost": f"{list_cost:.12f}",
        "daily_list_cost": f"{cost:.12f}",
        "tokens": tokens,
    }


if __name__ == "__main__":
    serve(build=build)
