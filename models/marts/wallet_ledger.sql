-- Grain: one row per entry of a wallet; entries are never changed, a correction is a further one.
-- The balance follows from the times of the entries and their ids, never from when they arrived.

with entries as (
    select * from {{ ref('int_wallet__entries') }}
),

final as (
    select
        entry_id,
        wallet_id,
        account_id,
        billing_month,
        entry_type,
        occurred_at,
        cast(amount as decimal(38, 18)) as amount,
        currency,
        payment_currency,
        cast(gross as decimal(38, 18)) as gross,
        cast(tax as decimal(38, 18)) as tax,
        cast(fee as decimal(38, 18)) as fee,
        cast(net as decimal(38, 18)) as net,
        cast(credited as decimal(38, 18)) as credited,
        cast(fx_rate as decimal(18, 12)) as fx_rate,
        cast(coalesce(sum(amount) over (
            partition by wallet_id
            order by occurred_at asc, origin = 'opening' desc, entry_id asc
            rows unbounded preceding
        ), 0) as decimal(38, 18)) as balance_after,
        reported_balance_after,
        reference,
        payment_reference,
        has_payment,
        reverses_entry_id,
        description,
        request_id,
        gateway,
        window_from_at,
        window_to_at,
        origin,
        is_wallet_known
    from entries
)

select * from final
