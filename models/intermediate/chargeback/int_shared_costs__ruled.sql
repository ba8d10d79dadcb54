{{ config(materialized='table') }}
-- Grain: one row per account, open month, kind of cost, pool, rule that spreads it, what chargeback
-- is by and currency; without a rule the cost stays where it arose.
-- A rule of the account is preferred to one for all. Where its rows change within a month, the days
-- before and after are pools of their own; targets_on_date is the first day of each.

with facts as (
    select * from {{ ref('int_chargeback__facts') }}
),

closed as (
    select * from {{ ref('int_periods__closed') }}
),

rules as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as ends_date
    from {{ ref('shared_cost_rules') }}
),

open_facts as (
    select facts.*
    from facts
    left join closed on facts.account_id = closed.account_id
    where closed.account_id is null or facts.billing_month > closed.closed_through
),

pool_days as (
    select distinct
        account_id,
        billing_month,
        billing_date,
        pool
    from open_facts
    where pool is not null
),

chosen as (
    select
        pool_days.*,
        rules.rule_id
    from pool_days
    inner join rules
        on
            pool_days.pool = rules.cost_kind
            and (rules.account_id is null or pool_days.account_id = rules.account_id)
            and pool_days.billing_date >= rules.valid_from_date
            and pool_days.billing_date < rules.ends_date
    qualify row_number() over (
        partition by pool_days.account_id, pool_days.billing_date, pool_days.pool
        order by rules.account_id is null asc, rules.rule_id asc
    ) = 1
),

described as (
    select
        chosen.account_id,
        chosen.billing_month,
        chosen.billing_date,
        chosen.pool,
        chosen.rule_id,
        string_agg(
            concat_ws('|', rules.method, rules.target_type, rules.target_id, rules.share), ','
            order by rules.target_type, rules.target_id, rules.share
        ) as targets
    from chosen
    inner join rules
        on
            chosen.rule_id = rules.rule_id
            and chosen.billing_date >= rules.valid_from_date
            and chosen.billing_date < rules.ends_date
    group by all
),

ruled_days as (
    select
        *,
        min(billing_date) over (
            partition by account_id, billing_month, pool, rule_id, targets
        ) as targets_on_date
    from described
),

final as (
    select
        open_facts.account_id,
        open_facts.billing_month,
        open_facts.cost_kind,
        case when ruled_days.rule_id is not null then open_facts.pool end as pool,
        ruled_days.rule_id,
        ruled_days.targets_on_date,
        {% for name in chargeback_dimensions() -%}
        open_facts.{{ name }},
        {% endfor -%}
        open_facts.currency,
        cast(sum(open_facts.amount) as decimal(38, 18)) as amount,
        cast(sum(open_facts.requests) as bigint) as requests,
        cast(sum(open_facts.unpriced_requests) as bigint) as unpriced_requests,
        cast(sum(open_facts.unpriced_gateway_cost) as decimal(38, 18)) as unpriced_gateway_cost
    from open_facts
    left join ruled_days
        on
            open_facts.account_id = ruled_days.account_id
            and open_facts.billing_date = ruled_days.billing_date
            and open_facts.pool = ruled_days.pool
    group by all
)

select * from final
