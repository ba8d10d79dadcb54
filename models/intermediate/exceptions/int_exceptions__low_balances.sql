-- Grain: one row per wallet that is low now; each time it runs low is an episode of its own.

with episodes as (
    {{ balance_episodes('balance_after >= 0 and balance_after < low_balance_threshold') }}
),

described as (
    select
        account_id,
        billing_month,
        currency,
        low_balance_threshold - last_balance as amount_at_stake,
        'wallet' as subject_type,
        wallet_id || '/' || first_entry_id as subject_id,
        cast(last_balance as varchar) as evidence_keys,
        {{ evidence_of_episode() }} as evidence
    from episodes
    -- What was low once and was topped up needs nobody's attention.
    where is_last
),

final as (
    select
        {{ exception_columns(
            type='low_balance',
            severity='warning',
            is_blocking=false,
            suggested_action='Top the wallet up.'
        ) }}
    from described
)

select * from final
