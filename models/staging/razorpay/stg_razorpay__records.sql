-- Grain: one row per event, payment, refund or settlement row of Razorpay's and content of it.
-- A body has no id of its own, so what was delivered twice shows by its content alone.

with source as (
    select * from {{ source('razorpay', 'razorpay__records') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by _row_hash
        order by observed_at desc nulls last, _load_batch_id desc, _source_line desc
    ) = 1
),

renamed as (
    select
        record_type,
        record_id,
        event_type,
        item_type,
        payment_id,
        order_id,
        refund_id,
        dispute_id,
        settlement_id,
        payment_customer_id,
        wallet_id,
        credits,
        credits_currency,
        currency,
        payment_status,
        amount,
        amount_refunded,
        fee,
        tax,
        refund_status,
        -- A settlement row of a refund has its amount where a payment has it.
        case
            when record_type = 'settlement_item' and item_type = 'refund' then amount
            else refund_amount
        end as refund_amount,
        refund_created_at,
        dispute_status,
        dispute_amount,
        debit,
        credit,
        occurred_at,
        settled_at,
        _row_hash,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
