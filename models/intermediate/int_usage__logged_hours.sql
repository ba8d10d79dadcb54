{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per gateway, UTC hour, model (also as logged and as asked for), account and currency
-- of what counts as a request: what a gateway's own counts are held against.

with usage as (
    select * from {{ ref('usage_records') }}
    where duplicate_of is null and requests > 0 and {{ in_touched_days('started_at') }}
),

summed as (
    select
        usage_date,
        gateway,
        date_trunc('hour', started_at) as hour_at,
        account_id,
        currency,
        provider,
        logged_model,
        model,
        model_group,
        cast(sum(requests) as bigint) as requests,
        sum(billed_cost) as billed_cost,
        count(billed_cost) as priced_records
    from usage
    group by
        usage_date, gateway, hour_at, account_id, currency, provider, logged_model, model,
        model_group
)

select * from summed
