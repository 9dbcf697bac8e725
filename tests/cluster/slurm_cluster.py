"""A Slurm of two nodes with accounting on this machine alone: for root, without systemd, cgroups or containers.

munged, MariaDB, slurmdbd, slurmctld and two slurmd listen on the loopback. A node is a slurmd in a namespace of process
ids of its own, so that a machine's death is one kill. Everything lies in one folder with a short name (sockets) that
others may enter (munged refuses any other), and is gone after `down`.

``python tests/cluster/slurm_cluster.py`` starts one, prints what to export, and ends it when its input ends.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "slurmdbd", "mariadb-server")
INSTALL = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "slurmdbd", "mariadbd", "unshare")
NODES = ("n1", "n2")
CONTROLLER, ACCOUNTS, FIRST_NODE = 16817, 16819, 17001
"""Ports."""

SLURM_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for the end of its credential: 2 minutes, unless it is shorter.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd.%n
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=3000
SchedulerParameters=bf_interval=2,sched_interval=2
# Memory without cgroups: looked at every 2 s.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/{storage}
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounts}
# For slurmdbd this is the socket of munge.
AccountingStoragePass={folder}/munge/socket
JobRequeue=1
ReturnToService=2
KillWait=10
SlurmdTimeout=10
InactiveLimit=0
SlurmdParameters=config_overrides
{nodes}
PartitionName=tests Nodes={names} Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""
SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={accounts}
SlurmUser=root
LogFile={folder}/log/slurmdbd
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=tests
CommunicationParameters=NoInAddrAny
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=6000"
TABLES = """
create database slurm_acct_db;
create user slurm@localhost identified by 'tests';
grant all on slurm_acct_db.* to slurm@localhost
"""


def missing() -> str:
    """Why no cluster can be started here, with the command that helps; empty where one can."""
    if os.geteuid() != 0:
        return "a Slurm of its own needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"no {', '.join(absent)} here: {INSTALL}" if absent else ""


def wait_until(there: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return as soon as something is true. Raises TimeoutError, which names it."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


class Cluster:
    """The cluster. accounting: whether there is a slurmdbd, without which sacct knows nothing."""

    def __init__(self, accounting: bool = True):
        self.accounting = accounting
        self.folder = Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))
        self.nodes: dict[str, subprocess.Popen] = {}
        self.daemons: list[subprocess.Popen] = []
        self.env = {"SLURM_CONF": str(self.folder / "slurm.conf"), "MYSQL_UNIX_PORT": str(self.folder / "db.socket")}

    def __enter__(self) -> "Cluster":
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Start everything; returns when all nodes are idle."""
        self.folder.chmod(0o755)
        for name, mode in (("state", 0o700), ("log", 0o755), ("munge", 0o711)):
            (self.folder / name).mkdir(mode=mode)
        self._configure()
        self._start_munge()
        if self.accounting:
            self._start_accounts()
        self._daemon("slurmctld", "-D")
        for name in NODES:
            self.start_node(name)
        wait_until(lambda: len(self.idle()) == len(NODES), "idle nodes")

    def _configure(self) -> None:
        values = {"folder": self.folder, "host": socket.gethostname().split(".")[0]}
        nodes = [NODE.format(name=n, port=FIRST_NODE + i, **values) for i, n in enumerate(NODES)]
        values |= {"controller": CONTROLLER, "accounts": ACCOUNTS, "names": ",".join(NODES)}
        storage = "slurmdbd" if self.accounting else "none"
        text = SLURM_CONF.format(nodes="\n".join(nodes), storage=storage, **values)
        if not self.accounting:
            text = "\n".join(line for line in text.splitlines() if not line.startswith("AccountingStorageP"))
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        dbd = self.folder / "slurmdbd.conf"
        dbd.touch(mode=0o600)
        dbd.write_text(SLURMDBD_CONF.format(**values))

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        key = munge / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        places = {"key-file": key, "socket": munge / "socket", "pid-file": munge / "pid", "seed-file": munge / "seed"}
        options = [f"--{name}={path}" for name, path in places.items()]
        self._daemon("munged", "--foreground", *options, f"--log-file={self.folder / 'log/munged'}")
        wait_until((munge / "socket").exists, "munge's socket")

    def _start_accounts(self) -> None:
        data, where = self.folder / "db", self.env["MYSQL_UNIX_PORT"]
        install = ["--user=root", f"--datadir={data}", "--skip-test-db", "--auth-root-authentication-method=normal"]
        self.run("mariadb-install-db", *install, check=True)
        small = ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--skip-networking"]
        paths = [f"--datadir={data}", f"--socket={where}", f"--pid-file={self.folder / 'db.pid'}"]
        self._daemon("mariadbd", "--no-defaults", "--user=root", *paths, *small)
        sql = ("mariadb", "--no-defaults", "-uroot", "-S", where, "-e")
        wait_until(lambda: self.run(*sql, "select 1").returncode == 0, "MariaDB")
        self.run(*sql, TABLES, check=True)
        self._daemon("slurmdbd", "-D")
        wait_until(lambda: self.run("sacctmgr", "-n", "list", "cluster").returncode == 0, "slurmdbd")

    def _daemon(self, *words: str) -> None:
        self.daemons.append(self._background(words))

    def _background(self, words: Sequence[str]) -> subprocess.Popen:
        with (self.folder / "log" / f"{words[0]}.out").open("a") as log:
            return subprocess.Popen(
                words,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *words: str, check: bool = False, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command in this cluster, with its output."""
        env = {**os.environ, **self.env}
        return subprocess.run(words, env=env, capture_output=True, text=True, check=check, timeout=timeout)

    def idle(self) -> list[str]:
        """The nodes that could run a job."""
        return self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").stdout.split()

    def queue(self) -> list[str]:
        """A line 'ID STATE NODE NAME' for each job that is not over."""
        return self.run("squeue", "-h", "-r", "-o", "%i %T %N %j").stdout.splitlines()

    def running(self, kind: str) -> tuple[str, str] | None:
        """(id, node) of a running job that builds a stage of that kind; None while there is none."""
        for line in self.queue():
            job, state, *node, name = line.split()
            if state == "RUNNING" and name.endswith(kind):
                return job, node[0]
        return None

    def start_node(self, name: str) -> None:
        """Start a node, or one that has died again."""
        (self.folder / f"spool.{name}").mkdir(exist_ok=True)
        apart = ("unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
        self.nodes[name] = self._background([*apart, "slurmd", "-D", "-N", name])

    def kill_node(self, name: str) -> None:
        """A machine's death: slurmd and all that it runs."""
        self.nodes[name].kill()
        self.nodes[name].wait()

    def down(self) -> None:
        """End everything, and remove the folder."""
        for node in self.nodes.values():
            node.kill()  # unshare ignores SIGTERM
            node.wait()
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Cluster() as cluster:
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        sys.stdin.read()
