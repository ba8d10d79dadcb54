{#- What of a usage record decides, besides its day, who owns it and at which rates: name, and
    expression over the record. A user matters only where the record names no team: there are many
    users, few teams. -#}
{% macro owner_context(record="usage") -%}
    {{ return([
        ("gateway", record ~ ".gateway"),
        ("api_key_id", record ~ ".api_key_id"),
        ("team_id", record ~ ".team_id"),
        ("project_id", "coalesce(" ~ record ~ ".project_id, " ~ record ~ ".tagged_project_id)"),
        ("organization_id", record ~ ".organization_id"),
        ("user_id", "case when " ~ record ~ ".team_id is null then " ~ record ~ ".user_id end"),
        ("price_provider", record ~ ".price_provider"),
        ("model_id", record ~ ".model_id"),
        ("api_base", record ~ ".api_base"),
        ("logged_currency", record ~ ".logged_currency"),
    ]) }}
{%- endmacro %}

{% macro owner_context_names() -%}
    {{ return(owner_context() | map(attribute=0) | list) }}
{%- endmacro %}

{#- What is known (CTE states) of one owner of each context on its day, from its own gateway before
    others. -#}
{% macro state_of(entities, contexts, id) %}
    select
        {{ contexts }}.context_number,
        states.*
    from {{ contexts }}
    inner join states
        on
            {{ contexts }}.{{ id }} = states.entity_id
            and states.entity in ('{{ entities | join("', '") }}')
            and {{ contexts }}.usage_date >= states.valid_from_date
            and {{ contexts }}.usage_date < states.valid_to_date
    qualify row_number() over (
        partition by {{ contexts }}.context_number
        order by
            {{ contexts }}.gateway = states.gateway desc,
            states.entity like 'deleted%',
            states.gateway
    ) = 1
{%- endmacro %}

{#- What may be stated of an owner besides ids, on a record, a key, a project, a team or an
    organization. -#}
{% macro owner_labels() -%}
    {{ return([
        "cost_center", "environment", "workflow", "customer_segment", "budget_owner", "ticket",
    ]) }}
{%- endmacro %}

{#- The days whose owners are resolved in this run: all where owner tables or their seeds brought
    news. The days of other prices are not among them, for prices own nothing. -#}
{% macro in_owner_days(column) -%}
    {%- if build_plan()["has_new_owners"] -%}
        true
    {%- else -%}
        {{ in_touched_days(column, raw_usage_tables()) }}
    {%- endif -%}
{%- endmacro %}

{#- Incremental strategy of int_owners__resolved: the days that were resolved anew are replaced.
    Where owners brought news, the days on which anything of it differs are noted, in the same
    transaction, as days to build, to check and to publish. -#}
{% macro get_incremental_owner_days_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set new = arg_dict["temp_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") %}
    {%- if build_plan()["has_new_owners"] %}
    create or replace temp table reowned_days as
    with differing as (
        (select {{ columns }} from {{ target }} except select {{ columns }} from {{ new }})
        union all
        (select {{ columns }} from {{ new }} except select {{ columns }} from {{ target }})
    )
    select distinct usage_date from differing;
    insert into audit.touched_days select 'owners', usage_date from reowned_days;
    insert into audit.pending_days
    select consumer, usage_date
    from reowned_days
    cross join (values ('publish'), ('check')) as consumers (consumer);
    delete from {{ target }} where usage_date in (select usage_date from reowned_days);
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ new }}
    where usage_date in (select usage_date from reowned_days)
    {%- else %}
    delete from {{ target }} where {{ in_owner_days("usage_date") }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ new }}
    {%- endif %}
{%- endmacro %}
