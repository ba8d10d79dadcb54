-- Grain: one row per thing a person must look at (contract, table T5).

with exceptions as (
    select * from {{ ref('int_exceptions__duplicate_request_ids') }}
    union all
    select * from {{ ref('int_exceptions__id_collisions') }}
    union all
    select * from {{ ref('int_exceptions__charged_failures') }}
    union all
    select * from {{ ref('int_exceptions__unpriced_usage') }}
    union all
    select * from {{ ref('int_exceptions__unknown_quantities') }}
    union all
    select * from {{ ref('int_exceptions__missing_usage_records') }}
    union all
    select * from {{ ref('int_exceptions__currency_mismatches') }}
),

final as (
    select
        exception_id,
        exception_type,
        severity,
        blocking,
        amount_at_stake,
        currency,
        account_id,
        billing_month,
        subject_type,
        subject_id,
        evidence,
        evidence_hash,
        suggested_action,
        status,
        decision_id
    from exceptions
)

select * from final
