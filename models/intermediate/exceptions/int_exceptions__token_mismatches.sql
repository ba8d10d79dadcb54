-- Grain: one row per application request whose tokens are not those of its usage record.

with mismatches as (
    select * from {{ ref('int_token_mismatches__priced') }}
),

described as (
    select
        account_id,
        billing_month,
        currency,
        abs(difference_amount) as amount_at_stake,
        'app_request' as subject_type,
        gateway || '/' || request_id as subject_id,
        occurred_at as evidence_at,
        deltas as evidence_keys,
        'select * from marts.request_reconciliation where side = ''app'' and gateway = '
        || {{ as_literal('gateway') }}
        || ' and request_id = ' || {{ as_literal('request_id') }} as evidence
    from mismatches
),

final as (
    select
        {{ exception_columns(
            type='token_mismatch',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='See likely_cause in marts.request_reconciliation; dispute the charge if the response said otherwise (marts.disputes).'
        ) }}
    from described
)

select * from final
