{#- The columns every exception has, from a CTE that names its subject, amount and evidence.
    The id follows from type, account, period and subject alone, so it is stable over runs.
    evidence_at: when the newest of what was found began, where that is known. -#}
{% macro exception_columns(type, severity, is_blocking, suggested_action, evidence_at="cast(null as timestamp)") -%}
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
        {{ evidence_at }} as evidence_at
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

{#- Whether a decision is about what was found, and not about something newer: it names the hash of
    the evidence it saw, or, where it names none, the evidence began no later than on its day. It
    holds for what began before its valid_to_date. -#}
{% macro covers_evidence(decisions, exceptions) -%}
    {%- set began_on -%}
    coalesce(
        cast({{ exceptions }}.evidence_at as date),
        cast({{ exceptions }}.billing_month || '-01' as date)
    )
    {%- endset -%}
    coalesce(
        list_contains(
            string_split({{ decisions }}.evidence_hashes, ','), {{ exceptions }}.evidence_hash
        ),
        {{ began_on | indent(4) }} <= cast({{ decisions }}.decided_at as date)
    )
    and {{ began_on }} < coalesce({{ decisions }}.valid_to_date, date '9999-12-31')
{%- endmacro %}

{#- The median of a sorted list of money, exact: of two in the middle half their sum. -#}
{% macro middle_of(ordered) -%}
    {%- set two -%}
    ({{ ordered }}[len({{ ordered }}) // 2] + {{ ordered }}[len({{ ordered }}) // 2 + 1])
    {%- endset -%}
    cast(
        case
            when len({{ ordered }}) % 2 = 1 then {{ ordered }}[len({{ ordered }}) // 2 + 1]
            else {{ converted(two, 'cast(0.5 as decimal(18, 12))') | indent(12) }}
        end as decimal(38, 18)
    )
{%- endmacro %}
