{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per customer, UTC day and currency; usage without a customer has a row of its own.
-- Records that repeat another (duplicate_of) count in no total.

with usage as (
    select *
    from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

summed as (
    select
        customer_id,
        usage_date,
        currency,
        {{ spend_measures() }}
    from usage
    group by customer_id, usage_date, currency
)

select * from summed
