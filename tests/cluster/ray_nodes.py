"""A real Ray cluster on this machine: a head without processors, and nodes that can die as machines do.

Each has an address of the loopback network, and a pid namespace of its own: the end of its first process ends all
that runs on the node.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAD = "127.0.0.2"  # Ray rewrites 127.0.0.1 to the machine's outer address
PORT = 6379
START_SECONDS = 90.0
# Ray listens on all addresses of the machine, so it asks for a token. Its workers would step back behind all others.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_worker_niceness": "0",
}
ALONE = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]


def can_start_nodes() -> bool:
    """Whether this user may make pid namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, timeout=20, check=False).returncode == 0


class Cluster:
    """Started in the block of a `with` statement, and gone after it. address: for executor.address."""

    address = f"{HEAD}:{PORT}"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short, for the names of sockets
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        try:
            self._start(HEAD, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for ip in list(self.nodes):
            self.kill(ip)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, ip: str, cpus: int = 1, custom: str = "{}", **environment: str) -> None:
        """Start a node with so many processors, one after the other: ports are drawn at random. custom: its resources
        by name, as JSON."""
        self._start(ip, f"--address={self.address}", f"--num-cpus={cpus}", f"--resources={custom}", **environment)

    def kill(self, ip: str) -> None:
        """The node dies, with all that runs on it."""
        node = self.nodes.pop(ip)
        node.kill()  # unshare ignores SIGTERM
        node.wait(20)

    def _start(self, ip: str, *options: str, **environment: str) -> None:
        log = self.folder / f"{ip}.log"
        place = [f"--temp-dir={self.folder}/t"] if ip == HEAD else []
        command = [*ALONE, sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={ip}", *options]
        command += ["--object-store-memory=80000000", "--disable-usage-stats", "--block", *place]
        with log.open("wb") as output:
            self.nodes[ip] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ENVIRONMENT, **environment},
                cwd=self.folder,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if self.nodes[ip].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the node {ip} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.2)


def process_of(where: str) -> int | None:
    """The process, as this machine numbers it, of a build at a place NODE:PID as a heartbeat names it."""
    node, _, number = where.rpartition(":")
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            ids = re.search(r"^NSpid:(.*)$", status.read_text(), re.M)
            if ids is None or ids[1].split()[-1] != number:
                continue
            if f"ABLATENT_PLACE={node}".encode() in (status.parent / "environ").read_bytes().split(b"\0"):
                return int(status.parent.name)
    return None


def main() -> None:
    """A cluster for trying things out: until its standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Cluster() as cluster:
        for ip in ("127.0.0.3", "127.0.0.4"):
            cluster.add(ip)
        settings = " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
        print(f"{settings} python run.py executor=ray executor.address={cluster.address}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
