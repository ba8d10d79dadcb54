-- Grain: one row per balance transaction; pending becomes available, nothing else about it changes.

with source as (
    select * from {{ source('stripe', 'stripe__records') }}
    where record_type = 'balance_transaction'
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by record_id
        order by status = 'available' desc, observed_at desc nulls last, _row_hash desc
    ) = 1
),

renamed as (
    select
        record_id as balance_transaction_id,
        transaction_type,
        source_id,
        status,
        currency,
        amount,
        fee,
        net,
        exchange_rate,
        occurred_at,
        available_at,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
