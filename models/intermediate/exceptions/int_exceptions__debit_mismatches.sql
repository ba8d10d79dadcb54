-- Grain: one row per wallet and debit window of which the gateway deducted something else than its
-- usage costs, or after which its balance moved by more than its entries.

with windows as (
    select * from {{ ref('wallet_reconciliation') }}
    where coalesce(difference_amount, 0) <> 0 or cause = 'balance_gap'
),

described as (
    select
        account_id,
        billing_month,
        currency,
        abs(case when cause = 'balance_gap' then balance_gap_amount else difference_amount end)
            as amount_at_stake,
        'debit_window' as subject_type,
        wallet_id || '/' || strftime(window_from_at, '%Y-%m-%dT%H:%M:%SZ') as subject_id,
        concat_ws('|', cause, expected_debit, recorded_debit, reported_balance) as evidence_keys,
        'select * from marts.wallet_reconciliation where wallet_id = '
        || {{ as_literal('wallet_id') }}
        || ' and window_from_at = timestamp ''' || cast(window_from_at as varchar) || ''''
            as evidence
    from windows
),

final as (
    select
        {{ exception_columns(
            type='debit_mismatch',
            severity='error',
            is_blocking=true,
            suggested_action='Compare the window with its usage records; ask the gateway for the '
            ~ 'difference, or correct the price or rounding here.'
        ) }}
    from described
)

select * from final
