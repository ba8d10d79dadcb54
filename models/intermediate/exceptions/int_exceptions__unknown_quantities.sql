-- Grain: one row per gateway, model, call type and billing month whose records state no quantity.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where duplicate_of is null and cost_status = 'quantity_unknown'
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        gateway,
        coalesce(model, '') as model,
        coalesce(call_type, '') as call_type,
        sum(gateway_cost) as amount_at_stake,
        max(started_at) as evidence_at,
        cast(count(*) as varchar) as evidence_keys
    from usage
    group by
        account_id, billing_month, currency, gateway, coalesce(model, ''), coalesce(call_type, '')
),

described as (
    select
        *,
        'model_call_type' as subject_type,
        gateway || '/' || model || '/' || call_type as subject_id,
        'select * from marts.usage_records where cost_status = ''quantity_unknown'''
        || ' and billing_month = ' || {{ as_literal('billing_month') }}
        || ' and gateway = ' || {{ as_literal('gateway') }}
        || ' and coalesce(model, '''') = ' || {{ as_literal('model') }}
        || ' and coalesce(call_type, '''') = ' || {{ as_literal('call_type') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='quantity_unknown',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Have the gateway log the usage of these calls; until then only its '
            ~ 'own cost is known.'
        ) }}
    from described
)

select * from final
