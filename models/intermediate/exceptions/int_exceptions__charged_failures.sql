-- Grain: one row per failed record that delivered nothing and was charged.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where
        duplicate_of is null
        and (status = 'failure' or http_status >= 500)
        and not has_output
        and (coalesce(billed_cost, 0) > 0 or coalesce(gateway_cost, 0) > 0)
),

described as (
    select
        account_id,
        billing_month,
        currency,
        case when gateway_cost > 0 then gateway_cost else billed_cost end as amount_at_stake,
        started_at as evidence_at,
        usage_record_id as evidence_keys,
        'usage_record' as subject_type,
        usage_record_id as subject_id,
        'select * from marts.usage_records where usage_record_id = '
        || {{ as_literal('usage_record_id') }} as evidence
    from usage
),

final as (
    select
        {{ exception_columns(
            type='charged_failure',
            severity='error',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Claim the charge back, for nothing was delivered: decide dispute (marts.disputes).'
        ) }}
    from described
)

select * from final
