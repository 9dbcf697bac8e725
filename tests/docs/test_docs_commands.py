"""Every command of README and docs is planned or run here, or stands in `ELSEWHERE` with its reason and its test."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob

from ablatent.cli import all_experiments, preflight
from ablatent.cli.quick_hydra import quick_hydra
from ablatent.cli.raw_overrides import check_verb, quoted
from ablatent.cli.words import with_verb
from ablatent.core.options import option_files
from behaviour import planned
from commands import ROOT, run
from pages import DOCS, commands, files_in

ALL = [*commands([ROOT / "README.md"]), *commands()]
"""(page, command) of README and docs."""
SHOWN = {name.removesuffix(".yaml") for name in files_in((DOCS / "extending").glob("*.md")) if name.endswith(".yaml")}
"""Options whose YAML stands in a page, conf/GROUP/NAME or experiments/NAME: tests/extending runs commands with them."""
SHOWN_OPTIONS = {name.removeprefix("conf/") for name in SHOWN}
README_TEST, OWN_FOLDER = "tests/test_readme.py", "tests/cli/test_own_folder.py"
ELSEWHERE = (
    (r"^make (?!bench|docs)", "what CI runs on a clean clone, the environment with it", ".ci/run", "make test"),
    (r"^make docs$", "builds the site", "tests/docs/test_docs_pages.py", '"mkdocs", "build"'),
    (r"^make bench$", "a benchmark; its quick rows are run", README_TEST, "make bench"),
    (r"^python3 -m venv ", "an environment from a network", "Makefile", "-m venv"),
    (r"^pytest tests/samplers", "of a page's sampler", "tests/extending/test_extending.py", '"tests/samplers"'),
    (r"^python -m pytest$", "the tests of a started folder", "tests/cli/test_wheel.py", '"-m", "pytest"'),
    (r"^python -m ablatent\.build", "a worker's", "tests/sweep/test_build.py", "ablatent.build"),
    (r"^python -m ablatent\.stages\.ranks", "a worker's, of several devices", "tests/training/test_ranks.py", "ranks"),
    (r"^python -m ablatent\.evaluation", "scores folders", "tests/evaluation/test_statistics.py", "statistics"),
    (r"^python -m ablatent\.cli\.reference", "the text is compared", "tests/test_fields.py", "reference"),
    (r"^python -m ablatent\.cli\.claims", "the text is compared", "tests/claims/test_claim.py", "claims_page"),
    (r"^python -m ablatent\.cli\.results", "the text is compared", "tests/cli/test_results_page.py", "results_page"),
    (r"benchmarks/gpu\.py", "needs a GPU", "tests/test_gpu_benchmark.py", "gpu"),
    (r"benchmarks/bench ", "minutes", "tests/benchmarks/test_bench.py", "bench"),
    (r"benchmarks/time_to_quality", "hours", "tests/benchmarks/test_time_to_quality.py", "time_to_quality"),
    (
        r"benchmarks/verdicts",
        "minutes; the rule itself is tested",
        "tests/claims/test_verdict.py",
        "verdict",
    ),
    (r"benchmarks/batch_invariance", "minutes, on a trained model", "tests/checks/test_invariants.py", "batch"),
    (r"^ablatent -sc ", "a shell's", "tests/cli/test_wheel.py", "-sc install="),
    (r"experiments=(?!NAME|mine|stripes)", "all are planned", "tests/sweep/test_experiments.py", "do=plan"),
    (r"hydra/sweeper=", "a search", "tests/search/test_search_command.py", "hydra/sweeper="),
    (
        r"do=sample .*(prompt|class|boxes|map)=",
        "of conditions",
        "tests/stages/test_conditioners.py",
        "sample",
    ),
    (r"do=sample (.*mask=|repeat=)", "of images", "tests/inference/test_image_requests.py", "repeat"),
    (r"do=(import|export)", "weights of other programs", "tests/interop/test_exchange.py", "do=export"),
    (r"do=init", "makes a folder", "tests/cli/test_wheel.py", '"init"'),
    (r"[=/]mine\b", "of a started folder", "tests/cli/test_wheel.py", "experiments=mine"),
    (r"annotations=", "of a page's data", OWN_FOLDER, "test_options_of_the_pages"),
    (r"do=push to=s3:", "needs a bucket", "tests/store/test_transfer.py", "s3"),
    (r"compare=", "needs two sweeps", "tests/report/test_compare.py", "write_comparison"),
    (r"^first_stage\.ch_multt=", "the mistake that it shows", README_TEST, "ch_multt"),
)
"""Commands that are neither planned nor run here: pattern, reason, the file that runs it, what of it stands there."""
PLACEHOLDER = re.compile(r"…|\bVERB\b|=NAME\b|/NAME\b|^python run\.py$")
"""Of commands that stand for others."""
STORE_VERBS = "report|status|publish|gc|du|verify|push|pull|resume|retry|cancel|list|help|check|sample"
RUN_HERE = re.compile(rf"\bdo=(?:{STORE_VERBS})\b|(?:^|\s)--(?:help|cfg|version|weights)\b")


def typed(command: str) -> list[str] | None:
    """The words of a command of this package, its verb as do=VERB; None for another program and for a placeholder."""
    words = shlex.split(command, comments=True)
    words = words[2:] if words[:2] == ["python", "run.py"] else words[1:] if words[0] == "ablatent" else None
    if words is None or words[:1] == ["-sc"] or PLACEHOLDER.search(command):
        return None
    return with_verb(ROOT, [word.partition("|")[0] for word in words])


def is_shown(word: str) -> bool:
    """Whether a word chooses an option that the pages on extending show."""
    target, _, values = word.lstrip("+").partition("=")
    group = target.partition("@")[0]
    folder = "experiments" if group == "experiments" else f"conf/{group}"
    return group == "stage" or any(f"{folder}/{value}" in SHOWN for value in values.split(","))


def where(page: str, command: str, words: Sequence[str] | None) -> str:
    """How a command is tested: "planned" or "run" here, "" of one that stands for others, or by which other file.

    words: of a command of this package. Raises LookupError for one that is tested nowhere.
    """
    text = " ".join(words) if words is not None else command
    if PLACEHOLDER.search(command):
        return ""
    if any(is_shown(word) or word.removeprefix("option=") in SHOWN_OPTIONS for word in words or ()):
        return OWN_FOLDER if page == "own-options.md" else "tests/extending/test_extending.py"
    for pattern, _, file, _ in ELSEWHERE:
        if re.search(pattern, text):
            return file
    if words is None:
        raise LookupError(f"{page}: {command}")
    return "run" if RUN_HERE.search(text) else "planned"


def those_that_are(how: str) -> list[tuple[str, str, list[str]]]:
    """(page, command, words) of those commands of README and docs that are tested in this way."""
    found = [(page, command, typed(command)) for page, command in ALL]
    return [(page, command, words or []) for page, command, words in found if where(page, command, words) == how]


def jobs_of(words: Sequence[str]) -> Iterator[list[str]]:
    """Jobs of a sweep: the first value of each axis, and every other value of one beside the first of all others."""
    overrides = [quoted(word) for word in words if not word.startswith("-") and not re.match(r"do=(plan|run)$", word)]
    axes = []
    for override in OverridesParser.create().parse_overrides(overrides):
        key, _, value = str(override.input_line).partition("=")
        values: Sequence[object] = [value]
        if isinstance(pattern := override.value(), Glob):
            values = pattern.filter([name for name in option_files(key, ROOT) if "/" not in name])
        elif override.is_sweep_override():
            values = list(override.sweep_string_iterator())
        axes.append([f"{key}={value}" for value in values])
    first = [values[0] for values in axes]
    yield first
    for place, values in enumerate(axes):
        yield from ([*first[:place], value, *first[place + 1 :]] for value in values[1:])


def test_every_command_has_its_test() -> None:
    """A command that is new is planned, run, or gets a line in ELSEWHERE."""
    ways = {command: where(page, command, typed(command)) for page, command in ALL}
    others = {way for way in ways.values() if way not in ("planned", "run", "")}
    texts = {file: (ROOT / file).read_text() for file in others | {file for _, _, file, _ in ELSEWHERE}}
    assert not [(file, part) for _, _, file, part in ELSEWHERE if part not in texts[file]]
    unused = {pattern for pattern, *_ in ELSEWHERE if not any(re.search(pattern, _text(c)) for c in ways)}
    assert not unused, "lines of ELSEWHERE without a command"
    assert sum(way == "planned" for way in ways.values()) > 40 and sum(way == "run" for way in ways.values()) > 30
    with pytest.raises(LookupError):
        where("x.md", "python no_such_file.py", None)


def _text(command: str) -> str:
    words = typed(command)
    return command if words is None else " ".join(words)


@pytest.mark.slow
def test_commands_pass_what_the_command_line_checks_before_it_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_composed", cache_of(preflight._composed))
    monkeypatch.setenv("ABLATENT_ROOT", str(ROOT))
    wrong, checked = [], 0
    with quick_hydra({}):
        for page, command in commands():
            if (words := typed(command)) is None:
                continue
            named = [word for word in words if not is_shown(word) and not re.search(r"=(NAME|mine)$", word)]
            given = [quoted(word) for word in named if "=" in word]
            try:
                multirun = preflight.sweeps(ROOT, given) or "-m" in words  # the first composes the experiment
                if not all_experiments.wanted(given):
                    check_verb(ROOT, given, multirun)
                    preflight.preflight(ROOT, given, multirun)
            except Exception as error:
                wrong.append(f"{page}: {command}: {error}")
            checked += 1
    assert not wrong, "\n".join(wrong)
    assert checked > 60


def cache_of(composed: Callable[..., Any]) -> Callable[..., Any]:
    """Each composition once: the commands choose few different options."""
    kept: dict[Any, Any] = {}

    def get(root: Path, options: dict[str, str], with_hydra: bool = False) -> Any:
        name = (*sorted(options.items()), with_hydra)
        if name not in kept:
            kept[name] = composed(root, options, with_hydra)
        return kept[name]

    return get


@pytest.mark.slow
def test_commands_of_jobs_are_planned() -> None:
    """Each composes, passes the checks of its values and of what fits together, and has stages; data are not read."""
    jobs = [(command, job) for _, command, words in those_that_are("planned") for job in jobs_of(words)]
    assert len(jobs) > 60
    found = zip(jobs, planned([job for _, job in jobs]), strict=True)
    wrong = [f"{command}: {stages}" for (command, job), stages in found if isinstance(stages, str)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_commands_on_a_store_run(own_sweep: tuple[Path, Any]) -> None:
    """In the order of the pages, on a finished sweep, whose id and keys stand in place of those of the pages."""
    folder, _ = own_sweep
    (sweep,) = (path.name for path in (folder / "store/sweeps").iterdir())
    key, readme = next((folder / "store/objects/diffusion").iterdir()).name, {c for p, c in ALL if p == "README.md"}
    places = {"/mnt/team": str(folder / "team"), "experiments/results": "kept", "diffusion-7db5c928": key}
    places |= dict.fromkeys(("SWEEP:0", "20261124-101500-a1b2:0"), f"{sweep}:0") | {"20261124-101500-a1b2": sweep}
    wrong = []
    for page, command, words in those_that_are("run"):
        for name, place in places.items():
            words = [word.replace(name, place) for word in words]
        if page != "README.md" and command not in readme:  # tests/test_readme.py runs those
            done = run(folder, *words)
            wrong += [f"{page}: {command}: {done.stdout}{done.stderr}"] if done.returncode else []
    assert not wrong, "\n".join(wrong)


def test_other_commands_name_what_is_there() -> None:
    makefile, wrong = (ROOT / "Makefile").read_text(), []
    for page, command in ALL:
        words = shlex.split(command)
        if words[0] == "ablatent":
            continue
        if words[0] == "make":
            found = f"\n{words[1]}:" in makefile
        elif words[0] == "pytest":
            found = (ROOT / words[1]).exists()
        elif words[1] == "-m":
            found = words[2] == "venv" or find_spec(words[2]) is not None
        else:
            found = words[1] == "run.py" or (ROOT / words[1]).exists()
        if not found:
            wrong.append(f"{page}: {command}")
    assert not wrong, "\n".join(wrong)
