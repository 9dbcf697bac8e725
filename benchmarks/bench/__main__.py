"""`python benchmarks/bench [ROW[:CASE]…]`; --help says the rest."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # the folder of the package, in place of the package itself
sys.path.insert(1, str(HERE.parents[1] / "src"))

from bench.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
