"""The files of a world: gateway log, application log, provider pages, invoice, seeds, settings."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import msgspec

from accuracy.contracts import DATED, Contract
from accuracy.wallets import OPENING, SMALL_OPENING, Prepaid, router_key
from accuracy.world import (
    AFTER,
    BEFORE,
    CHANGE_AT,
    DAYS,
    LONG,
    MILLION,
    MONTH_START,
    Call,
    World,
    line_text,
    provider_of,
    rate_on,
)

CENT = Decimal("0.01")
# The one file of a world that is refused.
WRONG_TOTAL = "wrong_total.csv"
_SEPTEMBER = datetime(2026, 9, 20, tzinfo=UTC)
Rows = Sequence[dict[str, Any]]


def write_home(home: Path, worlds: Sequence[World]) -> None:
    """Everything the pipeline is to see of some companies, which share nothing but prices."""
    landing = home / "landing"
    for world in worlds:
        _write_records(landing, world)
        _write_documents(landing, world)
    finance = [row for world in worlds for row in _finance_prices(world)]
    if finance:
        _write(landing / "price_catalog" / "finance.csv", _csv(finance))
    own = {(model, "standard"): parts for world in worlds for model, parts in world.priced.items()}
    for moment, prices in ((_SEPTEMBER, BEFORE), (CHANGE_AT, AFTER)):
        name = f"prices.observed-{moment:%Y%m%dT%H%M%SZ}.json"
        _write(landing / "price_catalog" / name, _json(_catalog(prices | own)))


def _write_records(landing: Path, world: World) -> None:
    """What gateway, application, router and provider wrote of calls."""
    _write(landing / world.gateway / "log.jsonl", _lines(world.rows))
    if world.repeated_rows:
        # An export that overlaps the one before it: loaded twice is no event.
        again = world.rows[: world.repeated_rows]
        _write(landing / world.gateway / "log-again.jsonl", _lines(again))
    _write(landing / f"{world.name}_app" / "app.jsonl", _lines(world.app))
    for name, page in _pages(world).items():
        folder = landing / f"{world.name}_provider" / f"openai_{name}"
        _write(folder / f"{name}-2026-10__p0001.json", _json(page))
    if world.prepaid is not None:
        _write_prepaid(landing, world.prepaid)
    if world.counts:
        _write(landing / f"{world.name}_edge" / "counts.csv", _csv(world.counts))
    if world.decisions:
        _write(landing / "decisions" / f"{world.name}.jsonl", _lines(world.decisions))
    for day, is_whole in world.chains:
        folder = landing / f"{world.name}_pages" / "openai_costs"
        for number, page in enumerate(_chain(day, is_whole), 1):
            _write(folder / f"costs-{day:%Y-%m-%d}__p{number:04}.json", _json(page))


def _write_documents(landing: Path, world: World) -> None:
    """The other provider's reports, and all invoices."""
    for name, page in _anthropic_pages(world).items():
        folder = landing / f"{world.name}_claude" / f"anthropic_{name}"
        _write(folder / f"{name}-2026-10__p0001.json", _json(page))
    bill = _cloud_bill(world)
    if bill:
        _write(landing / f"{world.name}_cur" / "cur.jsonl", _lines(bill))
    invoices = landing / f"{world.name}_invoices"
    if world.prepaid is not None:
        for number, rows in enumerate((router_invoice(world.prepaid), _receipt(world.prepaid))):
            _write(invoices / f"router-{number}.csv", _csv(rows))
    _write(invoices / "invoice.csv", _csv(invoice_lines(world)))
    documents = [each.document() for c in world.contracts for each in (*c.drafts, *c.invoices)]
    if documents:
        _write(invoices / "contracts.json", _json(documents))
    if world.wrong_totals:
        _write(invoices / WRONG_TOTAL, _csv(_wrong_totals(world)))


def write_settings(home: Path, worlds: Sequence[World]) -> None:
    """Configuration and reference data."""
    for name, rows in _seeds(worlds).items():
        if not rows:
            continue
        _write(home / "seeds" / f"{name}.csv", _csv(rows))
    _write(home / "tollbook.yml", _settings(worlds))


def write_quiet(home: Path, world: World) -> None:
    """What sources brought before they fell silent."""
    for number, rows in enumerate(world.stale_rows):
        path = home / "landing" / f"{world.name}_quiet{number}" / "log.jsonl"
        _write(path, _lines(rows))


def _write_prepaid(landing: Path, prepaid: Prepaid) -> None:
    name = prepaid.world.name
    _write(landing / prepaid.gateway / "export.csv", _csv(prepaid.calls))
    history = [*prepaid.history, *prepaid.debits()]
    _write(landing / f"{name}_history" / "history.csv", _csv(history))
    _write(landing / f"{name}_stripe" / "events.jsonl", _lines(prepaid.events))
    _write(landing / f"{name}_requests" / "requests.jsonl", _lines(prepaid.requests))


def invoice_lines(world: World) -> Rows:
    """The provider's invoice: one line per model, tier and part, rounded to cents by line."""
    amounts = billed_amounts(world)
    counts: dict[str, int] = defaultdict(int)
    for call, _ in world.billed:
        for part, count in call.parts.items():
            if count:
                counts[line_text(call.model, call.tier, part)] += count
    rounded = {text: amount.quantize(CENT, ROUND_HALF_UP) for text, amount in amounts.items()}
    subtotal = sum(rounded.values(), Decimal(0))
    tax = (subtotal * world.tax_rate).quantize(CENT, ROUND_HALF_UP)
    header = {
        "vendor": "openai",
        "invoice_number": invoice_number(world),
        "invoice_type": "invoice",
        "issued_at": "2026-11-02T00:00:00Z",
        "period_start": "2026-10-01",
        "period_end": "2026-10-31",
        "currency": "USD",
        "provider_account_id": world.provider_account,
        "subtotal": subtotal,
        "tax": tax,
        "credits_applied": world.credit,
        "total": subtotal + tax - world.credit,
    }
    return [
        header
        | {
            "line_no": number,
            "description": text,
            "quantity": counts[text],
            "unit": "tokens",
            "amount": rounded[text],
        }
        for number, text in enumerate(sorted(rounded), 1)
    ]


def _wrong_totals(world: World) -> Rows:
    """Invoices whose lines come to less than they say."""
    rows = []
    for number, lacking in enumerate(world.wrong_totals, 1):
        header = {
            "vendor": "openai",
            "invoice_number": f"{invoice_number(world)}-X{number}",
            "issued_at": "2026-11-02T00:00:00Z",
            "period_start": "2026-10-01",
            "period_end": "2026-10-31",
            "currency": "USD",
            "subtotal": 10 + lacking,
            "tax": 0,
            "total": 10 + lacking,
        }
        rows += [
            header | {"line_no": line, "description": f"Support {line}", "amount": amount}
            for line, amount in enumerate(("4.00", "6.00"), 1)
        ]
    return rows


def billed_amounts(world: World) -> dict[str, Decimal]:
    """What the provider bills before it rounds: at a price it has given up, or as it should."""
    if not world.is_billed_at_old_price:
        return exact_amounts(world)
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for call, _ in world.billed:
        for part, count in call.parts.items():
            if count:
                price = (call.own_prices or BEFORE[call.model, call.tier])[part]
                amounts[line_text(call.model, call.tier, part)] += count * price / MILLION
    return amounts


def exact_amounts(world: World) -> dict[str, Decimal]:
    """What the provider's lines come to before it rounds them."""
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for call, _ in world.billed:
        for part, count in call.parts.items():
            if count:
                text = line_text(call.model, call.tier, part)
                amounts[text] += count * call.prices[part] / MILLION
    return amounts


def invoice_number(world: World) -> str:
    """The number of the month's invoice."""
    return f"INV-{world.name}"


def _pages(world: World) -> dict[str, dict[str, Any]]:
    """The provider's usage and cost reports of the month, by day."""
    usage: dict[int, dict[tuple[str, str, str], list[Call]]] = defaultdict(
        lambda: defaultdict(list)
    )
    billed = list(world.billed)
    for contract in world.contracts:
        if contract.has_pages and contract.provider == "openai":
            billed += [(call, contract.project) for call in contract.billed]
    for call, project in billed:
        day = (call.ended_at - MONTH_START).days
        usage[day][project, call.model, call.tier].append(call)
    nameless = {each.project for each in world.contracts if each.has_nameless_costs}
    return {
        "usage": _page([_usage_bucket(day, usage[day]) for day in range(DAYS)]),
        "costs": _page([_cost_bucket(day, usage[day], nameless) for day in range(DAYS)]),
    }


def _anthropic_pages(world: World) -> dict[str, dict[str, Any]]:
    """The other provider's reports: tokens by model, and cents by part."""
    days: dict[int, dict[tuple[str, str], list[Call]]] = defaultdict(lambda: defaultdict(list))
    for contract in world.contracts:
        if contract.has_pages and contract.provider == "anthropic":
            for call in contract.billed:
                day = (call.ended_at - MONTH_START).days
                days[day][contract.project, call.model].append(call)
    usage, costs = [], []
    for day in sorted(days):
        start = MONTH_START + timedelta(days=day)
        times = {"starting_at": _moment(start), "ending_at": _moment(start + timedelta(days=1))}
        groups = sorted(days[day].items())
        used = [_anthropic_usage(workspace, model, calls) for (workspace, model), calls in groups]
        usage.append({**times, "results": used})
        charged = [
            line
            for (workspace, model), calls in groups
            for line in _anthropic_costs(workspace, model, calls)
        ]
        costs.append({**times, "results": charged})
    if not usage:
        return {}
    end = {"has_more": False, "next_page": None}
    return {"usage": {"data": usage, **end}, "costs": {"data": costs, **end}}


_METERS = {
    "input": "input-tokens",
    "cached": "cache-read-input-token-count",
    "output": "output-tokens",
}


def _cloud_bill(world: World) -> list[dict[str, Any]]:
    """A cloud's bill: a row an hour and part, in thousands, of ten decimals."""
    hours: dict[tuple[str, datetime, str], list[Call]] = defaultdict(list)
    for contract in world.contracts:
        if contract.provider == "bedrock":
            for call in contract.billed:
                hour = call.ended_at.replace(minute=0, second=0, microsecond=0)
                for part in call.parts:
                    hours[contract.project, hour, part].append(call)
    rows = []
    for number, ((project, hour, part), calls) in enumerate(sorted(hours.items())):
        count = sum(call.parts[part] for call in calls)
        if count:
            cost = sum((call.parts[part] * call.prices[part] for call in calls), Decimal(0))
            times = {"start": _moment(hour), "end": _moment(hour + timedelta(hours=1))}
            rows.append(
                {
                    "bill_billing_period_start_date": "2026-10-01T00:00:00Z",
                    "bill_invoice_id": "",
                    "line_item_usage_account_id": project,
                    "line_item_usage_start_date": times["start"],
                    "line_item_usage_end_date": times["end"],
                    "line_item_line_item_type": "Usage",
                    "line_item_product_code": "AmazonBedrock",
                    "line_item_usage_type": f"USE1-Claude4.5Haiku-{_METERS[part]}",
                    "line_item_usage_amount": str(Decimal(count) / 1000),
                    "pricing_unit": "1K tokens",
                    "line_item_unblended_cost": f"{cost / MILLION:.10f}",
                    "line_item_currency_code": "USD",
                    "identity_line_item_id": f"{world.name}-{number}",
                    "identity_time_interval": f"{times['start']}/{times['end']}",
                }
            )
    return rows


def router_amounts(prepaid: Prepaid) -> dict[str, Decimal]:
    """What the router charged in the month, by model."""
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for call in prepaid.calls:
        amounts[call["model"]] += call["cost"]
    return amounts


def router_invoice(prepaid: Prepaid) -> Rows:
    """What the router says that a month cost: one line per model, rounded to cents."""
    amounts = router_amounts(prepaid)
    rounded = {model: amount.quantize(CENT, ROUND_HALF_UP) for model, amount in amounts.items()}
    header = {
        "vendor": prepaid.gateway,
        "invoice_number": f"INV-{prepaid.gateway}",
        "issued_at": "2026-11-02T00:00:00Z",
        "period_start": "2026-10-01",
        "period_end": "2026-10-31",
        "currency": "USD",
        "total": sum([*rounded.values(), *prepaid.surcharges], Decimal(0)),
    }
    lines = [(f"{model} usage", model, rounded[model]) for model in sorted(rounded)]
    lines += [
        (f"Surcharge {number}", f"surcharge-{number}", amount)
        for number, amount in enumerate(prepaid.surcharges, 1)
    ]
    return [
        header | {"line_no": number, "description": text, "model": model, "amount": amount}
        for number, (text, model, amount) in enumerate(lines, 1)
    ]


def _receipt(prepaid: Prepaid) -> Rows:
    """A receipt of the router for a top-up, with its fee, which bills no usage."""
    header = {
        "vendor": prepaid.gateway,
        "invoice_number": f"REC-{prepaid.gateway}",
        "invoice_type": "receipt",
        "is_usage": "false",
        "issued_at": "2026-10-02T00:00:00Z",
        "currency": "USD",
        "total": "105.50",
    }
    lines = (("Credits", "100.00"), ("Platform fee", "5.50"))
    return [
        header | {"line_no": number, "description": text, "amount": amount}
        for number, (text, amount) in enumerate(lines, 1)
    ]


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _anthropic_usage(workspace: str, model: str, calls: list[Call]) -> dict[str, Any]:
    return {
        "uncached_input_tokens": sum(call.uncached for call in calls),
        "cache_creation": {
            "ephemeral_5m_input_tokens": sum(call.write_5m for call in calls),
            "ephemeral_1h_input_tokens": sum(call.write_1h for call in calls),
        },
        "cache_read_input_tokens": sum(call.cached for call in calls),
        "output_tokens": sum(call.output for call in calls),
        "server_tool_use": {"web_search_requests": 0},
        "api_key_id": f"apikey_{workspace}",
        "workspace_id": workspace,
        "model": model,
        "service_tier": "standard",
        "context_window": "0-200k",
        "inference_geo": "global",
    }


def _anthropic_costs(workspace: str, model: str, calls: list[Call]) -> list[dict[str, Any]]:
    kinds = {
        "input": "uncached_input_tokens",
        "cached": "cache_read_input_tokens",
        "write_5m": "cache_creation.ephemeral_5m_input_tokens",
        "write_1h": "cache_creation.ephemeral_1h_input_tokens",
    }
    lines = []
    for part in ("input", "cached", "write_5m", "write_1h", "output"):
        amount = sum(
            (call.parts[part] * call.prices[part] for call in calls if part in call.parts),
            Decimal(0),
        )
        if amount:
            lines.append(
                {
                    "currency": "USD",
                    # Cents, as text.
                    "amount": f"{amount * 100 / MILLION:f}",
                    "workspace_id": workspace,
                    "description": line_text(model, "standard", part),
                    "cost_type": "tokens",
                    "context_window": "0-200k",
                    "model": model,
                    "service_tier": "standard",
                    "token_type": kinds.get(part, "output_tokens"),
                    "inference_geo": "global",
                }
            )
    return lines


def _page(buckets: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def _bucket(day: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    start = MONTH_START + timedelta(days=day)
    end = start + timedelta(days=1)
    times = {"start_time": int(start.timestamp()), "end_time": int(end.timestamp())}
    return {"object": "bucket", **times, "results": results}


def _usage_bucket(day: int, groups: dict[tuple[str, str, str], list[Call]]) -> dict[str, Any]:
    results = []
    for (project, model, tier), calls in sorted(groups.items()):
        uncached, cached, output = (
            sum(call.parts[part] for call in calls) for part in ("input", "cached", "output")
        )
        results.append(
            {
                "object": "organization.usage.completions.result",
                "input_tokens": uncached + cached,
                "input_cached_tokens": cached,
                "input_uncached_tokens": uncached,
                "output_tokens": output,
                "num_model_requests": len(calls),
                "model": model,
                "batch": tier == "batch",
                "service_tier": {"standard": "default", "batch": None}.get(tier, tier),
                "project_id": project,
                "user_id": None,
                "api_key_id": f"key_{project}",
            }
        )
    return _bucket(day, results)


def _cost_bucket(
    day: int, groups: dict[tuple[str, str, str], list[Call]], nameless: set[str]
) -> dict[str, Any]:
    """What was charged by line item, and of some projects in one amount."""
    results = []
    together: dict[str, Decimal] = defaultdict(Decimal)
    for (project, model, tier), calls in sorted(groups.items()):
        if project in nameless:
            together[project] += sum((call.cost for call in calls), Decimal(0))
            continue
        for part in ("input", "cached", "output"):
            count = sum(call.parts[part] for call in calls)
            amount = sum((call.parts[part] * call.prices[part] for call in calls), Decimal(0))
            if count:
                results.append(
                    {
                        "object": "organization.costs.result",
                        "amount": {"value": amount / MILLION, "currency": "usd"},
                        "line_item": line_text(model, tier, part),
                        "project_id": project,
                        "api_key_id": None,
                        "user_id": None,
                        "quantity": count,
                        "quantity_unit": "tokens",
                    }
                )
    results += [
        {
            "object": "organization.costs.result",
            "amount": {"value": amount, "currency": "usd"},
            "line_item": None,
            "project_id": project,
        }
        for project, amount in sorted(together.items())
    ]
    return _bucket(day, results)


def _catalog(prices: dict[tuple[str, str], dict[str, Decimal]]) -> dict[str, Any]:
    """LiteLLM's cost map of the models."""
    ours = {"input": "input_cost_per_token", "cached": "cache_read_input_token_cost"}
    ours["output"] = "output_cost_per_token"
    ours["write_5m"] = "cache_creation_input_token_cost"
    ours["write_1h"] = "cache_creation_input_token_cost_above_1hr"
    entries: dict[str, dict[str, Any]] = defaultdict(lambda: {"mode": "chat"})
    for (model, tier), parts in prices.items():
        entries[model]["litellm_provider"] = provider_of(model)
        for part, price in parts.items():
            suffix = {"standard": "", "batch": "_batches"}.get(tier, f"_{tier}")
            entries[model][ours[part] + suffix] = price / MILLION
    for model, parts in LONG.items():
        for part, price in parts.items():
            entries[model][f"{ours[part]}_above_200k_tokens"] = price / MILLION
    for name, dated in DATED.items():
        entries[dated] = entries[name]
    entries["text-embedding-3-small"]["mode"] = "embedding"
    return entries


def _seeds(worlds: Sequence[World]) -> dict[str, Rows]:
    accounts, scopes, providers, owners, teams = [], [], [], [], []
    centers, wallets, rules, subscriptions, budgets = [], [], [], [], []
    for world in worlds:
        accounts.append(
            {
                "account_id": world.account,
                "name": world.name,
                "currency": "USD",
                "time_zone": "UTC",
            }
        )
        scopes.append(
            {
                "account_id": world.account,
                "gateway": world.gateway,
                "scope_type": "gateway",
                "billing_mode": "managed",
                "billed_basis": "rule",
                "valid_from_date": "2026-01-01",
            }
        )
        contract = {
            "provider_account_id": world.provider_account,
            "provider": "openai",
            "currency": "USD",
            "time_zone": "UTC",
            "invoice_rounding": "line",
            "valid_from_date": "2026-01-01",
        }
        providers.append({**contract, "gateway": world.gateway, "provider_project_id": ""})
        for project in (world.project, *world.shadow_projects):
            providers.append({**contract, "gateway": "", "provider_project_id": project})
        for each in world.contracts:
            providers += _contract_rows(each)
        for key in world.own_keys:
            scopes.append(
                {**scopes[-1], "scope_type": "key", "scope_id": key.id, "billing_mode": "byok"}
            )
        for name, amount in world.commitments:
            subscriptions.append(
                {
                    "subscription_id": f"{name}-commitment",
                    "account_id": "",
                    "provider_account_id": name,
                    "description": "Provisioned throughput",
                    "amount": amount,
                    "currency": "USD",
                    "interval": "month",
                    "valid_from_date": "2026-01-01",
                }
            )
        for team in sorted({key.team for key in [*world.keys, *world.more_keys] if key.team}):
            centers.append({"cost_center": f"{team}-cc", "name": team, "active": "true"})
            teams.append(
                {
                    "team_id": team,
                    "team_name": team,
                    "cost_center": f"{team}-cc",
                    "active": "true",
                }
            )
        for suffix, currency, keys in (
            ("foreign", "SEK", world.foreign_keys),
            ("euros", "EUR", [world.euro_key]),
            ("closed", "USD", [world.closed_key]),
        ):
            account = {"account_id": f"{world.name}-{suffix}", "currency": currency}
            accounts.append(accounts[0] | {"wallet_id": "", "name": suffix} | account)
            if suffix == "closed":
                accounts[-1]["closed_through"] = "2026-09"
            scopes += [
                {
                    "account_id": account["account_id"],
                    "gateway": world.gateway,
                    "scope_type": "key",
                    "scope_id": key.id,
                    "billing_mode": "managed",
                    "billed_basis": "rule",
                    "valid_from_date": "2026-01-01",
                }
                for key in keys
            ]
        for key, amount in world.budgets:
            budgets.append(
                {
                    "budget_id": f"{key.name}-budget",
                    "scope_type": "key",
                    "scope_id": key.id,
                    "period": "month",
                    "amount": amount,
                    "currency": "USD",
                    "thresholds": "0.5;0.8;1",
                    "valid_from_date": "2026-10-01",
                }
            )
        kept = [*world.keys, *world.shared_keys, *world.own_keys, *world.foreign_keys]
        kept += [*world.more_keys, world.batch_key, world.euro_key, world.closed_key]
        for key in kept:
            owners.append(
                {
                    "batch_allowed": "true" if key == world.batch_key else "",
                    "api_key_id": key.id,
                    "gateway": world.gateway,
                    "api_key_name": key.name,
                    "team_id": key.team,
                    "cost_center": f"{key.team}-cc",
                    "environment": "prod",
                    "workflow": "answers",
                    "valid_from_date": "2026-01-01",
                }
            )
    for prepaid in (world.prepaid for world in worlds if world.prepaid is not None):
        accounts.append(
            {
                "account_id": prepaid.account,
                "name": prepaid.account,
                "currency": "USD",
                "time_zone": "UTC",
                "wallet_id": prepaid.wallet,
            }
        )
        scopes.append(
            {**scopes[0], "account_id": prepaid.account, "gateway": prepaid.gateway}
            | {"billed_basis": "charge"}
        )
        wallets.append(
            {
                "wallet_id": prepaid.wallet,
                "currency": "USD",
                "opening_balance": OPENING,
                "opening_at": "2026-10-01T00:00:00Z",
                "debit_rounding": "none",
                "debit_interval_minutes": 1440,
            }
        )
        for wallet, threshold in prepaid.others:
            accounts.append(accounts[-1] | {"account_id": f"{wallet}-account", "name": wallet})
            accounts[-1]["wallet_id"] = wallet
            wallets.append(wallets[-1] | {"wallet_id": wallet, "opening_balance": SMALL_OPENING})
            wallets[-1]["low_balance_threshold"] = threshold
        rules.append(
            {
                "rule_id": f"{prepaid.account}-auto",
                "account_id": prepaid.account,
                "routing_mode": "auto",
                "markup_rate": "0.10",
                "valid_from_date": "2026-01-01",
            }
        )
        key = router_key(prepaid.world)
        owners.append({**owners[0], "api_key_id": key.id, "api_key_name": key.name})
        owners[-1] |= {"gateway": prepaid.gateway, "team_id": key.team}
        owners[-1] |= {"cost_center": f"{key.team}-cc"}
    return {
        "markup_rules": rules,
        "wallets": wallets,
        "subscriptions": subscriptions,
        "contract_prices": _discounts(worlds),
        "fx_rates": _fx_rates(),
        "budgets": budgets,
        "accounts": accounts,
        "account_scopes": scopes,
        "provider_accounts": providers,
        "cost_centers": centers,
        "teams": teams,
        "key_owners": owners,
    }


def _chain(day: datetime, is_whole: bool) -> list[dict[str, Any]]:
    """Two pages of a day without costs, or the first of them."""
    start = int(day.timestamp())
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": []}
    first = {"object": "page", "data": [bucket], "has_more": True, "next_page": "page_2"}
    last = {"object": "page", "data": [], "has_more": False, "next_page": None}
    return [first, last] if is_whole else [first]


def _finance_prices(world: World) -> Rows:
    """What another catalog asks for output."""
    return [
        {
            "provider": "openai",
            "model": model,
            "unit": "output_text_tokens",
            "service_tier": "standard",
            "unit_price": price,
            "unit_size": 1_000_000,
            "currency": "USD",
            "valid_from_at": "2026-09-01T00:00:00Z",
            "observed_at": "2026-09-20T00:00:00Z",
            "source": "finance",
        }
        for model, price in world.finance_prices.items()
    ]


def _contract_rows(contract: Contract) -> Rows:
    """How calls, and the provider's pages, are found to belong to a contract."""
    row = {
        "provider_account_id": contract.name,
        "provider": contract.provider,
        "currency": contract.currency,
        "time_zone": contract.zone,
        "invoice_rounding": contract.rounding,
        "valid_from_date": "2026-01-01",
    }
    found = (
        {"api_base_host": f"{contract.name}.example.com"}
        if contract.is_by_host
        else {"model_id": contract.name}
    )
    rows = [row | found]
    if contract.is_of_gateway:
        rows[0]["gateway"] = contract.world.gateway
    if contract.has_pages:
        rows.append(row | {"provider_project_id": contract.project})
    return rows


def _discounts(worlds: Sequence[World]) -> Rows:
    """Contracts that take something off every price of the list."""
    return [
        {
            "contract_price_id": f"{contract.name}-discount",
            "provider_account_id": contract.name,
            "provider": contract.provider,
            "unit_size": 1,
            "discount_rate": contract.discount,
            "currency": "USD",
            "valid_from_at": "2026-01-01T00:00:00Z",
        }
        for world in worlds
        for contract in world.contracts
        if contract.discount
    ]


def _fx_rates() -> Rows:
    days = [MONTH_START + timedelta(days=day) for day in range(-20, 45)]
    return [
        {
            "rate_date": f"{day:%Y-%m-%d}",
            "base_currency": "USD",
            "quote_currency": "EUR",
            "rate": rate_on(day),
            "source": "bank",
        }
        for day in days
    ]


def _settings(worlds: Sequence[World]) -> str:
    # One thread: another home is judged at the same time.
    lines = [
        "warehouse: {threads: 1}",
        "sources:",
        "  - {name: price_catalog, kind: price_catalog}",
    ]
    for world in worlds:
        name = world.name
        lines += [
            f"  - {{name: {world.gateway}, kind: litellm_spend_logs, gateway: {world.gateway}}}",
            f"  - {{name: {name}_app, kind: app_requests}}",
            f"  - {{name: {name}_provider, kind: openai_admin, api_key: '${{BENCH_KEY}}', "
            "interval: 100000h}",
            f"  - {{name: {name}_claude, kind: anthropic_admin, api_key: '${{BENCH_KEY}}', "
            "interval: 100000h}",
            f"  - {{name: {name}_invoices, kind: invoices}}",
            f"  - {{name: {name}_cur, kind: aws_cur2}}",
            f"  - {{name: {name}_edge, kind: gateway_counts, gateway: {world.gateway}}}",
            f"  - {{name: {name}_pages, kind: openai_admin, api_key: '${{BENCH_KEY}}', "
            "interval: 100000h}",
            f"  - {{name: {name}_router, kind: gateway_usage, preset: routic, "
            f"gateway: {name}_router}}",
            f"  - {{name: {name}_history, kind: wallet_transactions, gateway: {name}_router}}",
            f"  - {{name: {name}_stripe, kind: stripe, interval: 100000h}}",
            f"  - {{name: {name}_requests, kind: recharge_requests}}",
        ]
        lines += [
            f"  - {{name: {name}_quiet{number}, kind: litellm_spend_logs, "
            f"gateway: {world.gateway}, interval: 1h}}"
            for number in range(len(world.stale_rows))
        ]
    return "\n".join(lines) + "\n"


# Amounts as JSON numbers, digit by digit.
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode() + "\n"


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(_json(row) for row in rows)


def _csv(rows: Rows) -> str:
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
