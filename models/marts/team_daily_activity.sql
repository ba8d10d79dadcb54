{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per team, UTC day and currency; usage without a team has a row of its own.

with daily as (
    select *
    from {{ ref('daily_spend') }}
    where {{ in_touched_days('usage_date') }}
),

names as (
    select
        usage_date,
        team_id,
        max(team_name) as team_name
    from {{ ref('usage_records') }}
    where {{ in_touched_days('started_at') }}
    group by usage_date, team_id
),

summed as (
    select
        team_id,
        usage_date,
        currency,
        {{ summed_measures() }}
    from daily
    group by team_id, usage_date, currency
),

final as (
    select
        names.team_name,
        summed.*
    from summed
    left join names
        on
            summed.usage_date = names.usage_date
            and summed.team_id is not distinct from names.team_id
)

select * from final
