-- Grain: one row per entry of a wallet's ledger that a close froze, with the entry it is about: its
-- own, or the one that it corrects. What came before the wallet's opening is in the opening balance.

with rows_of_closes as (
    select * from {{ ref('stg_closes__rows') }}
    where row_type = 'entry'
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

typed as (
    select
        * exclude (billing_month, has_payment, is_wallet_known),
        -- A month without usage is closed with the next that has some.
        entry_month as billing_month,
        cast(has_payment as boolean) as has_payment,
        cast(is_wallet_known as boolean) as is_wallet_known,
        case when gateway is null then coalesce(window_from_at, happened_at) else happened_at end
            as begins_at
    from rows_of_closes
),

final as (
    select
        {{ ledger_columns('typed') }},
        case
            when typed.origin in ('correction', 'usage_correction') then typed.reverses_entry_id
            else typed.entry_id
        end as root_entry_id
    from typed
    left join wallets on typed.wallet_id = wallets.wallet_id
    where wallets.opening_at is null or typed.begins_at >= wallets.opening_at
)

select * from final
