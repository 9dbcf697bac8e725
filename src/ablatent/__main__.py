"""``python -m ablatent``: the command `ablatent`, of this Python."""

from ablatent.cli.command import main

if __name__ == "__main__":
    main()
