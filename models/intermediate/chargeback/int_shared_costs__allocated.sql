{{ config(materialized='table', meta={'rows_need': ['shared_cost_rules']}) }}
-- Grain: one row per pool of an open month, provider, model, currency and whoever bears a part.
-- By largest remainder: every part is rounded down to its 18th place, and what is left of the pool
-- goes, one last place each, to the parts that lost most; so the parts add up to the pool exactly.

with ruled as (
    select * from {{ ref('int_shared_costs__ruled') }}
    where rule_id is not null and amount is not null
),

targets as (
    select * from {{ ref('int_shared_costs__targets') }}
),

pools as (
    select
        account_id,
        billing_month,
        pool,
        rule_id,
        targets_on_date,
        provider,
        model,
        currency,
        {{ in_last_decimals('sum(amount)') }} as pool_places
    from ruled
    group by all
),

weighed as (
    select
        pools.*,
        targets.cost_center,
        targets.team_id,
        targets.project_id,
        targets.environment,
        targets.weight,
        abs(pools.pool_places) as places,
        sum(targets.weight) over (
            partition by
                pools.account_id, pools.billing_month, pools.pool, pools.rule_id,
                pools.targets_on_date, pools.provider, pools.model, pools.currency
        ) as total_weight
    from pools
    inner join targets
        on
            pools.account_id = targets.account_id
            and pools.billing_month = targets.billing_month
            and pools.pool = targets.pool
            and pools.rule_id = targets.rule_id
            and pools.targets_on_date = targets.targets_on_date
),

divided as (
    select
        {{ share_by_long_division('places', 'weight', 'cast(total_weight as hugeint)') }},
        *
    from weighed
),

ranked as (
    select
        *,
        places - sum(quotient) over (
            partition by
                account_id, billing_month, pool, rule_id, targets_on_date, provider, model, currency
        ) as left_over,
        row_number() over (
            partition by
                account_id, billing_month, pool, rule_id, targets_on_date, provider, model, currency
            order by
                remainder desc nulls last, cost_center asc nulls last, team_id asc nulls last,
                project_id asc nulls last, environment asc nulls last
        ) as place_in_line
    from divided
),

parts as (
    select
        *,
        cast(
            sign(pool_places) * (quotient + case when place_in_line <= left_over then 1 else 0 end)
            as hugeint
        ) as part_places
    from ranked
),

final as (
    select
        account_id,
        billing_month,
        pool,
        rule_id,
        targets_on_date,
        cost_center,
        team_id,
        project_id,
        environment,
        provider,
        model,
        currency,
        {{ from_last_decimals('part_places') }} as shared_cost
    from parts
)

select * from final
