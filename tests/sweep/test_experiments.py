"""Every experiment is a sweep of the jobs that its file lists, which share the stages that it says; also in tiny."""

import itertools
import re
import shlex

import pytest
import yaml

from ablatent.cli.all_experiments import sequence
from ablatent.cli.preflight import sweeps
from behaviour import planned
from commands import ROOT, inline, run

# What is trained or drawn, and how often: as the head of each file says it.
SHARED = {
    "autoencoder_zoo": {"first_stage": 18, "reconstruction": 18, "reference": 1},
    "class_guidance": {"first_stage": 1, "diffusion": 3, "judge": 1, "samples": 18, "scores": 18, "agreement": 18},
    "compression": {"first_stage": 4, "diffusion": 12, "judge": 1, "samples": 36, "scores": 36},
    "control_labels": {"first_stage": 1, "diffusion": 6, "judge": 1, "samples": 6, "agreement": 6},
    "controls": {"first_stage": 1, "diffusion": 12, "judge": 1, "samples": 12, "scores": 12},
    "cosine_first_step": {"first_stage": 1, "diffusion": 6, "judge": 1, "samples": 24, "scores": 24},
    "emoji_captions": {"first_stage": 1, "embeddings": 1, "diffusion": 1, "task": 2},
    "first_stage": {"first_stage": 6, "diffusion": 6, "judge": 1, "samples": 6, "scores": 6},
    "flow_against_diffusion": {"first_stage": 1, "diffusion": 12, "judge": 1, "samples": 96, "scores": 96},
    "inpainting": {"first_stage": 1, "diffusion": 6, "task": 18, "restoration": 18},
    "latent_scale": {"first_stage": 2, "latents": 4, "diffusion": 12, "samples": 12, "scores": 12},
    "latent_speed": {"first_stage": 3, "diffusion": 9, "judge": 1, "samples": 27, "scores": 27},
    "layouts": {"first_stage": 1, "diffusion": 3, "judge": 2, "samples": 9, "agreement": 18},
    "noise_of_steps": {"first_stage": 1, "diffusion": 6, "judge": 1, "samples": 36, "scores": 36},
    "noisiest_steps": {"first_stage": 1, "diffusion": 6, "judge": 1, "samples": 36, "scores": 36},
    "sampler_steps": {"first_stage": 1, "diffusion": 3, "judge": 1, "samples": 60, "scores": 60},
    "semantic_maps": {"first_stage": 1, "diffusion": 3, "judge": 1, "samples": 6, "agreement": 6},
    "shared_noise": {"first_stage": 1, "diffusion": 3, "judge": 1, "task": 6},
    "super_resolution": {"first_stage": 1, "diffusion": 3, "task": 9, "restoration": 9},
    "text_scenes": {"first_stage": 1, "embeddings": 1, "diffusion": 3, "judge": 1, "samples": 9, "agreement": 9},
    "text_swaps": {"first_stage": 1, "embeddings": 1, "diffusion": 1, "task": 3},
    "time_to_quality": {"first_stage": 1, "diffusion": 3, "judge": 1, "samples": 60, "scores": 60},
}
# One preset in place of several, whose trainings are too short for snapshots.
SHARED_IN_TINY = SHARED | {
    "autoencoder_zoo": {"first_stage": 6, "reconstruction": 6, "reference": 1},
    "compression": {"first_stage": 1, "diffusion": 3, "samples": 3},
    "flow_against_diffusion": {"first_stage": 1, "diffusion": 3, "samples": 24},
    "latent_speed": {"first_stage": 1, "diffusion": 3, "samples": 9},
}
IN_TINY = {
    "compression": ["training.snapshots=[]", "samples.snapshot=last"],
    "latent_speed": ["training.snapshots=[]"],
}
COMMAND = re.compile(r"^# (On a GPU|The paper's size): python run.py -m (.+)$", re.M)


def axes(name: str) -> dict[str, list[str]]:
    """Axis → its values, of an experiment and of what it builds on."""
    config = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
    below = [entry for entry in config["defaults"] if isinstance(entry, str)]
    found = {axis: values for other in below for axis, values in axes(other).items()}
    swept = config.get("hydra", {}).get("sweeper", {}).get("params", {})
    return found | {axis: str(values).split(",") for axis, values in swept.items()}


def test_every_experiment_is_here():
    assert {p.stem for p in (ROOT / "experiments").glob("*.yaml")} == {*SHARED, "all"}


def test_all_runs_every_experiment_with_a_claim():
    claimed = {name for name in SHARED if "\nclaims:\n" in (ROOT / "experiments" / f"{name}.yaml").read_text()}
    assert set(sequence(ROOT)) == claimed and len(claimed) == 19


@pytest.mark.slow
def test_larger_runs_that_experiments_name_are_planned():
    """The first values of what they sweep; data are not looked at."""
    jobs = []
    for name in SHARED:
        text = (ROOT / "experiments" / f"{name}.yaml").read_text()
        commands = COMMAND.findall(text)
        assert "\nclaims:" not in text or commands, name
        for _, command in commands:
            words = shlex.split(command)
            typed = {word.partition("=")[0] for word in words}
            swept = {axis: values for axis, values in axes(name).items() if axis not in typed}
            job = [f"{axis}={values[0]}" for axis, values in swept.items()]
            jobs.append([*job, *(word if "[" in word else word.split(",")[0] for word in words)])
    for job, found in zip(jobs, planned(jobs), strict=True):
        assert isinstance(found, dict) and "first_stage" in found, f"{job}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("preset", [None, "tiny"])
@pytest.mark.parametrize("name", SHARED)
def test_an_experiment_is_planned(tmp_path, name, preset):
    chosen = [] if preset is None else [f"preset={preset}", *IN_TINY.get(name, [])]
    done = run(tmp_path, "-m", f"experiments={name}", *chosen, "do=plan", "tracking=none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused" not in done.stdout and "first_stage" in done.stdout
    typed = {word.partition("=")[0] for word in chosen}
    swept = {axis: values for axis, values in axes(name).items() if axis not in typed}
    jobs = len(list(itertools.product(*swept.values())))
    assert jobs > 1 and re.search(rf"^{jobs} jobs$", done.stdout, re.M), done.stdout
    stages = {kind: int(number) for number, kind in re.findall(r"^│ (\d+) +│ (\w+)", done.stdout, re.M)}
    expected = SHARED if preset is None else SHARED_IN_TINY
    assert {kind: stages.get(kind) for kind in expected[name]} == expected[name], done.stdout
    last = {"first_stage", "task", "samples", "agreement"} & {*expected[name]}
    assert jobs == max(stages[kind] for kind in last), "each job has something of its own"


def test_the_sweep_of_an_experiment_needs_no_m(tmp_path):
    """The same jobs; each is refused here, so that nothing is checked for long."""
    overrides = ["experiments=first_stage", "do=plan", "preset=tiny", "data=digits", "sampler.steps=0"]
    alone, several = (inline(tmp_path, *words, *overrides) for words in ([], ["-m"]))
    assert alone.returncode == several.returncode == 2
    assert alone.stdout == several.stdout and "6 jobs, 6 refused" in alone.stdout


def test_only_an_experiment_with_a_sweep_is_one(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "experiments" / "single.yaml").write_text("# @package _global_\ntitle: x\n")
    (tmp_path / "experiments" / "base.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {sampler.steps: '5,10'}}}\n"
    )
    (tmp_path / "experiments" / "on_top.yaml").write_text("# @package _global_\ndefaults: [base]\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATENT_ROOT", str(tmp_path))
        found = {name: sweeps(tmp_path, [f"experiments={name}"]) for name in ("single", "base", "on_top", "absent")}
    assert found == {"single": False, "base": True, "on_top": True, "absent": False}
    assert not sweeps(ROOT, ["experiments=first_stage", "do=report"]) and not sweeps(ROOT, ["preset=tiny"])
