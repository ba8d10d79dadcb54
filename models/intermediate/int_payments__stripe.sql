-- Grain: one row per payment, refund, dispute movement or other movement of cash at Stripe.
-- Money is signed as the payee sees it: a payment is positive, a refund negative.

with events as (
    select * from {{ ref('stg_stripe__events') }}
),

transactions as (
    select * from {{ ref('stg_stripe__balance_transactions') }}
),

paid_events as (
    select
        *,
        case object_type when 'checkout.session' then 1 when 'payment_intent' then 2 else 3 end
            as rank
    from events
    where
        (object_type = 'checkout.session' and payment_status in ('paid', 'no_payment_required'))
        or event_type = 'payment_intent.succeeded'
        -- A charge that was only authorized is no money yet.
        or (
            event_type in ('charge.succeeded', 'charge.captured')
            and coalesce(is_captured, true)
            and coalesce(status, 'succeeded') <> 'failed'
        )
),

payments as (
    select
        payment_reference,
        min(wallet_id) as wallet_id,
        min(payment_customer_id) as payment_customer_id,
        arg_min(currency, rank) as currency,
        -- The checkout says what was asked for, the intent what came in, the charge the same again.
        arg_min(amount, rank) as gross,
        max(amount_tax) as tax,
        arg_min(credits, rank) as credits,
        arg_min(credits_currency, rank) as credits_currency,
        min(occurred_at) as occurred_at,
        min(_load_batch_id) as _load_batch_id
    from paid_events
    group by payment_reference
),

charges as (
    select distinct
        charge_id,
        payment_reference
    from events
    where charge_id is not null
),

fees as (
    select
        charges.payment_reference,
        transactions.currency,
        cast(sum(transactions.fee) as decimal(38, 18)) as fee
    from transactions
    inner join charges on transactions.source_id = charges.charge_id
    where transactions.transaction_type in ('charge', 'payment')
    group by charges.payment_reference, transactions.currency
),

other_ids as (
    select
        payment_reference,
        string_agg(distinct other_id, ',' order by other_id) as other_ids
    from (
        select
            payment_reference,
            unnest([checkout_session_id, charge_id]) as other_id
        from events
    ) as named
    where other_id is not null and other_id <> payment_reference
    group by payment_reference
),

refund_objects as (
    select
        refund_id,
        min(payment_reference) as payment_reference,
        min(wallet_id) as wallet_id,
        min(currency) as currency,
        max(amount) as amount,
        min(object_created_at) as occurred_at,
        -- A refund that failed gives the money back when that became known.
        min(case when status in ('failed', 'canceled') then occurred_at end) as failed_at,
        min(_load_batch_id) as _load_batch_id
    from events
    where refund_id is not null
    group by refund_id
),

-- A charge says how much of it was refunded in all, and no more: what its refunds do not cover.
refunded_in_all as (
    select
        payment_reference,
        min(wallet_id) as wallet_id,
        min(currency) as currency,
        arg_max(charge_id, (occurred_at, amount_refunded)) as charge_id,
        arg_max(amount_refunded, (occurred_at, amount_refunded)) as amount,
        max(occurred_at) as occurred_at,
        min(_load_batch_id) as _load_batch_id
    from events
    where object_type = 'charge' and amount_refunded > 0
    group by payment_reference
),

covered as (
    select
        payment_reference,
        cast(sum(amount) as decimal(38, 18)) as amount
    from refund_objects
    group by payment_reference
),

refunds as (
    select
        refund_id as movement_id,
        payment_reference,
        wallet_id,
        currency,
        amount,
        occurred_at,
        failed_at,
        _load_batch_id
    from refund_objects
    union all
    select
        refunded_in_all.charge_id || '/refunded' as movement_id,
        refunded_in_all.payment_reference,
        refunded_in_all.wallet_id,
        refunded_in_all.currency,
        refunded_in_all.amount - coalesce(covered.amount, 0) as amount,
        refunded_in_all.occurred_at,
        cast(null as timestamp) as failed_at,
        refunded_in_all._load_batch_id
    from refunded_in_all
    left join covered on refunded_in_all.payment_reference = covered.payment_reference
    where refunded_in_all.amount > coalesce(covered.amount, 0)
),

refund_fees as (
    select
        source_id,
        currency,
        cast(sum(fee) as decimal(38, 18)) as fee
    from transactions
    where transaction_type in ('refund', 'payment_refund')
    group by source_id, currency
),

disputes as (
    select
        dispute_id,
        min(payment_reference) as payment_reference,
        min(wallet_id) as wallet_id,
        min(currency) as currency,
        max(amount) as amount,
        -- An inquiry holds nothing; only a dispute proper takes the money.
        min(case when status not like 'warning%' then occurred_at end) as held_at,
        min(case
            when
                event_type = 'charge.dispute.funds_reinstated'
                or (event_type = 'charge.dispute.closed' and status = 'won')
                then occurred_at
        end) as released_at,
        min(_load_batch_id) as _load_batch_id
    from events
    where dispute_id is not null
    group by dispute_id
),

movements as (
    select
        'payment' as movement_type,
        payments.payment_reference as movement_id,
        cast(null as varchar) as reverses_movement_id,
        payments.payment_reference,
        payments.wallet_id,
        payments.payment_customer_id,
        payments.currency,
        payments.gross,
        payments.tax,
        -- A fee in the currency of settlement cannot be taken off an amount in another.
        fees.fee,
        payments.credits,
        payments.credits_currency,
        payments.gross - coalesce(payments.tax, 0) as creditable,
        other_ids.other_ids,
        payments.occurred_at,
        payments._load_batch_id
    from payments
    left join fees
        on
            payments.payment_reference = fees.payment_reference
            and payments.currency = fees.currency
    left join other_ids on payments.payment_reference = other_ids.payment_reference
    union all
    select
        'refund' as movement_type,
        refunds.movement_id,
        cast(null as varchar) as reverses_movement_id,
        refunds.payment_reference,
        refunds.wallet_id,
        cast(null as varchar) as payment_customer_id,
        refunds.currency,
        -refunds.amount as gross,
        cast(null as decimal(38, 18)) as tax,
        refund_fees.fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        -refunds.amount as creditable,
        cast(null as varchar) as other_ids,
        refunds.occurred_at,
        refunds._load_batch_id
    from refunds
    left join refund_fees
        on
            refunds.movement_id = refund_fees.source_id
            and refunds.currency = refund_fees.currency
    union all
    select
        'refund_reversal' as movement_type,
        movement_id || '/failed' as movement_id,
        movement_id as reverses_movement_id,
        payment_reference,
        wallet_id,
        cast(null as varchar) as payment_customer_id,
        currency,
        amount as gross,
        cast(null as decimal(38, 18)) as tax,
        cast(null as decimal(38, 18)) as fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        amount as creditable,
        cast(null as varchar) as other_ids,
        failed_at as occurred_at,
        _load_batch_id
    from refunds
    where failed_at is not null
    union all
    select
        'dispute_hold' as movement_type,
        dispute_id || '/hold' as movement_id,
        cast(null as varchar) as reverses_movement_id,
        payment_reference,
        wallet_id,
        cast(null as varchar) as payment_customer_id,
        currency,
        -amount as gross,
        cast(null as decimal(38, 18)) as tax,
        cast(null as decimal(38, 18)) as fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        -amount as creditable,
        cast(null as varchar) as other_ids,
        held_at as occurred_at,
        _load_batch_id
    from disputes
    where held_at is not null
    union all
    select
        'dispute_release' as movement_type,
        dispute_id || '/release' as movement_id,
        dispute_id || '/hold' as reverses_movement_id,
        payment_reference,
        wallet_id,
        cast(null as varchar) as payment_customer_id,
        currency,
        amount as gross,
        cast(null as decimal(38, 18)) as tax,
        cast(null as decimal(38, 18)) as fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        amount as creditable,
        cast(null as varchar) as other_ids,
        released_at as occurred_at,
        _load_batch_id
    from disputes
    where held_at is not null and released_at is not null
    union all
    -- Payouts, fees and corrections of Stripe's own: cash, but no wallet's.
    select
        'settlement' as movement_type,
        balance_transaction_id as movement_id,
        cast(null as varchar) as reverses_movement_id,
        source_id as payment_reference,
        cast(null as varchar) as wallet_id,
        cast(null as varchar) as payment_customer_id,
        currency,
        amount as gross,
        cast(null as decimal(38, 18)) as tax,
        fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        cast(null as decimal(38, 18)) as creditable,
        cast(null as varchar) as other_ids,
        occurred_at,
        _load_batch_id
    from transactions
    where transaction_type not in ('charge', 'payment', 'refund', 'payment_refund')
),

final as (
    select
        'stripe' as processor,
        *
    from movements
)

select * from final
