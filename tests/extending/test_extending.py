"""docs/extending holds: each file of its pages works as it stands there, in jobs of the real command line, unedited."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import yaml

from pages import files_in

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "extending").glob("*.md"))
SAMPLER = "dpm_solver_2s"
STAGE, COPY = "+stage@stages.nearest=nearest", Path(__file__).with_name("in_copy.py")
SWEEP = [
    *("-m", "experiments=stripes", STAGE, "executor=last_job_first", "tracking=lines", "optimizer=nadam"),
    *("timestep_sampler=power", "weighting=soft_min_snr", "parameterization=residual", "schedule=geometric"),
    *(f"sampler={SAMPLER}", "training=long_average", "judge=thickness"),
]


def single(*overrides: str) -> list[str]:
    """One job of the experiment, with other options."""
    options = {
        **{"data": "stripes", "conditioner": "stripe_width", "guidance": "classifier_free", "preset": "blocks_f4"},
        **{"runtime": "one_thread", "store": "scratch", "tracking": "none"},
    }
    typed = {override.partition("=")[0] for override in overrides}
    return [*(f"{group}={option}" for group, option in options.items() if group not in typed), *overrides]


CHECKED = {
    **{f"sampler/{SAMPLER}": [], "guidance/ramped": [], "schedule/geometric": [], "parameterization/residual": []},
    **{"weighting/soft_min_snr": [], "timestep_sampler/power": [], "network/plain": [], "first_stage/block_means": []},
    **{"conditioner/stripe_width": [], "conditioner/word_counts": [], "data/stripes": [], "metric/mean_distance": []},
    "task/redraw": ["data=stripes", "conditioner=stripe_width"],
}
"""Option that do=check is run on → what else is typed."""
COMMANDS: list[tuple[str, list[str]]] = [
    *((f"check {option}", ["do=check", f"option={option}", *more]) for option, more in CHECKED.items()),
    ("plan", ["-m", "experiments=stripes", "guidance.scale=3.0", "data.unit=pixels,share", "do=plan"]),
    ("sweep", SWEEP),
    ("sweep again", SWEEP),
    ("sample", ["store=scratch", "do=sample", "model={SWEEP}:1", "annotations={width: 3}", "n=2", "out=wide"]),
    (
        "sample in turn",
        ["store=scratch", "do=sample", "model={SWEEP}:1", "annotations={width: [1, 8]}", "n=2", "out=turn"],
    ),
    ("sample without", ["store=scratch", "do=sample", "model={SWEEP}:1", "n=2", "out=none"]),
    ("sample misspelt", ["store=scratch", "do=sample", "model={SWEEP}:1", "annotations={widht: 3}", "out=none"]),
    (
        "figure",
        single("task=text2img", "task.reads=width", "task.count=3", "task.samples_per_image=2"),
    ),
    ("redraw", single("task=redraw")),
    ("redraw of classes", single("task=redraw", "conditioner=class")),
    (
        "classifier",
        single("conditioner=class", "guidance=direction", "classifier=pooled"),
    ),
    ("neutral", single("conditioner=class", "guidance=direction", "guidance.scale=0.0", "do=plan")),
    ("letters", single("conditioner=text_letters", "guidance=ramped")),
    ("words", single("conditioner=word_counts", "guidance=ramped")),
    (
        "plain",
        single(
            *(
                "conditioner=none",
                "guidance=none",
                "preset=tiny",
                "perceptual=edges",
                "network=plain",
            ),
            *("first_stage=kl", "evaluation=quick", "extractor@evaluation.extractor=colours", "samples.count=16"),
            *("~metric@evaluation.metrics.fid", "+metric@evaluation.metrics.mean_distance=mean_distance"),
            *("evaluation.reconstruction_metrics=[mean_distance]", "perceptual@evaluation.perceptual=edges"),
            *("first_stage.training.steps=2", "training.steps=2", "evaluation.reference_count=32"),
        ),
    ),
    ("store misspelt", ["do=sample", "store=scrach", "model={SWEEP}:1"]),
    ("weigh", ["do=weigh", "store=scratch", "least=1"]),
    ("weigh refused", ["do=weigh", "network=plain"]),
]


def examples() -> dict[str, str]:
    return files_in(PAGES)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(folder / part) for part in ("src", ""))
    env = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    env["ABLATENT_STORE"] = str(folder / "scratch")
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the files of the pages in it, and none of its own changed."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("src", "conf", "tests/samplers"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    (folder / "experiments").mkdir()
    for part in ("tests/conftest.py", "tests/options.py", "pyproject.toml"):
        shutil.copy(ROOT / part, folder / part)
    shutil.copy(COPY, folder / COPY.name)
    for name, text in examples().items():
        assert not (ROOT / name).exists(), f"{name} exists: the pages must show a new one"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def done(copy: Path) -> dict[str, dict]:
    """Name → code, output and sweep of each of COMMANDS."""
    (copy / "commands.json").write_text(json.dumps(COMMANDS))
    process = python(copy, COPY.name, "commands.json", "results.json")
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    return json.loads((copy / "results.json").read_text())


@pytest.fixture(scope="module")
def job(copy: Path, done: dict[str, dict]):
    """What a command planned: job n of its sweep, as plan.json has it."""

    def of(name: str, index: int = 0) -> dict:
        assert done[name]["code"] == 0, done[name]["output"]
        return json.loads((copy / "scratch/sweeps" / done[name]["sweep"] / "plan.json").read_text())["jobs"][index]

    return of


@pytest.fixture(scope="module")
def artifact(copy: Path, job):
    """The folder of a stage that a command built."""

    def of(name: str, role: str, index: int = 0) -> Path:
        key = job(name, index)["stages"][role]
        return copy / "scratch/objects" / key.rsplit("-", 1)[0] / key

    return of


@pytest.fixture(scope="module")
def report(copy: Path, done: dict[str, dict]):
    """The folder of a command's report."""
    return lambda name: copy / "scratch/sweeps" / done[name]["sweep"] / "report"


def statuses(copy: Path, result: dict, index: int = 0) -> dict[str, str]:
    """role → what became of the stage."""
    record = json.loads((copy / f"scratch/sweeps/{result['sweep']}/jobs/{index:03d}.json").read_text())
    return {role: stage["status"] for role, stage in record["stages"].items()}


def test_the_pages_show_whole_files_for_every_group() -> None:
    found = examples()
    groups = {p.name for p in (ROOT / "conf").iterdir() if p.is_dir()} - {"hydra"}
    assert {name.split("/")[1] for name in found if name.startswith("conf/")} == {*groups, "stage"}
    assert {name for name in found if name.startswith("experiments/")} == {"experiments/stripes.yaml"}
    index = (ROOT / "docs" / "extending.md").read_text()
    assert set(re.findall(r"\]\(extending/([\w-]+\.md)", index)) == {page.name for page in PAGES}
    assert {f"src/ablatent/samplers/{SAMPLER}.py", f"conf/sampler/{SAMPLER}.yaml"} <= set(found)
    for name, text in found.items():
        target = (yaml.safe_load(text) if name.endswith(".yaml") else {}).get("_target_", "")
        module = target.rpartition(".")[0].replace(".", "/")
        there = any((ROOT / f"{place}{module}.py").exists() or f"{place}{module}.py" in found for place in ("src/", ""))
        assert not target or target.startswith("torch.") or there, (name, target)


@pytest.mark.slow
def test_every_example_does_what_its_group_is_for(done: dict[str, dict]) -> None:
    """in_copy.options passed, and every command did what it should."""
    refused = {"sample without", "sample misspelt", "redraw of classes", "weigh refused", "store misspelt"}
    wrong = {name: result["output"] for name, result in done.items() if bool(result["code"]) != (name in refused)}
    assert not wrong, "\n".join(f"{name}: {output}" for name, output in wrong.items())


@pytest.mark.slow
def test_every_example_holds_the_invariants_of_its_group(done: dict[str, dict]) -> None:
    for option in CHECKED:
        output = done[f"check {option}"]["output"]
        assert re.search(r"(\d+) of \1 invariants hold$", output, re.M) and "next: " in output, output


@pytest.mark.slow
def test_the_plan_depends_on_a_further_annotation(done: dict[str, dict]) -> None:
    """What reads it changes with it, and nothing else."""
    line = next(line for line in done["plan"]["output"].splitlines() if line.startswith("data.unit: changes"))
    assert set(line.removeprefix("data.unit: changes ").split(", ")) == {"diffusion", "samples", "scores"}, line


@pytest.mark.slow
def test_a_conditioner_of_a_further_annotation(copy: Path, done: dict[str, dict], artifact) -> None:
    """Its samples have the values of validation images; a request gives its own, and cannot do without."""
    rows = json.loads((artifact("sweep", "samples") / "conditions.json").read_text())["extra"]["width"]
    assert len(rows) == 16 and set(rows) <= set(range(1, 9)) and len(set(rows)) > 3
    assert len(list((copy / "wide").glob("0*.png"))) == 2 and len(list((copy / "turn").glob("0*.png"))) == 2
    assert "annotations.width" in done["sample without"]["output"] and not list(copy.glob("none/*"))
    assert "annotations={width: VALUE}" in done["sample without"]["output"]
    assert "Did you mean 'scratch'?" in done["store misspelt"]["output"]
    assert "Did you mean 'annotations.width'?" in done["sample misspelt"]["output"]
    rows = json.loads((artifact("figure", "task") / "summary.json").read_text())["rows"]
    assert len(rows) == 3


@pytest.mark.slow
def test_a_task_that_restores(copy: Path, done: dict[str, dict], job, artifact, report) -> None:
    """It is scored against the images, beside its baseline, in the report."""
    assert set(job("redraw")["stages"]) >= {"task", "restoration"} and "scores" not in job("redraw")["stages"]
    scores = json.loads((artifact("redraw", "restoration") / "scores.json").read_text())["metrics"]
    assert {"psnr", "psnr_of_mean_image", "perceptual"} <= set(scores)
    text = (report("redraw") / "report.md").read_text()
    assert "error of brightness ↓" in text and r"PSNR \[dB\] of the mean image" in text
    assert "task=class" in done["redraw of classes"]["output"]


@pytest.mark.slow
def test_a_guidance_brings_its_stage(job, done: dict[str, dict], artifact) -> None:
    assert "noisy_classifier" in job("classifier")["stages"]
    config = json.loads((artifact("classifier", "noisy_classifier") / "manifest.json").read_text())["config"]
    assert config["network"]["_target_"].endswith("PooledClassifier")
    assert "noisy_classifier" not in done["neutral"]["output"]


@pytest.mark.slow
def test_a_judge_of_a_further_annotation(job, artifact, report) -> None:
    assert {"judge", "agreement"} <= set(job("sweep")["stages"])
    assert json.loads((artifact("sweep", "judge") / "summary.json").read_text())["names"] == ["thin", "thick"]
    scores = json.loads((artifact("sweep", "agreement") / "scores.json").read_text())["metrics"]
    assert {"thickness", "thickness_chance"} == set(scores)
    assert "as thick as they should be ↑" in (report("sweep") / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["letters", "words"])
def test_captions_are_encoded_once_for_a_class_of_ones_own(name: str, job, artifact) -> None:
    assert "embeddings" in job(name)["stages"]
    config = json.loads((artifact(name, "embeddings") / "manifest.json").read_text())["config"]
    assert (
        set(config) == {"letters": {"_target_", "encoder", "max_length", "stored"}, "words": {"_target_", "bins"}}[name]
    )
    cached = artifact(name, "embeddings")
    assert json.loads((cached / "captions.json").read_text()) == ["", "horizontal stripes", "vertical stripes"]
    if name == "letters":
        assert np.load(cached / "counts.npy").tolist() == [1, 19, 17]


@pytest.mark.slow
def test_a_stage_of_ones_own(copy: Path, done: dict[str, dict], artifact, report) -> None:
    """Planned, built, found again, scored and shown, from a module outside the package."""
    assert statuses(copy, done["sweep"])["nearest"] == "built"
    assert set(statuses(copy, done["sweep again"]).values()) == {"found"}
    assert json.loads((artifact("sweep", "nearest") / "manifest.json").read_text())["config"]["shown"] == 6
    assert {p.name for p in artifact("sweep", "nearest").iterdir()} >= {"figure.png", "scores.json", "summary.json"}
    text = (report("sweep") / "report.md").read_text()
    assert "distance to the nearest training image" in text and "nearest: " in text
    assert len(list((report("sweep") / "figures").glob("task-*.png"))) == 2
    assert "distance to the nearest training image" in done["sweep"]["output"].replace("\n", " ")


@pytest.mark.slow
def test_a_metric_and_an_extractor_in_the_report(report) -> None:
    text = (report("sweep") / "report.md").read_text()
    assert "mean distance(colours) ↓" in text
    assert "mean distance(colours) ↓" in (report("plain") / "report.md").read_text()


@pytest.mark.slow
def test_a_tracker_and_an_executor(copy: Path, done: dict[str, dict]) -> None:
    lines = [json.loads(line) for line in (copy / "scratch/tracking/lines.jsonl").read_text().splitlines()]
    assert {line["type"] for line in lines} == {"first_stage", "diffusion", "judge", "job"}
    jobs = [line for line in lines if line["type"] == "job" and "end" in line]
    assert [line["run"] for line in jobs[:2]] == ["guidance.scale=3.0", "guidance.scale=1.0"]
    assert any(line.get("image") == "nearest" for line in lines)
    assert any("nearest_distance" in line.get("summary", {}) for line in lines)
    first = statuses(copy, done["sweep"], 0)
    assert first["diffusion"] == statuses(copy, done["sweep"], 1)["diffusion"] == "built"


@pytest.mark.slow
def test_a_verb(done: dict[str, dict]) -> None:
    assert re.search(r"^diffusion: \d+ bytes$", done["weigh"]["output"], re.M)
    assert "network: expected with do=weigh" in done["weigh refused"]["output"]


@pytest.mark.slow
def test_the_new_sampler_passes_the_suite(copy: Path) -> None:
    """Every fast test that knows it by its name, in the copy; none was edited."""
    report = copy / "report.xml"
    process = python(copy, "-m", "pytest", "tests/samplers", "-m", "not slow", "-k", SAMPLER, f"--junitxml={report}")
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-1000:]
    ran = {case.get("name") or "" for case in ET.parse(report).iter("testcase") if case.find("skipped") is None}
    mine = {name.split("[")[0] for name in ran if SAMPLER in re.split(r"[\[\]-]", name)}
    assert mine >= {"test_an_invariant_holds", "test_many_steps", "test_the_steps_are_those_of_the_preset"}
