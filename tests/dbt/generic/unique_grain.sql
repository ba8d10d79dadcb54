{#- The rows of a model are unique per `columns`; a NULL is a value like any other here. -#}
{% test unique_grain(model, columns) %}
select
    {{ columns | join(", ") }},
    count(*) as copies
from {{ model }}
group by {{ columns | join(", ") }}
having count(*) > 1
{% endtest %}
