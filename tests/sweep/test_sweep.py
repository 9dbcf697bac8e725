"""Whole sweeps through the real command line: sharing, resuming, damage, failures, reports."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from commands import SMALL, built, found, python, run, words

pytestmark = pytest.mark.slow


def test_a_sweep_builds_everything_once_and_reports(swept):
    folder, done = swept
    kinds = built(done.stdout)
    assert sorted(kinds) == sorted(
        ["first_stage", "reconstruction", "latents", "diffusion", "samples", "scores"] * 2 + ["reference"] * 2
    )
    report = min((folder / "store" / "sweeps").glob("*/report/report.html"))  # other tests add sweeps of their own
    text = report.read_text()
    assert "http://" not in text.replace("http://www.w3.org", "") and "kl" in text and "vq" in text
    for column in ("FID(quick)", "KID(quick)", "rFID(quick)", "PSNR", "seconds"):
        assert column in done.stdout, done.stdout
    assert {p.name for p in report.parent.iterdir()} >= {"report.html", "report.md", "report.csv", "figures"}


def test_the_same_again_builds_nothing(swept):
    folder, _ = swept
    again = run(folder, "-m", "first_stage=kl,vq", *SMALL)
    assert again.returncode == 0 and not built(again.stdout), again.stdout
    assert len(found(again.stdout)) == 14


def test_other_sampler_steps_build_samples_and_scores_only(swept):
    folder, _ = swept
    done = run(folder, "first_stage=kl", "sampler.steps=3", *SMALL)
    assert built(done.stdout) == ["samples", "scores"]


def test_one_flipped_byte_is_detected_said_and_rebuilt(swept):
    folder, _ = swept
    (weights,) = [
        p for p in (folder / "store/objects/first_stage").glob("*/model.safetensors") if "codebook" not in str(p)
    ][:1]
    before = weights.read_bytes()
    data = bytearray(before)
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    done = run(folder, "-m", "first_stage=kl,vq", *SMALL)
    assert done.returncode == 0 and "damaged" in done.stdout
    assert built(done.stdout) == ["first_stage"]
    assert weights.read_bytes() == before, "the rebuilt weights must be the same bits"


def test_report_again_from_the_store_alone(swept):
    folder, _ = swept
    done = run(folder, "do=report")
    assert done.returncode == 0 and "report.html" in done.stdout


def test_status_and_verify(swept):
    folder, _ = swept
    assert "first_stage" in run(folder, "do=status").stdout
    done = run(folder, "do=verify")
    assert done.returncode == 0 and re.search(r"(\d+) of \1 objects whole", done.stdout)


def inspected(run_folder: Path) -> str:
    """What W&B reads in an offline run."""
    out = python(run_folder, "-m", "wandb", "leet", "inspect", str(run_folder), "--summary", "--json")
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_wandb_runs_show_axes_scores_and_state(swept):
    folder, _ = swept
    runs = list((folder / "store" / "wandb").glob("offline-run-*"))
    runs_seen = []
    for path in runs:
        runs_seen.append(inspected(path))
    jobs = [text for text in runs_seen if "axes_first_stage" in text]
    assert len(jobs) >= 2 and all("fid_192" in text and "finished" in text for text in jobs)
    assert len(runs_seen) >= 6, "one run for each trained stage and each job"


def test_a_job_made_to_fail_fails_alone(tmp_path, first_stages):
    first_stages(tmp_path)
    # A learning rate that makes the weights overflow: found out by the validation of the training.
    small = [*SMALL, "tracking=wandb", "latents.normalizer=none"]
    done = run(tmp_path, "-m", "optimizer.lr=0.001,1e30", "training.clip=null", *small)
    assert done.returncode == 1
    assert "Jobs that did not finish" in done.stdout and "1 of 2 jobs finished" in done.stdout
    (plan,) = (tmp_path / "store" / "sweeps").glob("*/plan.json")
    states = [json.loads(p.read_text())["status"] for p in sorted((plan.parent / "jobs").glob("*.json"))]
    assert states == ["finished", "failed"]
    assert (plan.parent / "report" / "report.html").exists()
    failed = 0
    for path in (tmp_path / "store" / "wandb").glob("offline-run-*"):
        out = inspected(path)
        failed += "axes_optimizer_lr" in out and "failed" in out
    assert failed == 1


# What a resumed training must take up beside weights and optimisers: further averages, losses by time.
REMEMBERED = [
    *("training.ema.extra_decays=[0.9]", "samples.weights=ema_0.9", "timestep_sampler=importance"),
    *("timestep_sampler.history=1", "schedule.T=20", "sampler.steps=5"),
    *("diffusion.learned_variance=true", "sampler=ddpm", "sampler.variance=learned"),
]
# a codebook with all the state that one can have
CODEBOOK = ["first_stage.init=kmeans", "first_stage.update=ema"]
LONG = ["first_stage.training.steps=60", "training.steps=60", "runtime.checkpoint_seconds=0"]


def weights_of(folder: Path) -> dict[str, bytes]:
    return {
        f"{p.parent.parent.name}/{p.name}": p.read_bytes() for p in (folder / "store/objects").glob("*/*/*.safetensors")
    } | {f"{p.parent.parent.name}/{p.name}": p.read_bytes() for p in (folder / "store/objects").glob("*/*/curves.csv")}


@pytest.mark.parametrize("stage", ["vq", "kl"])
def test_kill_9_and_resume_gives_the_same_bits(tmp_path, stage):
    """Killed once in the first stage and once in the diffusion training."""
    small = [f"first_stage={stage}", *SMALL, *LONG, *(REMEMBERED if stage == "kl" else CODEBOOK)]
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole", *small)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    for kind in ("first_stage", "diffusion"):
        with (tmp_path / "log").open("w") as log:
            child = subprocess.Popen(words(*small), cwd=tmp_path / "killed", stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while not list((tmp_path / "killed/store/work").glob(f"{kind}-*/last.ckpt")):
            assert child.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
    done = run(tmp_path / "killed", *small)
    assert done.returncode == 0 and "resumed at step" in done.stdout, done.stdout + done.stderr
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole")


def test_a_pickled_checkpoint_is_refused_and_not_run(tmp_path):
    import pickle

    small = ["first_stage=kl", *SMALL, *LONG]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(words(*small), cwd=tmp_path, stdout=log, stderr=log)
    while not (there := list((tmp_path / "store/work").glob("first_stage-*/last.ckpt"))):
        assert child.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()

    class Payload:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    there[0].write_bytes(pickle.dumps(Payload()))
    done = run(tmp_path, *small)
    assert done.returncode == 0 and "refused" in done.stdout
    assert not (tmp_path / "owned").exists()


def test_fashion_mnist_by_class_with_guidance(tmp_path):
    done = run(
        tmp_path, "data=fashion_mnist", "conditioner=class", "guidance=classifier_free", "preset=tiny", "tracking=csv"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (samples,) = (tmp_path / "store/objects/samples").iterdir()
    assert json.loads((samples / "summary.json").read_text())["labels"][:12] == [*range(10), 0, 1]
    assert list((tmp_path / "store/tracking/csv").iterdir())


def test_the_2048_features_and_the_default_data(tmp_path):
    done = run(
        tmp_path, "preset=tiny", "evaluation=standard", "samples.count=24", "evaluation.reference_count=32",
        "evaluation.reconstruction_count=24", "tracking=none",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (scores,) = (tmp_path / "store/objects/scores").glob("*/scores.json")
    metrics = json.loads(scores.read_text())["metrics"]
    assert {"fid", "kid", "precision", "recall", "is_effnet_lite0"} <= set(metrics) and "is" not in metrics
    assert metrics["fid"]["protocol"]["layer"] == "2048" and metrics["fid"]["notes"]


def test_the_inception_score_is_refused_by_name_without_its_classifier(tmp_path):
    done = run(tmp_path, "+metric@evaluation.metrics.is=is", "do=plan", "preset=tiny", "data=digits")
    assert done.returncode != 0 and "evaluation.metrics.is" in done.stdout and "is_effnet_lite0" in done.stdout


@pytest.mark.slow
def test_a_first_stage_alone(swept):
    """The sweep's first stages and their scores are found; no diffusion model is asked for."""
    folder, _ = swept
    done = run(folder, "-m", "first_stage=kl,vq", "task=reconstruct", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert built(done.stdout) == []
    plan = json.loads((sorted((folder / "store/sweeps").iterdir())[-1] / "plan.json").read_text())
    assert {s["kind"] for s in plan["stages"].values()} == {"first_stage", "reference", "reconstruction"}
    for job, has_codes in zip(plan["jobs"], (False, True), strict=True):
        scores = folder / "store/objects/reconstruction" / job["stages"]["reconstruction"] / "scores.json"
        metrics = json.loads(scores.read_text())["metrics"]
        assert {"psnr", "ssim"} <= set(metrics)
        assert ("codebook_usage" in metrics) == has_codes
    assert 0 < metrics["codebook_usage"]["value"] <= 1 <= metrics["codebook_perplexity"]["value"]
    report = sorted((folder / "store/sweeps").glob("*/report/report.md"))[-1].read_text()
    assert "PSNR" in report and "codes in use" in report
