{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, account, billing month, key, purpose (workflow, environment), and
-- whether a team and a cost center are known. Records that repeat another count in no total.

with usage as (
    select * from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

summed as (
    select
        usage_date,
        account_id,
        billing_month,
        currency,
        api_key_id,
        workflow,
        environment,
        team_id is not null as has_team,
        cost_center is not null as has_cost_center,
        count(*) as records,
        max(started_at) as last_started_at,
        sum(billed_cost) as billed_cost
    from usage
    group by
        usage_date, account_id, billing_month, currency, api_key_id, workflow, environment,
        has_team, has_cost_center
)

select * from summed
