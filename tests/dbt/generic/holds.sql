{#- Every row satisfies `condition`; a NULL result counts as broken. -#}
{% test holds(model, condition) %}
select *
from {{ model }}
where coalesce({{ condition }}, false) = false
{% endtest %}
