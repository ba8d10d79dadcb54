{#- Weeks as reporting.week_starts has them; the engine's own begin on Monday. -#}

{#- Days by which a period is moved so that the engine divides the calendar as we do: only weeks, and
    only where they begin on Sunday.
    period: an expression that is day, week, month or quarter. -#}
{% macro week_shift_days(period="'week'") -%}
    case when {{ period }} = 'week' then {{ 1 if var("week_starts") == "sunday" else 0 }} else 0 end
{%- endmacro %}

{#- First day of the week that a day lies in. -#}
{% macro week_start_date(day) -%}
    {%- set shift = 1 if var("week_starts") == "sunday" else 0 -%}
    cast(date_trunc('week', {{ day }} + {{ shift }}) as date) - {{ shift }}
{%- endmacro %}
