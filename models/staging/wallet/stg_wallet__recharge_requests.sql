-- Grain: one row per request to top a wallet up, in its newest version: a review comes later.

with source as (
    select * from {{ source('wallet', 'wallet__recharge_requests') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by recharge_id
        order by reviewed_at desc nulls last, requested_at desc, _row_hash desc
    ) = 1
),

renamed as (
    select
        recharge_id,
        wallet_id,
        requested_at,
        amount,
        currency,
        trigger,
        threshold_amount,
        soft_limit,
        hard_cap,
        remaining_balance,
        quota_window,
        budget_owner,
        team_id,
        project_id,
        cost_center,
        usage_from_at,
        usage_to_at,
        usage_scope_type,
        usage_scope_id,
        price_snapshot_id,
        invoice_period,
        status,
        approval_ticket,
        reviewer,
        reviewed_at,
        payment_reference,
        note,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
