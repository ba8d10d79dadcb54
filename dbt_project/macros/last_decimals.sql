{#- Amounts counted in their last decimal, so that parts of them add up exactly. -#}

{#- An amount of type decimal(38, 18) in units of its last decimal; its text has all eighteen. -#}
{% macro in_last_decimals(amount) -%}
    cast(replace(cast(cast({{ amount }} as decimal(38, 18)) as varchar), '.', '') as hugeint)
{%- endmacro %}

{#- Units of the last decimal as an amount. -#}
{% macro from_last_decimals(units) -%}
    cast(
        cast({{ units }} // 1000000000000000000 as decimal(20, 0))
        + cast({{ units }} % 1000000000000000000 as decimal(18, 0))
        * cast(0.000000000000000001 as decimal(18, 18)) as decimal(38, 18)
    )
{%- endmacro %}

{#- The share of one of several equal parts of an amount, by largest remainder: every part is the
    amount divided and cut off, and what is left goes to the first parts, one last decimal each.
    place: 0 for the first part. -#}
{% macro equal_share(amount, parts, place) -%}
    {%- set units = in_last_decimals(amount) -%}
    {{ from_last_decimals(
        "(" ~ units ~ " // " ~ parts ~ " + case when " ~ place ~ " < abs(" ~ units ~ " % " ~ parts
        ~ ") then sign(" ~ units ~ ") else 0 end)"
    ) }}
{%- endmacro %}

{#- An amount rounded to the minor unit of its currency, or as it is.
    rounding: a column with none, minor_unit_half_even or minor_unit_half_up (wallets.csv). -#}
{% macro rounded_to_minor_unit(amount, currency, rounding) -%}
    {%- set units = "abs(" ~ in_last_decimals(amount) ~ ")" -%}
    {%- set step = in_last_decimals(minor_unit(currency, "'stripe'")) -%}
    case
        when {{ rounding }} in ('minor_unit_half_even', 'minor_unit_half_up')
            then {{ from_last_decimals(
                "(sign(" ~ amount ~ ") * (" ~ units ~ " // " ~ step ~ " + case when 2 * (" ~ units ~ " % " ~ step
                ~ ") > " ~ step ~ " or (2 * (" ~ units ~ " % " ~ step ~ ") = " ~ step ~ " and (" ~ rounding
                ~ " = 'minor_unit_half_up' or (" ~ units ~ " // " ~ step ~ ") % 2 = 1)) then 1 else 0 end) * "
                ~ step ~ ")"
            ) }}
        else {{ amount }}
    end
{%- endmacro %}
