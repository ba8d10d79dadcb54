-- Grain: one row per credit of a wallet that expired unused.
-- The first credit in is the first used. With one span for all, what has gone from a wallet by the
-- end of a credit (used or expired) is at least everything that came in up to that credit; the
-- difference to what was used expires. A credit expires once anything later than its end is known.

with wallets as (
    select * from {{ ref('int_wallets__described') }}
    where expiry_days is not null and not has_recorded_expiries
),

entries as (
    select
        entries.wallet_id,
        entries.entry_id,
        entries.entry_type,
        entries.occurred_at,
        entries.amount,
        wallets.expiry_days
    from {{ ref('int_wallet__entries') }} as entries
    inner join wallets on entries.wallet_id = wallets.wallet_id
    where entries.origin <> 'usage'
),

debits as (
    select
        debits.wallet_id,
        debits.window_to_at,
        debits.debit_amount
    from {{ ref('int_wallet__expiring_debits') }} as debits
    inner join wallets on debits.wallet_id = wallets.wallet_id
    where not wallets.has_recorded_debits
),

known as (
    select last_started_at as known_at
    from {{ ref('int_wallet__usage') }}
    union all
    select occurred_at as known_at
    from entries
),

reached as (
    select max(known_at) as last_at
    from known
),

-- A refund to the wallet gives back what was used; only what was bought or granted expires.
movements as (
    select
        wallet_id,
        entry_id,
        occurred_at as moment_at,
        entry_type in ('purchase', 'adjustment') and amount > 0 as is_credit,
        amount,
        expiry_days
    from entries
    where amount is not null
),

came as (
    select
        *,
        sum(amount) over (
            partition by wallet_id
            order by moment_at, entry_id
            rows unbounded preceding
        ) as come_amount
    from movements
    where is_credit
),

moments as (
    select
        wallet_id,
        entry_id,
        moment_at + expiry_days * interval 1 day as moment_at,
        come_amount,
        cast(0 as decimal(38, 18)) as used_amount
    from came
    union all
    select
        wallet_id,
        entry_id,
        moment_at,
        null as come_amount,
        -amount as used_amount
    from movements
    where not is_credit
    union all
    select
        wallet_id,
        cast(null as varchar) as entry_id,
        window_to_at as moment_at,
        null as come_amount,
        debit_amount as used_amount
    from debits
),

-- What is used in the moment of an expiry is used before it.
gone as (
    select
        *,
        sum(used_amount) over (
            partition by wallet_id
            order by moment_at
            range unbounded preceding
        ) as gone_amount
    from moments
),

overdue as (
    select
        *,
        greatest(0, max(come_amount - gone_amount) over (
            partition by wallet_id
            order by moment_at, come_amount, entry_id
            rows unbounded preceding
        )) as expired_amount
    from gone
    where come_amount is not null
),

parted as (
    select
        *,
        expired_amount - coalesce(lag(expired_amount) over (
            partition by wallet_id
            order by moment_at, come_amount, entry_id
        ), 0) as amount
    from overdue
),

final as (
    select
        'expiry/' || parted.entry_id as entry_id,
        'expiry' as origin,
        parted.wallet_id,
        wallets.account_id,
        wallets.time_zone,
        wallets.is_configured as is_wallet_known,
        'expiry' as entry_type,
        parted.moment_at as occurred_at,
        {{ month_in('parted.moment_at', 'wallets.time_zone') }} as billing_month,
        cast(-parted.amount as decimal(38, 18)) as amount,
        wallets.currency,
        false as has_payment,
        parted.entry_id as reference,
        'Not used within ' || wallets.expiry_days || ' days' as description
    from parted
    inner join wallets on parted.wallet_id = wallets.wallet_id
    cross join reached
    where parted.amount > 0 and parted.moment_at <= reached.last_at
)

select * from final
