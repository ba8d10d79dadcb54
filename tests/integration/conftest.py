"""What the integration tests share: one home with the whole example run through it."""

from __future__ import annotations

import pytest
from integration.homes import Home


@pytest.fixture(scope="session")
def example_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The example after one whole run. Read it, or copy it before changing anything."""
    home = Home.create(tmp_path_factory.mktemp("example") / "home")
    home.drop_example()
    outcome = home.run()
    assert (outcome.status, outcome.exit_code, outcome.problems) == ("published", 0, [])
    return home
