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

{#- A unit's own price, else that of the unit it is billed as. A price nearer to the record goes
    first: reasoning follows a nearer output price, and no price of live calls stands against the
    batch price of the text that a unit is billed as. -#}
{% macro resolved_price(unit, part) -%}
    {%- set own = unit.name ~ "_own_" ~ part -%}
    {%- if unit.falls_back_to is not defined -%}
        {{ own }}
    {%- elif unit.name == "output_reasoning_tokens" -%}
        case
            when output_text_tokens_distance < output_reasoning_tokens_distance
                then output_text_tokens_own_{{ part }}
            else coalesce({{ own }}, output_text_tokens_own_{{ part }}, output_image_tokens_own_{{ part }})
        end
    {%- elif unit.name in ("output_text_tokens", "output_image_tokens") -%}
        coalesce({{ own }}, {{ unit.falls_back_to }}_own_{{ part }})
    {%- else -%}
        {%- set root = "input_text_uncached_tokens" if unit.side == "input" else "output_text_tokens" -%}
        coalesce(
            {%- for name in billed_as(unit) %}
            {%- if name == root %}
            {{ name }}_own_{{ part }}
            {%- else %}
            case
                when is_batch and {{ root }}_batch_rank = 0 and {{ name }}_batch_rank = 1 then null
                else {{ name }}_own_{{ part }}
            end
            {%- endif %}
            {{- "," if not loop.last }}
            {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}

{#- A unit and the units whose prices stand in for its own, nearest first. -#}
{% macro billed_as(unit) -%}
    {%- set names = [unit.name] -%}
    {%- for other in usage_units() if other.name == unit.falls_back_to -%}
        {%- do names.append(other.name) -%}
        {%- if other.falls_back_to is defined -%}
            {%- do names.append(other.falls_back_to) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}
