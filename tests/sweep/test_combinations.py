"""Whole axes at once: every valid combination runs, the others are refused with their reason and stop nothing."""

import contextlib
import json
import re
from collections import Counter

import pytest

from ablatent.core.errors import ConfigError
from ablatent.stages.check_sampling import check_sampling
from commands import ROOT, SMALL, built, inline, run
from composing import composed

FAST = [*SMALL, "first_stage.training.steps=4", "training.steps=4", "samples.count=8", "sampler.steps=3"]


def statuses(folder) -> dict[tuple[str, ...], tuple[str, str]]:
    """axes' values → (status, why not)."""
    (plan,) = (folder / "store" / "sweeps").glob("*/plan.json")
    jobs = json.loads(plan.read_text())["jobs"]
    by_combination = [json.loads((plan.parent / "jobs" / f"{j['index']:03d}.json").read_text()) for j in jobs]
    return {
        tuple(j["axes"].values()): (s["status"], (s["error"] or {}).get("message", ""))
        for j, s in zip(jobs, by_combination, strict=True)
    }


AXES = [("sampler", "schedule"), ("parameterization", "weighting"), ("network", "conditioner")]
TYPED = {
    "schedule": ["cosine", "custom", "edm", "rectified_flow"],
    "weighting": ["edm", "eps", "flow", "min_snr", "simple", "vlb"],
}
"""Axis → some of its options; of the others all. Other schedules are as cosine is, other weightings as min_snr."""
REFUSE_ZERO_SNR = ("heun", "plms")
"""Samplers that cannot start where a rectified flow starts."""
# conditioners that read what scikit-learn's digits do not have
UNKNOWN_OF_DIGITS = ("layout", "semantic", "hybrid")


def options(group: str) -> list[str]:
    return TYPED.get(group) or sorted(p.stem for p in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("axes", AXES, ids="-".join)
def test_every_combination_runs_or_is_refused(tmp_path, axes):
    done = run(
        tmp_path, "-m", *(f"{axis}={','.join(TYPED.get(axis, ['glob(*)']))}" for axis in axes), *FAST, timeout=1800
    )
    by_combination = statuses(tmp_path)
    assert len(by_combination) == len(options(axes[0])) * len(options(axes[1])), done.stdout + done.stderr
    refused = {combination: why for combination, (status, why) in by_combination.items() if status == "refused"}
    assert {status for status, _ in by_combination.values()} <= {"finished", "refused"}, done.stdout + done.stderr
    # betas have no default, and digits have no boxes and the like; everything else fits together
    # (text_clip's weights are where a network is)
    wrong = {c: why for c, why in refused.items() if "text_clip" not in c}
    expected = {c for c in by_combination if {"custom", *UNKNOWN_OF_DIGITS} & set(c)}
    expected |= {c for c in by_combination if "rectified_flow" in c and set(REFUSE_ZERO_SNR) & set(c)}
    assert set(wrong) == expected, refused
    assert all(re.search("schedule.betas|data without|zero SNR", why) for why in wrong.values())
    assert done.returncode == (1 if refused else 0)
    kinds = Counter(built(done.stdout))
    assert kinds["first_stage"] == kinds["latents"] == 1, "one first stage for all"
    trainings = {
        "sampler": len(options("schedule")) - 1,
        "parameterization": len(by_combination),
        "network": len(by_combination) - len(refused),
    }
    # weighting=eps is weighting=simple
    doubled = len(options("parameterization")) if axes[1] == "weighting" else 0
    assert kinds["diffusion"] == trainings[axes[0]] - doubled


def test_a_pattern_that_fits_nothing_and_one_on_a_value(tmp_path):
    for override in ("schedule=glob(nothing*)", "sampler.steps=glob(*)"):
        done = inline(tmp_path, "-m", override, "do=plan")
        assert done.returncode == 2 and override.split("=")[0] in done.stdout and "Traceback" not in done.stdout


@pytest.mark.slow
def test_zero_terminal_snr_is_refused_where_it_cannot_be(tmp_path):
    """Refused jobs say why, the others are planned."""
    done = run(
        tmp_path, "-m", "parameterization=glob(*)", "schedule.zero_terminal_snr=true", "do=plan", "preset=tiny",
        "data=digits",
    )  # fmt: skip
    assert done.returncode == 2 and f"{len(options('parameterization'))} jobs, 1 refused" in done.stdout
    assert re.search(r"refused job \d parameterization=eps: parameterization: expected v, x0, flow or edm", done.stdout)


def test_a_start_that_the_task_decides_is_refused():
    check_sampling(composed("preset=tiny", "data=digits", "task=img2img", "task.strength=0.5"))
    with pytest.raises(ConfigError, match=r"sampler\.start: expected 1 where task\.strength decides"):
        check_sampling(composed("preset=tiny", "data=digits", "task=img2img", "sampler.start=0.5"))


@pytest.mark.parametrize(("interval", "fits"), [("[0.0,150.0]", True), ("[700.0,900.0]", False)])
def test_an_interval_of_guidance_has_steps_of_the_sampler_that_the_task_runs(interval, fits):
    job = ("preset=tiny", "data=digits", "conditioner=class", "guidance=classifier_free", "guidance.scale=2.0")
    node = composed(*job, "task=img2img", "task.strength=0.2", "sampler.steps=4", f"guidance.interval={interval}")
    with contextlib.nullcontext() if fits else pytest.raises(ConfigError, match=r"guidance\.interval: .* at 199, 149"):
        check_sampling(node)
