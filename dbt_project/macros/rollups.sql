{#- The tables of raw of which a change makes a day's roll-up and log be compared anew. Where no
    roll-up was ever landed there is nothing to compare, and no log is read. -#}
{% macro rollup_tables() -%}
    {%- set counters = ["litellm__daily_spend", "openrouter__activity"] -%}
    {%- if execute and target.name != "lint" and model.resource_type != "unit_test" -%}
        {%- if not run_query("select 1 from raw." ~ counters | join(" union all select 1 from raw.") ~ " limit 1").rows -%}
            {{ return(counters) }}
        {%- endif -%}
    {%- endif -%}
    {{ return(counters + raw_usage_tables()) }}
{%- endmacro %}

{#- Incremental strategy of what compares roll-ups: days of either side are replaced. -#}
{% macro get_incremental_rollup_days_sql(arg_dict) -%}
    {{- days_replaced(arg_dict, in_touched_days("usage_date", rollup_tables())) -}}
{%- endmacro %}

{#- Whether a sum is above another by more than what counters of one gateway may differ by. -#}
{% macro exceeds_share(larger, smaller) -%}
    {{ larger }} - {{ smaller }} > 0.005 * {{ larger }}
{%- endmacro %}
