-- Grain: one row per account, gateway, model and UTC day of usage whose quantities are estimated,
-- or those of a stream that broke off. What failed and cost nothing is no estimate of a cost.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where
        duplicate_of is null
        and usage_status in ('estimated', 'partial_stream')
        and cost_status is distinct from 'failed'
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        gateway,
        model,
        usage_date,
        sum(billed_cost) as amount_at_stake,
        max(started_at) as evidence_at,
        cast(count(*) as varchar) as evidence_keys
    from usage
    group by account_id, billing_month, currency, gateway, model, usage_date
),

described as (
    select
        *,
        'model_day' as subject_type,
        gateway || '/' || coalesce(model, '') || '/' || cast(usage_date as varchar) as subject_id,
        {{ records_with(['account_id', 'billing_month', 'gateway', 'model', 'usage_date']) }}
        || ' and usage_status in (''estimated'', ''partial_stream'') and cost_status <> ''failed'''
            as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='estimated_usage',
            severity='info',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Hold it against what the provider counted: the gateway saw a part, or guessed.'
        ) }}
    from described
)

select * from final
