{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, gateway, alias and model that served it, as the model is priced.
-- Calls that another model served than the one asked for tell nothing about where an alias leads.

with usage as (
    select * from {{ ref('usage_records') }}
    where
        fallback_from_model is null
        and model_group is not null
        and {{ in_touched_days('started_at') }}
),

price_sets as (
    select * from {{ ref('price_sets') }}
),

served as (
    select
        usage.usage_date,
        usage.gateway,
        usage.model_group,
        price_sets.price_provider,
        price_sets.price_model,
        count(*) as records
    from usage
    inner join price_sets on usage.price_set_id = price_sets.price_set_id
    group by
        usage.usage_date, usage.gateway, usage.model_group, price_sets.price_provider,
        price_sets.price_model
)

select * from served
