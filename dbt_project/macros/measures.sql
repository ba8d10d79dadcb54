{% macro daily_spend_dimensions() -%}
    {{ return([
        "usage_date", "gateway", "account_id", "provider", "model", "endpoint", "service_tier",
        "is_batch", "api_key_id", "team_id", "project_id", "organization_id", "environment",
        "workflow", "cost_center", "currency",
    ]) }}
{%- endmacro %}

{#- The measures every spend mart shares. A cost is null where no record of the row has one;
    unpriced_requests counts the records without one, unpriced_gateway_cost what the gateway
    wrote on them. -#}
{% macro spend_measures() -%}
        cast(sum(requests) as bigint) as requests,
        cast(sum(case when status = 'success' then requests else 0 end) as bigint) as successful_requests,
        cast(sum(case when status <> 'success' then requests else 0 end) as bigint) as failed_requests,
        cast(sum(case when cache_hit then requests else 0 end) as bigint) as cache_hits,
        {% for unit in usage_units() if unit.name != "requests" -%}
        cast(sum({{ unit.name }}) as {{ "bigint" if unit_type(unit) == "bigint" else "decimal(38, 6)" }}) as {{ unit.name }},
        {% endfor -%}
        cast(sum(gateway_cost) as decimal(38, 18)) as gateway_cost,
        cast(sum(list_cost) as decimal(38, 18)) as list_cost,
        cast(sum(provider_cost) as decimal(38, 18)) as provider_cost,
        cast(sum(billed_cost) as decimal(38, 18)) as billed_cost,
        cast(sum(list_cost - billed_cost) as decimal(38, 18)) as savings,
        cast(sum(case when list_cost is null then 1 else 0 end) as bigint) as unpriced_requests,
        cast(sum(case when list_cost is null then gateway_cost end) as decimal(38, 18)) as unpriced_gateway_cost
{%- endmacro %}

{#- The same measures, from rows of daily_spend. -#}
{% macro summed_measures() -%}
        {% for name in ["requests", "successful_requests", "failed_requests", "cache_hits"] -%}
        cast(sum({{ name }}) as bigint) as {{ name }},
        {% endfor -%}
        {% for unit in usage_units() if unit.name != "requests" -%}
        cast(sum({{ unit.name }}) as {{ "bigint" if unit_type(unit) == "bigint" else "decimal(38, 6)" }}) as {{ unit.name }},
        {% endfor -%}
        {% for name in ["gateway_cost", "list_cost", "provider_cost", "billed_cost", "savings"] -%}
        cast(sum({{ name }}) as decimal(38, 18)) as {{ name }},
        {% endfor -%}
        cast(sum(unpriced_requests) as bigint) as unpriced_requests,
        cast(sum(unpriced_gateway_cost) as decimal(38, 18)) as unpriced_gateway_cost
{%- endmacro %}

{#- A share in percent, for people: a quotient is never the source of an amount. -#}
{% macro percent_of(part, whole) -%}
    try_cast(100 * ({{ part }}) / nullif({{ whole }}, 0) as decimal(38, 6))
{%- endmacro %}
