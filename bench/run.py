"""Run the benches: `python bench/run.py [--quick | --full] [--only NAME ...]`.

Without a size the run takes minutes; `--quick` measures nothing and checks that every bench still
gives the right results; `--full` is the size of the table in docs/performance.md's goals.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

from benches import BENCHES, ORDER, SIZES, Bench, Sizes
from harness import BenchError, Children, Result, store, write_page
from homes import Workplace, say


def main() -> int:
    """Run what the command line asks for; 1 when a bench failed, 0 otherwise.

    A bar that does not hold is a line of the table, not a failure.
    """
    options = _options()
    names = options.only or [b.name for b in BENCHES if b.is_quick or options.size != "quick"]
    folder = Path(options.folder).absolute() / options.size
    children = Children(python=sys.executable, project=Path(options.project).absolute())
    place = Workplace(folder=folder, children=children)
    sizes = _sizes(options)
    results, failed = [], []
    for bench in BENCHES:
        if bench.name not in names:
            continue
        found = _run(bench, place, sizes)
        if found is None:
            failed.append(bench.name)
            continue
        results += found
        if options.size != "quick":
            store(found, ORDER)
            write_page()
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{len(results)} results; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="size", const="quick")
    size.add_argument("--full", action="store_const", dest="size", const="full")
    parser.add_argument("--only", nargs="+", choices=[bench.name for bench in BENCHES])
    parser.add_argument("--pairs", type=int, help="measurements of each side")
    parser.add_argument("--set", nargs="+", default=[], metavar="SIZE=N", help="e.g. load=2000000")
    parser.add_argument("--keep", action="store_true", help="keep data and prepared homes")
    parser.add_argument(
        "--folder",
        default=Path(tempfile.gettempdir()) / "bench",
        help="where data lies meanwhile; up to 25 GB",
    )
    parser.add_argument(
        "--project",
        default=Path(__file__).resolve().parents[1],
        help="checkout whose code is measured",
    )
    parser.set_defaults(size="default")
    return parser.parse_args()


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = SIZES[options.size]
    known = {field.name for field in fields(Sizes)}
    for text in options.set:
        name, _, number = text.partition("=")
        if name not in known:
            raise SystemExit(f"--set {name}: expected one of {', '.join(sorted(known))}")
        sizes = replace(sizes, **{name: int(number)})
    return replace(sizes, pairs=options.pairs) if options.pairs else sizes


def _run(bench: Bench, place: Workplace, sizes: Sizes) -> list[Result] | None:
    say(f"{bench.name}")
    begun = time.perf_counter()
    try:
        found = bench.run(place, sizes)
    except BenchError as error:
        say(f"  FAILED: {error}")
        return None
    for result in found:
        say(
            f"  {result.name} {result.variant}: {result.figure} {result.unit} against "
            f"{result.anchor}: {result.ratio}x (bar {result.bar:.3g}, goal {result.goal:.3g})"
        )
    say(f"  {time.perf_counter() - begun:.0f} s")
    return found


if __name__ == "__main__":
    sys.exit(main())
