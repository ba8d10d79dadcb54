-- Grain: one row per gateway and moment it was asked for its credits.

with source as (
    select * from {{ source('openrouter', 'openrouter__credits') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by _gateway, observed_at order by _row_hash desc
    ) = 1
),

renamed as (
    select
        _gateway as gateway,
        observed_at,
        -- Both are counted since the account exists.
        cast(total_credits - total_usage as decimal(38, 18)) as balance_amount,
        'USD' as currency,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
