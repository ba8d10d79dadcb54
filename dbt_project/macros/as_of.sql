{#- The run's clock, UTC. -#}
{% macro as_of() -%}
    timestamp '{{ build_plan()["as_of"] }}'
{%- endmacro %}
