-- Grain: one row per purchase in a wallet's ledger without an approved recharge request. A payment
-- that is credited again is a duplicate_topup: its approval is that of the first credit.

with ledger as (
    select * from {{ ref('wallet_ledger') }}
    where entry_type = 'purchase'
),

approved as (
    select distinct ledger_entry_id
    from {{ ref('int_recharges__matched') }}
    where status = 'approved' and ledger_entry_id is not null
),

-- The credits of one payment have one approval, whichever of them it was matched to.
credited as (
    select
        ledger.*,
        bool_or(approved.ledger_entry_id is not null) over (
            partition by coalesce(ledger.payment_reference, ledger.entry_id)
        ) as is_approved
    from ledger
    left join approved on ledger.entry_id = approved.ledger_entry_id
    qualify
        row_number() over (
            partition by coalesce(ledger.payment_reference, ledger.entry_id)
            order by ledger.occurred_at, ledger.entry_id
        ) = 1
),

described as (
    select
        account_id,
        billing_month,
        currency,
        coalesce(credited, amount) as amount_at_stake,
        'wallet_entry' as subject_type,
        entry_id as subject_id,
        entry_id as evidence_keys,
        'select * from marts.wallet_ledger where entry_id = '
        || {{ as_literal('entry_id') }} as evidence
    from credited
    where not is_approved
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
