{#- How models are written on DuckDB. dbt-duckdb's own way makes every relation anew beside the old
    one, looks at its columns, compares them with the contract, renames it twice and comments it:
    some twelve statements, each of which costs dbt more than it costs the engine. A build of some
    days runs after one of every day by the same models, so the columns and their types are those
    that were compared and commented then, and rows alone are written. Other engines keep theirs. -#}
{% materialization table, adapter="duckdb", supported_languages=["sql"] -%}
    {%- set target = this.incorporate(type="table") -%}
    {%- if has_rows_alone_to_write(target) -%}
        {%- set columns = model["columns"].values() | map(attribute="name") | join(", ")
            if config.get("contract").enforced else "" %}
        {%- call statement("main") -%}
            delete from {{ target }};
            insert into {{ target }} {{ "(" ~ columns ~ ")" if columns }}
            select {{ columns or "*" }} from (
            {{ compiled_code }}
            ) as written
        {%- endcall -%}
    {%- else -%}
        {%- do create_anew(target) -%}
    {%- endif -%}
    {%- do adapter.commit() -%}
    {{ return({"relations": [target]}) }}
{%- endmaterialization %}


{% materialization incremental, adapter="duckdb", supported_languages=["sql"] -%}
    {%- set target = this.incorporate(type="table") -%}
    {%- if has_rows_alone_to_write(target) -%}
        {%- set told = {"target_relation": target, "unique_key": config.get("unique_key"), "incremental_predicates": none} -%}
        {%- if config.get("incremental_strategy") in strategies_that_read_once() -%}
            {%- do told.update({"temp_relation": "(\n" ~ compiled_code ~ "\n)", "dest_columns": none}) -%}
        {%- else -%}
            {%- set temporary = make_temp_relation(target) -%}
            {%- do run_query("create temporary table " ~ temporary ~ " as (\n" ~ compiled_code ~ "\n)") -%}
            {%- do told.update({"temp_relation": temporary, "dest_columns": adapter.get_columns_in_relation(target)}) -%}
        {%- endif -%}
        {%- set strategy = adapter.get_incremental_strategy_macro(context, config.get("incremental_strategy")) -%}
        {%- set strategy_sql = strategy(told) -%}
        {%- call statement("main") -%}
            {{ strategy_sql }}
        {%- endcall -%}
    {%- else -%}
        {%- do create_anew(target) -%}
    {%- endif -%}
    {%- do adapter.commit() -%}
    {{ return({"relations": [target]}) }}
{%- endmaterialization %}


{#- Strategies that replace some days by what a model selects, which does not read its own table:
    they write the selection itself, in the transaction that deletes those days, and no temporary
    table of it. -#}
{% macro strategies_that_read_once() -%}
    {{ return(["touched_days", "following_days", "rollup_days"]) }}
{%- endmacro %}


{% materialization view, adapter="duckdb" -%}
    {%- set target = this.incorporate(type="view") -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is not none and not existing.is_view -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
    {#- One call, and no transaction around it: a comment that is missing after a kill is back after
        the next build, which is of every day again. -#}
    {%- call statement("main", auto_begin=false) -%}
        create or replace view {{ target }} as (
        {{ compiled_code }}
        );
        {{ comments_on(target) | join(";\n") }}
    {%- endcall -%}
    {{ return({"relations": [target]}) }}
{%- endmaterialization %}


{#- Whether the table stands as the models describe it, so that its rows alone differ. -#}
{% macro has_rows_alone_to_write(target) -%}
    {%- set existing = load_cached_relation(target) -%}
    {{ return(existing is not none and existing.is_table and not should_full_refresh()) }}
{%- endmacro %}


{#- Make a table by its contract, in one transaction with the end of what stood in its place. -#}
{% macro create_anew(target) -%}
    {%- set existing = load_cached_relation(target) -%}
    {%- set create = create_table_as(false, target, compiled_code) -%}
    {%- call statement("main") -%}
        {%- if existing is not none %}
        drop {{ existing.type }} {{ existing }};
        {%- endif %}
        {{ create }};
        {{ comments_on(target) | join(";\n") }}
    {%- endcall -%}
{%- endmacro %}


{#- Statements that comment a relation of this model, and each of its columns that is described. -#}
{% macro comments_on(relation) -%}
    {%- set comments = [] -%}
    {%- if config.persist_relation_docs() and model.description -%}
        {%- do comments.append("comment on " ~ relation.type ~ " " ~ relation ~ " is " ~ duckdb_escape_comment(model.description)) -%}
    {%- endif -%}
    {%- if config.persist_column_docs() -%}
        {%- for column in model.columns.values() if column.description -%}
            {%- do comments.append("comment on column " ~ relation ~ "." ~ column.name ~ " is " ~ duckdb_escape_comment(column.description)) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(comments) }}
{%- endmacro %}


{#- dbt's own also writes the statement of a seed below its target folder, at the path of the seed:
    with seeds outside of the project that is the seed itself, and the project would be parsed anew. -#}
{% macro noop_statement(name=none, message=none, code=none, rows_affected=none, res=none) -%}
    {%- set sql = caller() -%}
    {%- if name is not none -%}
        {{ store_raw_result(name, message=message, code=code, rows_affected=rows_affected, agate_table=res) }}
    {%- endif -%}
{%- endmacro %}
