{#- An amount in millionths as a whole number, so that shares of it are exact; NULL from 1e12 on,
    where the products below would no longer fit. -#}
{% macro in_millionths(amount) -%}
    case when abs({{ amount }}) < 1000000000000 then cast({{ amount }} * 1000000 as hugeint) end
{%- endmacro %}

{#- The share part / whole of an amount, all three in millionths and 0 or more, half up. -#}
{% macro share_of(amount, part, whole) -%}
    ((2 * {{ amount }} * {{ part }} + {{ whole }}) // (2 * {{ whole }}))
{%- endmacro %}

{#- Millionths as money. -#}
{% macro from_millionths(millionths) -%}
    cast(
        try_cast({{ millionths }} as decimal(30, 0)) * cast(0.000001 as decimal(7, 6))
        as decimal(38, 18)
    )
{%- endmacro %}

{#- Money at a rate, a rate of exchange or the worth of a credit; NULL from 1e12 on, where the
    product might not fit and would stop the run. -#}
{% macro money_at_rate(amount, rate) -%}
    case
        when abs({{ amount }}) < 1000000000000 and {{ rate }} < 1000000
            then {{ converted(amount, rate) }}
    end
{%- endmacro %}

{#- How many whole units one minor unit is, as processors write amounts; as the reader of their
    files has it. -#}
{% macro minor_unit(currency, processor) -%}
    case
        when
            {{ currency }} in (
                'BIF', 'CLP', 'DJF', 'GNF', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'VND', 'VUV', 'XAF',
                'XOF', 'XPF'
            )
            or ({{ processor }} = 'stripe' and {{ currency }} = 'MGA')
            or ({{ processor }} <> 'stripe' and {{ currency }} in ('ISK', 'UGX'))
            then cast(1 as decimal(4, 3))
        when {{ currency }} in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND')
            then cast(0.001 as decimal(4, 3))
        else cast(0.01 as decimal(4, 3))
    end
{%- endmacro %}

{#- The month of a moment in a time zone, written YYYY-MM. -#}
{% macro month_in(moment, time_zone) -%}
    strftime(({{ moment }} at time zone 'UTC') at time zone {{ time_zone }}, '%Y-%m')
{%- endmacro %}

{#- First moment of a month (YYYY-MM) in a time zone, UTC. -#}
{% macro month_start_at(month, time_zone) -%}
    (cast({{ month }} || '-01' as timestamp) at time zone {{ time_zone }}) at time zone 'UTC'
{%- endmacro %}

{#- First moment after it. -#}
{% macro month_end_at(month, time_zone) -%}
    ((cast({{ month }} || '-01' as timestamp) + interval 1 month) at time zone {{ time_zone }})
    at time zone 'UTC'
{%- endmacro %}
