-- Grain: one row per payment that was refused because nothing in its event names a wallet.

with quarantine as (
    select * from {{ source('audit', 'quarantine') }}
    where reason_code = 'orphan_topup'
),

batches as (
    select * from {{ source('audit', 'load_batches') }}
),

read_back as (
    select
        case when batches.kind = 'razorpay' then 'razorpay' else 'stripe' end as processor,
        json_extract_string(quarantine.fields, '$.payment_id') as payment_id,
        json_extract_string(quarantine.fields, '$.payment_intent_id') as payment_intent_id,
        json_extract_string(quarantine.fields, '$.checkout_session_id') as checkout_session_id,
        try_cast(json_extract_string(quarantine.fields, '$.amount') as bigint) as minor_units,
        upper(json_extract_string(quarantine.fields, '$.currency')) as currency,
        make_timestamp(
            1000000 * try_cast(json_extract_string(quarantine.fields, '$.occurred_at') as bigint)
        ) as occurred_at
    from quarantine
    inner join batches on quarantine.load_batch_id = batches.load_batch_id
),

orphaned as (
    select
        processor,
        coalesce(payment_id, payment_intent_id, checkout_session_id) as payment_reference,
        min(currency) as currency,
        max(minor_units) as minor_units,
        min(occurred_at) as occurred_at
    from read_back
    group by all
),

final as (
    select
        processor,
        payment_reference,
        currency,
        cast(
            minor_units * {{ minor_unit('currency', 'processor') }} as decimal(38, 18)
        ) as gross,
        occurred_at
    from orphaned
)

select * from final
