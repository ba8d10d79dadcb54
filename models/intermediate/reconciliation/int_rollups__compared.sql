{{ config(
    materialized='incremental',
    incremental_strategy='rollup_days',
    on_schema_change='fail',
    meta={'rows_need': ['stg_litellm__daily_spend', 'stg_openrouter__activity']}
) }}
-- Grain: one row per gateway, counter, UTC day and key that a gateway's own daily counter has,
-- beside what logs hold of them: LiteLLM's roll-up by user beside its spend logs, OpenRouter's
-- activity, which knows no keys, beside all that was logged of its calls. Both sides as written.

with rollups as (
    select * from {{ ref('stg_litellm__daily_spend') }}
    where
        -- The one roll-up that every call is in, and in once.
        litellm_table = 'LiteLLM_DailyUserSpend'
        and {{ in_touched_days('usage_at', rollup_tables()) }}
),

activity as (
    select * from {{ ref('stg_openrouter__activity') }}
    where {{ in_touched_days('usage_at', rollup_tables()) }}
),

spend_logs as (
    select * from {{ ref('stg_litellm__spend_logs') }}
    where {{ in_touched_days('started_at', rollup_tables()) }}
),

gateway_usage as (
    select * from {{ ref('stg_gateway__usage') }}
    where
        gateway_preset = 'openrouter'
        and {{ in_touched_days('started_at', rollup_tables()) }}
),

counted as (
    select
        gateway,
        'litellm_rollup' as counter,
        usage_date,
        api_key_id,
        try_cast(sum(api_requests) as bigint) as counted_requests,
        try_cast(sum(prompt_tokens) as bigint) as counted_input_tokens,
        try_cast(sum(completion_tokens) as bigint) as counted_output_tokens,
        sum(spend) as counted_cost,
        max(observed_at) as observed_at
    from rollups
    group by gateway, usage_date, api_key_id
    union all
    select
        gateway,
        'openrouter_activity' as counter,
        usage_date,
        cast(null as varchar) as api_key_id,
        try_cast(sum(requests) as bigint) as counted_requests,
        -- By another tokenizer than the one that is billed.
        cast(null as bigint) as counted_input_tokens,
        cast(null as bigint) as counted_output_tokens,
        sum(charged_amount) as counted_cost,
        max(observed_at) as observed_at
    from activity
    group by gateway, usage_date
),

accounts as (
    select distinct gateway from activity
),

-- Calls of OpenRouter in its own log, and those that LiteLLM forwarded, under the same ids.
calls as (
    select
        gateway,
        cast(started_at as date) as usage_date,
        request_id,
        gateway_cost,
        1 as log_rank
    from gateway_usage
    union all
    select
        accounts.gateway,
        cast(spend_logs.started_at as date) as usage_date,
        spend_logs.request_id,
        spend_logs.spend as gateway_cost,
        2 as log_rank
    from spend_logs
    cross join accounts
    where spend_logs.request_id like 'gen-%'
),

calls_once as (
    select
        gateway,
        usage_date,
        request_id,
        arg_min(gateway_cost, log_rank) as gateway_cost
    from calls
    group by gateway, usage_date, request_id
),

logged as (
    select
        _gateway as gateway,
        'litellm_rollup' as counter,
        cast(started_at as date) as usage_date,
        api_key_id,
        -- Internal calls and attempts are rows too; newer releases count no request for them.
        count(*) as logged_records,
        try_cast(sum(prompt_tokens) as bigint) as logged_input_tokens,
        try_cast(sum(completion_tokens) as bigint) as logged_output_tokens,
        sum(spend) as logged_cost
    from spend_logs
    -- Days that nothing counted need no sums.
    where cast(started_at as date) in (select counted.usage_date from counted)
    group by _gateway, usage_date, api_key_id
    union all
    select
        gateway,
        'openrouter_activity' as counter,
        usage_date,
        cast(null as varchar) as api_key_id,
        count(*) as logged_records,
        cast(null as bigint) as logged_input_tokens,
        cast(null as bigint) as logged_output_tokens,
        sum(gateway_cost) as logged_cost
    from calls_once
    group by gateway, usage_date
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
            and counted.counter = logged.counter
            and counted.usage_date = logged.usage_date
            and counted.api_key_id is not distinct from logged.api_key_id
)

select * from compared
