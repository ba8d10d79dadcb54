-- Grain: one row per adjustment somebody made by hand, in its newest version.

with source as (
    select * from {{ source('wallet', 'wallet__adjustments') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by adjustment_id order by posted_at desc, _row_hash desc
    ) = 1
),

renamed as (
    select
        adjustment_id,
        wallet_id,
        posted_at,
        amount,
        currency,
        kind,
        case when kind = 'expiry' then 'expiry' else 'adjustment' end as entry_type,
        reason,
        approved_by,
        approval_ticket,
        related_request_id,
        reverses_adjustment_id,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
