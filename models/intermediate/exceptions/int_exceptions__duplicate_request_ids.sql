-- Grain: one row per gateway and request id that was logged again with equal key, model, tokens.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    -- What another gateway logged too is one call seen twice, not one call made twice.
    where duplicate_of is not null and starts_with(duplicate_of, gateway || '/')
),

grouped as (
    select
        account_id,
        min(billing_month) as billing_month,
        currency,
        gateway,
        request_id,
        sum(coalesce(nullif(gateway_cost, 0), billed_cost)) as amount_at_stake,
        max(started_at) as evidence_at,
        string_agg(usage_record_id, ',' order by usage_record_id) as evidence_keys
    from usage
    group by account_id, currency, gateway, request_id
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
            type='duplicate_request_id',
            severity='error',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Confirm that the call was made once, then approve or dispute the '
            ~ 'later records (marts.disputes).'
        ) }}
    from described
)

select * from final
