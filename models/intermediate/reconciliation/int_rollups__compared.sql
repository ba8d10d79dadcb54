{{ config(
    materialized='incremental',
    incremental_strategy='rollup_days',
    on_schema_change='fail'
) }}
-- Grain: one row per gateway, UTC day and key that LiteLLM's roll-up by user has, beside what its
-- spend logs hold of them. Both are LiteLLM's own figures, as it wrote them.

with rollups as (
    select * from {{ ref('stg_litellm__daily_spend') }}
    where
        -- The one roll-up that every call is in, and in once.
        litellm_table = 'LiteLLM_DailyUserSpend'
        and {{ in_touched_days('usage_at', rollup_tables()) }}
),

counted as (
    select
        gateway,
        usage_date,
        api_key_id,
        try_cast(sum(api_requests) as bigint) as counted_requests,
        try_cast(sum(prompt_tokens) as bigint) as counted_input_tokens,
        try_cast(sum(completion_tokens) as bigint) as counted_output_tokens,
        sum(spend) as counted_cost,
        max(observed_at) as observed_at
    from rollups
    group by gateway, usage_date, api_key_id
),

spend_logs as (
    select * from {{ ref('stg_litellm__spend_logs') }}
    where {{ in_touched_days('started_at', rollup_tables()) }}
),

logged as (
    select
        _gateway as gateway,
        cast(started_at as date) as usage_date,
        api_key_id,
        -- Internal calls and attempts are rows too; newer releases count no request for them.
        count(*) as logged_records,
        try_cast(sum(prompt_tokens) as bigint) as logged_input_tokens,
        try_cast(sum(completion_tokens) as bigint) as logged_output_tokens,
        sum(spend) as logged_cost
    from spend_logs
    group by _gateway, usage_date, api_key_id
),

compared as (
    select
        counted.*,
        coalesce(logged.logged_records, 0) as logged_records,
        case when logged.gateway is null then 0 else logged.logged_input_tokens end
            as logged_input_tokens,
        case when logged.gateway is null then 0 else logged.logged_output_tokens end
            as logged_output_tokens,
        case when logged.gateway is null then 0 else logged.logged_cost end as logged_cost
    from counted
    left join logged
        on
            counted.gateway = logged.gateway
            and counted.usage_date = logged.usage_date
            and counted.api_key_id is not distinct from logged.api_key_id
)

select * from compared
