-- Grain: one row per refund that is above its payment, has none, or differs from the ledger's.

with movements as (
    select * from {{ ref('int_payments__unified') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
),

refunds as (
    select
        *,
        sum(-gross) over (
            partition by payment_id order by occurred_at, movement_id rows unbounded preceding
        ) as refunded_gross
    from movements
    where movement_type = 'refund'
),

-- Only what this refund adds to the excess: an earlier one may have gone beyond already.
above_payment as (
    select
        account_id,
        {{ month_in('occurred_at', 'time_zone') }} as billing_month,
        currency,
        case
            when not has_payment then -gross
            else
                greatest(0, refunded_gross - payment_gross)
                - greatest(0, refunded_gross + gross - payment_gross)
        end as amount_at_stake,
        payment_movement_id as subject_id,
        payment_id,
        concat_ws(' ', 'payment', payment_gross, 'refunded', refunded_gross) as evidence_keys
    from refunds
    where
        not is_before_opening
        and (not has_payment or refunded_gross > payment_gross)
),

-- Where a gateway keeps the ledger, what it took back for a payment must be what was refunded.
expected as (
    select
        payment_id,
        min(account_id) as account_id,
        min(wallet_currency) as currency,
        arg_max({{ month_in('occurred_at', 'time_zone') }}, (occurred_at, movement_id))
            as billing_month,
        arg_max(payment_movement_id, (occurred_at, movement_id)) as subject_id,
        sum(credited) as amount
    from movements
    where
        movement_type in ('refund', 'refund_reversal')
        and has_payment
        and credited is not null
        and not is_before_opening
    group by payment_id
),

booked as (
    select
        payment_reference as payment_id,
        min(account_id) as account_id,
        min(currency) as currency,
        arg_max(billing_month, (occurred_at, entry_id)) as billing_month,
        arg_max(entry_id, (occurred_at, entry_id)) as subject_id,
        sum(amount) as amount
    from ledger
    where entry_type = 'refund' and has_payment
    group by payment_reference
),

other_amount as (
    select
        coalesce(expected.account_id, booked.account_id) as account_id,
        coalesce(expected.billing_month, booked.billing_month) as billing_month,
        coalesce(expected.currency, booked.currency) as currency,
        abs(coalesce(expected.amount, 0) - coalesce(booked.amount, 0)) as amount_at_stake,
        coalesce(expected.subject_id, booked.subject_id) as subject_id,
        coalesce(expected.payment_id, booked.payment_id) as payment_id,
        concat_ws(' ', 'refunded', expected.amount, 'booked', booked.amount) as evidence_keys
    from expected
    full outer join booked on expected.payment_id = booked.payment_id
    where coalesce(expected.amount, 0) <> coalesce(booked.amount, 0)
),

above as (
    select * from above_payment
    where amount_at_stake > 0
),

-- A refund that is both is listed once, with what is wrong at the processor.
found as (
    select * from above
    union all
    select other_amount.*
    from other_amount
    left join above on other_amount.subject_id = above.subject_id
    where above.subject_id is null
),

described as (
    select
        account_id,
        billing_month,
        currency,
        amount_at_stake,
        'refund' as subject_type,
        subject_id,
        evidence_keys,
        'select * from marts.wallet_ledger where payment_reference = '
        || {{ as_literal('payment_id') }} as evidence
    from found
),

final as (
    select
        {{ exception_columns(
            type='refund_mismatch',
            severity='error',
            is_blocking=true,
            suggested_action='Compare the refund with its payment and correct the ledger by an '
            ~ 'adjustment.'
        ) }}
    from described
)

select * from final
