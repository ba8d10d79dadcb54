"""What the integration tests share: one home with the whole example run through it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from integration.homes import Home


@pytest.fixture(scope="session")
def example_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Home:
    """The example after one whole run. Read it, or copy it before changing anything."""
    home = tmp_path_factory.mktemp("example") / "home"
    if worker_id == "master":
        return run_example(home)
    # The processes of one test run share its folder: the first makes the home, all copy it.
    shared = tmp_path_factory.getbasetemp().parent / "example"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.is_dir():
            run_example(home).path.rename(shared)
    return Home(shared).copy(home)


def run_example(path: Path) -> Home:
    home = Home.create(path)
    home.drop_example()
    outcome = home.run()
    assert (outcome.status, outcome.exit_code, outcome.problems) == ("published", 0, [])
    return home
