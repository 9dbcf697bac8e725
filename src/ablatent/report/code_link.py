"""The address of a commit, where the checkout has a remote with pages of commits."""

import re
import subprocess
from functools import cache
from pathlib import Path

REMOTE = re.compile(
    r"(?:https://|ssh://)?(?:[^@/\s]+@)?(?P<host>[\w.-]+\.\w+)(?::\d+)?[:/](?P<path>[\w./~-]+?)(?:\.git)?/?"
)


def web_address(remote: str) -> str | None:
    """https://HOST/OWNER/NAME of a remote as git has it (https, ssh or HOST:PATH), without names and passwords; None
    for any other."""
    found = REMOTE.fullmatch(remote.strip())
    return None if found is None else f"https://{found['host']}/{found['path'].lstrip('/')}"


@cache
def origin() -> str | None:
    """The web address of the remote `origin` of the checkout that the package is imported from; None without one."""
    try:
        done = subprocess.run(
            ["git", "remote", "get-url", "origin"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return web_address(done.stdout) if done.returncode == 0 else None


def commit_in_markdown(commit: str) -> str:
    """A commit as a link, or as plain text where no address is known."""
    known = re.fullmatch(r"[0-9a-f]{7,64}", commit) is not None
    address = origin() if known else None
    return f"[{commit[:12]}]({address}/commit/{commit})" if address else commit[:12]
