-- Grain: one row per gateway and request id; of two versions the later, then the larger, holds.

with source as (
    select * from {{ source('app', 'app__requests') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by gateway, request_id
        order by occurred_at desc, coalesce(output_tokens, 0) desc, _row_hash desc
    ) = 1
),

renamed as (
    select
        gateway,
        request_id,
        occurred_at,
        cast(occurred_at as date) as usage_date,
        model,
        api_key_id,
        trace_id,
        coalesce(status, 'success') as status,
        http_status,
        input_tokens,
        cached_tokens,
        output_tokens,
        expected_cost,
        currency,
        attempt,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
