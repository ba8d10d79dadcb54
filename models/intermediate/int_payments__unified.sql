{{ config(
    materialized='table',
    meta={'rows_need': ['int_payments__razorpay', 'int_payments__stripe']}
) }}
-- Grain: one row per payment, refund, dispute movement or other movement of cash, by business key.
-- However many events report a payment, in whatever order, it is one row and credits once.

with movements as (
    select * from {{ ref('int_payments__stripe') }}
    union all
    select * from {{ ref('int_payments__razorpay') }}
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

customers as (
    select
        payment_customer_id,
        min(wallet_id) as wallet_id
    from wallets
    where payment_customer_id is not null
    group by payment_customer_id
),

payments as (
    select * from movements
    where movement_type = 'payment'
),

-- What undoes a payment seldom names the wallet; the payment does.
with_payment as (
    select
        movements.*,
        payments.movement_id is not null as has_payment,
        payments.gross as payment_gross,
        coalesce(movements.wallet_id, payments.wallet_id) as named_wallet_id,
        coalesce(movements.payment_customer_id, payments.payment_customer_id) as customer_id
    from movements
    left join payments
        on
            movements.processor = payments.processor
            and movements.payment_reference = payments.movement_id
),

with_wallet as (
    select
        with_payment.*,
        coalesce(with_payment.named_wallet_id, customers.wallet_id) as credited_wallet_id
    from with_payment
    left join customers on with_payment.customer_id = customers.payment_customer_id
),

-- Credits named at the checkout are what was bought; else what was paid, less the tax on it.
offered as (
    select
        with_wallet.*,
        wallets.currency as wallet_currency,
        wallets.account_id,
        wallets.time_zone,
        wallets.opening_at,
        coalesce(wallets.is_configured, false) as is_wallet_known,
        case
            when with_wallet.credits is null then with_wallet.creditable
            when with_wallet.credits_currency is null
                then {{ money_at_rate('with_wallet.credits', 'wallets.credit_value') }}
            else with_wallet.credits
        end as offered_amount,
        case
            when with_wallet.credits is null then with_wallet.currency
            else coalesce(with_wallet.credits_currency, wallets.currency)
        end as offered_currency
    from with_wallet
    left join wallets on with_wallet.credited_wallet_id = wallets.wallet_id
),

converted as (
    select
        offered.*,
        case
            when offered.offered_currency <> offered.wallet_currency then fx_rates.rate
        end as fx_rate,
        case
            when offered.offered_currency = offered.wallet_currency then offered.offered_amount
            else {{ money_at_rate('offered.offered_amount', 'fx_rates.rate') }}
        end as full_credit
    from offered
    left join fx_rates
        on
            offered.offered_currency = fx_rates.base_currency
            and offered.wallet_currency = fx_rates.quote_currency
            and cast(offered.occurred_at as date) = fx_rates.rate_date
),

bought as (
    select
        processor,
        movement_id,
        full_credit
    from converted
    where movement_type = 'payment'
),

-- A refund takes back its share of the credits; the shares of several add up to the whole.
undone as (
    select
        converted.*,
        {{ in_millionths('bought.full_credit') }} as credit_millionths,
        {{ in_millionths('converted.payment_gross') }} as gross_millionths,
        {{ in_millionths('abs(converted.gross)') }} as own_millionths,
        case
            when converted.movement_type = 'refund'
                then sum(case
                    when converted.movement_type = 'refund'
                        then {{ in_millionths('abs(converted.gross)') }}
                end) over (
                    partition by converted.processor, converted.payment_reference
                    order by converted.occurred_at, converted.movement_id
                    rows unbounded preceding
                )
            else {{ in_millionths('abs(converted.gross)') }}
        end as undone_millionths
    from converted
    left join bought
        on
            converted.processor = bought.processor
            and converted.payment_reference = bought.movement_id
),

shared as (
    select
        *,
        case
            when movement_type = 'payment' then full_credit
            when movement_type in ('refund', 'dispute_hold') and gross_millionths > 0
                then -{{ from_millionths(
                    share_of('credit_millionths', 'undone_millionths', 'gross_millionths')
                    ~ ' - '
                    ~ share_of(
                        'credit_millionths', '(undone_millionths - own_millionths)', 'gross_millionths'
                    )
                ) }}
            when movement_type in ('refund', 'dispute_hold') then full_credit
        end as own_credit
    from undone
),

final as (
    select
        shared.processor || '/' || shared.movement_id as payment_movement_id,
        shared.processor,
        shared.movement_type,
        shared.movement_id,
        shared.processor || '/' || shared.payment_reference as payment_id,
        shared.payment_reference,
        shared.other_ids,
        shared.processor || '/' || shared.reverses_movement_id as reverses_movement_id,
        shared.credited_wallet_id as wallet_id,
        shared.is_wallet_known,
        shared.wallet_currency,
        coalesce(shared.account_id, 'unassigned') as account_id,
        coalesce(shared.time_zone, 'UTC') as time_zone,
        shared.customer_id as payment_customer_id,
        shared.has_payment,
        shared.payment_gross,
        shared.currency,
        shared.gross,
        shared.tax,
        shared.fee,
        cast(shared.gross - coalesce(shared.fee, 0) as decimal(38, 18)) as net,
        -- What is undone again comes back in full.
        cast(coalesce(shared.own_credit, -reversed.own_credit) as decimal(38, 18)) as credited,
        shared.fx_rate,
        shared.occurred_at,
        coalesce(shared.occurred_at < shared.opening_at, false) as is_before_opening
    from shared
    left join shared as reversed
        on
            shared.processor = reversed.processor
            and shared.reverses_movement_id = reversed.movement_id
)

select * from final
