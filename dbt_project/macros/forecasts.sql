{#- The forecast that stands in budgets and overview: what the days left of a period cost if each
    costs the mean of its weekday over the two weeks before today. Compared with month-to-date over
    days elapsed by tests/unit/test_forecast.py. -#}

{#- Per series and weekday the mean of the 14 days before today. A day without spend cost 0.
    days: a relation with the columns in keys, spend_date, amount and today. -#}
{% macro weekday_means(days, keys) -%}
    select
        {{ keys | join(", ") }},
        dayofweek(spend_date) as weekday,
        cast(sum(amount) * cast(0.5 as decimal(2, 1)) as decimal(38, 18)) as mean_amount
    from {{ days }}
    where spend_date >= today - 14 and spend_date < today
    group by {{ keys | join(", ") }}, weekday
{%- endmacro %}

{#- What a period costs if the days left cost what those gone did; exact to the last decimal. -#}
{% macro run_rate(amount, days_gone, days) -%}
    {{ from_last_decimals(in_last_decimals(amount) ~ " * " ~ days ~ " // greatest(1, " ~ days_gone ~ ")") }}
{%- endmacro %}

{#- A share of a budget as an amount. -#}
{% macro share_of_budget(share, amount) -%}
    {{ money_at_rate(amount, "cast(" ~ share ~ " as decimal(18, 12))") }}
{%- endmacro %}
