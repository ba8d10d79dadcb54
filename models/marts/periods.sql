-- Grain: one row per account and billing month (contract, table T7).
-- A closed month keeps the figures of its close. Months closed elsewhere (accounts.closed_through)
-- have none. A month is one in which anything is known of the account: usage, movements of its
-- wallet, corrections, or something that a close would refuse over.

with chargeback as (
    select * from {{ ref('chargeback') }}
),

frozen as (
    select * from {{ ref('stg_closes__rows') }}
    where row_type = 'period'
),

accounts as (
    select * from {{ ref('accounts') }}
),

exceptions as (
    select
        account_id,
        billing_month,
        count(*) as blocking_exceptions
    from {{ ref('exceptions') }}
    where blocking and status = 'open'
    group by account_id, billing_month
),

facts as (
    select
        account_id,
        billing_month,
        max(currency) as currency,
        sum(amount) as billed_cost
    from {{ ref('int_chargeback__facts') }}
    where cost_kind = 'usage'
    group by account_id, billing_month
),

adjusted as (
    select
        account_id,
        billing_month,
        max(currency) as currency,
        sum(adjustments) as adjustments_amount
    from chargeback
    where period_status = 'open'
    group by account_id, billing_month
),

invoiced as (
    select
        accruals.account_id,
        accruals.billing_month,
        accounts.currency,
        sum(accruals.invoiced_amount) as invoiced_amount
    from {{ ref('accruals') }} as accruals
    inner join accounts
        on
            accruals.account_id = accounts.account_id
            and accruals.currency = accounts.currency
    group by accruals.account_id, accruals.billing_month, accounts.currency
),

closed as (
    select * from {{ ref('int_periods__closed') }}
),

moved as (
    select distinct
        account_id,
        billing_month
    from {{ ref('int_wallet__days') }}
    where movements > 0
),

months as (
    select
        account_id,
        billing_month
    from facts
    union
    select
        account_id,
        billing_month
    from adjusted
    union
    select
        account_id,
        billing_month
    from moved
    union
    select
        account_id,
        billing_month
    from exceptions
    where account_id is not null and billing_month is not null
    union
    select
        account_id,
        billing_month
    from frozen
    union
    select
        account_id,
        closed_through as billing_month
    from accounts
    where closed_through is not null
),

final as (
    select
        months.account_id,
        months.billing_month,
        coalesce(frozen.currency, accounts.currency, facts.currency, adjusted.currency, 'USD')
            as currency,
        case
            when months.billing_month <= closed.closed_through then 'closed' else 'open'
        end as status,
        frozen.closed_at,
        frozen.reviewer,
        cast(case
            when frozen.close_id is not null then frozen.billed_cost
            when months.billing_month <= closed.closed_through then null
            else facts.billed_cost
        end as decimal(38, 18)) as billed_cost,
        cast(case
            when frozen.close_id is not null then frozen.adjustments_amount
            when months.billing_month <= closed.closed_through then null
            else coalesce(adjusted.adjustments_amount, 0)
        end as decimal(38, 18)) as adjustments_amount,
        cast(case
            when frozen.close_id is not null then frozen.invoiced_amount
            when months.billing_month <= closed.closed_through then null
            else invoiced.invoiced_amount
        end as decimal(38, 18)) as invoiced_amount,
        cast(case
            when months.billing_month <= closed.closed_through then 0
            else coalesce(exceptions.blocking_exceptions, 0)
        end as bigint) as blocking_exceptions,
        frozen.packet_sha256,
        frozen.ledger_digest
    from months
    left join closed on months.account_id = closed.account_id
    left join frozen
        on months.account_id = frozen.account_id and months.billing_month = frozen.billing_month
    left join accounts on months.account_id = accounts.account_id
    left join facts
        on months.account_id = facts.account_id and months.billing_month = facts.billing_month
    left join adjusted
        on months.account_id = adjusted.account_id and months.billing_month = adjusted.billing_month
    left join invoiced
        on
            months.account_id = invoiced.account_id
            and months.billing_month = invoiced.billing_month
    left join exceptions
        on
            months.account_id = exceptions.account_id
            and months.billing_month = exceptions.billing_month
)

select * from final
