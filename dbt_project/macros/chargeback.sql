{#- Whom spend is charged back to, and for what; finer than this nothing is allocated. -#}
{% macro chargeback_dimensions() -%}
    {{ return(["cost_center", "team_id", "project_id", "environment", "provider", "model"]) }}
{%- endmacro %}

{#- Counts and amounts that stand beside money that is not known. -#}
{% macro chargeback_counts() -%}
    {{ return(["requests", "unpriced_requests", "unpriced_gateway_cost"]) }}
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
