-- Grain: one row per account that has closed anything: its last closed month, and the open month
-- that bears what comes late.
-- Months close in order, so that one month says it all. accounts.closed_through starts an account
-- whose earlier months were closed elsewhere.

with closes as (
    select
        account_id,
        billing_month
    from {{ ref('stg_closes__rows') }}
    where row_type = 'period'
),

accounts as (
    select
        account_id,
        closed_through
    from {{ ref('accounts') }}
    where closed_through is not null
),

months as (
    select
        account_id,
        billing_month
    from closes
    union all
    select
        account_id,
        closed_through as billing_month
    from accounts
),

latest as (
    select
        account_id,
        max(billing_month) as closed_through
    from months
    group by account_id
),

final as (
    select
        account_id,
        closed_through,
        strftime(cast(closed_through || '-01' as date) + interval 1 month, '%Y-%m') as open_month
    from latest
)

select * from final
