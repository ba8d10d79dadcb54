{#- How the words of gateways and catalogs for a provider begin, by the name the contract has for it;
    seeds are read by the same list (orchestration/landing/seed_files.py). -#}
{% macro provider_beginnings() -%}
    {{ return([
        ("azure", ["azure"]),
        ("google", ["gemini", "google", "palm", "vertex_ai"]),
        ("aws", ["aws", "amazon", "bedrock", "sagemaker"]),
        ("openai", ["text-completion-openai"]),
        ("anthropic", ["anthropic_text"]),
    ]) }}
{%- endmacro %}

{#- Provider names as the contract writes them, from the words of gateways and catalogs. -#}
{% macro provider_name(column) -%}
    case
        {%- for name, beginnings in provider_beginnings() %}
        when
            {%- for beginning in beginnings %}
            {{ "or " if not loop.first }}starts_with({{ column }}, '{{ beginning }}')
            {%- endfor %}
            then '{{ name }}'
        {%- endfor %}
        else nullif({{ column }}, '')
    end
{%- endmacro %}

{#- The first part of a model name that routes to a provider, such as openai/ in openai/gpt-4o. -#}
{% macro routing_prefixes() -%}
    {{ return(["openai", "azure", "azure_ai", "anthropic", "bedrock", "vertex_ai", "gemini", "openrouter", "mistral", "cohere", "groq", "together_ai", "fireworks_ai", "deepinfra", "deepseek", "xai", "perplexity", "ollama", "vercel_ai_gateway", "replicate", "voyage", "databricks", "sagemaker", "text-completion-openai"]) }}
{%- endmacro %}

{% macro routing_prefix(model) -%}
    case
        when split_part({{ model }}, '/', 1) in ('{{ routing_prefixes() | join("', '") }}') and {{ model }} like '%/%'
            then split_part({{ model }}, '/', 1)
    end
{%- endmacro %}

{% macro without_routing_prefix(model, provider) -%}
    case
        when {{ provider }} <> '' and starts_with({{ model }}, {{ provider }} || '/')
            then substring({{ model }}, length({{ provider }}) + 2)
        when {{ routing_prefix(model) }} is not null
            then substring({{ model }}, length({{ routing_prefix(model) }}) + 2)
        else {{ model }}
    end
{%- endmacro %}

{#- Service tiers by the names that price catalogs use. -#}
{% macro service_tier_name(column) -%}
    case
        when {{ column }} is null or {{ column }} in ('', 'auto', 'default', 'standard', 'on_demand', 'scale', 'standard_only') then 'standard'
        when {{ column }} in ('priority', 'fast', 'priority_on_demand') then 'priority'
        when {{ column }} in ('flex', 'flex_discount') then 'flex'
        when {{ column }} in ('batch', 'batches') then 'standard'
        else {{ column }}
    end
{%- endmacro %}
