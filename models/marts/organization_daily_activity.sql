{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per organization, UTC day and currency; usage without one has a row of its own.

with daily as (
    select *
    from {{ ref('daily_spend') }}
    where {{ in_touched_days('usage_date') }}
),

summed as (
    select
        organization_id,
        usage_date,
        currency,
        {{ summed_measures() }}
    from daily
    group by organization_id, usage_date, currency
)

select * from summed
