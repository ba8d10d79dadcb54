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
    union all
    select * from {{ ref('int_exceptions__orphan_keys') }}
    union all
    select * from {{ ref('int_exceptions__missing_owners') }}
    union all
    select * from {{ ref('int_exceptions__shared_keys') }}
    union all
    select * from {{ ref('int_exceptions__failed_retries') }}
    union all
    select * from {{ ref('int_exceptions__unapproved_batches') }}
    union all
    select * from {{ ref('int_exceptions__fallback_routes') }}
    union all
    select * from {{ ref('int_exceptions__unusual_service_tiers') }}
    union all
    select * from {{ ref('int_exceptions__estimated_usage') }}
    union all
    select * from {{ ref('int_exceptions__clock_skews') }}
    union all
    select * from {{ ref('int_exceptions__stale_sources') }}
    union all
    select * from {{ ref('int_exceptions__price_drifts') }}
    union all
    select * from {{ ref('int_exceptions__spend_anomalies') }}
    union all
    select * from {{ ref('int_exceptions__incomplete_page_chains') }}
    union all
    select * from {{ ref('int_exceptions__unmapped_line_items') }}
    union all
    select * from {{ ref('int_exceptions__unmatched_topups') }}
    union all
    select * from {{ ref('int_exceptions__unapproved_topups') }}
    union all
    select * from {{ ref('int_exceptions__duplicate_topups') }}
    union all
    select * from {{ ref('int_exceptions__refund_mismatches') }}
    union all
    select * from {{ ref('int_exceptions__negative_balances') }}
    union all
    select * from {{ ref('int_exceptions__low_balances') }}
    union all
    select * from {{ ref('int_exceptions__invoice_total_mismatches') }}
    union all
    select * from {{ ref('int_exceptions__late_after_closes') }}
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
