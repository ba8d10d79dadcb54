"""`python bench/accuracy/run.py`: plant faults, run the pipeline, judge what it says."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
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
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--plants", type=int, default=6, help="of each fault in a month")
    parser.add_argument("--keep", type=Path, help="folder the homes are left in")
    parser.add_argument("--examples", type=int, default=3, help="of what went wrong")
    parser.add_argument("--write", action="store_true", help="write results and docs")
    options = parser.parse_args()
    result = Result()
    seeds = list(range(options.first, options.first + options.seeds))
    for start in range(0, len(seeds), WORLDS_OF_A_HOME):
        chosen = seeds[start : start + WORLDS_OF_A_HOME]
        worlds = [
            make_world(seed, all_faults() if seed % CLEAN_OF else [], options.plants)
            for seed in chosen
        ]
        folder = options.keep or Path(tempfile.mkdtemp())
        home = folder / f"seeds-{chosen[0]}-{chosen[-1]}"
        shutil.rmtree(home, ignore_errors=True)
        run_home(home, worlds)
        result.take(worlds, home)
        if options.keep is None:
            shutil.rmtree(folder)
        print(f"seeds {chosen[0]} to {chosen[-1]} are judged", flush=True)
    print(describe(result, options.examples))
    if options.write:
        write_results(result, f"seeds {seeds[0]} to {seeds[-1]}, {options.plants} of each fault")


if __name__ == "__main__":
    main()
