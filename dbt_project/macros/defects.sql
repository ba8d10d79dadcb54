{#- What is odd about a record, as sorted comma-separated codes. -#}
{% macro defect_codes() -%}
    concat_ws(
        ',',
        case when requests > 1 then 'aggregated_requests' end,
        case when also_logged_by is not null then 'also_logged_elsewhere' end,
        case when part_count > 1 then 'batch_of_several_models' end,
        case when is_inclusion_mismatch then 'inclusion_mismatch' end,
        case when price_set_id is not null and is_backcast and cost_status in ('priced', 'free') and not is_bookkeeping then 'price_backcast' end,
        case when is_out_of_range then 'quantity_out_of_range' end
    )
{%- endmacro %}
