"""Write the bundled example: one month of an invented company's AI spend, with known faults."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from brindlemoor.billing import invoice, recharge_requests, wallet_history
from brindlemoor.calls import Call, all_calls
from brindlemoor.observers import LostRequests, app_log, gateway_counts, lost_requests
from brindlemoor.prices import OCTOBER, OCTOBER_AT, SEPTEMBER, SEPTEMBER_AT, Row, sample_spec
from brindlemoor.readme import fill_readme, readme_tables
from brindlemoor.spend_logs import spend_log

HERE = Path(__file__).resolve().parent


def as_json(value: object, indent: int | None = None) -> str:
    """JSON text in which an amount is the number that Python's float would print."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(value, default=_as_number, indent=indent, separators=separators)


def _as_number(value: object) -> float:
    # Only the notation is a float's: the shortest print of this double is the amount itself.
    if not isinstance(value, Decimal) or Decimal(repr(float(value))) != value:
        raise TypeError(f"cannot be written as a JSON number: {value!r}")
    return float(value)


def as_lines(rows: Iterable[Row]) -> str:
    """JSON lines."""
    return "".join(as_json(row) + "\n" for row in rows)


# Columns of the table that a `/spend/logs/v2` page leaves out.
NOT_LISTED = ("messages", "response", "proxy_server_request", "billing_agent_id")


def as_page(rows: list[Row]) -> str:
    """The rows as the only page of LiteLLM's `/spend/logs/v2`."""
    listed = [{n: v for n, v in row.items() if n not in NOT_LISTED} for row in rows]
    page = {"data": listed, "total": len(rows), "page": 1, "page_size": 1000}
    return as_json(page | {"total_pages": 1, "total_is_capped": False}) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write one file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_gzip(path: Path, text: str) -> None:
    """Write one compressed file, unless it holds this text: compressors differ in their bytes."""
    content = text.encode()
    if path.exists() and gzip.decompress(path.read_bytes()) == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(content)


def write_landing(landing: Path, calls: list[Call], lost: list[LostRequests]) -> None:
    """Write the landing folder: logs, cost maps, counts, the app's log, invoice, wallet."""
    days = [(call.started_at.day, spend_log(call)) for call in calls]
    logs = landing / "litellm_prod"
    first = [row for day, row in days if day <= 6]
    write_text(logs / "spend_logs-2026-10-01_06.jsonl", as_lines(first))
    middle = [row for day, row in days if 6 < day <= 24]
    write_gzip(logs / "spend_logs-2026-10-07_24.jsonl.gz", as_lines(middle))
    last = [row for day, row in days if day > 24]
    write_text(logs / "spend_logs_v2-2026-10-25_31.json", as_page(last))
    for observed_at, prices in ((SEPTEMBER_AT, SEPTEMBER), (OCTOBER_AT, OCTOBER)):
        name = f"litellm_prices.observed-{observed_at:%Y%m%dT%H%M%SZ}.json"
        catalog = {"sample_spec": sample_spec(), **dict(sorted(prices.items()))}
        write_text(landing / "price_catalog" / name, as_json(catalog, indent=1) + "\n")
    write_text(landing / "gateway_counts" / "counts-2026-10.csv", gateway_counts(calls, lost))
    write_text(landing / "app_requests" / "app-2026-10.jsonl", as_lines(app_log(calls)))
    name = "anthropic-2026-10.json"
    write_text(landing / "invoices" / name, as_json(invoice(calls), indent=1) + "\n")
    for kind, rows in (
        ("wallet_transactions", wallet_history()),
        ("recharge_requests", recharge_requests()),
    ):
        write_text(landing / kind / "lab-2026-10.jsonl", as_lines(rows))


def main() -> None:
    """Write every file of the example and say what is in it."""
    calls = all_calls()
    lost = lost_requests(calls)
    write_landing(HERE / "landing", calls, lost)
    tables = readme_tables(calls, lost)
    readme = HERE / "README.md"
    write_text(readme, fill_readme(readme.read_text(encoding="utf-8"), tables))
    print(f"{len(calls)} usage records\n\n" + "\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
