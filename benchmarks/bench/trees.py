"""Working trees of other commits, so that their code runs beside this one."""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def trees(commits: Iterable[str]) -> Iterator[Mapping[str, Path]]:
    """commit → root of a worktree of it; removed afterwards.

    Raises CalledProcessError for a commit that is not known.
    """
    with tempfile.TemporaryDirectory(prefix="bench-trees-") as folder:
        roots: dict[str, Path] = {}
        try:
            for commit in dict.fromkeys(commits):
                roots[commit] = Path(folder, commit.replace("/", "_"))
                _git("worktree", "add", "--quiet", "--detach", str(roots[commit]), commit)
            yield roots
        finally:
            for root in roots.values():
                subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(root)], check=False)


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True)
