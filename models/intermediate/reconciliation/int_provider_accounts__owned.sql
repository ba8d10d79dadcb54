{{ config(materialized='table') }}
-- Grain: one row per provider account: the account that most of its usage is for, to which what a
-- person must look at is booked.

with usage as (
    select
        provider_account_id,
        account_id,
        sum(coalesce(provider_cost, 0)) as provider_cost
    from {{ ref('int_usage__sliced') }}
    where payee = provider and provider_account_id is not null
    group by provider_account_id, account_id
),

final as (
    select
        provider_account_id,
        arg_max(account_id, (provider_cost, account_id)) as account_id
    from usage
    group by provider_account_id
)

select * from final
