{{ config(materialized='incremental', incremental_strategy='touched_days') }}
-- Grain: one row per UTC day and context in which something was priced: provider, model, tier,
-- batch, size of input, region, as the gateways wrote them. Days are kept so that a context goes
-- when its last record does.

with usage as (
    select * from {{ ref('int_usage__classified') }}
    where price_model is not null and {{ in_touched_days('started_at') }}
),

contexts as (
    select distinct
        cast(started_at as date) as usage_date,
        {{ price_context() | join(',\n        ') }}
    from usage
)

select * from contexts
