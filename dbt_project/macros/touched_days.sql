{#- A filter on the days this build covers, as literal ranges, so that row groups are skipped.
    Without touched days every day is built.
    tables: whose days alone are meant; none for all that touch the records of a day. -#}
{% macro in_touched_days(column, tables=none) -%}
    {{- over_days(touched_days(tables), column) -}}
{%- endmacro %}

{#- A filter on what holds from one moment until before another: whether it does on a day that this
    build covers. -#}
{% macro holds_on_touched_days(from_column, to_column) -%}
    {{- over_days(touched_days(), from_column, to_column) -}}
{%- endmacro %}

{#- A filter on days, or none for every day, as literal ranges: on a moment, or, with to_column, on
    what holds from one moment until before another. -#}
{% macro over_days(days, from_column, to_column=none) -%}
    {%- if days is none -%}
        true
    {%- elif not days -%}
        false
    {%- else -%}
        {%- set reaching = from_column ~ " >=" if to_column is none else to_column ~ " >" -%}
        (
        {%- for first, last in day_ranges(days) %}
            {{ "or " if not loop.first }}({{ reaching }} timestamp '{{ first }}' and {{ from_column }} < timestamp '{{ last }}')
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
    {{- days_replaced(arg_dict, in_touched_days("usage_date")) -}}
{%- endmacro %}

{#- Statements that replace the days of a table that a condition names. -#}
{% macro days_replaced(arg_dict, condition) -%}
    {%- set target = arg_dict["target_relation"] %}
    delete from {{ target }} where {{ condition }};
    insert into {{ target }} by name
    select * from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#- Incremental strategy of price_sets: what holds no more goes, what is new comes. Where a catalog
    brought news, the days on which a changed set was in use are noted, in the same transaction, as
    days to build, to check and to publish. -#}
{% macro get_incremental_price_sets_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set new = arg_dict["temp_relation"] -%}
    {#- Both were built on the way to price_sets; a ref would ask every unit test for them. -#}
    {%- set contexts = target.incorporate(path={"schema": "intermediate", "identifier": "int_prices__contexts"}) -%}
    {%- set used_contexts = target.incorporate(path={"schema": "intermediate", "identifier": "int_usage__price_contexts"}) -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}
    {%- set span = (["price_set_id"] + price_context() + ["valid_from_at", "valid_to_at"]) | join(", ") %}
    {%- if build_plan()["has_new_prices"] %}
    create or replace temp table repriced_days as
    with before as (
        select {{ span }} from {{ target }} except select {{ span }} from {{ new }}
    ),
    after as (
        select {{ span }} from {{ new }} except select {{ span }} from {{ target }}
    ),
    {%- for side in ["before", "after"] %}
    {{ side }}_by_day as (
        select
            used.usage_date, {{ side }}.price_set_id,
            greatest({{ side }}.valid_from_at, used.usage_date) as from_at,
            least({{ side }}.valid_to_at, used.usage_date + interval 1 day) as to_at
        from {{ used_contexts }} as used
        inner join {{ side }}
            on {{ same_price_context("used", side) }}
            and {{ side }}.valid_from_at < used.usage_date + interval 1 day
            and {{ side }}.valid_to_at > used.usage_date
    ),
    {%- endfor %}
    differing as (
        (select * from before_by_day except select * from after_by_day)
        union all
        (select * from after_by_day except select * from before_by_day)
    )
    select distinct usage_date from differing;
    insert into audit.touched_days select 'price_sets', usage_date from repriced_days;
    insert into audit.pending_days
    select consumer, usage_date
    from repriced_days
    cross join (values ('publish'), ('check')) as consumers (consumer);
    delete from {{ target }} as old
    where not exists (
        select 1 from {{ new }} as new
        where old.price_set_id = new.price_set_id and old.valid_to_at = new.valid_to_at
    );
    {%- else %}
    delete from {{ target }} as old
    where not exists (
        select 1 from {{ contexts }} as contexts where {{ same_price_context("old", "contexts") }}
    );
    {%- endif %}
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ new }} as new
    where not exists (
        select 1 from {{ target }} as old
        where old.price_set_id = new.price_set_id and old.valid_to_at = new.valid_to_at
    )
{%- endmacro %}

{#- The same for what also follows from records of days before: touched days and those after them.
    before, after: days that a row looks back, and days by which a touched day reaches forward. -#}
{% macro in_following_days(column, before=0, after=1) -%}
    {%- set days = touched_days() -%}
    {%- set found = none if days is none else [] -%}
    {%- for text in days or [] -%}
        {%- set day = modules.datetime.datetime.strptime(text, "%Y-%m-%d") -%}
        {%- for offset in range(-before, after + 1) -%}
            {%- do found.append((day + modules.datetime.timedelta(days=offset)).strftime("%Y-%m-%d")) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{- over_days(found if days is none else found | unique | list, column) -}}
{%- endmacro %}

{#- Incremental strategy of what looks a day back: touched days and the days after them are
    replaced. -#}
{% macro get_incremental_following_days_sql(arg_dict) -%}
    {{- days_replaced(arg_dict, in_following_days("usage_date")) -}}
{%- endmacro %}
