{#- Whom spend is charged back to, and for what; finer than this nothing is allocated. -#}
{% macro chargeback_dimensions() -%}
    {{ return(["cost_center", "team_id", "project_id", "environment", "provider", "model"]) }}
{%- endmacro %}

{#- Counts and amounts that stand beside money that is not known. -#}
{% macro chargeback_counts() -%}
    {{ return(["requests", "unpriced_requests", "unpriced_gateway_cost"]) }}
{%- endmacro %}

{#- An amount of 18 places as a whole number of its last place. -#}
{% macro in_last_places(amount) -%}
    cast(replace(cast({{ amount }} as varchar), '.', '') as hugeint)
{%- endmacro %}

{#- A whole number of last places as an amount again; the parts are taken apart so that no product
    needs more than 38 digits. -#}
{% macro from_last_places(places) -%}
    cast(
        cast({{ places }} // 1000000000000000000 as decimal(38, 18))
        + cast({{ places }} % 1000000000000000000 as decimal(18, 0))
        * cast('0.000000000000000001' as decimal(18, 18)) as decimal(38, 18)
    )
{%- endmacro %}

{#- The columns `quotient` and `remainder` of amount x weight / total_weight in whole numbers, by
    long division six digits at a time: the product itself would need more than 38 digits. -#}
{% macro share_by_long_division(amount, weight, total_weight) -%}
    {%- for place in range(6, -1, -1) %}
        {%- set base = "1" ~ "000000" * place %}
        {%- set carried = "0" if loop.first else "rest_" ~ (place + 1) ~ " * 1000000" %}
        {{ carried }} + (({{ amount }} // {{ base }}) % 1000000) * {{ weight }} as digits_{{ place }},
        digits_{{ place }} % {{ total_weight }} as rest_{{ place }},
    {%- endfor %}
        {% for place in range(6, -1, -1) -%}
        (digits_{{ place }} // {{ total_weight }}) * 1{{ "000000" * place }}
        {{ "+ " if not loop.last }}
        {%- endfor %} as quotient,
        rest_0 as remainder
{%- endmacro %}
