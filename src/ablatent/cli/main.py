"""The command line, around Hydra: early errors for mistakes, one job or many, exit codes."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablatent.cli.output import PipedOutput
from ablatent.cli.preflight import preflight, sweeps
from ablatent.cli.raw_overrides import check_verb, quoted, unquoted, value_of
from ablatent.core.declared import declared
from ablatent.core.errors import AblatentError, ConfigError, MissingData, did_you_mean
from ablatent.core.escape import for_console
from ablatent.core.options import ROOT_VARIABLE, SEARCHPATH_VARIABLE
from ablatent.core.progress import console
from ablatent.inference.model_reference import find, merge_overrides
from ablatent.store.artifacts import check_format, check_place

if TYPE_CHECKING:
    from ablatent.sweep.plan import Composed

ROOT = "data.root"


_typed: list[str] = []
"""The command line as typed; sys.argv is what Hydra reads."""


def main(root: Path) -> None:
    """Run the command line of sys.argv through Hydra, and exit. root: the folder with conf/ and experiments/."""
    os.environ[ROOT_VARIABLE] = str(root)
    os.environ[SEARCHPATH_VARIABLE] = os.pathsep.join(typed_searchpath(sys.argv[1:]))
    _typed[:] = sys.argv
    sys.stdout = cast(TextIO, PipedOutput(sys.stdout))
    sys.argv[1:] = [quoted(a) for a in sys.argv[1:]]
    overrides = [a for a in sys.argv[1:] if not a.startswith("-") and "=" in a]
    multirun = any(a in ("-m", "--multirun") for a in sys.argv[1:])
    try:
        check_place(store_path(root, overrides))
        if not multirun and sweeps(root, overrides):
            multirun = True
            sys.argv.insert(1, "-m")
        check_verb(root, overrides, multirun)
        if value_of(overrides, "do") == "sample":
            merged = prepend_job_overrides(root, overrides)
            sys.argv[1:] = [*(a for a in sys.argv[1:] if a not in overrides), *merged]
            overrides = merged
        preflight(root, overrides, multirun)
    except AblatentError as e:
        console.print(f"[red]error[/] {for_console(e)}", soft_wrap=True)
        sys.exit(2)
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
    file = root / "conf" / "store" / f"{option}.yaml"
    known = sorted(p.stem for p in file.parent.glob("*.yaml"))
    if option not in known:
        raise ConfigError("store", "one of " + ", ".join(known), option, did_you_mean(option, known))
    return Path(str(OmegaConf.load(file).path))


def typed_searchpath(arguments: list[str]) -> list[str]:
    """The folders of hydra.searchpath=[file://FOLDER, …] as typed."""
    values = [a.partition("=")[2] for a in arguments if a.lstrip("+").startswith("hydra.searchpath=")]
    return [path for value in values for path in re.findall(r"file://([^,\]'\"]+)", value)]


def command_line() -> str:
    """The command as typed, quoted for a shell, for reports."""
    return shlex.join(["python", Path(_typed[0]).name, *_typed[1:]])


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain values. Raises AblatentError for one that is missing or unresolvable."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing == [ROOT]:
        obtain = declared(cfg.data, "obtain", "")
        raise MissingData(
            ROOT, "a folder with the data", "???", f"Give it on the command line: {ROOT}=FOLDER. {obtain}"
        )
    if missing:
        raise ConfigError(missing[0], "a value", "???", f"Give it on the command line: {missing[0]}=…")
    return resolved(cfg)


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


def finish(jobs: "list[Composed]") -> int:
    """Run the verb of these jobs; the exit code. An AblatentError becomes one printed message and code 2."""
    from ablatent.cli.verbs import execute

    try:
        return execute(jobs, command_line())
    except AblatentError as e:
        console.print(f"[red]error[/] {for_console(e)}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted; what was built is kept, the same command goes on from the last checkpoint")
        return 130


def one_job(cfg: DictConfig) -> None:
    """Hydra's task function without -m."""
    from hydra.core.hydra_config import HydraConfig

    sys.exit(finish([composed(list(HydraConfig.get().overrides.task), cfg)]))
