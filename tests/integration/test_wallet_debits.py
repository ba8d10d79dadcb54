"""Five gateways, each with its own way to charge: usage to debits, ledger and reconciliation.

The figures are those worked out in docs/billing_rules.md.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fixtures.gateway_exports import canonical, table
from integration.homes import Home, differing, query

DAY = "2026-06-15"
GATEWAYS = ("routic", "routero", "routor", "enterprise_router", "flatkey")
SOURCES = "sources:\n" + "".join(
    f"  - {{name: {each}, kind: gateway_usage, preset: {each}}}\n"
    f"  - {{name: {each}_wallet, kind: wallet_transactions, gateway: {each}}}\n"
    for each in GATEWAYS
)
SEEDS = {
    "accounts": [
        "account_id,name,currency,time_zone,wallet_id",
        *(f"{each},{each},USD,UTC,w-{each}" for each in GATEWAYS),
    ],
    "account_scopes": [
        "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,valid_from_date",
        "routic,routic,gateway,,,managed,charge,2026-01-01",
        "routero,routero,gateway,,,managed,charge,2026-01-01",
        "routero,routero,gateway,,anthropic,byok,rule,2026-01-01",
        "routor,routor,gateway,,,managed,rule,2026-01-01",
        "enterprise_router,enterprise_router,gateway,,,managed,charge,2026-01-01",
        "flatkey,flatkey,gateway,,,managed,charge,2026-01-01",
    ],
    "wallets": [
        "wallet_id,currency,opening_balance,opening_at,expiry_days,debit_rounding",
        *(f"w-{each},USD,0,2026-06-01T00:00:00Z,," for each in GATEWAYS[:-1]),
        "w-flatkey,USD,1,2026-05-01T00:00:00Z,30,minor_unit_half_even",
        "w-spare,USD,7,2026-06-15T10:06:00Z,,",
    ],
    "markup_rules": [
        "rule_id,account_id,routing_mode,markup_rate,valid_from_date",
        "auto,routor,auto,0.10,2026-01-01",
        "tier,routor,tier,0.08,2026-01-01",
    ],
    "subscriptions": [
        "subscription_id,account_id,description,amount,currency,interval,valid_from_date",
        "control-plane,routero,Control plane,300,USD,month,2026-06-01",
    ],
    "credit_packages": [
        "gateway,package_id,price,currency,credits,valid_from_date,valid_to_date",
        "enterprise_router,fifty,50,USD,55,2026-01-01,",
        "enterprise_router,fifty-later,49,USD,55,2026-07-01,",
    ],
    "budgets": [
        "budget_id,scope_type,scope_id,period,amount,currency,thresholds,valid_from_date",
        "b,account,routic,month,0.05,USD,0.5;1;5,2026-06-01",
    ],
}
# 400 uncached, 600 cached and 200 output tokens of a canonical call cost a cent.
PRICES = {
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 0.00001,
        "cache_read_input_token_cost": 0.000001,
        "output_cost_per_token": 0.000027,
    }
}


def call(gateway: str, number: int, moment: str, cost: str, **changes: Any) -> dict[str, Any]:
    return canonical(
        request_id=f"{gateway}-{number}", timestamp=f"{DAY}T{moment}Z", cost=cost, **changes
    )


def movement(number: int, kind: str, moment: str, amount: str, **more: str) -> dict[str, str]:
    at = moment if "T" in moment else f"{DAY}T{moment}Z"
    named = {"transaction_id": f"t{number}", "type": kind, "amount": amount, "currency": "USD"}
    return {**named, "occurred_at": at, **more}


NOTHING = {"prompt_tokens": "0", "cached_tokens": "0", "completion_tokens": "0"}
USAGE = {
    "routic": [
        call("routic", 1, "10:05:00", "0.0111"),
        call("routic", 2, "10:50:00", "0.0222"),
        call("routic", 3, "11:10:00", "0.0050"),
    ],
    "routero": [
        call("routero", 1, "10:05:00", "0.03", provider_cost="0.03"),
        call("routero", 2, "10:20:00", "0.05", provider="anthropic"),
    ],
    "routor": [
        call("routor", 1, "10:05:00", "0.011"),
        call("routor", 2, "10:06:00", "0.0108", routing_mode="tier"),
        call("routor", 3, "12:00:00", "0", status="error", http_status="402", **NOTHING),
    ],
    "enterprise_router": [call("enterprise_router", 1, "10:05:00", "0.006")],
    "flatkey": [call("flatkey", 1, "10:05:00", "0.125")],
}
HISTORY = {
    "routic": [
        movement(1, "checkout", "09:00:00", "10", balance_after="10"),
        movement(2, "usage_debit", "11:05:00", "-0.0333", balance_after="9.9667"),
        movement(3, "usage_debit", "12:05:00", "-0.105", balance_after="9.8617"),
    ],
    "routero": [movement(1, "topup", "09:00:00", "1000")],
    "routor": [
        movement(1, "checkout", "09:00:00", "5", description="Credit top-up via Razorpay"),
        movement(2, "deduction", "10:05:02", "0.011", request_id="routor-1"),
        movement(3, "deduction", "10:06:02", "0.0108", request_id="routor-2"),
    ],
    "enterprise_router": [
        movement(1, "purchase", "09:00:00", "55"),
        movement(
            2, "usage_debit", "11:00:00", "-0.006",
            window_from_at=f"{DAY}T10:00:00Z", window_to_at=f"{DAY}T11:00:00Z",
        ),
        movement(3, "refund", "13:00:00", "0.006"),
        movement(4, "adjustment", "14:00:00", "1"),
    ],
}  # fmt: skip


def grant(number: int, posted_at: str, amount: str) -> dict[str, str]:
    return {
        "adjustment_id": f"a{number}",
        "wallet_id": "w-flatkey",
        "posted_at": posted_at,
        "amount": amount,
        "currency": "USD",
        "kind": "dev_grant",
        "reason": "trial",
        "approved_by": "hedda",
    }


def lines(*rows: dict[str, str]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.create(tmp_path_factory.mktemp("debits") / "home")
    config = home.path / "tollbook.yml"
    config.write_text(config.read_text().replace("sources:\n", SOURCES, 1))
    for name, rows in SEEDS.items():
        (home.path / "seeds" / f"{name}.csv").write_text("\n".join(rows) + "\n")
    home.drop_prices("20260101", PRICES)
    for gateway, rows in USAGE.items():
        home.drop(f"{gateway}/usage.csv", table(*rows))
    for gateway, moves in HISTORY.items():
        named = [{**each, "wallet_id": f"w-{gateway}"} for each in moves]
        home.drop(f"{gateway}_wallet/history.jsonl", lines(*named))
    home.drop("adjustments/grant.jsonl", lines(grant(1, "2026-06-10T00:00:00Z", "5")))
    request = {
        "recharge_id": "r-1",
        "wallet_id": "w-enterprise_router",
        "requested_at": f"{DAY}T08:00:00Z",
        "amount": "55",
        "currency": "USD",
        "trigger": "manual",
        "budget_owner": "hedda",
        "status": "approved",
    }
    home.drop("recharge_requests/r.jsonl", lines(request))
    outcome = home.run()
    assert outcome.status == "published", outcome.problems
    return home


def ledger(home: Home, gateway: str) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        "select entry_type, strftime(occurred_at, '%d %H:%M'), amount, balance_after "
        "from marts.wallet_ledger where wallet_id = ? and origin <> 'opening' "
        "order by occurred_at, entry_id",
        [f"w-{gateway}"],
    )


def windows(home: Home, gateway: str) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        "select strftime(window_from_at, '%H:%M'), expected_debit, recorded_debit, "
        "difference_amount, records, cause from marts.wallet_reconciliation "
        "where wallet_id = ? order by window_from_at",
        [f"w-{gateway}"],
    )


def status(home: Home, gateway: str) -> tuple[Any, ...]:
    (row,) = query(
        home.published,
        "select balance_amount, status, refused_requests from marts.wallet_balances "
        "where wallet_id = ?",
        [f"w-{gateway}"],
    )
    return row


def test_routic_deducts_by_the_hour_what_the_hour_cost(home: Home) -> None:
    assert ledger(home, "routic") == [
        ("purchase", "15 09:00", Decimal(10), Decimal(10)),
        ("usage_debit", "15 11:05", Decimal("-0.0333"), Decimal("9.9667")),
        ("usage_debit", "15 12:05", Decimal("-0.105"), Decimal("9.8617")),
    ]
    assert windows(home, "routic") == [
        ("10:00", Decimal("0.0333"), Decimal("0.0333"), Decimal(0), 2, "matched"),
        ("11:00", Decimal("0.005"), Decimal("0.105"), Decimal("0.1"), 1, "amount_differs"),
    ]
    assert query(
        home.published,
        "select subject_id, amount_at_stake, blocking from marts.exceptions "
        "where exception_type = 'debit_mismatch'",
    ) == [(f"w-routic/{DAY}T11:00:00Z", Decimal("0.1"), True)]


def test_routero_passes_list_prices_through_and_leaves_own_keys_alone(home: Home) -> None:
    assert ledger(home, "routero") == [
        ("purchase", "15 09:00", Decimal(1000), Decimal(1000)),
        ("usage_debit", "15 11:00", Decimal("-0.03"), Decimal("999.97")),
    ]
    assert windows(home, "routero") == [("10:00", Decimal("0.03"), None, None, 1, "not_recorded")]
    (overview,) = query(
        home.published,
        "select balance_amount, subscription_cost, usage_cost >= 0.03, projection_method "
        "from marts.billing_overview where account_id = 'routero' and billing_month = '2026-06'",
    )
    assert overview == (Decimal("999.97"), Decimal(300), True, "actual")


def test_routor_deducts_call_by_call_with_its_markup_and_refuses_without_credits(
    home: Home,
) -> None:
    assert query(
        home.published,
        "select provider_cost, markup_rate, billed_cost from marts.usage_records "
        "where gateway = 'routor' order by request_id",
    ) == [
        (Decimal("0.01"), Decimal("0.10"), Decimal("0.011")),
        (Decimal("0.01"), Decimal("0.08"), Decimal("0.0108")),
        (Decimal(0), Decimal("0.10"), Decimal(0)),
    ]
    assert windows(home, "routor") == [
        ("10:00", Decimal("0.0218"), Decimal("0.0218"), Decimal(0), 2, "matched"),
        ("12:00", Decimal(0), None, None, 1, "pending"),
    ]
    # The gateway's word that nothing is left, whatever our figures say.
    assert status(home, "routor") == (Decimal("4.9782"), "empty", 1)


def test_enterprise_router_sells_packages_and_gives_credits_back(home: Home) -> None:
    assert ledger(home, "enterprise_router") == [
        ("purchase", "15 09:00", Decimal(55), Decimal(55)),
        ("usage_debit", "15 11:00", Decimal("-0.006"), Decimal("54.994")),
        ("usage_refund", "15 13:00", Decimal("0.006"), Decimal(55)),
        ("adjustment", "15 14:00", Decimal(1), Decimal(56)),
    ]
    assert windows(home, "enterprise_router") == [
        ("10:00", Decimal("0.006"), Decimal("0.006"), Decimal(0), 1, "matched")
    ]
    assert query(
        home.published,
        "select package_id, package_price, package_currency, credited from marts.recharges",
    ) == [("fifty", Decimal(50), "USD", Decimal(55))]
    assert query(
        home.published,
        "select billed_cost, list_cost, list_cost - billed_cost from marts.usage_records "
        "where gateway = 'enterprise_router'",
    ) == [(Decimal("0.006"), Decimal("0.01"), Decimal("0.004"))]


def test_flatkey_credits_expire_and_debits_are_whole_cents(home: Home) -> None:
    assert ledger(home, "flatkey") == [
        ("expiry", "31 00:00", Decimal(-1), Decimal(0)),
        ("adjustment", "10 00:00", Decimal(5), Decimal(5)),
        ("usage_debit", "15 11:00", Decimal("-0.12"), Decimal("4.88")),
    ]
    assert status(home, "flatkey") == (Decimal("4.88"), "ok", 0)


def test_budgets_say_when_which_threshold_was_reached(home: Home) -> None:
    assert query(
        home.published,
        "select spent_amount, last_threshold, strftime(last_threshold_at, '%H:%M') "
        "from marts.budgets where budget_id = 'b'",
    ) == [(Decimal("0.0383"), Decimal("0.5"), "10:50")]
    assert query(
        home.published,
        "select subject_id, amount_at_stake from marts.exceptions "
        "where exception_type = 'budget_threshold'",
    ) == [("b/2026-06-01/0.5", Decimal("0.0133"))]


def close_elsewhere_and_change_wallets(home: Home) -> None:
    """June of one account turns out to be closed elsewhere; another pays from a new wallet."""
    header, *rows = SEEDS["accounts"]
    changed = [
        f"{row.replace('w-routor', 'w-spare')},{'2026-06' if row.startswith('routero') else ''}"
        for row in rows
    ]
    accounts = home.path / "seeds" / "accounts.csv"
    accounts.write_text("\n".join([f"{header},closed_through", *changed]) + "\n")

    outcome = home.run()

    assert outcome.status == "published", outcome.problems
    # All of June falls to July, and the balance is what it was.
    assert ledger(home, "routero") == [
        ("purchase", "01 00:00", Decimal(1000), Decimal(1000)),
        ("usage_debit", "01 00:00", Decimal("-0.03"), Decimal("999.97")),
        ("usage_debit", "01 00:00", Decimal("-0.5"), Decimal("999.47")),
    ]
    assert query(
        home.published,
        "select billing_month, status, adjustments_amount from marts.periods "
        "where account_id = 'routero' and billing_month < '2026-08' order by 1",
    ) == [("2026-06", "closed", None), ("2026-07", "open", Decimal("300.53"))]
    # What was used before the new wallet was opened is not taken from it.
    assert ledger(home, "spare") == [
        ("usage_debit", "15 11:00", Decimal("-0.0108"), Decimal("6.9892"))
    ]


def test_months_add_up_and_one_more_hour_gives_what_all_at_once_does(
    home: Home, tmp_path: Path
) -> None:
    later = home.copy(tmp_path / "home")
    digests = "select wallet_id || '/' || billing_month, ledger_digest from marts.wallet_months"
    before = dict(query(home.published, digests))
    # A late call and a late grant, before entries that are there; an hour after them all.
    late = call("flatkey", 2, "09:30:00", "0.335")
    newer = call("routero", 3, "15:30:00", "0.5")
    later.drop("flatkey/late.csv", table(late))
    later.drop("routero/newer.csv", table(newer))
    later.drop("adjustments/late.jsonl", lines(grant(2, "2026-06-05T00:00:00Z", "2")))

    outcome = later.run()

    assert outcome.status == "published", outcome.problems
    # Half a cent to the even one; what was bought later expires later.
    assert ledger(later, "flatkey") == [
        ("expiry", "31 00:00", Decimal(-1), Decimal(0)),
        ("adjustment", "05 00:00", Decimal(2), Decimal(2)),
        ("adjustment", "10 00:00", Decimal(5), Decimal(7)),
        ("usage_debit", "15 10:00", Decimal("-0.34"), Decimal("6.66")),
        ("usage_debit", "15 11:00", Decimal("-0.12"), Decimal("6.54")),
    ]
    assert ledger(later, "routero")[-1] == (
        "usage_debit",
        "15 16:00",
        Decimal("-0.5"),
        Decimal("999.47"),
    )
    after = dict(query(later.published, digests))
    assert {month for month in after if after[month] != before[month]} == {
        "w-flatkey/2026-06",
        "w-routero/2026-06",
    }
    close_elsewhere_and_change_wallets(later)
    step_by_step = later.marts()
    later.load_and_build(full_refresh=True)
    assert differing(step_by_step, later.marts()) == []
