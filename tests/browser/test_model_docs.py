"""The page about the tables, written by a run and opened in a browser without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser.test_check_page import CHROMIUM, browse
from integration.homes import Home

from orchestration.warehouse.transform import model_docs, write_model_docs

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.mark.long
def test_the_page_shows_the_models_of_the_project(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    home.load_and_build()
    page = model_docs(home.runtime)
    assert page.is_file()
    page.unlink()

    write_model_docs(home.runtime)

    picture = page.parent / "page.png"
    options = ("--virtual-time-budget=8000", "--host-resolver-rules=MAP * ~NOTFOUND")
    shown = browse(page, "--dump-dom", *options).stdout
    browse(page, f"--screenshot={picture}", *options)
    assert "tollbook" in shown
    assert "models" in shown
    assert picture.stat().st_size > 20_000
