{#- An amount in another currency: exact, then rounded once to 18 places. The factors are taken
    apart so that no product needs more than 38 digits; an amount of 0 needs no rate. -#}
{% macro converted(amount, rate) -%}
    case
        when {{ amount }} = 0 or {{ rate }} = 1 then {{ amount }}
        else cast(
            {{ amount }} * cast(trunc({{ rate }}) as decimal(6, 0))
            + cast(trunc({{ amount }}) as decimal(20, 0))
            * cast({{ rate }} - trunc({{ rate }}) as decimal(12, 12))
            + cast(
                cast({{ amount }} - trunc({{ amount }}) as decimal(18, 18))
                * cast({{ rate }} - trunc({{ rate }}) as decimal(12, 12)) as decimal(38, 18)
            ) as decimal(38, 18)
        )
    end
{%- endmacro %}

