{#- The rows of a model are unique per `columns`; a NULL is a value like any other here.
    With `day_column`, only the days of this build are compared: the others were when they were
    built. -#}
{% test unique_grain(model, columns, day_column=none) %}
select
    {{ columns | join(", ") }},
    count(*) as copies
from {{ model }}
{%- if day_column is not none %}
where {{ in_touched_days(day_column) }}
{%- endif %}
group by {{ columns | join(", ") }}
having count(*) > 1
{% endtest %}
