"""Run Tollbook once on the bundled example: `make run`.

Usage: python examples/run.py [HOME]. Loading replaces a dropped log by its allow-listed rows, so
the example's files are copied into HOME/landing first, each once.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from orchestration.cli import main as tollbook

EXAMPLE = Path(__file__).resolve().parent
# The example ends on 31 October 2026; a day later its late records are in.
AS_OF = "2026-11-02T00:00:00Z"


def drop_example(landing: Path) -> None:
    """Copy the example's files into the landing folder, except those already dropped there."""
    for source in sorted((EXAMPLE / "landing").rglob("*")):
        if not source.is_file():
            continue
        target = landing / source.relative_to(EXAMPLE / "landing")
        if any(target.parent.glob(f"{target.name}*")):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def main() -> None:
    """Drop the example's files and run the pipeline over them."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else "data").absolute()
    drop_example(home / "landing")
    config = str(EXAMPLE / "tollbook.yml")
    sys.argv = ["tollbook", "run", "--config", config, "--home", str(home), "--as-of", AS_OF]
    tollbook()


if __name__ == "__main__":
    main()
