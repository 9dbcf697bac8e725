"""-v: lines that say what is found where. The variable reaches the processes that a command starts."""

import os

from ablatent.core.escape import for_console
from ablatent.core.progress import console

VARIABLE = "ABLATENT_VERBOSE"
"""Environment variable that asks for these lines; -v sets it."""
WORDS = ("-v", "--verbose")


def detail(text: object) -> None:
    """Print a line of detail, where -v asks for them."""
    if os.environ.get(VARIABLE):
        console.print(f"    [dim]{for_console(text)}[/]")
