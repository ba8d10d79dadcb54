-- Grain: one row per account, gateway and UTC day of records that were ahead of the clock when they
-- were loaded, or end before they start.

with usage as (
    select * from {{ ref('usage_records') }}
    where duplicate_of is null
),

flagged as (
    select distinct
        load_batch_id,
        line_number
    from {{ source('audit', 'row_flags') }}
    where code in ('clock_skew', 'end_before_start')
),

grouped as (
    select
        usage.account_id,
        usage.billing_month,
        usage.currency,
        usage.gateway,
        usage.usage_date,
        sum(usage.billed_cost) as amount_at_stake,
        max(usage.started_at) as evidence_at,
        string_agg(usage.usage_record_id, ',' order by usage.usage_record_id) as evidence_keys
    from usage
    left join flagged
        on usage.load_batch_id = flagged.load_batch_id and usage.source_line = flagged.line_number
    where flagged.load_batch_id is not null or usage.ended_at < usage.started_at
    group by
        usage.account_id, usage.billing_month, usage.currency, usage.gateway, usage.usage_date
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
