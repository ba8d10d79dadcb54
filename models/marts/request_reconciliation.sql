{{ config(
    materialized='incremental',
    incremental_strategy='request_days',
    on_schema_change='fail',
    meta={'rows_need': ['stg_app__requests']}
) }}
-- Grain: one row per application request (side app), with the usage record that is its own, and one
-- per usage record that is no request's (side usage): another log or attempt of a call, or one of
-- which the application, that logs this key's calls of that day, knows nothing.

with matched as (
    select * from {{ ref('int_app_requests__matched') }}
),

usage as (
    select
        *,
        input_cached_read_tokens + coalesce(input_audio_cached_tokens, 0) as cached_tokens,
        -- A failure's counts are estimates of what nobody was charged for; a cache hit used none.
        coalesce(cost_status not in ('failed', 'cache_hit'), true) as has_counts
    from {{ ref('usage_records') }}
    where {{ in_request_days('started_at', 1) }}
),

app_rows as (
    select
        matched.*,
        case when usage.has_counts then usage.input_total_tokens - matched.input_tokens end
            as input_tokens_delta,
        case when usage.has_counts then usage.cached_tokens - matched.cached_tokens end
            as cached_tokens_delta,
        case when usage.has_counts then usage.output_total_tokens - matched.output_tokens end
            as output_tokens_delta,
        case
            when coalesce(matched.currency, usage.currency) = usage.currency
                then usage.billed_cost - matched.expected_cost
        end as cost_delta,
        usage.usage_record_id is null as is_missing,
        usage.usage_record_id is not null and usage.billed_cost is null as is_unpriced,
        usage.account_id,
        usage.currency as usage_currency,
        usage.usage_status,
        usage.output_reasoning_tokens,
        {% for name in ["provider_cost", "list_cost", "gateway_cost"] -%}
        abs(usage.{{ name }} - matched.expected_cost) <= {{ var('cost_tolerance') }}
            as is_{{ name }},
        {% endfor -%}
        usage.billed_cost
    from matched
    left join usage on matched.usage_record_id = usage.usage_record_id
    where matched.is_chosen and {{ in_request_days('matched.occurred_at') }}
),

app_judged as (
    select
        *,
        case
            when
                is_missing
                and occurred_at + interval {{ var('lost_after_minutes') }} minute > {{ as_of() }}
                then 'pending'
            when is_missing then 'missing_usage'
            when
                input_tokens_delta <> 0 or cached_tokens_delta <> 0 or output_tokens_delta <> 0
                then 'token_mismatch'
            when abs(cost_delta) > {{ var('cost_tolerance') }} then 'cost_mismatch'
            else 'matched'
        end as match_status
    from app_rows
),

app_side as (
    select
        *,
        case
            when match_status = 'pending' then 'sync_delay'
            when
                match_status = 'missing_usage' and (status = 'failure' or http_status >= 400)
                then 'failed_before_logging'
            when match_status = 'missing_usage' then 'record_lost'
            when match_status = 'matched' and is_unpriced then 'unpriced'
            when match_status = 'matched' then null
            when match_status = 'cost_mismatch' and is_provider_cost then 'markup'
            when match_status = 'cost_mismatch' and is_list_cost then 'contract_price'
            when match_status = 'cost_mismatch' and is_gateway_cost then 'gateway_price'
            when match_status = 'cost_mismatch' then 'other_price'
            when usage_status = 'partial_stream' then 'partial_stream'
            when usage_status = 'estimated' then 'estimated_usage'
            when
                input_tokens_delta = cached_tokens
                and input_tokens_delta > 0
                and coalesce(output_tokens_delta, 0) = 0
                then 'cached_tokens_left_out'
            when
                output_tokens_delta = output_reasoning_tokens
                and output_tokens_delta > 0
                and coalesce(input_tokens_delta, 0) = 0
                then 'reasoning_tokens_left_out'
            else 'other_tokenizer'
        end as likely_cause
    from app_judged
),

logged_days as (
    select
        gateway,
        usage_date,
        api_key_id
    from matched
    group by gateway, usage_date, api_key_id
),

-- Applications that log no key are taken to log every call of the gateway on their days.
covered as (
    select usage.usage_record_id
    from usage
    inner join logged_days
        on
            usage.gateway = logged_days.gateway
            and usage.usage_date = logged_days.usage_date
            and (usage.api_key_id = logged_days.api_key_id or logged_days.api_key_id is null)
    group by usage.usage_record_id
),

chosen as (
    select
        matched.gateway,
        matched.request_id,
        matched.usage_record_id,
        usage.input_total_tokens,
        usage.output_total_tokens,
        usage.attempt
    from matched
    inner join usage on matched.usage_record_id = usage.usage_record_id
    where matched.is_chosen
),

usage_rows as (
    select
        usage.*,
        matched.match_method,
        matched.usage_record_id is not null as is_linked,
        -- The same answer under the request's own call, and no attempt after a failed one.
        chosen.input_total_tokens = usage.input_total_tokens
        and chosen.output_total_tokens = usage.output_total_tokens
        and usage.output_total_tokens > 0
        and usage.status = 'success'
        and not usage.cache_hit as is_same_answer
    from usage
    left join chosen as own on usage.usage_record_id = own.usage_record_id
    left join matched
        on usage.usage_record_id = matched.usage_record_id and not matched.is_chosen
    left join chosen
        on matched.gateway = chosen.gateway and matched.request_id = chosen.request_id
    left join covered on usage.usage_record_id = covered.usage_record_id
    where
        {{ in_request_days('usage.started_at') }}
        and own.usage_record_id is null
        and usage.requests > 0
        and (matched.usage_record_id is not null or covered.usage_record_id is not null)
),

usage_judged as (
    select
        *,
        case
            when duplicate_of is not null or (is_linked and is_same_answer) then 'duplicate'
            when is_linked then 'matched'
            when
                started_at + interval {{ var('lost_after_minutes') }} minute > {{ as_of() }}
                then 'pending'
            else 'missing_app_log'
        end as match_status
    from usage_rows
),

usage_side as (
    select
        *,
        case
            when starts_with(duplicate_of, gateway || '/') then 'logged_twice'
            when duplicate_of is not null then 'logged_by_two_gateways'
            when match_status = 'duplicate' then 'charged_twice'
            when is_linked or attempt > 1 then 'further_attempt'
            when match_status = 'pending' then 'app_log_late'
            else 'not_logged_by_app'
        end as likely_cause
    from usage_judged
),

together as (
    select
        gateway,
        request_id,
        'app' as side,
        cast(1 as bigint) as occurrence,
        usage_date,
        occurred_at,
        account_id,
        api_key_id,
        model,
        usage_record_id,
        match_method,
        match_status,
        input_tokens_delta,
        cached_tokens_delta,
        output_tokens_delta,
        expected_cost,
        billed_cost,
        cost_delta,
        coalesce(usage_currency, currency) as currency,
        likely_cause
    from app_side
    union all
    select
        gateway,
        request_id,
        'usage' as side,
        occurrence,
        usage_date,
        started_at as occurred_at,
        account_id,
        api_key_id,
        model,
        usage_record_id,
        match_method,
        match_status,
        null as input_tokens_delta,
        null as cached_tokens_delta,
        null as output_tokens_delta,
        null as expected_cost,
        billed_cost,
        -- Nothing was expected beside the first.
        case when match_status = 'duplicate' then coalesce(nullif(gateway_cost, 0), billed_cost) end
            as cost_delta,
        currency,
        likely_cause
    from usage_side
),

final as (
    select
        gateway,
        request_id,
        side,
        occurrence,
        usage_date,
        occurred_at,
        account_id,
        api_key_id,
        model,
        usage_record_id,
        match_method,
        match_status,
        cast(input_tokens_delta as bigint) as input_tokens_delta,
        cast(cached_tokens_delta as bigint) as cached_tokens_delta,
        cast(output_tokens_delta as bigint) as output_tokens_delta,
        cast(expected_cost as decimal(38, 18)) as expected_cost,
        cast(billed_cost as decimal(38, 18)) as billed_cost,
        cast(cost_delta as decimal(38, 18)) as cost_delta,
        currency,
        likely_cause,
        {{ request_action('likely_cause') | indent(8) }} as suggested_action
    from together
)

select * from final
