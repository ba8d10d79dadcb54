"""The page of the checks, opened as a person opens it: in a browser, from the file system."""

from __future__ import annotations

import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from fixtures.checked_warehouse import Warehouse

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET_BROWSER = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The check page of a warehouse in which one request id was logged twice."""
    folder = tmp_path_factory.mktemp("checks")
    warehouse = Warehouse(folder / "warehouse.duckdb")
    for occurrence in (1, 2):
        warehouse.add_usage(
            request_id="call-<b>7</b>",
            occurrence=occurrence,
            gateway_cost=Decimal("0.25"),
            duplicate_of="litellm/call-<b>7</b>/1" if occurrence == 2 else None,
        )
    results = warehouse.check(folder / "docs").values()
    assert [r.amount_at_stake for r in results if not r.passed] == [Decimal("0.25")]
    return folder / "docs" / "index.html"


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open the page and answer with what the browser prints."""
    profile = page.parent.parent / f"profile-{len(options)}"
    command = [str(CHROMIUM), *QUIET_BROWSER, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_the_page_names_the_failing_key_and_its_money(page: Path) -> None:
    shown = browse(page, "--dump-dom").stdout

    assert "request ids are unique" in shown
    assert "litellm/call-&lt;b&gt;7&lt;/b&gt;" in shown
    assert "0.25 USD" in shown


def test_the_page_is_drawn_without_a_network(page: Path) -> None:
    picture = page.parent / "page.png"

    printed = browse(page, f"--screenshot={picture}", "--host-resolver-rules=MAP * ~NOTFOUND")

    # A blank page of this size is a few kilobytes; text and badges make it tens.
    assert picture.stat().st_size > 20_000
    assert "http" not in page.read_text(encoding="utf-8").replace("http-equiv", "")
    assert "ERR_" not in printed.stderr
