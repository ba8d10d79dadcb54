{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per key, UTC day and currency; usage without a key has a row of its own.

with daily as (
    select *
    from {{ ref('daily_spend') }}
    where {{ in_touched_days('usage_date') }}
),

names as (
    select
        usage_date,
        api_key_id,
        max(api_key_name) as api_key_name
    from {{ ref('usage_records') }}
    where {{ in_touched_days('started_at') }}
    group by usage_date, api_key_id
),

summed as (
    select
        api_key_id,
        usage_date,
        currency,
        {{ summed_measures() }}
    from daily
    group by api_key_id, usage_date, currency
),

final as (
    select
        names.api_key_name,
        summed.*
    from summed
    left join names
        on
            summed.usage_date = names.usage_date
            and summed.api_key_id is not distinct from names.api_key_id
)

select * from final
