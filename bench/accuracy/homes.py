"""Months of some companies as homes of the pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from accuracy import contracts, gateway, wallets
from accuracy.faults import LOOKALIKES, PLANTS
from accuracy.files import WRONG_TOTAL, write_home, write_quiet, write_settings
from accuracy.world import World
from orchestration.config import read_runtime
from orchestration.defs.steps import RunLog, Steps

# Past every lateness, so that all days are final and nothing is pending.
AS_OF = "2026-11-12T00:00:00Z"
CALLS_OF_A_WORLD = 120
LOOKALIKES_TO_A_FAULT = 10
_AT_REST = 1_700_000_000


def all_faults() -> list[str]:
    """The codes of faults.yml."""
    listed = yaml.safe_load((Path(__file__).parent / "faults.yml").read_text())
    return [each["code"] for each in listed if "planted" in each]


def make_world(seed: int, faults: Sequence[str], plants: int) -> World:
    """A month with faults; none at all make it a clean one."""
    world = World.create(seed)
    for _ in range(CALLS_OF_A_WORLD):
        world.happen(world.call())
    prepaid = world.prepaid = wallets.Prepaid(world)
    for _ in range(CALLS_OF_A_WORLD):
        prepaid.use(world.call(key=wallets.router_key(world)))
    for code in faults:
        for _ in range(plants):
            _plant(world, prepaid, code)
    for _ in range(LOOKALIKES_TO_A_FAULT * plants):
        _plant_likes(world, prepaid)
    # An invoice has several lines, and there are as many kinds of these as of ten faults.
    for _ in range(plants):
        for kind, like in contracts.LOOKALIKES.items():
            before = len(world.contracts)
            like(world)
            for contract in world.contracts[before:]:
                contract.kind = kind
                world.lookalikes += sum(len(each.lines) for each in contract.invoices)
    world.rng.shuffle(world.rows)
    return world


def _plant(world: World, prepaid: wallets.Prepaid, code: str) -> None:
    of_world = PLANTS | contracts.PLANTS | gateway.PLANTS
    if code in of_world:
        of_world[code](world, code)
    else:
        wallets.PLANTS[code](prepaid, code)
    world.planted[code] += 1


def _plant_likes(world: World, prepaid: wallets.Prepaid) -> None:
    for each in (*LOOKALIKES.values(), *gateway.LOOKALIKES.values()):
        each(world)
    for alike in wallets.LOOKALIKES.values():
        alike(prepaid)
    world.lookalikes += len(LOOKALIKES) + len(gateway.LOOKALIKES) + len(wallets.LOOKALIKES)


def run_home(home: Path, worlds: Sequence[World]) -> None:
    """Run the pipeline once on the files of some companies."""
    os.environ.setdefault("BENCH_KEY", "unused")
    write_settings(home, worlds)
    for moment in sorted({world.stale_at for world in worlds if world.stale_at}):
        for world in worlds:
            if world.stale_at == moment:
                write_quiet(home, world)
        _load(home, f"{moment:%Y-%m-%dT%H:%M:%SZ}")
    write_home(home, worlds)
    _load(home, AS_OF).build()


def _load(home: Path, as_of: str) -> Steps:
    for path in (home / "landing").rglob("*"):
        if path.is_file():
            os.utime(path, (_AT_REST, _AT_REST))
    runtime = read_runtime(config=home / "tollbook.yml", home=home, as_of=as_of)
    steps = Steps(runtime=runtime, run="bench", log=RunLog(), progress=lambda _line: None)
    report = steps.load()
    refused = [
        batch
        for batch in report.batches
        if batch.status != "loaded" and not batch.file_name.endswith(WRONG_TOTAL)
    ]
    if refused:
        raise AssertionError(f"not everything was loaded: {refused[:2]}")
    return steps
