{{ config(meta={'rows_need': ['int_rollups__compared']}) }}
-- Grain: one row per gateway, counter, UTC day and key that a gateway's own daily counter has.
-- Counters are written beside the log, by other queues, and settle later: a day is compared once
-- the gateway was asked for them after the lateness of the daily re-read.

with compared as (
    select * from {{ ref('int_rollups__compared') }}
),

asked as (
    select
        gateway,
        counter,
        max(observed_at) as asked_at,
        -- The log may begin, or may have been cut, in the midst of its first day.
        min(case when logged_records > 0 then usage_date end) as first_usage_date
    from compared
    group by gateway, counter
),

placed as (
    select
        compared.*,
        case
            when asked.first_usage_date is null then 'before_history'
            when compared.usage_date <= asked.first_usage_date then 'before_history'
            when
                compared.usage_date + interval 1 day
                + interval {{ var('daily_lateness_minutes') }} minute > asked.asked_at
                then 'pending'
        end as uncompared_status,
        compared.counted_cost - compared.logged_cost as cost_difference
    from compared
    inner join asked
        on compared.gateway = asked.gateway and compared.counter = asked.counter
),

-- Two counters of one gateway may lawfully differ by half a percent (they are flushed apart).
judged as (
    select
        *,
        coalesce(
            {{ exceeds_share('counted_requests', 'logged_records') }}
            or {{ exceeds_share('counted_input_tokens', 'logged_input_tokens') }}
            or {{ exceeds_share('counted_output_tokens', 'logged_output_tokens') }}
            or {{ exceeds_share('counted_cost', 'logged_cost') }},
            false
        ) as is_usage_missing,
        coalesce(
            {{ exceeds_share('logged_input_tokens', 'counted_input_tokens') }}
            or {{ exceeds_share('logged_output_tokens', 'counted_output_tokens') }}
            or {{ exceeds_share('logged_cost', 'counted_cost') }},
            false
        ) as is_count_missing
    from placed
),

final as (
    select
        gateway,
        counter,
        usage_date,
        api_key_id,
        -- LiteLLM and OpenRouter reckon in US dollars.
        'USD' as currency,
        counted_requests,
        cast(logged_records as bigint) as logged_records,
        counted_input_tokens,
        logged_input_tokens,
        counted_output_tokens,
        logged_output_tokens,
        cast(counted_cost as decimal(38, 18)) as counted_cost,
        cast(logged_cost as decimal(38, 18)) as logged_cost,
        cast(cost_difference as decimal(38, 18)) as difference_amount,
        case
            when uncompared_status is not null then uncompared_status
            when is_usage_missing then 'missing_usage'
            when is_count_missing then 'missing_count'
            else 'matched'
        end as status
    from judged
)

select * from final
