-- Grain: one row per account, gateway and UTC day of records that were ahead of the clock when they
-- were loaded, or end before they start.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where duplicate_of is null and is_clock_skewed
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        gateway,
        usage_date,
        sum(billed_cost) as amount_at_stake,
        max(started_at) as evidence_at,
        string_agg(usage_record_id, ',' order by usage_record_id) as evidence_keys
    from usage
    group by account_id, billing_month, currency, gateway, usage_date
),

described as (
    select
        *,
        'gateway_day' as subject_type,
        gateway || '/' || cast(usage_date as varchar) as subject_id,
        {{ records_with(['account_id', 'billing_month', 'gateway', 'usage_date']) }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='clock_skew',
            severity='info',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Have the clocks of the gateway and its hosts set by a time server.'
        ) }}
    from described
)

select * from final
