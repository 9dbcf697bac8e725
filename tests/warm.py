"""Commands without the time of their imports: one process has made them all, and forks itself for each command.

A command is a process of its own all the same, with its own output, working directory, environment and exit, and
starts from modules that nothing has used yet; only the interpreter is not started again.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

# What commands import where they need it. Not wandb, which makes a temporary folder when it is imported, and removes it
# when the process ends.
LATER = ("hydra.core.plugins", "matplotlib.pyplot", "pytorch_lightning", "sklearn.datasets")


class Warm:
    """The client of such a process. Its commands run one after the other."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run([sys.executable, *words], …), with its output; words: a script, -m MODULE or -c CODE."""
        assert self.process.stdin is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            request = {"words": list(words), "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            late = threading.Timer(timeout, os.kill, (self._answer(), 9))
            late.start()
            code = self._answer()
            late.cancel()
            if late.finished.is_set() and code == -9:
                raise subprocess.TimeoutExpired(list(words), timeout, out.read_text() + err.read_text())
            return subprocess.CompletedProcess(list(words), code, out.read_text(), err.read_text())

    def _answer(self) -> int:
        """The next number from the process: of a child first its id, then its exit code."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@cache
def warm() -> Warm:
    """The one of this test process, started when it is first needed; it ends when its input does."""
    return Warm()


def serve() -> None:
    """Import all there is, then fork a child for each line of the standard input."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    del sys.path[0]  # the folder of this file, which no command sees
    package = importlib.import_module("ablatent")
    modules = [module.name for module in pkgutil.walk_packages(package.__path__, "ablatent.")]
    for name in (*LATER, *(name for name in modules if not name.endswith("__main__"))):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that children do not copy what they only look at
    for line in requests:
        if (child := os.fork()) == 0:
            requests.close()
            answers.close()
            return become(json.loads(line))
        print(child, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def become(request: dict[str, Any]) -> None:
    """Run the command in this process, up to its SystemExit."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    first, *rest = request["words"]
    if first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.path.insert(0, request["cwd"])
        sys.argv = ["-m", *rest[1:]]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(first).parent))
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve()
