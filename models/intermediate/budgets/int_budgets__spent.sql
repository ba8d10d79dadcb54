{{ config(materialized='table', meta={'rows_need': ['budgets']}) }}
-- Grain: one row per budget, period and day with spend of its scope, in the budget's currency.
-- Days are those of the account's calendar that a record belongs to.

with budgets as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as until_date,
        {{ week_shift_days('period') }} as shift_days
    from {{ ref('budgets') }}
),

spend as (
    select * from {{ ref('int_spend__daily') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

{#- (scope_type, column of int_spend__daily) -#}
{%- set scopes = [
    ("key", "api_key_id"), ("team", "team_id"), ("project", "project_id"),
    ("cost_center", "cost_center"), ("account", "account_id"), ("organization", "organization_id"),
] %}

scoped as (
    {%- for scope_type, column in scopes %}
    select
        '{{ scope_type }}' as scope_type,
        {{ column }} as scope_id,
        billing_date as spend_date,
        currency,
        min(account_id) as account_id,
        sum(records_without_cost) as records_without_cost,
        sum(billed_cost) as amount
    from spend
    where {{ column }} is not null
    group by {{ column }}, billing_date, currency
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

converted_days as (
    select
        budgets.budget_id,
        budgets.valid_from_date,
        scoped.spend_date,
        scoped.account_id,
        scoped.records_without_cost,
        scoped.amount is not null
        and scoped.currency <> budgets.currency
        and fx_rates.rate is null as is_rate_missing,
        case
            when scoped.currency = budgets.currency then scoped.amount
            else {{ money_at_rate('scoped.amount', 'fx_rates.rate') | indent(12) }}
        end as amount,
        -- A budget that begins within a period begins its own.
        greatest(
            cast(
                date_trunc(budgets.period, scoped.spend_date + budgets.shift_days) as date
            ) - budgets.shift_days,
            budgets.valid_from_date
        ) as period_start_date
    from budgets
    inner join scoped
        on
            budgets.scope_type = scoped.scope_type
            and budgets.scope_id = scoped.scope_id
            and budgets.valid_from_date <= scoped.spend_date
            and budgets.until_date > scoped.spend_date
    left join fx_rates
        on
            scoped.spend_date = fx_rates.rate_date
            and scoped.currency = fx_rates.base_currency
            and budgets.currency = fx_rates.quote_currency
),

final as (
    select
        budget_id,
        valid_from_date,
        period_start_date,
        spend_date,
        min(account_id) as account_id,
        cast(sum(records_without_cost) as bigint) as records_without_cost,
        -- A day without a rate is unknown, and so is what it is part of.
        case when not bool_or(is_rate_missing) then cast(sum(amount) as decimal(38, 18)) end
            as amount,
        bool_or(is_rate_missing) as is_rate_missing
    from converted_days
    group by budget_id, valid_from_date, period_start_date, spend_date
)

select * from final
