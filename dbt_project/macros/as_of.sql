{#- The run's clock, UTC. -#}
{% macro as_of() -%}
    timestamp '{{ var("as_of") }}'
{%- endmacro %}
