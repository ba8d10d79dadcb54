{{ config(materialized='table', meta={'rows_need': ['markup_rules']}) }}
-- Grain: one row per account, what a rule is for (routing mode, provider, model; blank: any) and
-- span of days: the rule that holds. Of two rules for the same the lower priority holds, then the
-- one that began later.

{%- set key = ["account_id", "routing_mode", "provider", "model"] %}

with rules as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as ends_date,
        coalesce(priority, 1000000000) as priority_rank,
        case when routing_mode is null then 0 else 1 end
        + case when provider is null then 0 else 1 end
        + case when model is null then 0 else 1 end as said
    from {{ ref('markup_rules') }}
),

moments as (
    select
        {{ key | join(', ') }},
        valid_from_date as changes_date
    from rules
    union
    select
        {{ key | join(', ') }},
        ends_date as changes_date
    from rules
    where ends_date < date '9999-12-31'
),

spans as (
    select
        *,
        lead(changes_date, 1, date '9999-12-31') over (
            partition by {{ key | join(', ') }}
            order by changes_date
        ) as valid_to_date
    from moments
),

held as (
    select
        {% for name in key -%}
        spans.{{ name }},
        {% endfor -%}
        spans.changes_date as valid_from_date,
        spans.valid_to_date,
        rules.rule_id,
        rules.markup_rate,
        rules.fixed_fee,
        -- Across what rules are for: the lower priority, then the rule that says more.
        rules.priority_rank * 10 + 3 - rules.said as markup_rank
    from spans
    inner join rules
        on
            {% for name in key -%}
            spans.{{ name }} is not distinct from rules.{{ name }}
            and {% endfor -%}
            spans.changes_date >= rules.valid_from_date
            and spans.changes_date < rules.ends_date
    qualify row_number() over (
        partition by
            {% for name in key -%}
            spans.{{ name }},
            {% endfor -%}
            spans.changes_date
        order by rules.priority_rank asc, rules.valid_from_date desc, rules.rule_id asc
    ) = 1
)

select * from held
