"""The standard output of commands, of which a reader may have enough: `run.py do=status | head -3`."""

import os
from typing import Any, NoReturn, TextIO

CLOSED = 128 + 13
"""The exit code of a command whose output nobody reads any more: that of SIGPIPE, as shells count it."""


class PipedOutput:
    """A text stream that ends the command, without a word, once its reader is gone.

    As SystemExit, which no handler of errors takes for one: of a training it leaves what a kill leaves, and the same
    command goes on from there. Python ignores SIGPIPE, which would also kill a training whose tracker is gone.
    """

    def __init__(self, stream: Any):
        self.stream: TextIO = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """As of any text stream. Raises SystemExit where the reader is gone."""
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            self._end()

    def flush(self) -> None:
        """As of any text stream. Raises SystemExit where the reader is gone."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._end()

    def _end(self) -> NoReturn:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())  # what is still buffered goes nowhere
        raise SystemExit(CLOSED)
