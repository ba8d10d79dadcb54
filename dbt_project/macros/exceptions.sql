{#- The columns every exception has, from a CTE that names its subject, amount and evidence.
    The id follows from type, account, period and subject alone, so it is stable over runs. -#}
{% macro exception_columns(type, severity, is_blocking, suggested_action) -%}
        md5(concat_ws('|', '{{ type }}', account_id, billing_month, subject_id)) as exception_id,
        '{{ type }}' as exception_type,
        '{{ severity }}' as severity,
        {{ is_blocking | lower }} as blocking,
        cast(amount_at_stake as decimal(38, 18)) as amount_at_stake,
        currency,
        account_id,
        billing_month,
        subject_type,
        subject_id,
        evidence,
        md5(concat_ws('|', evidence, evidence_keys, cast(amount_at_stake as varchar))) as evidence_hash,
        '{{ suggested_action }}' as suggested_action,
        'open' as status,
        cast(null as varchar) as decision_id
{%- endmacro %}

{#- A text as an SQL literal, for the query that shows the evidence. -#}
{% macro as_literal(column) -%}
    ('''' || replace({{ column }}, '''', '''''') || '''')
{%- endmacro %}

{#- A query of the usage records whose columns have the values of this row; NULL is a value too. -#}
{% macro records_with(columns) -%}
    'select * from marts.usage_records where duplicate_of is null'
    {%- for column in columns %}
        || coalesce(' and {{ column }} = ' || {{ as_literal('cast(' ~ column ~ ' as varchar)') }}, ' and {{ column }} is null')
    {%- endfor %}
{%- endmacro %}
