"""What the jobs of each kind of stage ask Slurm for, and the text of those jobs. Free of submitit."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from ablatent.core.errors import ConfigError
from ablatent.core.fields import Count, Positive, Text, Whole
from ablatent.executors.kind_resources import DEFAULT, KEY, KindResources, check_kinds
from ablatent.executors.slurm_queue import GIVEN_UP
from ablatent.stages.ranks import several
from ablatent.stages.stage import Stage

THREADS = 4
"""Processors of a stage where nothing says how many threads it has."""
INSTEAD = {
    "cpus-per-task": "cpus",
    "mem": "memory",
    "gpus-per-node": "gpus",
    "time": "minutes",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
}
OURS = ("array", "error", "job-name", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "requeue", "signal")
"""Options of sbatch that the executor sets itself."""


@dataclass(kw_only=True)
class SlurmResources(KindResources):
    """What a stage of a kind asks for. null: as `default` has it; in `default`, what the cluster gives."""

    cpus: Annotated[Count | None, "processors; null: runtime.threads, else 4, for each device"] = None
    memory: Annotated[Positive | None, "GiB of a node"] = None
    gpus: Annotated[Whole | None, "GPUs; null: runtime.devices with runtime.device=gpu, else none"] = None
    minutes: Annotated[Count | None, "time limit, after which it is requeued; null: 240"] = None
    partition: Annotated[Text | None, "of the cluster"] = None
    account: Annotated[Text | None, "that is charged"] = None
    qos: Annotated[Text | None, "quality of service"] = None
    constraint: Annotated[Text | None, "features of a node"] = None
    extra: Annotated[Mapping[str, str | int | bool] | None, "further options of sbatch, by their long names"] = None


def check(resources: Mapping[str, Mapping[str, Any]], kinds: Collection[str], signal_seconds: int) -> None:
    """Raise ConfigError for what a type cannot say. kinds: all that there are."""
    check_kinds(resources, kinds)
    for kind, given in resources.items():
        path = f"{KEY}.{kind}"
        minutes = given.get("minutes")
        if minutes is not None and minutes * 60 <= signal_seconds:
            raise ConfigError(f"{path}.minutes", f"more than executor.signal_seconds={signal_seconds}", minutes)
        for name, value in (given.get("extra") or {}).items():
            plain = name.lstrip("-").replace("_", "-")
            if plain in INSTEAD:
                raise ConfigError(f"{path}.extra.{name}", f"{path}.{INSTEAD[plain]}", value)
            if plain in OURS:
                do = "A stage is one process of one node." if plain in ("nodes", "ntasks") else ""
                raise ConfigError(f"{path}.extra.{name}", "an option of sbatch that is not set already", value, do)


def resources_of(
    resources: Mapping[str, Mapping[str, Any]], stage: Stage, runtime: Mapping[str, Any]
) -> SlurmResources:
    """What the job of a stage asks for."""
    devices = int(runtime["devices"]) if several(stage, runtime) else 1
    gpus = devices if runtime["device"] == "gpu" else 0
    derived = SlurmResources(cpus=int(runtime.get("threads") or THREADS) * devices, gpus=gpus, minutes=240)
    default = SlurmResources(**resources.get(DEFAULT, {})).over(derived)
    own = SlurmResources(**resources.get(stage.kind, {})).over(default)
    if (own.gpus or 0) < gpus:
        raise ConfigError(f"executor.resources.{stage.kind}.gpus", f"at least {gpus}, for runtime.device=gpu", own.gpus)
    return own


def parameters(
    own: SlurmResources,
    stage: Stage,
    runtime: Mapping[str, Any],
    signal_seconds: int,
    requeues: int,
    variables: Mapping[str, str],
) -> Any:
    """The parameters of submitit for the job of a stage.

    signal_seconds: before its time limit, it gets SIGUSR2; requeues: how often it may be requeued; variables: of its
    environment.
    """
    devices = int(runtime["devices"]) if several(stage, runtime) else 1
    given = {
        "job_name": f"ablatent-{stage.kind}",
        "cpus_per_task": own.cpus,
        "mem": None if own.memory is None else f"{round(own.memory * 1024)}M",
        "gpus_per_node": own.gpus or None,
        "time": own.minutes,
        "partition": own.partition,
        "account": own.account,
        "qos": own.qos,
        "constraint": own.constraint,
    }
    ours = {"signal": f"USR2@{signal_seconds}", "requeue": True}
    extra = {
        name.lstrip("-").replace("_", "-"): value for name, value in (own.extra or {}).items() if value is not False
    }
    return {
        **{name: value for name, value in given.items() if value is not None},
        "stderr_to_stdout": True,
        # srun does not take it over from the job
        "srun_args": [f"--cpus-per-task={own.cpus}"],
        "setup": [
            f"export OMP_NUM_THREADS={max(1, (own.cpus or 1) // devices)}",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        ],
        "teardown": _requeued(requeues),
        "additional_parameters": {**extra, **ours},
    }


def _requeued(times: int) -> list[str]:
    """The end of a job's script. A build that a signal has ended (128 + SIGTERM or SIGUSR2) has left a checkpoint, and
    goes on in the same job, unless that is being cancelled."""
    return [
        "code=$?",
        "if [ $code = 140 ] || [ $code = 143 ]; then",
        f'  if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {times} ]; then',
        f'    echo "ablatent: error: {GIVEN_UP} {times} times, and is not finished"',
        '  elif scontrol show job --oneliner "$SLURM_JOB_ID" | grep --quiet JobState=RUNNING; then',
        '    scontrol requeue "$SLURM_JOB_ID" && sleep 60  # which ends this script',
        "  fi",
        "fi",
        "exit $code",
    ]
