"""Stages as tasks of Ray: on this machine, or on the nodes of a Ray cluster with a common file system."""

import contextlib
import functools
import importlib.util
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ablatent.core.errors import ConfigError
from ablatent.core.escape import for_console
from ablatent.core.fields import Count, Number, Text
from ablatent.core.progress import console
from ablatent.core.signals import ENDING
from ablatent.executors import ray_task
from ablatent.executors.kind_resources import KEY, check_kinds
from ablatent.executors.pool import Pool
from ablatent.executors.ray_resources import RayResources, bound, fits, taken
from ablatent.executors.snapshot import worker_environment
from ablatent.executors.workers import Build, Over, Workers
from ablatent.stages.all_kinds import built_in
from ablatent.stages.context import resolve_device
from ablatent.stages.ranks import several
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key
from ablatent.sweep.executor import SweepRun
from ablatent.sweep.journal import heartbeat_of

INSTALL = "pip install -c constraints.txt -e '.[ray]'"
FORCE_SECONDS = ray_task.LEAVE_SECONDS + 4.0
"""A task that was cancelled for so long is ended by force; after twice that it counts as lost, whatever Ray says."""


@dataclass(kw_only=True)
class Ray(Pool):
    """Stages as tasks of Ray.

    address: null: a Ray of its own on this machine, which ends with the command. Ray decides on which node a stage is
    built; what is tried again is decided here.
    """

    address: Annotated[Text | None, "of a running cluster: HOST:PORT, auto or ray://…; null: a Ray of its own here"] = (
        None
    )
    resources: Annotated[
        Mapping[str, RayResources | Mapping[str, Any]], "what a stage takes, by kind of stage; `default`: all kinds"
    ] = field(default_factory=dict)
    pending: Annotated[Count, "stages that may wait in Ray for a place; the others are handed over later"] = 8

    @property
    def builds_here(self) -> bool:
        return self.address is None

    def workers(self, sweep: SweepRun) -> Workers:
        if not installed():
            raise ConfigError("executor", "the package ray, which executor=ray needs", "none", f"Install it: {INSTALL}")
        stages = {stage.kind: stage for stage in sweep.plan.stages.values()}
        check_kinds(self.resources, {*(kind.name for kind in built_in()), *stages})
        runtime = dict(sweep.builder.runtime)
        if self.builds_here:
            runtime["device"] = resolve_device(runtime["device"])  # that of the nodes of a cluster is not known here
        wanted = {kind: taken(self.resources, stage, runtime).wanted() for kind, stage in stages.items()}
        variables = worker_environment(sweep.builder.store.root, sweep.plan.stages.values())
        _connect(self.address, variables)
        try:
            for kind, amounts in wanted.items():
                self._check_fits(kind, amounts)
        except ConfigError:
            _disconnect()
            raise
        return _Tasks(self.resources, runtime, self.pending, variables)

    def _check_fits(self, kind: str, wanted: Mapping[str, Number]) -> None:
        """Whether a node has what a stage takes: Ray would wait for one for ever. A cluster may get further nodes."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if fits(wanted, nodes):
            return
        if self.builds_here:
            largest = ", ".join(f"{name} {max(node.get(name, 0) for node in nodes):g}" for name in wanted)
            raise ConfigError(f"{KEY}.{kind}", f"at most what this machine has ({largest})", wanted)
        console.print(f"  [yellow]no node of the cluster has what {for_console(kind)} takes[/]: it waits for one")


def installed() -> bool:
    """Whether there is a package ray to import; a folder of that name is none."""
    spec = importlib.util.find_spec("ray")
    return spec is not None and spec.origin is not None


def _connect(address: str | None, variables: dict[str, str]) -> None:
    """Connect to a cluster, or start one. variables: of the environment of tasks. Raises ConfigError if that fails."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _check_answers(address)
    with _own_signals():
        import ray

        environment = {"env_vars": variables}
        local = {"include_dashboard": False} if address is None else {}
        try:
            ray.init(address or "local", runtime_env=environment, log_to_driver=False, logging_level="ERROR", **local)
        except (OSError, RuntimeError, ValueError) as error:
            cause = str(error).strip().partition("\n")[0]
            raise ConfigError("executor.address", "the address of a running Ray cluster", address, cause) from None


def _check_answers(address: str) -> None:
    """Raise ConfigError where nobody listens at HOST:PORT: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), 10.0).close()
        except (OSError, OverflowError) as error:
            raise ConfigError("executor.address", "the address of a running Ray cluster", address, str(error)) from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray installs handlers of its own, here and in C++; after the block those of before are back."""
    handlers = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


def _disconnect() -> None:
    import ray

    with _own_signals():
        ray.shutdown()


@dataclass
class _Running:
    """A task that was handed to Ray. ref: of its answer; memory: its bound, for messages; ended_for, since: why and
    when it was cancelled, if it was; forced: by force."""

    build: Build
    ref: Any
    memory: str
    ended_for: str = ""
    since: float | None = None
    forced: bool = False


@dataclass
class _Tasks(Workers):
    """The tasks of one sweep. resources: by kind; runtime: of the builds; pending: how many may wait in Ray;
    variables: of the environment of tasks."""

    resources: Mapping[str, Any]
    runtime: Mapping[str, Any]
    pending: int
    variables: dict[str, str]
    running: dict[Key, _Running] = field(default_factory=dict)

    def room(self, stage: Stage) -> bool:
        return sum(not task.build.beat.exists() for task in self.running.values()) < self.pending

    def start(self, build: Build) -> str:
        need = taken(self.resources, build.stage, self.runtime)
        memory = bound(self.resources, build.stage.kind)
        devices = int(self.runtime["devices"]) if several(build.stage, self.runtime) else 1
        task = ray_task.RayTask(
            spec=str(build.spec.absolute()),
            log=str(build.log.absolute()),
            trained=build.stage.trained,
            threads=max(1, int((need.cpus or 1) / devices)),
            gpus=bool(need.gpus),
            memory=need.memory,
            bound=memory,
            cwd=str(Path.cwd()),
            variables=self.variables,
        )
        wanted = need.wanted()
        options = {
            "num_cpus": wanted.pop("CPU"),
            "num_gpus": wanted.pop("GPU", 0),
            "memory": int(wanted.pop("memory", 0)) or None,
            "resources": wanted or None,
            "name": build.stage.key.short,
        }
        ref = _function().options(**options).remote(task)
        self.running[build.stage.key] = _Running(build, ref, memory)
        return "Ray's queue"

    def where(self, key: Key) -> str | None:
        beat = heartbeat_of(self.running[key].build.beat) if key in self.running else None
        return None if beat is None else beat.where

    def over(self, timeout: float) -> Iterator[Over]:
        for key in self._ended(timeout):
            task = self.running.pop(key)
            yield _over(key, task)
        for key, task in list(self.running.items()):
            if self._insist(task):
                del self.running[key]
                yield Over(key, task.ended_for)

    def _ended(self, timeout: float) -> list[Key]:
        """The tasks of which Ray says that they are over; waits for one up to `timeout` seconds."""
        import ray

        keys = {task.ref: key for key, task in self.running.items()}
        if not keys:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(keys), num_returns=1, timeout=timeout)
        if ready and len(keys) > 1:
            ready, _ = ray.wait(list(keys), num_returns=len(keys), timeout=0)
        return [keys[ref] for ref in ready]

    def _insist(self, task: _Running) -> bool:
        """End a task by force that was cancelled and does not end; whether no word of Ray is waited for any more."""
        if task.since is None:
            return False
        waited, finished = time.monotonic() - task.since, task.build.end.exists()
        if (finished or waited > FORCE_SECONDS) and not task.forced:
            _cancel(task, force=True)
        return finished or waited > 2 * FORCE_SECONDS

    def kill(self, key: Key) -> None:
        if (task := self.running.get(key)) is not None and task.since is None:
            task.ended_for, task.since = "it was silent", time.monotonic()
            _cancel(task)

    def stop(self, timeout: float) -> None:
        import ray

        for task in self.running.values():
            _cancel(task)
        refs = [task.ref for task in self.running.values()]
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=timeout)
        _disconnect()  # which ends what has not ended by now

    def close(self) -> None:
        _disconnect()


@functools.cache
def _function() -> Any:
    """The function of all tasks. Who owns what is tried again is the pool, not Ray."""
    import ray

    return ray.remote(max_retries=0, retry_exceptions=False)(ray_task.run)


def _cancel(task: _Running, force: bool = False) -> None:
    """Interrupt a task, which then has its build leave a checkpoint; force: end its worker."""
    import ray

    task.forced |= force
    with contextlib.suppress(ray.exceptions.RayError, ValueError):
        ray.cancel(task.ref, force=force)


def _over(key: Key, task: _Running) -> Over:
    """What Ray says of a task that is over."""
    import ray
    from ray import exceptions

    try:
        ended: ray_task.Ended = ray.get(task.ref)
    except exceptions.OutOfMemoryError:
        return Over(key, f"Ray ended it, as its node had no memory left; {task.memory}", again=False)
    except exceptions.RayError as error:
        return Over(key, task.ended_for or _reason(error))
    return Over(key, task.ended_for or ended.reason, ended.again)


def _reason(error: Exception) -> str:
    """What an error of Ray says, in one line."""
    from ray import exceptions

    known = {
        exceptions.NodeDiedError: "its node died",
        exceptions.LocalRayletDiedError: "its node died",
        exceptions.WorkerCrashedError: "its worker, or the node, died",
        exceptions.TaskCancelledError: "it was cancelled",
    }
    for cls, words in known.items():
        if isinstance(error, cls):
            return words
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"
