"""The list of faults of the accuracy benchmark: complete, and each with a way to plant it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

BENCH = Path(__file__).resolve().parents[2] / "bench"
# Known defects of gateways and providers, and wishes of their users.
DEFECTS, WISHES = 25, 30


@pytest.fixture(scope="module")
def listed() -> list[dict[str, Any]]:
    return yaml.safe_load((BENCH / "accuracy" / "faults.yml").read_text())


def test_every_known_defect_and_wish_is_planted_excused_or_answered(
    listed: list[dict[str, Any]],
) -> None:
    answered = {name for each in listed for name in each.get("answers", ())}

    assert answered == {
        *(f"defect {number}" for number in range(1, DEFECTS + 1)),
        *(f"wish {number}" for number in range(1, WISHES + 1)),
    }


def test_every_entry_says_what_it_is(listed: list[dict[str, Any]]) -> None:
    silent = [
        each["code"]
        for each in listed
        if len({"planted", "excused", "feature"} & each.keys()) != 1
        or ("planted" in each and not {"shows_in", "exception", "amount"} <= each.keys())
    ]

    assert silent == []


def test_every_planted_fault_has_a_way_to_plant_it(
    listed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    planted = [each["code"] for each in listed if "planted" in each]
    rooms = ("faults", "contracts", "gateway", "wallets")
    ways = [importlib.import_module(f"accuracy.{name}").PLANTS for name in rooms]

    assert sorted(planted) == sorted(code for way in ways for code in way)
    for name in [name for name in sys.modules if name.split(".")[0] == "accuracy"]:
        monkeypatch.delitem(sys.modules, name)
