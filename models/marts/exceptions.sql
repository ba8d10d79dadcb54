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
    select * from {{ ref('int_exceptions__token_mismatches') }}
    union all
    select * from {{ ref('int_exceptions__cost_mismatches') }}
    union all
    select * from {{ ref('int_exceptions__suspected_double_charges') }}
    union all
    select * from {{ ref('int_exceptions__free_tier_mismatches') }}
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
    select * from {{ ref('int_exceptions__debit_mismatches') }}
    union all
    select * from {{ ref('int_exceptions__budget_thresholds') }}
    union all
    select * from {{ ref('int_exceptions__invoice_total_mismatches') }}
    union all
    select * from {{ ref('int_exceptions__late_after_closes') }}
    union all
    select * from {{ ref('int_exceptions__unmatched_invoice_lines') }}
    union all
    select * from {{ ref('int_exceptions__invoice_variances') }}
    union all
    select * from {{ ref('int_exceptions__low_capture_rates') }}
    union all
    select * from {{ ref('int_exceptions__bypass_traffic') }}
),

decisions as (
    select * from {{ ref('stg_decisions__decisions') }}
    where subject_type in ('exception', 'exception_type')
),

addressed as (
    select
        exception_id,
        exception_id as subject_id,
        'exception' as subject_type
    from exceptions
    union all
    select
        exception_id,
        concat_ws('/', exception_type, account_id, billing_month) as subject_id,
        'exception_type' as subject_type
    from exceptions
),

-- Of the decisions about what was found the last counts, never the one that arrived last.
settled as (
    select
        exceptions.exception_id,
        decisions.decision_id,
        decisions.decision
    from exceptions
    inner join addressed on exceptions.exception_id = addressed.exception_id
    inner join decisions
        on
            addressed.subject_type = decisions.subject_type
            and addressed.subject_id = decisions.subject_id
            and {{ covers_evidence('decisions', 'exceptions') | indent(12) }}
    qualify row_number() over (
        partition by exceptions.exception_id
        order by decisions.decided_at desc, decisions.decision_id desc
    ) = 1
),

final as (
    select
        exceptions.exception_id,
        exceptions.exception_type,
        exceptions.severity,
        exceptions.blocking,
        exceptions.amount_at_stake,
        exceptions.currency,
        exceptions.account_id,
        exceptions.billing_month,
        exceptions.subject_type,
        exceptions.subject_id,
        exceptions.evidence,
        exceptions.evidence_hash,
        exceptions.suggested_action,
        -- To look into it or to reject the charge settles nothing; a measure for the future
        -- settles only what keeps no period from being closed.
        case
            when settled.decision in ('approve', 'write_off', 'dispute') then 'decided'
            when
                settled.decision in ('cap', 'downgrade', 'reroute', 'split_key', 'change_quota')
                and not exceptions.blocking
                then 'decided'
            else 'open'
        end as status,
        settled.decision_id,
        settled.decision
    from exceptions
    left join settled on exceptions.exception_id = settled.exception_id
)

select * from final
