"""Runs the race; see README.md.

python benchmarks/race core --out build/race
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder has an `edgekd` that is not the package
    from race.command import main

    main()
