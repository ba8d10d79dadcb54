{#- How a context band is written: above_200k, or null for the base band. -#}
{% macro band_name(column) -%}
    case
        when {{ column }} = 0 then null
        when {{ column }} % 1000 = 0 then 'above_' || cast(cast(floor({{ column }} / 1000) as bigint) as varchar) || 'k'
        else 'above_' || cast({{ column }} as varchar)
    end
{%- endmacro %}

{#- The lifetime of a cache write, by its unit. -#}
{% macro cache_lifetime(column) -%}
    case {{ column }}
        when 'input_cache_write_5m_tokens' then '5m'
        when 'input_cache_write_30m_tokens' then '30m'
        when 'input_cache_write_1h_tokens' then '1h'
        when 'input_cache_write_12h_tokens' then '12h'
    end
{%- endmacro %}

{#- A unit's own price, else that of the unit it is billed as. -#}
{% macro resolved_price(unit, part) -%}
    {%- set own = unit.name ~ "_own_" ~ part -%}
    {%- if unit.falls_back_to is not defined -%}
        {{ own }}
    {%- else -%}
        {%- set chain = [unit.name, unit.falls_back_to] -%}
        {%- for other in usage_units() if other.name == unit.falls_back_to and other.falls_back_to is defined -%}
            {%- do chain.append(other.falls_back_to) -%}
        {%- endfor -%}
        {%- set root = "input_text_uncached_tokens" if unit.side == "input" else "output_text_tokens" -%}
        {%- set parts = [] -%}
        {%- for name in chain -%}
            {%- do parts.append(name ~ "_own_" ~ part) -%}
        {%- endfor -%}
        {%- if unit.name == "output_reasoning_tokens" -%}
        case
            when output_text_tokens_distance < output_reasoning_tokens_distance
                then output_text_tokens_own_{{ part }}
            else coalesce({{ parts | join(", ") }})
        end
        {%- elif unit.name in ("output_text_tokens", "output_image_tokens") -%}
        coalesce({{ parts[:2] | join(", ") }})
        {%- else -%}
        case
            when is_batch and {{ root }}_distance < 1000000000 and {{ unit.name }}_distance >= 1000000000
                then {{ root }}_own_{{ part }}
            else coalesce({{ parts | join(", ") }})
        end
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
