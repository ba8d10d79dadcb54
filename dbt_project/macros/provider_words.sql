{#- How many of our units one of a provider's is, by the words it names its unit with. -#}
{% macro quantity_factor(column) -%}
    case
        when regexp_matches(lower({{ column }}), '^1(000)?[_ ]?k\b') or lower({{ column }}) in ('1000_tokens', '1000 tokens') then 1000
        when regexp_matches(lower({{ column }}), '^1 ?m\b') or lower({{ column }}) in ('1000000 tokens', '1000000_tokens') then 1000000
        when lower({{ column }}) in ('duration_minutes', 'minutes') then 60
        when lower({{ column }}) in ('duration_hours', 'hours') then 3600
        else 1
    end
{%- endmacro %}

{#- Our unit for a kind of token of Anthropic's cost report; null for a line that is about none. -#}
{% macro anthropic_token_unit(column) -%}
    case {{ column }}
        when 'uncached_input_tokens' then 'input_text_uncached_tokens'
        when 'cache_read_input_tokens' then 'input_cached_read_tokens'
        when 'cache_creation.ephemeral_5m_input_tokens' then 'input_cache_write_5m_tokens'
        when 'cache_creation.ephemeral_1h_input_tokens' then 'input_cache_write_1h_tokens'
        when 'output_tokens' then 'output_text_tokens'
    end
{%- endmacro %}

{#- The provider behind a name that a bill prints. -#}
{% macro billing_provider(column) -%}
    case
        when lower({{ column }}) like 'amazon%' or lower({{ column }}) like 'aws%' then 'aws'
        when lower({{ column }}) like 'microsoft%' or lower({{ column }}) like 'azure%' then 'azure'
        when lower({{ column }}) like 'google%' then 'google'
        else {{ provider_name('lower(' ~ column ~ ')') }}
    end
{%- endmacro %}

{#- The zone in which a provider draws its invoices where nobody says: Google's is Pacific time. -#}
{% macro default_billing_zone(provider) -%}
    case when {{ provider }} = 'google' then 'America/Los_Angeles' else 'UTC' end
{%- endmacro %}

{#- The units that are compared: reasoning is billed as output, and only Anthropic bills the
    lifetimes of cache writes apart. -#}
{% macro compared_unit(unit, provider) -%}
    case
        when {{ unit }} = 'output_reasoning_tokens' then 'output_text_tokens'
        when {{ unit }} is null or {{ unit }} not like 'input_cache_write%' then {{ unit }}
        when {{ provider }} <> 'anthropic' then 'input_cache_write_unknown_ttl_tokens'
        when {{ unit }} = 'input_cache_write_unknown_ttl_tokens' then 'input_cache_write_5m_tokens'
        else {{ unit }}
    end
{%- endmacro %}

{#- What different spellings of one model have in common: its words and numbers in order of the
    alphabet, without routing prefixes; and without the date of the snapshot, unless it is asked
    for. -#}
{% macro model_key(column, is_dated=false) -%}
    array_to_string(
        list_sort(regexp_extract_all(
            regexp_replace(
                regexp_replace(
                    regexp_replace(lower({{ column }}), '(20[0-9]{2})-([0-9]{2})-([0-9]{2})', '\1\2\3'),
                    '^(.*/)?((us|eu|apac|jp|au|global)[.])?((anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai)[.])?',
                    ''
                ),
                '{{ "" if is_dated else "([-@]20[0-9]{6})?" }}(-v[0-9]+)?(:[0-9]+)?(-latest)?$', ''
            ),
            '[a-z]+|[0-9]+'
        )),
        ' '
    )
{%- endmacro %}
