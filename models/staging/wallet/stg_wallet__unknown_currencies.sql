-- Grain: one row per event of a payment that was refused because no currency has its code. How many
-- minor units make one of it nobody knows, so that it has no amount.

with quarantine as (
    select * from {{ source('audit', 'quarantine') }}
    where reason_code = 'unsupported_currency'
),

batches as (
    select * from {{ source('audit', 'load_batches') }}
    where kind in ('stripe', 'razorpay')
),

final as (
    select
        quarantine.source,
        json_extract_string(quarantine.fields, '$.payment_customer_id') as payment_customer_id,
        json_extract_string(quarantine.fields, '$.wallet_id') as wallet_id,
        upper(json_extract_string(quarantine.fields, '$.currency')) as currency,
        make_timestamp(
            1000000 * try_cast(json_extract_string(quarantine.fields, '$.occurred_at') as bigint)
        ) as occurred_at
    from quarantine
    inner join batches on quarantine.load_batch_id = batches.load_batch_id
)

select * from final
where currency is not null and occurred_at is not null
