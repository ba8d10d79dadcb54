{#- What markup rules are for, of those in use: lists of the names they fill besides the account.
    Rules for the same are found by equality; all kinds where the table cannot be asked. -#}
{% macro markup_kinds() -%}
    {%- set names = ["routing_mode", "provider", "model"] -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return([[], ["routing_mode"], ["provider"], ["model"], ["routing_mode", "provider"], ["routing_mode", "model"], ["provider", "model"], names]) }}
    {%- endif -%}
    {%- set kinds = [] -%}
    {%- for row in run_query(
        "select distinct routing_mode is not null, provider is not null, model is not null from "
        ~ ref("int_markups__dated") ~ " order by all"
    ).rows -%}
        {%- set kind = [] -%}
        {%- for name in names -%}
            {%- if row[loop.index0] -%}
                {%- do kind.append(name) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- do kinds.append(kind) -%}
    {%- endfor -%}
    {{ return(kinds) }}
{%- endmacro %}

{#- Whether any contract prices a unit that is in use; assumed where the table cannot be asked. -#}
{% macro has_contract_prices() -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return(true) }}
    {%- endif -%}
    {{ return(run_query("select count(*) from " ~ ref("contract_price_sets")).columns[0].values()[0] > 0) }}
{%- endmacro %}

{#- What one unit of a record costs by contract, of the units that a contract prices itself or of
    the others; 0 where another measure of it is charged. -#}
{% macro contract_cost_of(unit, is_contracted) -%}
    case
        when
            {{ "" if is_contracted else "not " }}prices.is_{{ unit.name }}_contracted
            and usage.{{ unit.name }} > 0 and {{ is_billed(unit) }}
            and prices.{{ unit.name }}_price is not null
            then {{ priced_quantity(unit, "usage." ~ unit.name, "prices." ~ unit.name ~ "_price") }}
        else 0
    end
{%- endmacro %}

{#- What one unit of a record costs by its contract set, joined as `contracts`. -#}
{% macro contract_line_cost(unit) -%}
    case
        when
            {{ is_billed(unit, "usage", "contracts") }}
            and contracts.{{ unit.name }}_price is not null
            then {{ priced_quantity(unit, "usage." ~ unit.name, "contracts." ~ unit.name ~ "_price") }}
        else 0
    end
{%- endmacro %}

{#- Whether what a record costs its owner follows from its units: not for a recorded charge, nor for
    calls on a subscription. -#}
{% macro is_billed_by_unit() -%}
    (usage.billing_mode = 'byok' or (usage.billing_mode = 'managed' and usage.billed_basis = 'rule'))
{%- endmacro %}

{#- Whether a rule is for just these names: the others stand for any. -#}
{% macro is_markup_kind(kind) -%}
    {%- for name in ["routing_mode", "provider", "model"] -%}
        {{ name }} is {{ "not " if name in kind }}null{{ " and " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- A part of the rule that holds, of those joined by markup_joins: that of the lowest rank. -#}
{% macro markup_of(part, kinds) -%}
    {%- if not kinds -%}
        cast(null as decimal(38, 18))
    {%- else -%}
        case
            least(
                {%- for kind in kinds %}
                coalesce(rules_{{ loop.index }}.markup_rank, 99999999999),
                {%- endfor %}
                99999999999
            )
            {%- for kind in kinds %}
            when rules_{{ loop.index }}.markup_rank then rules_{{ loop.index }}.{{ part }}
            {%- endfor %}
        end
    {%- endif -%}
{%- endmacro %}

{#- The rule of each kind that holds for a record, by equality and day. -#}
{% macro markup_joins(usage, kinds) -%}
    {%- for kind in kinds %}
    {%- set rules = "rules_" ~ loop.index %}
    left join {{ rules }}
        on
            {{ usage }}.account_id = {{ rules }}.account_id
            {%- for name in kind %}
            and {{ usage }}.{{ name }} = {{ rules }}.{{ name }}
            {%- endfor %}
            and cast({{ usage }}.started_at as date) >= {{ rules }}.valid_from_date
            and cast({{ usage }}.started_at as date) < {{ rules }}.valid_to_date
    {%- endfor %}
{%- endmacro %}
