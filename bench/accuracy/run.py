"""`python bench/accuracy/run.py`: plant faults, run the pipeline, judge what it says."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))

from accuracy.homes import all_faults, make_world, run_home  # noqa: E402
from accuracy.judge import Result  # noqa: E402
from accuracy.report import describe, write_results  # noqa: E402

# Companies that share a warehouse, and nothing in it: a run costs the same for one as for many.
WORLDS_OF_A_HOME = 20
CLEAN_OF = 10


def main() -> None:
    """Run the benchmark, say what came out, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="months, one in ten without faults")
    parser.add_argument("--first", type=int, default=1001, help="the first seed")
    parser.add_argument("--plants", type=int, default=6, help="of each fault in a month")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--keep", type=Path, help="folder the homes are left in")
    parser.add_argument("--examples", type=int, default=3, help="of what went wrong")
    parser.add_argument("--write", action="store_true", help="write results and docs")
    options = parser.parse_args()
    seeds = list(range(options.first, options.first + options.seeds))
    homes = [
        seeds[start : start + WORLDS_OF_A_HOME] for start in range(0, len(seeds), WORLDS_OF_A_HOME)
    ]
    result, started = Result(), time.monotonic()
    print(f"{len(seeds)} months in {len(homes)} homes, {options.processes} at a time", flush=True)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        running = {
            pool.submit(judge_home, home, options.plants, options.keep): home for home in homes
        }
        parts: dict[int, Result] = {}
        for number, done in enumerate(as_completed(running), 1):
            home, part = running[done], done.result()
            parts[home[0]] = part
            seconds = time.monotonic() - started
            print(
                f"seeds {home[0]} to {home[-1]} are judged: {number} of {len(homes)} homes "
                f"in {seconds:.0f} s, {part.misses} missed, {part.wrong} wrongly called",
                flush=True,
            )
            for line in part.faults_found_wanting():
                print(f"    {line}", flush=True)
    for first in sorted(parts):
        result.add(parts[first])
    print(describe(result, options.examples))
    if options.write:
        write_results(result, f"seeds {seeds[0]} to {seeds[-1]}, {options.plants} of each fault")


def judge_home(seeds: list[int], plants: int, keep: Path | None) -> Result:
    """Make the months of some seeds, run the pipeline on them, and judge what it says."""
    faults = all_faults()
    worlds = [make_world(seed, faults if seed % CLEAN_OF else [], plants) for seed in seeds]
    folder = keep or Path(tempfile.mkdtemp())
    home = folder / f"seeds-{seeds[0]}-{seeds[-1]}"
    shutil.rmtree(home, ignore_errors=True)
    try:
        # What the steps say of themselves would stand between the lines of two homes.
        with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
            run_home(home, worlds)
        result = Result()
        result.take(worlds, home)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return result


if __name__ == "__main__":
    main()
