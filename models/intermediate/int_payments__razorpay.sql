-- Grain: one row per payment, refund, dispute movement or other movement of cash at Razorpay.
-- Money is signed as the payee sees it: a payment is positive, a refund negative.

with records as (
    select * from {{ ref('stg_razorpay__records') }}
),

payments as (
    select
        payment_id,
        min(order_id) as order_id,
        min(currency) as currency,
        min(wallet_id) as wallet_id,
        min(payment_customer_id) as payment_customer_id,
        max(amount) as gross,
        max(fee) as fee,
        max(tax) as tax,
        max(credits) as credits,
        max(credits_currency) as credits_currency,
        min(occurred_at) as occurred_at,
        min(_load_batch_id) as _load_batch_id
    from records
    where
        payment_id is not null
        and (
            payment_status in ('captured', 'refunded')
            or (record_type = 'settlement_item' and item_type = 'payment')
        )
    group by payment_id
),

-- An order's notes may name the wallet that those of its payments do not.
orders as (
    select
        order_id,
        min(wallet_id) as wallet_id,
        min(payment_customer_id) as payment_customer_id,
        max(credits) as credits,
        max(credits_currency) as credits_currency
    from records
    where order_id is not null
    group by order_id
),

refunds as (
    select
        refund_id,
        min(payment_id) as payment_id,
        min(currency) as currency,
        max(refund_amount) as amount,
        min(coalesce(refund_created_at, occurred_at)) as occurred_at,
        min(case when refund_status = 'failed' then occurred_at end) as failed_at,
        max(case when record_type = 'settlement_item' then fee end) as fee,
        min(_load_batch_id) as _load_batch_id
    from records
    where refund_id is not null
    group by refund_id
),

disputes as (
    select
        dispute_id,
        min(payment_id) as payment_id,
        min(currency) as currency,
        max(dispute_amount) as amount,
        min(occurred_at) as held_at,
        min(case
            when event_type = 'payment.dispute.won' or dispute_status = 'won' then occurred_at
        end) as released_at,
        min(_load_batch_id) as _load_batch_id
    from records
    where dispute_id is not null
    group by dispute_id
),

movements as (
    select
        'payment' as movement_type,
        payments.payment_id as movement_id,
        cast(null as varchar) as reverses_movement_id,
        payments.payment_id as payment_reference,
        coalesce(payments.wallet_id, orders.wallet_id) as wallet_id,
        coalesce(payments.payment_customer_id, orders.payment_customer_id) as payment_customer_id,
        payments.currency,
        payments.gross,
        payments.tax,
        payments.fee,
        coalesce(payments.credits, orders.credits) as credits,
        case
            when payments.credits is not null then payments.credits_currency
            else orders.credits_currency
        end as credits_currency,
        -- The tax is on Razorpay's fee, so nothing is taken off what the payer bought.
        payments.gross as creditable,
        payments.order_id as other_ids,
        payments.occurred_at,
        payments._load_batch_id
    from payments
    left join orders on payments.order_id = orders.order_id
    union all
    select
        'refund' as movement_type,
        refund_id as movement_id,
        cast(null as varchar) as reverses_movement_id,
        payment_id as payment_reference,
        cast(null as varchar) as wallet_id,
        cast(null as varchar) as payment_customer_id,
        currency,
        -amount as gross,
        cast(null as decimal(38, 18)) as tax,
        fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        -amount as creditable,
        cast(null as varchar) as other_ids,
        occurred_at,
        _load_batch_id
    from refunds
    union all
    select
        'refund_reversal' as movement_type,
        refund_id || '/failed' as movement_id,
        refund_id as reverses_movement_id,
        payment_id as payment_reference,
        cast(null as varchar) as wallet_id,
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
        payment_id as payment_reference,
        cast(null as varchar) as wallet_id,
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
    union all
    select
        'dispute_release' as movement_type,
        dispute_id || '/release' as movement_id,
        dispute_id || '/hold' as reverses_movement_id,
        payment_id as payment_reference,
        cast(null as varchar) as wallet_id,
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
    where released_at is not null
    union all
    select
        'settlement' as movement_type,
        record_id as movement_id,
        cast(null as varchar) as reverses_movement_id,
        payment_id as payment_reference,
        cast(null as varchar) as wallet_id,
        cast(null as varchar) as payment_customer_id,
        min(currency) as currency,
        max(credit) - max(debit) as gross,
        max(tax) as tax,
        max(fee) as fee,
        cast(null as decimal(38, 18)) as credits,
        cast(null as varchar) as credits_currency,
        cast(null as decimal(38, 18)) as creditable,
        cast(null as varchar) as other_ids,
        min(occurred_at) as occurred_at,
        min(_load_batch_id) as _load_batch_id
    from records
    where record_type = 'settlement_item' and item_type not in ('payment', 'refund')
    group by record_id, payment_id
),

final as (
    select
        'razorpay' as processor,
        *
    from movements
)

select * from final
