"""A reader that has enough of the output is no error."""

import os
import subprocess

import pytest

from ablatent.cli.output import CLOSED, PipedOutput
from commands import words


def test_a_closed_pipe_ends_the_command() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        out = PipedOutput(stream)
        out.write("read\n")
        out.flush()
        os.close(read)
        with pytest.raises(SystemExit) as end:
            out.write("x" * 100_000)
        assert end.value.code == CLOSED
        out.write("goes nowhere\n")
        out.flush()
        assert out.encoding == stream.encoding and out.fileno() == stream.fileno()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "--cfg job", "do=status", "do=plan preset=tiny data=digits"])
@pytest.mark.parametrize("reader", ["true", "head -1"])
def test_no_traceback_into_a_closed_pipe(command: str, reader: str, tmp_path) -> None:
    pipe = f"exec '{words()[0]}' '{words()[1]}' {command} | {reader}"
    done = subprocess.run(["bash", "-c", pipe], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.stderr == "" and len(done.stdout.splitlines()) == (reader != "true")
