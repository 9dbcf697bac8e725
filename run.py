"""The command line: ``python run.py [-m] [GROUP=OPTION …] [KEY=VALUE …] [do=run|plan|report|…]``."""

from pathlib import Path

from ablatent.cli.main import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
