-- Grain: one row per purchase that credits a payment which an earlier one credited already.

with ledger as (
    select * from {{ ref('wallet_ledger') }}
    where entry_type = 'purchase' and payment_reference is not null
),

numbered as (
    select
        *,
        row_number() over (
            partition by payment_reference order by occurred_at, entry_id
        ) as credit_number
    from ledger
),

described as (
    select
        account_id,
        billing_month,
        currency,
        coalesce(credited, amount) as amount_at_stake,
        'wallet_entry' as subject_type,
        entry_id as subject_id,
        payment_reference as evidence_keys,
        'select * from marts.wallet_ledger where payment_reference = '
        || {{ as_literal('payment_reference') }} as evidence
    from numbered
    where credit_number > 1
),

final as (
    select
        {{ exception_columns(
            type='duplicate_topup',
            severity='error',
            is_blocking=true,
            suggested_action='Take the second credit back by an adjustment that reverses it.'
        ) }}
    from described
)

select * from final
