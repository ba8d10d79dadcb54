"""One day of every system, with planted defects: each is found, with its exact amount."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from fixtures.gateway_exports import GATEWAY_SOURCES
from integration.homes import REPOSITORY, Home, query

CONFIG = """\
sources:
  - {name: litellm_prod, kind: litellm_spend_logs, gateway: litellm}
  - {name: openai, kind: openai_usage}
  - {name: stripe, kind: stripe, accepts_test_mode: true}
  - {name: razorpay, kind: razorpay, accepts_test_mode: true}
  - {name: prices, kind: price_catalog}
"""
ACCOUNTS = "account_id,name,currency,time_zone\nmain,Main,USD,UTC\n"
SCOPES = (
    "account_id,gateway,scope_type,scope_id,provider,billing_mode,billed_basis,valid_from_date,"
    "valid_to_date\nmain,litellm,gateway,,,managed,rule,2026-01-01,\n"
)
# Folder of landing, and the samples that go there.
LANDED = {
    "litellm_prod/litellm_spend_logs": "litellm_spendlogs_rows.json",
    "litellm_prod/owners": "litellm_owner_tables.json",
    "openai": "openai_usage_*.json",
    "openai_costs": "openai_cost*",
    "anthropic_usage": "anthropic_usage_report_messages.json",
    "anthropic_costs": "anthropic_cost_report.json",
    "stripe": "stripe_*.json",
    "razorpay": "razorpay_*.json",
    "adjustments": "manual_adjustments.json",
    "invoices": "invoice_normalised_examples.json",
    "aws_cur2": "aws_cur2_bedrock_rows.json",
    "gcp_billing": "gcp_billing_export_rows.json",
    "azure_cost": "azure_cost_details_rows.json",
}
# The table of docs/sources/README.md: defect, exception, subject begins with, amount at stake.
FOUND = (
    (
        "A stream that broke, and its earlier attempt",
        "estimated_usage",
        "litellm/gpt-5.4-mini",
        "0.00522",
    ),
    (
        "A charge that differs from its own breakdown",
        "cost_mismatch",
        "litellm/gpt-image-2",
        "0.00182",
    ),
    ("A local model no catalog prices, logged at 0", "unpriced_usage", "litellm/local-llama", None),
    ("A rotated key whose rows name no team", "missing_owner", "8fa0bfc1", None),
    ("A key and team deleted before the day ended", "missing_owner", "e2528c55", "0.0061"),
    ("A key that stands in no owner table", "orphan_key", "3fe5ee04", "0.2405"),
    ("A batch nobody approved", "unapproved_batch", "batch_syn_01", "0.1425"),
    (
        "Usage pages that end before the last one",
        "incomplete_page_chain",
        "openai/completions",
        None,
    ),
    (
        "Usage pages that end before the last one",
        "incomplete_page_chain",
        "anthropic_usage/messages",
        None,
    ),
    ("A payment in yen that belongs to no wallet", "unmatched_topup", "stripe/pi_syn_jpy", "1500"),
    ("A payment in yen for which there is no rate", "currency_mismatch", "stripe/JPY", "1500"),
    ("Credit bought without an approved request", "unapproved_topup", "stripe/pi_syn_1", "100"),
    ("One payment reported twice, credited once", "unapproved_topup", "razorpay/pay_syn_1", "10"),
    (
        "Workbench use of which the gateway has no record",
        "bypass_traffic",
        "anthropic/no key",
        "0.00278",
    ),
    (
        "A Bedrock bill of which the gateway has no record",
        "bypass_traffic",
        "aws/000000000002",
        "0.0045",
    ),
    ("A Bedrock bill of which the gateway has no record", "bypass_traffic", "aws/no key", "0.012"),
    (
        "A Bedrock bill of which the gateway has no record",
        "capture_rate_low",
        "aws/2026-10-01",
        "0.012",
    ),
    ("A Foundry bill of which the gateway has no record", "bypass_traffic", "azure/sub-1", "0.009"),
    (
        "A Gemini bill of which the gateway has no record",
        "bypass_traffic",
        "google/syn-proj",
        "0.0036",
    ),
    (
        "An invoice of a month, one day of it recorded",
        "invoice_line_unmatched",
        "openai_monthly_invoice/SYN-OAI-0008/1",
        "812.1763525",
    ),
    (
        "Web searches that only the provider counts",
        "invoice_variance",
        "openai_monthly_invoice/SYN-OAI-0008/1/missing_usage",
        "0.07",
    ),
    (
        "An invoice of a month, one day of it recorded",
        "invoice_variance",
        "anthropic_invoice/SYN-ANT-0003/1/missing_usage",
        "23.98046",
    ),
    (
        "An invoice for a service nobody used",
        "invoice_line_unmatched",
        "azure_mca_invoice/G012345678/1",
        "9",
    ),
)


@pytest.fixture(scope="module")
def home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("samples"), as_of="2026-10-08T00:00:00Z")
    (home.path / "tollbook.yml").write_text(CONFIG)
    (home.path / "seeds").mkdir()
    (home.path / "seeds" / "accounts.csv").write_text(ACCOUNTS)
    (home.path / "seeds" / "account_scopes.csv").write_text(SCOPES)
    for folder, pattern in LANDED.items():
        for path in sorted((shared / "samples").glob(pattern)):
            home.drop(f"{folder}/{path.name}", path.read_bytes())
    catalog = shared / "samples" / "price_catalog_litellm_excerpt.json"
    home.drop("prices/litellm.observed-20260901T000000Z.json", catalog.read_bytes())
    outcome = home.run()
    assert (outcome.status, outcome.exit_code, outcome.problems) == ("published", 0, [])
    return home


@pytest.mark.shared
def test_every_planted_defect_is_found_and_nothing_else(home: Home) -> None:
    found = query(
        home.published,
        "select exception_type, subject_id, amount_at_stake from marts.exceptions order by all",
    )

    expected = [(kind, subject, amount and Decimal(amount)) for _, kind, subject, amount in FOUND]
    unexpected = [
        each
        for each in found
        if not any(
            each[0] == kind and each[1].startswith(subject) and each[2] == amount
            for kind, subject, amount in expected
        )
    ]
    assert unexpected == []
    assert len(found) == len(FOUND)


def test_the_documented_table_is_the_tested_one() -> None:
    page = (REPOSITORY / "docs" / "sources" / "README.md").read_text(encoding="utf-8")

    for defect, kind, _, amount in FOUND:
        assert f"| {defect} | {kind} | {amount or 'unknown'} |" in page


@pytest.mark.shared
def test_every_sample_row_is_loaded(home: Home) -> None:
    refused = home.query(
        "select file_name, status, rows_quarantined from audit.load_batches "
        "where status <> 'loaded' or rows_quarantined > 0"
    )

    assert refused == []


@pytest.mark.shared
def test_the_day_costs_what_its_systems_say(home: Home) -> None:
    costs = query(
        home.published,
        "select request_id, gateway_cost, list_cost from marts.usage_records "
        "where gateway_cost > 0 order by 1",
    )

    # The image call was logged with another amount than its own breakdown says.
    differing = {name: (spend, cost) for name, spend, cost in costs if spend != cost}
    assert len(costs) == 8
    assert differing == {"img-syn-0001": (Decimal("0.03375"), Decimal("0.03193"))}


# Folder of landing, the sample, and what it holds: rows, or input, cached and output tokens of its
# one call and the charge; tokens that a gateway does not tell apart are unknown.
OF_GATEWAYS = (
    ("bifrost", "bifrost_logs_row.json", (12000, 8000, 800, "0.0072")),
    ("cloudflare", "cloudflare_ai_gateway_logs.json", (12000, None, 800, "0.0072")),
    ("helicone", "helicone_request_response_rmt_row.json", (12000, 8000, 800, "0.0072")),
    ("kong", "kong_ai_audit_log.json", (12000, None, 800, "0.0126")),
    ("openrouter", "openrouter_generation.json", (3000, 0, 300, "0.0036")),
    ("otel_genai", "otel_genai_span.json", (12000, 8000, 800, None)),
    ("portkey", "portkey_log_export_row.json", (12000, None, 800, "0.0072")),
    ("vercel", "vercel_ai_gateway_report.json", (12000, 8000, 800, "0.0072")),
)
OTHERS = (
    ("openrouter_days/openrouter_activity", "openrouter_activity.json", 2),
    ("openrouter_days/openrouter_credits", "openrouter_credits.json", 1),
    ("litellm_spend_logs", "litellm_spend_logs_v2_page.json", 3),
    ("focus", "focus/sample_focus_1.2.csv", 104),
    ("anthropic_costs", "anthropic_analytics_cost_report.json", 1),
    ("price_catalog", "price_catalog_genai_prices_projection.json", 5),
)


@pytest.mark.shared
def test_the_sample_of_every_gateway_is_read_by_its_preset(shared: Path, tmp_path: Path) -> None:
    home = Home(tmp_path, as_of="2026-10-08T00:00:00Z")
    (home.path / "tollbook.yml").write_text(GATEWAY_SOURCES)
    for folder, name, _ in (*OF_GATEWAYS, *OTHERS):
        home.drop(f"{folder}/{Path(name).name}", (shared / "samples" / name).read_bytes())

    home.steps().load()

    # Every field is known: nothing drifted, nothing was refused.
    assert home.query(
        "select split_part(file_name, '/', 1), rows_loaded, rows_quarantined "
        "from audit.load_batches where status = 'loaded' and codes not like '%drift%' order by all"
    ) == sorted(
        [(gateway, 1, 0) for gateway, _, _ in OF_GATEWAYS]
        + [(folder.partition("/")[0], rows, 0) for folder, _, rows in OTHERS]
    )
    assert home.query(
        "select _gateway, input_tokens, cached_read_tokens, output_tokens, charge "
        "from raw.gateway__usage order by all"
    ) == [
        (gateway, *tokens, charge and Decimal(charge))
        for gateway, _, (*tokens, charge) in OF_GATEWAYS
    ]
