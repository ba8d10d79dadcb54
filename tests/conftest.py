"""What every test shares: the fixtures' modules on the path, and where reference material lies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"
sys.path.insert(0, str(TESTS))

# They need the path above.
from fixtures.loader_homes import LoaderHome, create_empty_warehouse  # noqa: E402
from fixtures.parsed_projects import shared_parses  # noqa: E402


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what reads the reference material where there is none beside the checkout."""
    if SHARED.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("shared")]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Homes that would parse the same project share its parse."""
    with shared_parses():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; for tests marked `shared`."""
    return SHARED


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse file with its tables and no rows, to be copied."""
    return create_empty_warehouse(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def loader_home(tmp_path: Path, empty_warehouse: Path) -> LoaderHome:
    """A fresh home with one account, closed through May 2026."""
    return LoaderHome.create(tmp_path / "home", empty_warehouse)


@pytest.fixture
def second_loader_home(tmp_path: Path, empty_warehouse: Path) -> LoaderHome:
    """A second home, to be compared with the first."""
    return LoaderHome.create(tmp_path / "other", empty_warehouse)
