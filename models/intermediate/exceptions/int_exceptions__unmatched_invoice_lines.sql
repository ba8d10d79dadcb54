-- Grain: one row per invoice line that is about no usage of ours, or of which more than the
-- tolerance is unexplained.

with lines as (
    select * from {{ ref('invoice_reconciliation') }}
),

accounts as (
    select * from {{ ref('int_provider_accounts__owned') }}
),

unmatched as (
    select
        *,
        case
            when abs(unexplained_amount) > {{ var('invoice_tolerance') }}
                then abs(unexplained_amount)
            else abs(amount_invoiced)
        end as amount_at_stake
    from lines
    where
        abs(unexplained_amount) > {{ var('invoice_tolerance') }}
        -- Billed as usage, and we have nothing of it under any name.
        or (
            line_kind = 'usage'
            and amount_expected = 0
            and coalesce(quantity_expected, 0) = 0
            and missing_usage_amount + bypass_traffic_amount <> 0
        )
),

described as (
    select
        coalesce(accounts.account_id, 'unassigned') as account_id,
        strftime(unmatched.to_date - 1, '%Y-%m') as billing_month,
        unmatched.currency,
        unmatched.amount_at_stake,
        'invoice_line' as subject_type,
        unmatched.invoice_line_id as subject_id,
        cast(unmatched.variance_amount as varchar) as evidence_keys,
        'select * from marts.invoice_reconciliation where invoice_line_id = '
        || {{ as_literal('unmatched.invoice_line_id') }} as evidence
    from unmatched
    left join accounts
        on
            coalesce(unmatched.provider_account_id, unmatched.vendor)
            = accounts.provider_account_id
),

final as (
    select
        {{ exception_columns(
            type='invoice_line_unmatched',
            severity='error',
            is_blocking=true,
            suggested_action='Ask the vendor what the line is for, or dispute it.'
        ) }}
    from described
)

select * from final
