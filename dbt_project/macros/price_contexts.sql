{#- What decides which prices a usage record is given, besides its time. -#}
{% macro price_context() -%}
    {{ return(["price_provider", "price_model", "service_tier", "is_batch", "context_above_tokens", "price_region"]) }}
{%- endmacro %}

{#- Whether two relations speak of the same context; a record may name no provider. -#}
{% macro same_price_context(left, right) -%}
    {{ left }}.price_provider is not distinct from {{ right }}.price_provider
    {%- for name in price_context() if name != "price_provider" %}
    and {{ left }}.{{ name }} = {{ right }}.{{ name }}
    {%- endfor %}
{%- endmacro %}

{#- The highest input size, among those at which any catalog changes a price, that was exceeded. -#}
{% macro context_band(column) -%}
    case
        when coalesce({{ column }}, 0) <= {{ var("context_thresholds") | min }} then 0
        {%- for threshold in var("context_thresholds") | sort(reverse=true) %}
        when {{ column }} > {{ threshold }} then {{ threshold }}
        {%- endfor %}
        else 0
    end
{%- endmacro %}
