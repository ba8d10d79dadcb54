-- Grain: one row per purchase in a wallet's ledger without an approved recharge request.

with ledger as (
    select * from {{ ref('wallet_ledger') }}
    where entry_type = 'purchase'
),

approved as (
    select distinct ledger_entry_id
    from {{ ref('int_recharges__matched') }}
    where status = 'approved' and ledger_entry_id is not null
),

described as (
    select
        ledger.account_id,
        ledger.billing_month,
        ledger.currency,
        coalesce(ledger.credited, ledger.amount) as amount_at_stake,
        'wallet_entry' as subject_type,
        ledger.entry_id as subject_id,
        ledger.entry_id as evidence_keys,
        'select * from marts.wallet_ledger where entry_id = '
        || {{ as_literal('ledger.entry_id') }} as evidence
    from ledger
    left join approved on ledger.entry_id = approved.ledger_entry_id
    where approved.ledger_entry_id is null
),

final as (
    select
        {{ exception_columns(
            type='unapproved_topup',
            severity='warning',
            is_blocking=true,
            suggested_action='Ask for the approval: drop a recharge_requests file that names the '
            ~ 'payment, or decide this exception.'
        ) }}
    from described
)

select * from final
