{#- What decides which prices a usage record is given, besides its time. -#}
{% macro price_context() -%}
    {{ return(["price_provider", "price_model", "service_tier", "is_batch", "context_above_tokens", "price_region"]) }}
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
