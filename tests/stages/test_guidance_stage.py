"""Guidance from the command line to the samples: which stages it brings in, what it refuses, what it shares."""

import csv
import json
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from ablatent.core.errors import ConfigError
from ablatent.core.instantiate import make
from ablatent.samplers.guidance import Guidance
from ablatent.stages.check_sampling import check_prompts
from ablatent.stages.noisy_classifier.check import check_classifier
from ablatent.stages.options import guidance_declares
from ablatent.sweep.check import check_plan
from ablatent.sweep.plan import Composed, make_plan
from commands import ROOT, SMALL, built, found, run
from composing import composed as compose_job

NAMES = sorted(p.stem for p in (ROOT / "conf" / "guidance").glob("*.yaml"))
WORKING = "conditioner=class training.snapshots=[12]"


def group(override):
    return "." not in override.split("=")[0]


def composed(command):
    """The configuration of some overrides. Hydra takes a second for each; values and guidance are put in by hand."""
    overrides = command.split()
    config = compose_job("preset=tiny", "data=digits", *(o for o in overrides if group(o) and "guidance" not in o))
    for override in overrides:
        name, value = override.split("=", 1)
        *path, last = name.split(".")
        if name == "guidance":
            config["guidance"] = yaml.safe_load((ROOT / "conf" / "guidance" / f"{value}.yaml").read_text())
        elif path:
            node = config
            for part in path:
                node = node[part]
            assert last in node, override
            node[last] = yaml.safe_load(value)
    return config


def planned(*commands, check=False):
    plan = make_plan([Composed(command.split(), composed(command)) for command in commands])
    if check:
        check_plan(plan)
    return dict(zip(commands, plan.jobs, strict=True))


def keys(*commands):
    jobs = planned(*commands).values()
    assert all(job.refused is None for job in jobs), [job.refused for job in jobs]
    return [{role: stage.key for role, stage in job.stages.items()} for job in jobs]


@pytest.mark.parametrize("name", NAMES)
def test_only_what_asks_for_a_classifier_has_its_stage(name):
    scales = [""] if name == "none" else ["", *(f" guidance.scale={scale}" for scale in ("0.0", "1.0", "2.5"))]
    for scale in scales:
        command = f"{WORKING} guidance={name}{scale}"
        needs = make(composed(command)["guidance"], Guidance).needs_classifier
        assert ("noisy_classifier" in guidance_declares(composed(command), "needs_stages")) == needs
        base, got = keys(WORKING, command)
        assert ("noisy_classifier" in got) == needs
        changed = {role for role in base if got[role] != base[role]}
        assert changed == (set() if name == "none" else {"samples", "scores"})


BELOW = {"noisy_classifier", "samples", "scores"}
CHANGES = {
    "classifier.seed=1": BELOW,
    "classifier.training.steps=7": BELOW,
    "classifier.network.pool=mean": BELOW,
    "schedule.s=0.01": BELOW | {"diffusion"},
    "latents.normalizer=none": BELOW | {"diffusion", "latents"},
    "guidance.scale=2.0": {"samples", "scores"},
    "sampler.steps=7": {"samples", "scores"},
    "training.steps=25": {"diffusion", "samples", "scores"},
    "conditioner=class": {"diffusion", "samples", "scores"},
    "runtime.batch_size=3": set(),
}


@pytest.mark.parametrize("override", CHANGES)
def test_what_changes_the_classifier_and_what_it_changes(override):
    base, got = keys("guidance=classifier", f"guidance=classifier {override}")
    assert {role for role in base if got[role] != base[role]} == CHANGES[override]


def test_without_guidance_the_classifier_changes_nothing():
    base, got = keys("sampler.steps=5", "sampler.steps=5 classifier.seed=1")
    assert base == got and "noisy_classifier" not in base


REFUSED = {
    "guidance=classifier_free": ["guidance: ", "conditioner=class"],
    "guidance=interval": ["guidance: ", "conditioner=class"],
    "guidance=rescaled": ["guidance: ", "conditioner=class"],
    "conditioner=class guidance=rescaled conditioner.dropout=0": ["conditioner.dropout", "above 0", "guidance=none"],
    "guidance=auto": ["guidance.snapshot", "earlier snapshot", "training.snapshots=[6]"],
    "guidance=auto training.snapshots=[12] guidance.snapshot=13": ["guidance.snapshot", "[12, 24]", "13"],
    "guidance=auto training.snapshots=[12] guidance.snapshot=24": ["guidance.snapshot", "earlier snapshot"],
    "guidance=auto training.snapshots=[12] samples.snapshot=12": ["guidance.snapshot", "earlier snapshot"],
    "guidance=auto training.snapshots=[12] guidance.weights=emma": ["guidance.weights", "raw, ema"],
    "guidance=classifier classifier.training.steps=0": ["classifier.training.steps", "at least 1"],
    "guidance=classifier classifier.training.decay=no": ["classifier.training.decay", "none, linear or cosine"],
    "guidance=classifier classifier.network.head_channels=5": ["classifier.network.head_channels", "divisor"],
    "guidance=classifier classifier.network.attn_factors=[8]": ["classifier.network.attn_factors"],
    "conditioner=class guidance=rescaled guidance.phi=2.0": ["guidance.phi", "from 0 to 1"],
    "conditioner=class guidance=interval guidance.unit=snr": ["guidance.unit", "t or sigma"],
}
ACCEPTED = [
    *(f"{WORKING} guidance={name}" for name in NAMES),
    "guidance=classifier_free guidance.scale=1.0",
    "guidance=auto guidance.scale=1.0",
    "guidance=auto training.snapshots=[12]",
    "guidance=auto guidance.weights=raw",
    "guidance=classifier",
]


@pytest.fixture(scope="module")
def refusals():
    """command → why it is refused, or None; one plan, since each distinct part is checked once."""
    return {command: job.refused for command, job in planned(*REFUSED, *ACCEPTED, check=True).items()}


@pytest.mark.parametrize("command", REFUSED)
def test_refused_before_anything_is_trained(command, refusals):
    message = refusals[command]
    assert message is not None
    for part in REFUSED[command]:
        assert part in message, message


@pytest.mark.parametrize("command", ACCEPTED)
def test_not_refused(command, refusals):
    assert refusals[command] is None


def test_a_classifier_needs_labels():
    with pytest.raises(ConfigError, match=r"data with class labels.*OpenMoji.*data=fashion_mnist") as error:
        check_classifier(composed("guidance=classifier data=openmoji"))
    assert error.value.key == "guidance"


@pytest.fixture(scope="module")
def guided(tmp_path_factory, first_stages):
    """(folder, finished process): an unconditional model, guided by a classifier."""
    folder = tmp_path_factory.mktemp("guided")
    first_stages(folder)
    done = run(folder, "guidance=classifier", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def only(folder, kind):
    (path,) = (folder / "store" / "objects" / kind).iterdir()
    return path


@pytest.mark.slow
def test_a_classifier_is_trained_and_guides_an_unconditional_model(guided):
    folder, done = guided
    assert built(done.stdout).count("noisy_classifier") == 1
    message = json.loads((only(folder, "noisy_classifier") / "summary.json").read_text())
    assert message["classes"] == 10 and message["chance"] == 0.1
    by_noise = {name: value for name, value in message["validation"].items() if name.startswith("accuracy_t/")}
    assert list(by_noise) == [f"accuracy_t/{k:03d}-{k + 199}" for k in range(0, 1000, 200)]
    rows = list(csv.DictReader((only(folder, "noisy_classifier") / "curves.csv").open()))
    assert {f"validation/{name}" for name in message["validation"]} <= {r["name"] for r in rows}
    assert float(rows[-1]["step"]) == message["steps"] == 24
    samples = json.loads((only(folder, "samples") / "summary.json").read_text())
    assert samples["labels"][:12] == [*range(10), 0, 1] and samples["classifier_gradients"] == samples["nfe"] == 5


@pytest.mark.slow
def test_scales_share_the_classifier(guided):
    folder, _ = guided
    done = run(folder, "-m", "guidance=classifier", "guidance.scale=0,1,2", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(built(done.stdout)) == ["samples", "samples", "scores", "scores"]
    assert found(done.stdout).count("noisy_classifier") == 1
    drawn = {
        path.parent.name: (json.loads((path.parent / "manifest.json").read_text())["config"], np.load(path))
        for path in (folder / "store/objects/samples").glob("*/images.npy")
    }
    by_scale = {config["guidance"].get("scale"): images for config, images in drawn.values()}
    assert sorted(by_scale) == [0, 1, 2]
    assert not np.array_equal(by_scale[0], by_scale[1]) and not np.array_equal(by_scale[1], by_scale[2])


@pytest.mark.slow
def test_every_guidance_shares_one_model_and_one_classifier(guided):
    folder, _ = guided
    done = run(folder, "-m", f"guidance={','.join(NAMES)}", *WORKING.split(), *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = built(done.stdout)
    assert kinds.count("diffusion") == 1 and kinds.count("samples") == kinds.count("scores") == len(NAMES)
    assert "noisy_classifier" not in kinds, "trained on the same latents and schedule as for the unconditional model"


@pytest.mark.slow
def test_autoguidance_of_an_unconditional_model(guided):
    folder, _ = guided
    done = run(folder, "-m", "guidance=auto", "guidance.scale=1,2", "training.snapshots=[12]", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(built(done.stdout)) == ["diffusion", "samples", "samples", "scores", "scores"]


class Folder:
    """A build's folder, and a tracker that listens to nothing."""

    def __init__(self, path):
        self.path, self.checkpoint = path, path / "last.ckpt"
        path.mkdir()

    def check(self):
        pass

    def log(self, step, values):
        pass

    def images(self, step, name, image):
        pass


def batch_of(step):
    gen = torch.Generator().manual_seed(step)
    z, eps = torch.randn(2, 8, 4, 4, 4, generator=gen)
    return {"z": z, "eps": eps, "u": torch.rand(8, generator=gen).double(), "label": torch.arange(8) % 3}


def batches_of(step, share):
    return [batch_of(step)]


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_with_the_same_bits(tmp_path):
    from ablatent.stages.noisy_classifier.load import make_logits
    from ablatent.training.loop import fit
    from ablatent.training.noisy_classifier import ClassifierTrainee, ClassifierTraining
    from ablatent.training.record import Recorder
    from ablatent.training.settings import Runtime

    config = composed("guidance=classifier")
    how = ClassifierTraining(**{**config["classifier"]["training"], "steps": 20, "validate_every": 10})
    runtime = Runtime(checkpoint_seconds=0.0)

    def train(folder, batch_at):
        torch.manual_seed(0)
        logits = make_logits({**config["classifier"], "schedule": config["schedule"]}, 4, 3)
        trainee = ClassifierTrainee(logits, how, 0, partial(torch.optim.AdamW, lr=1e-3), [batch_of(-1)])
        fit(trainee, batch_at, folder, Recorder(folder.path, folder), runtime, "classifier")
        return logits.network.state_dict(), trainee.scores, (folder.path / "curves.csv").read_text()

    def stopping(step, share):
        if step == 15:
            raise RuntimeError("stop")
        return batches_of(step, share)

    whole, stopped = Folder(tmp_path / "whole"), Folder(tmp_path / "stopped")
    with pytest.raises(RuntimeError, match="stop"):
        train(stopped, stopping)
    assert torch.load(stopped.checkpoint, weights_only=True)["step"] == 10
    (state, scores, curves), (expected, *recorded) = train(stopped, batches_of), train(whole, batches_of)
    assert all(torch.equal(v, expected[name]) for name, v in state.items()) and [scores, curves] == recorded


@pytest.mark.slow
def test_validation_sees_every_row_at_every_noise_level():
    from ablatent.stages.noisy_classifier.build import at_every_noise_level

    batches = at_every_noise_level([{"z": torch.zeros(7, 1, 1, 1)} for _ in range(5)])
    parts = torch.stack([(b["u"] * 5).long() for b in batches])
    assert parts.shape == (5, 7) and (parts.sort(dim=0).values == torch.arange(5)[:, None]).all()


def test_prompts_of_guided_samples_are_classes_or_texts():
    """A classifier is told a class, so that a text beside it would leave one of them without a word."""
    check_prompts(composed("conditioner=none guidance=classifier samples.prompts=[three,five]"))
    check_prompts(composed("conditioner=class guidance=classifier samples.prompts=[three]"))
    with pytest.raises(
        ConfigError, match=r"samples\.prompts: expected null where a sample is given a text and a class"
    ):
        check_prompts(composed("conditioner=text_transformer guidance=classifier samples.prompts=[three]"))
    with pytest.raises(ConfigError, match=r"samples\.prompts: expected the name of one class"):
        check_prompts(composed("conditioner=none guidance=classifier samples.prompts=[shoe]"))
