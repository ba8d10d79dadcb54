{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per billable attempt whose request id was landed more than once. Kept by day, for
-- telling them apart takes all days, and raw is large.

with attempts as (
    select * from {{ ref('stg_litellm__contested_requests') }}
    where {{ in_touched_days('started_at') }}
    union all
    select * from {{ ref('stg_gateway__contested_usage') }}
    where {{ in_touched_days('started_at') }}
),

final as (
    select
        *,
        cast(started_at as date) as usage_date
    from attempts
)

select * from final
