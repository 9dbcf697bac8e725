"""The verbs that show what there is: pages of options, and lists. Free of torch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ablatent.cli.help import as_called, defaults_of, option_page, page
from ablatent.cli.option_rows import groups, node_of, split_option
from ablatent.cli.verb import Config, Verb
from ablatent.cli.verb_keys import HelpKeys, ListKeys
from ablatent.core.declared import declared
from ablatent.core.errors import DataError
from ablatent.core.escape import for_console, one_line
from ablatent.core.files import folder_bytes, read_json
from ablatent.core.options import EXPERIMENTS, conf_folder, option_files, read_yaml
from ablatent.core.progress import console, counted
from ablatent.inference.model_reference import MODELS
from ablatent.stages.diffusion.kind import DiffusionKind
from ablatent.stages.scores.kind import ScoresKind
from ablatent.store.artifacts import Store
from ablatent.store.identity import Key
from ablatent.store.layout import object_folder, object_keys
from ablatent.store.sweeps import plans
from ablatent.store.verify import read_manifest
from ablatent.sweep.plan import Composed

Row = tuple[str, ...]
ALL = "all"
"""The file of experiments that names the others, and is none."""


class HelpVerb(Verb):
    """Print the page of an option, or that of the command line."""

    reads = ("store",)
    keys = HelpKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        root = conf_folder().parent
        text = page(root) if config["option"] is None else option_page(root, *split_option(config["option"]))
        console.print(for_console(as_called(text).rstrip()))
        return 0


class ListVerb(Verb):
    """List experiments, presets, options of all groups, or the models of the store."""

    reads = ("store",)
    keys = ListKeys

    def __call__(self, jobs: Sequence[Composed], store: Store, config: Config, command: str) -> int:
        lists: dict[str, tuple[Row, Callable[[], Iterator[Row]]]] = {
            "experiments": (("experiment", "title", "question", "claims", "result"), experiments),
            "presets": (("preset", "what it is"), presets),
            "models": (("model", "job", "data", "weights", "date", "scores"), lambda: models(store.root)),
            "options": (("group", "option", "what it is"), options),
        }
        if config["what"] is not None:
            columns, rows = lists[config["what"]]
            show(columns, list(rows()))
        else:
            show(("what", "how many"), [(what, str(len(list(rows())))) for what, (_, rows) in lists.items()])
        return 0


def show(columns: Row, rows: Sequence[Row]) -> None:
    """Print a table on a terminal; in a pipe or a file a line a row, its cells between tabs."""
    if not console.is_terminal:
        for row in (columns, *rows):
            console.file.write("\t".join(map(one_line, row)) + "\n")  # console.print makes spaces of tabs
        return
    table = Table(*columns, box=box.SIMPLE, caption=counted(len(rows), "row"), caption_justify="left")
    for row in rows:
        table.add_row(*map(for_console, row))
    console.print(table)


def experiments() -> Iterator[Row]:
    """Name, title, question, letters of the claims, and whether verdicts of it are recorded, of every experiment."""
    for name, file in option_files(EXPERIMENTS).items():
        if name != ALL and name.partition("/")[0] != "results":
            node = node_of(file)
            claims: dict[str, Any] = node.get("claims") or {}
            letters = sorted({str(claim["id"]) for claim in claims.values() if claim.get("id")})
            yield name, node.get("title") or "", node.get("question") or "", ", ".join(letters), _result(file)


def _result(file: Path) -> str:
    """The recorded verdicts of an experiment, how many there are of each; empty without any."""
    recorded = file.parent / "results" / file.stem / "verdicts.json"
    if not recorded.is_file():
        return "recorded" if recorded.parent.is_dir() else ""
    verdicts = [str(claim.get("verdict")) for claim in read_json(recorded)["claims"].values()]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts)))


def presets() -> Iterator[Row]:
    """Name and first comment of every preset."""
    return ((name, first_comment(file)) for name, file in option_files("preset").items())


def options() -> Iterator[Row]:
    """Group, option and first comment of every option; the default of a group with an asterisk."""
    defaults = defaults_of(conf_folder().parent)
    for group in groups():
        for name, file in option_files(group).items() if group != EXPERIMENTS else ():
            yield group, f"{name}*" if defaults.get(group) == name else name, first_comment(file)


def first_comment(file: Path) -> str:
    """The first line of a comment at the head of a file, or beside its first keys; empty without one."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ").strip()
    target = str((read_yaml(file) or {}).get("_target_", ""))
    return target.rpartition(".")[2]


def models(root: Path) -> Iterator[Row]:
    """The models of a store as do=sample names them, the newest first: job, data, bytes, date and scores."""
    for sweep, plan in plans(root):
        for job in plan.jobs:
            key = job.stages.get(DiffusionKind.name)
            if key is not None and object_folder(root, key).is_dir():
                named = f"{sweep}:{job.index}"
                yield named, job.name, _data(job.config), _megabytes(root, key), plan.created[:10], _scores(root, job)
    for kind in MODELS:
        for key in object_keys(root, kind) if kind != DiffusionKind.name else []:
            created = read_manifest(object_folder(root, key), key).created[:10]
            yield key, "imported", "", _megabytes(root, key), created, ""


def _data(config: Config) -> str:
    data = config.get("data") or {}
    name = declared(data, "name", "") or str(data.get("_target_", "")).rpartition(".")[2]
    return f"{name} {data.get('size', '')}".strip()


def _megabytes(root: Path, key: Key) -> str:
    return f"{folder_bytes(object_folder(root, key)) / 1e6:,.1f} MB"


def _scores(root: Path, job: Any) -> str:
    """The scores of a job that stand on the terminal, as the store has them; empty where it has none."""
    key = job.stages.get(ScoresKind.name)
    file = None if key is None else object_folder(root, key) / "scores.json"
    if file is None or not file.is_file():
        return ""
    try:
        metrics = read_json(file)["metrics"]
        shown = [m for m in metrics.values() if m.get("shown_in") == "terminal"] or list(metrics.values())
        return ", ".join(f"{m['label']} {m['value']:.4g}" for m in shown[:3])
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return f"{file} is damaged"
