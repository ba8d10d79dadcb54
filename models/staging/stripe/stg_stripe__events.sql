-- Grain: one row per event of Stripe's, whichever way and however often it arrived.

with source as (
    select * from {{ source('stripe', 'stripe__records') }}
    where record_type = 'event'
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by record_id
        order by occurred_at desc, observed_at desc nulls last, _row_hash desc
    ) = 1
),

linked as (
    select
        charge_id,
        min(payment_intent_id) as payment_intent_id
    from newest
    where charge_id is not null
    group by charge_id
),

renamed as (
    select
        newest.record_id as event_id,
        newest.event_type,
        newest.object_type,
        newest.object_id,
        newest.checkout_session_id,
        newest.charge_id,
        newest.refund_id,
        newest.dispute_id,
        newest.payment_customer_id,
        newest.wallet_id,
        -- The one id that all events of a payment share; a charge names its intent in some of them.
        coalesce(
            newest.payment_intent_id,
            linked.payment_intent_id,
            newest.checkout_session_id,
            newest.charge_id
        ) as payment_reference,
        newest.status,
        newest.payment_status,
        newest.is_captured,
        newest.currency,
        newest.amount,
        newest.amount_tax,
        newest.amount_refunded,
        newest.credits,
        newest.credits_currency,
        newest.occurred_at,
        coalesce(newest.object_created_at, newest.occurred_at) as object_created_at,
        newest._load_batch_id,
        newest._source as source
    from newest
    left join linked on newest.charge_id = linked.charge_id
)

select * from renamed
