{#- What this run builds: as_of, whether every day is built, whether prices or owners may have
    changed.
    A build hands it over; what else is run on a warehouse reads what the last build was told.
    Unit tests and the linter see the variables of dbt_project.yml instead. -#}
{% macro build_plan() -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return({"as_of": var("as_of"), "is_every_day": var("touched_days") is none, "has_new_prices": true, "has_new_owners": var("touched_days") is none, "has_new_seeds": true}) }}
    {%- endif -%}
    {%- set told = var("build_plan", none) -%}
    {%- if told is not none -%}
        {{ return(told) }}
    {%- endif -%}
    {%- set rows = run_query("select value from audit.state where name = 'build_plan'").rows -%}
    {{ return(fromjson(rows[0][0])) }}
{%- endmacro %}

{#- The UTC days to build, or none for every day: those whose records changed in raw, and, once
    price_sets and int_owners__resolved are built, those whose records are priced or owned
    otherwise now. -#}
{% macro touched_days(tables=none) -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return(var("touched_days")) }}
    {%- elif build_plan()["is_every_day"] -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set rows = run_query("
        select distinct cast(touched_date as varchar) from audit.touched_days
        where table_name in ('" ~ (tables or raw_usage_tables() + ["price_sets", "owners"]) | join("', '") ~ "')
        ").rows -%}
    {{ return(rows | map(attribute=0) | list) }}
{%- endmacro %}

{#- The tables of raw whose rows become usage records. -#}
{% macro raw_usage_tables() -%}
    {{ return(["litellm__spend_logs", "gateway__usage"]) }}
{%- endmacro %}
