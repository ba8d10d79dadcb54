"""Run every command of a document's `sh` blocks, in order, and stop at the first that fails.

Usage: python tools/readme_commands.py README.md. A block marked `sh` is run; one marked
`sh no-run` (a server that never ends, a placeholder) is not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Already run by CI before this script.
_ELSEWHERE = {"make test"}


def commands(text: str) -> list[str]:
    """The commands of the runnable blocks, comments left out."""
    lines = [line for block in _BLOCK.findall(text) for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def main() -> int:
    """Run them; the exit code of the first that fails."""
    root = Path(sys.argv[1]).resolve().parent
    environment = {**os.environ, "PATH": f"{root / '.venv' / 'bin'}:{os.environ['PATH']}"}
    found = commands(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for command in found:
        if command in _ELSEWHERE:
            continue
        print(f"$ {command}", flush=True)
        code = subprocess.run(
            ["bash", "-c", command], cwd=root, env=environment, check=False
        ).returncode
        if code:
            print(f"README command failed with {code}: {command}", file=sys.stderr)
            return code
    print(f"{len(found)} README commands ran")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
