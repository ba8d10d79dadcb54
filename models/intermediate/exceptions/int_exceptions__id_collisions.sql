-- Grain: one row per gateway and request id shared by calls that differ in key, model or tokens.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where duplicate_of is null and defect_codes not like '%batch_of_several_models%'
),

repeated as (
    select
        gateway,
        request_id
    from usage
    where occurrence > 1
    group by gateway, request_id
),

grouped as (
    select
        usage.account_id,
        min(usage.billing_month) as billing_month,
        usage.currency,
        usage.gateway,
        usage.request_id,
        sum(case when usage.occurrence > 1 then usage.billed_cost end) as amount_at_stake,
        max(usage.started_at) as evidence_at,
        string_agg(usage.usage_record_id, ',' order by usage.usage_record_id) as evidence_keys
    from usage
    inner join repeated
        on usage.gateway = repeated.gateway and usage.request_id = repeated.request_id
    group by usage.account_id, usage.currency, usage.gateway, usage.request_id
),

described as (
    select
        *,
        'request' as subject_type,
        gateway || '/' || request_id as subject_id,
        'select * from marts.usage_records where gateway = ' || {{ as_literal('gateway') }}
        || ' and request_id = ' || {{ as_literal('request_id') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='id_collision',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Both calls are billed; have the upstream or the client choose unique '
            ~ 'ids.'
        ) }}
    from described
)

select * from final
