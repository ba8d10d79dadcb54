{#- The steps newest_version and newest, from a step `source`: the lines of the newest version of
    each document. A corrected document replaces the earlier one as a whole. -#}
{% macro newest_invoice_lines() -%}
newest_version as (
    select
        vendor,
        invoice_number,
        arg_max(
            version_hash, (coalesce(issued_at, dated_at), observed_at, version_hash)
        ) as version_hash
    from source
    group by vendor, invoice_number
),

newest as (
    select source.*
    from source
    inner join newest_version
        on
            source.vendor = newest_version.vendor
            and source.invoice_number = newest_version.invoice_number
            and source.version_hash = newest_version.version_hash
    qualify row_number() over (
        partition by source.vendor, source.invoice_number, source.line_no
        order by source._row_hash, source._load_batch_id
    ) = 1
)
{%- endmacro %}
