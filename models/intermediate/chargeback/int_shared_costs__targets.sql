{{ config(materialized='table', meta={'rows_need': ['shared_cost_rules']}) }}
-- Grain: one row per pool of an open month and whoever bears a part of it, with the weight of that
-- part: what the target spent directly in the month in last places of its currency (usage_share),
-- its share in millionths of a millionth (fixed), or 1 (equal).
-- A rule that names no target means every one of its type that spent anything; one that names no
-- type either, every combination of owners.

{%- set owners = ["cost_center", "team_id", "project_id", "environment"] %}
{%- set types = [
    ("cost_center", "cost_center"), ("team", "team_id"),
    ("project", "project_id"), ("environment", "environment"),
] %}

with ruled as (
    select * from {{ ref('int_shared_costs__ruled') }}
),

rules as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as ends_date
    from {{ ref('shared_cost_rules') }}
),

teams as (
    select * from {{ ref('teams') }}
),

direct as (
    select
        account_id,
        billing_month,
        {{ owners | join(',\n        ') }},
        sum(amount) as amount
    from ruled
    where cost_kind = 'usage' and rule_id is null
    group by all
),

spenders as (
    {% for type, column in types -%}
    select
        account_id,
        billing_month,
        '{{ type }}' as target_type,
        {{ column }} as target_id,
        {% for owner in owners -%}
        {% if owner == column -%}
        {{ owner }},
        {% elif owner == "cost_center" and type == "team" -%}
        max(cost_center) as cost_center,
        {% else -%}
        cast(null as varchar) as {{ owner }},
        {% endif -%}
        {% endfor -%}
        sum(amount) as amount
    from direct
    where {{ column }} is not null
    group by account_id, billing_month, {{ column }}
    union all
    {% endfor -%}
    select
        account_id,
        billing_month,
        'all' as target_type,
        cast(null as varchar) as target_id,
        {{ owners | join(',\n        ') }},
        amount
    from direct
    where coalesce({{ owners | join(', ') }}) is not null
),

pools as (
    select distinct
        account_id,
        billing_month,
        pool,
        rule_id,
        targets_on_date
    from ruled
    where rule_id is not null
),

named as (
    select
        pools.*,
        rules.method,
        coalesce(rules.target_type, 'all') as target_type,
        rules.target_id,
        rules.share
    from pools
    inner join rules
        on
            pools.rule_id = rules.rule_id
            and pools.targets_on_date >= rules.valid_from_date
            and pools.targets_on_date < rules.ends_date
),

found as (
    select
        named.account_id,
        named.billing_month,
        named.pool,
        named.rule_id,
        named.targets_on_date,
        {% for type, column in types -%}
        coalesce(
            {%- if type == "cost_center" %}
            case when named.target_type = 'team' then teams.cost_center end,
            {%- endif %}
            spenders.{{ column }},
            case when named.target_type = '{{ type }}' then named.target_id end
        ) as {{ column }},
        {% endfor -%}
        case named.method
            when 'usage_share'
                then {{ in_last_decimals('coalesce(spenders.amount, 0)') }}
            when 'fixed' then cast(named.share * 1000000000000 as hugeint)
            else 1
        end as weight
    from named
    -- Left join: who is named bears a part, also without usage of its own.
    left join spenders
        on
            named.account_id = spenders.account_id
            and named.billing_month = spenders.billing_month
            and named.target_type = spenders.target_type
            and (named.target_id is null or named.target_id = spenders.target_id)
    left join teams on coalesce(spenders.team_id, named.target_id) = teams.team_id
    where named.target_id is not null or spenders.account_id is not null
),

final as (
    select
        account_id,
        billing_month,
        pool,
        rule_id,
        targets_on_date,
        {{ owners | join(',\n        ') }},
        sum(weight) as weight
    from found
    group by all
    having sum(weight) > 0
)

select * from final
