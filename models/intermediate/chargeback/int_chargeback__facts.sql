{{ config(materialized='table') }}
-- Grain: one row per account, billing day, kind of cost (usage, topup_fee, subscription), what
-- chargeback is by, pool and currency: everything an account is to bear, as it is known now.
-- A pool names the shared_cost_rules.cost_kind that may spread the cost.

with days as (
    select * from {{ ref('int_chargeback__days') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
),

subscriptions as (
    select
        account_id,
        charge_date as billing_date,
        cost_center,
        -- Without a rate it is charged back in its own currency.
        case when account_amount is null then currency else account_currency end as currency,
        coalesce(account_amount, amount) as amount
    from {{ ref('int_subscriptions__spread') }}
),

fees as (
    select
        account_id,
        -- The day in the account's month, also where UTC is a day ahead or behind.
        greatest(
            least(
                cast(occurred_at as date), last_day(cast(billing_month || '-01' as date))
            ), cast(billing_month || '-01' as date)
        ) as billing_date,
        -- At the rate that a payment was posted at; without one in the currency that was paid.
        case
            when gateway is null and fx_rate is not null then currency
            else coalesce(payment_currency, currency)
        end as currency,
        case
            when gateway is null and payment_currency <> currency and fx_rate is not null
                then {{ converted('fee', 'fx_rate') }}
            else fee
        end as amount
    from ledger
    where (entry_type = 'purchase' or origin = 'correction') and fee <> 0
),

facts as (
    select
        account_id,
        billing_date,
        'usage' as cost_kind,
        case
            when shared_key_id is not null then 'key:' || shared_key_id
            when is_cache_storage then 'cache_storage'
            when team_id is null and cost_center is null then 'untagged'
        end as pool,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        billed_cost as amount,
        {{ chargeback_counts() | join(',\n        ') }}
    from days
    union all
    select
        account_id,
        billing_date,
        'topup_fee' as cost_kind,
        'topup_fee' as pool,
        {% for name in chargeback_dimensions() -%}
        cast(null as varchar) as {{ name }},
        {% endfor -%}
        currency,
        amount,
        0 as requests,
        0 as unpriced_requests,
        cast(null as decimal(38, 18)) as unpriced_gateway_cost
    from fees
    union all
    select
        account_id,
        billing_date,
        'subscription' as cost_kind,
        -- Who pays is said with the subscription, or shared by a rule.
        case when cost_center is null then 'subscription' end as pool,
        {% for name in chargeback_dimensions() -%}
        {{ name if name == "cost_center" else "cast(null as varchar) as " ~ name }},
        {% endfor -%}
        currency,
        amount,
        0 as requests,
        0 as unpriced_requests,
        cast(null as decimal(38, 18)) as unpriced_gateway_cost
    from subscriptions
),

final as (
    select
        account_id,
        billing_date,
        strftime(billing_date, '%Y-%m') as billing_month,
        cost_kind,
        pool,
        {{ chargeback_dimensions() | join(',\n        ') }},
        currency,
        cast(sum(amount) as decimal(38, 18)) as amount,
        cast(sum(requests) as bigint) as requests,
        cast(sum(unpriced_requests) as bigint) as unpriced_requests,
        cast(sum(unpriced_gateway_cost) as decimal(38, 18)) as unpriced_gateway_cost
    from facts
    group by all
)

select * from final
