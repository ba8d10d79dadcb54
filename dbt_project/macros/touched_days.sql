{#- A filter on the days this build covers, as literal ranges, so that row groups are skipped.
    Without touched days every day is built. -#}
{% macro in_touched_days(column) -%}
    {%- set days = var("touched_days") -%}
    {%- if days is none -%}
        true
    {%- elif not days -%}
        false
    {%- else -%}
        (
        {%- for first, last in day_ranges(days) %}
            {{ "or " if not loop.first }}({{ column }} >= timestamp '{{ first }}' and {{ column }} < timestamp '{{ last }}')
        {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}

{#- Adjacent days as half-open ranges. -#}
{% macro day_ranges(days) -%}
    {%- set ranges = [] -%}
    {%- set one = modules.datetime.timedelta(days=1) -%}
    {%- for text in days | sort -%}
        {%- set day = modules.datetime.datetime.strptime(text, "%Y-%m-%d") -%}
        {%- if ranges and ranges[-1][1] == day -%}
            {%- set last = ranges.pop() -%}
            {%- do ranges.append((last[0], day + one)) -%}
        {%- else -%}
            {%- do ranges.append((day, day + one)) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(ranges) }}
{%- endmacro %}

{#- Incremental strategy: replace the touched days of a table by what was just selected. -#}
{% macro get_incremental_touched_days_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") %}
    delete from {{ target }} where {{ in_touched_days("usage_date") }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}
