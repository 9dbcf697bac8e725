"""The command line, around Hydra: early errors for mistakes, one job or many, exit codes."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import hydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablatent.cli import all_experiments
from ablatent.cli.check_verb import with_option
from ablatent.cli.next_command import one_of_several
from ablatent.cli.output import PipedOutput
from ablatent.cli.preflight import preflight, sweeps
from ablatent.cli.quick_hydra import quick_hydra
from ablatent.cli.raw_overrides import check_verb, quoted, unquoted, value_of
from ablatent.cli.words import make_importable, set_places, with_verb
from ablatent.core.collector import rare_collections
from ablatent.core.declared import declared
from ablatent.core.errors import AblatentError, ConfigError, MissingData, did_you_mean
from ablatent.core.escape import for_console
from ablatent.core.here import program
from ablatent.core.options import conf_folders, looked_for, option_files
from ablatent.core.progress import console
from ablatent.core.values import leaves
from ablatent.core.verbose import VARIABLE, WORDS, detail
from ablatent.inference.model_reference import find, merge_overrides
from ablatent.store.artifacts import check_format, check_place

if TYPE_CHECKING:
    from ablatent.sweep.plan import Composed

ROOT = "data.root"
SHOWN = ("--cfg", "-c", "--info", "-i")
"""Options of Hydra that show something of the configuration, and run nothing."""


_typed: list[str] = []
"""The command line as typed; sys.argv is what Hydra reads."""
_words: list[str] = []
"""Its arguments, the verb as do=VERB."""


def main(root: Path) -> None:
    """Run the command line of sys.argv through Hydra, and exit. root: the folder with conf/ and experiments/."""
    if any(a in WORDS for a in sys.argv[1:]):
        os.environ[VARIABLE] = "1"
        sys.argv[1:] = [a for a in sys.argv[1:] if a not in WORDS]
    _typed[:] = sys.argv
    parsed: dict[Any, bytes] = {}
    sys.stdout = cast(TextIO, PipedOutput(sys.stdout))
    try:
        set_places(root, sys.argv[1:])
        _words[:] = with_verb(root, sys.argv[1:])
        sys.argv[1:] = [quoted(a) for a in _words]
        overrides = [a for a in sys.argv[1:] if not a.startswith("-") and ("=" in a or a.startswith("~"))]
        multirun = any(a in ("-m", "--multirun") for a in sys.argv[1:])
        if all_experiments.wanted(overrides):
            sys.exit(all_experiments.run_all(root, _typed[1:]))
        check_place(store_path(root, overrides))
        shown = any(a in SHOWN for a in sys.argv[1:])  # Hydra shows one configuration, and takes no -m beside it
        if not multirun and not shown and sweeps(root, overrides):
            multirun = True
            sys.argv.insert(1, "-m")
        check_verb(root, overrides, multirun)
        if value_of(overrides, "do") == "sample":
            merged = prepend_job_overrides(root, overrides)
            sys.argv[1:] = [*(a for a in sys.argv[1:] if a not in overrides), *merged]
            overrides = merged
        elif value_of(overrides, "do") == "check":
            merged = with_option(overrides)
            sys.argv[1:] = [*(a for a in sys.argv[1:] if a not in overrides), *merged]
            overrides = merged
        with rare_collections(), quick_hydra(parsed):
            preflight(root, overrides, multirun)
        for folder in conf_folders():
            detail(f"options: {folder}")
        detail(f"store: {store_path(root, overrides).resolve()}")
    except AblatentError as e:
        console.print(f"[red]error[/] {for_console(e)}", soft_wrap=True)
        sys.exit(2)
    with quick_hydra(parsed):
        hydra.main(config_path=str(root / "conf"), config_name="config", version_base="1.3")(one_job)()
    sys.stdout.flush()  # here, where a reader that is gone is no error


def prepend_job_overrides(root: Path, overrides: list[str]) -> list[str]:
    """The overrides of do=sample: those of the model's job, whose options are the defaults, then those that were typed.

    Raises ConfigError for a model that the store does not have.
    """
    model = value_of(overrides, "model")
    if value_of(overrides, "repeat") is not None:
        return overrides
    store = store_path(root, overrides)
    check_format(store)
    return merge_overrides(find(store, None if model is None else unquoted(model)).overrides, overrides)


def store_path(root: Path, overrides: list[str]) -> Path:
    """The folder of the store: as typed, else of the chosen option of `store`. Raises ConfigError for none."""
    typed = value_of(overrides, "store.path")
    if typed is not None:
        if not typed.strip("'\""):
            raise ConfigError("store.path", "a folder", typed, "Leave it out for ./store.")
        return Path(typed)
    option = value_of(overrides, "store") or "local"
    known = option_files("store", root)
    if option not in known:
        do = f"{did_you_mean(option, known)} {looked_for('store', root)}".lstrip()
        raise ConfigError("store", "one of " + ", ".join(known), option, do)
    return Path(str(OmegaConf.load(known[option]).path))


def command_line() -> str:
    """The command as typed, quoted for a shell, for reports."""
    return f"{program()} {shlex.join(_typed[1:])}".rstrip()


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain values. Raises AblatentError for one that is missing or unresolvable."""
    try:
        config = resolved(cfg)
    except AblatentError:
        config = None
    if config is None or "???" in leaves(config):  # OmegaConf's own search, which takes as long as resolving, names it
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing == [ROOT]:
            obtain = declared(cfg.data, "obtain", "")
            raise MissingData(
                ROOT, "a folder with the data", "???", f"Give it on the command line: {ROOT}=FOLDER. {obtain}"
            )
        if missing:
            raise ConfigError(missing[0], "a value", "???", f"Give it on the command line: {missing[0]}=…")
    return resolved(cfg) if config is None else config


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain values, "???" where one is missing. Raises AblatentError for an unresolvable one."""
    try:
        config: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as e:
        raise AblatentError(f"configuration: {str(e).splitlines()[0]}") from None
    for name in ("hydra", "experiments"):
        config.pop(name, None)
    return dict(config)


def composed(overrides: list[str], cfg: DictConfig) -> "Composed":
    """A job's configuration in plain values, or the reason why it has none: one such job does not stop the others."""
    from ablatent.sweep.plan import Composed

    try:
        return Composed(overrides, plain(cfg))
    except MissingData as e:
        cfg.data.root = ""  # no object could be made of a node with a missing value
        return Composed(overrides, resolved(cfg), str(e), without_data=True)
    except AblatentError as e:
        return Composed(overrides, {}, str(e))


def finish(jobs: "list[Composed]", command: str) -> int:
    """Run the verb of these jobs; the exit code. An AblatentError becomes one printed message and code 2.

    command: that gave them, for the record.
    """
    from ablatent.cli.execute import execute

    try:
        return execute(jobs, command, _words)
    except AblatentError as e:
        console.print(f"[red]error[/] {for_console(e)}", soft_wrap=True)
        return 2


class JobFailed(HydraException):
    """A job that another launcher than this package's ran, and that failed: Hydra tells its message, no traceback."""


def one_job(cfg: DictConfig) -> None:
    """Hydra's task function: of a command with one job, and of each job of a launcher that runs jobs one by one.

    Ends the process of the first; raises JobFailed in the other, whose process belongs to the launcher.
    """
    from hydra.core.hydra_config import HydraConfig

    make_importable()  # in a process that a launcher started
    hydra_config = HydraConfig.get()
    overrides = list(hydra_config.overrides.task)
    if hydra_config.mode is RunMode.RUN:
        sys.exit(finish([composed(overrides, cfg)], command_line()))
    command = job_command(overrides)
    with one_of_several():
        code = finish([composed(overrides, cfg)], command)
    if code:
        raise JobFailed(f"failed with exit code {code}: {command}")


def tell_job(name: str, done: JobReturn) -> None:
    """Print how a job of a launcher that runs jobs one by one ended, and where its report is."""
    from ablatent.sweep.run_sweep import report_of

    end = "finished" if done.status is JobStatus.COMPLETED else f"[red]failed[/]: {for_console(done._return_value)}"
    command = job_command(list(done.overrides or []))
    report = None if done.cfg is None else report_of(Path(done.cfg.store.path), command)
    where = "" if report is None else f"; report: {report}"
    console.print(f"job {for_console(name)}: {end}{for_console(where)}")


def job_command(overrides: Sequence[str]) -> str:
    """The command that runs one job of a sweep alone."""
    return f"{program()} {shlex.join(overrides)}".rstrip()
