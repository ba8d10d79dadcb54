-- Grain: one row per gateway, UTC day and key that LiteLLM's own roll-up has.
-- Roll-ups are written beside the log, by other queues, and settle later: a day is compared once
-- the gateway was asked for its roll-ups after the lateness of the daily re-read.

with compared as (
    select * from {{ ref('int_rollups__compared') }}
),

asked as (
    select
        gateway,
        max(observed_at) as asked_at
    from compared
    group by gateway
),

daily_spend as (
    select * from {{ ref('daily_spend') }}
),

-- The log may begin, or may have been cut, in the midst of its first day.
begun as (
    select
        gateway,
        min(usage_date) as first_usage_date
    from daily_spend
    group by gateway
),

placed as (
    select
        compared.*,
        case
            when begun.first_usage_date is null then 'before_history'
            when compared.usage_date <= begun.first_usage_date then 'before_history'
            when
                compared.usage_date + interval 1 day
                + interval {{ var('daily_lateness_minutes') }} minute > asked.asked_at
                then 'pending'
        end as uncompared_status,
        compared.counted_cost - compared.logged_cost as cost_difference
    from compared
    inner join asked on compared.gateway = asked.gateway
    left join begun on compared.gateway = begun.gateway
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
        usage_date,
        api_key_id,
        -- LiteLLM reckons in US dollars.
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
