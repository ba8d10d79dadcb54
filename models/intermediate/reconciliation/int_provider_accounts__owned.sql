{{ config(materialized='table') }}
-- Grain: one row per provider account, and per vendor that is a gateway: the account that most of
-- its usage is for, to which what a person must look at is booked.

with slices as (
    select * from {{ ref('int_usage__sliced') }}
),

lines as (
    select * from {{ ref('int_invoice_lines__mapped') }}
),

vendors as (
    select
        vendor,
        gateway
    from lines
    where gateway is not null
    group by vendor, gateway
),

usage as (
    select
        provider_account_id,
        account_id,
        coalesce(provider_cost, 0) as spent_amount
    from slices
    where payee = provider and provider_account_id is not null
    union all
    select
        vendors.vendor as provider_account_id,
        slices.account_id,
        coalesce(slices.billed_cost, 0) as spent_amount
    from slices
    inner join vendors on slices.gateway = vendors.gateway
    where slices.payee = slices.gateway
),

summed as (
    select
        provider_account_id,
        account_id,
        sum(spent_amount) as spent_amount
    from usage
    group by provider_account_id, account_id
),

final as (
    select
        provider_account_id,
        arg_max(account_id, (spent_amount, account_id)) as account_id
    from summed
    group by provider_account_id
)

select * from final
