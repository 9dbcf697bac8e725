"""Mistakes end with one message that names the key, what was expected and the nearest spelling; nothing is trained."""

from functools import partial

import pytest
from omegaconf import DictConfig

from ablatent.cli import preflight
from ablatent.core.errors import ConfigError
from commands import ROOT, inline, run

MISTAKES = {
    **{f"~{key}": [f"~{key}", "a key that can be left out"] for key in ("training.steps", "verb", "store", "preset")},
    "training.ema={_target_:os.mkdir,path:x}": ["training.ema._target_", "decay, warmup, extra_decays"],
    "stages={x:{_target_:os.mkdir,path:x}}": ["stages.x", "+stage@stages.NAME=OPTION"],
    "do=report first_stage=vq": ["first_stage", "do=report: sweep, out, compare, index, store"],
    "do=status n=3": ["n", "do=status"],
    "-m do=run,plan": ["do", "cannot be swept"],
    "-m do=report sweep=a,b": ["do", "run or plan with -m"],
    "n=4": ["n", "do=run reads", "do=sample"],
    "do=plan path=x": ["path", "do=plan reads", "do=export, do=import"],
    "do=sample model=x promt=y": ["promt", "Did you mean 'prompt'"],
    "training.loss=square preset=tiny data=digits": ["training.loss", "Did you mean 'mse'"],
    "schedule=given": ["schedule", "Did you mean 'custom'"],
    "optimizer.learning_rate=1": ["optimizer.learning_rate", "Did you mean 'optimizer.lr'"],
    "first_stage=kk": ["first_stage", "identity, kl, pretrained, vq", "Did you mean 'kl'"],
    "schedule=cosin": ["schedule", "cosine", "Did you mean 'cosine'"],
    "first_stage.ch_multt=[1,2]": ["first_stage.ch_multt", "Did you mean 'first_stage.ch_mult'"],
    "+typo=1": ["+typo", "expected an existing key"],
    "smapler=ddim": ["smapler", "Did you mean 'sampler'"],
    "data=image_folder data.root=no/such/folder": ["data.root", "folder of images", "no/such/folder"],
    "data=image_folder": ["data.root", "???"],
    "store.path=file/store": ["store.path", "file is a file"],
    "sampler.steps=0": ["sampler.steps", "at least 1", "0"],
    "sampler.steps=1001": ["sampler.steps", "1 to schedule.T=1000"],
    "data.size=30": ["data.size", "multiple of 4", "data.size=32"],
    "parameterization=eps schedule.zero_terminal_snr=true": ["parameterization", "v, x0, flow or edm"],
    "guidance.scale=3": ["guidance.scale", "It is a key of guidance=auto,classifier,classifier_free"],
    "guidance=classifier_free": ["guidance", "This data allows conditioner=text_minilm. Or"],
    "runtime.strategy=fsdp": ["runtime.strategy", "ddp with runtime.devices=1"],
    "runtime.compile=true runtime.compile_mode=graphs runtime.grad_accum_steps=2": ["runtime.compile_mode", "blocks"],
    "data=openmoji_scenes guidance=classifier_free": [
        "conditioner=text_minilm or conditioner=layout or conditioner=sem"
    ],
    "data=digits conditioner=class training.snapshots=100": ["training.snapshots", "training.snapshots=[100]"],
    "do=plann": ["do", "Did you mean 'plan'"],
    "do=import format=compvis": ["path", "path=…"],
    "do=import path=file format=compviss": ["format", "Did you mean 'compvis'"],
    "do=import path=file format=compvis": ["file: expected a weights file", "empty"],
    "do=export path=out format=compvis": ["key", "first_stage-…"],
    "first_stage=pretrained": ["first_stage.key", "do=import"],
    "diffusion.init_from=imported-00": ["diffusion.init_from", "imported-00"],
    "do=sample": ["model", "SWEEP:INDEX"],
    "do=sample model=[/x]": ["model", "got '[/x]'"],
    "do=sample repeat=a.png n=3": ["n: expected nothing but out", "beside repeat"],
    "do=sample model=diffusion-12": ["model", "diffusion-12"],
    "prompt=x": ["prompt", "do=sample"],
    "samples.snapshot=7": ["samples.snapshot", "last"],
    "data.root=(": ["command line", "quotes"],
    "first_stage=identity first_stage.ch=3": ["first_stage.ch", "first_stage=identity"],
    "-m first_stage=kl,vv": ["first_stage", "Did you mean 'vq'"],
}


# By an interpreter of its own, too: by the preflight, by Hydra's launcher, by a rule.
COLD = ["first_stage=kk", "-m first_stage=kl,vv", "sampler.steps=1001"]


def refused(command, folder, way):
    (folder / "file").write_text("")
    done = way(folder, *command.split())
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output, output
    for part in MISTAKES[command]:
        assert part in output.replace("\n", " "), output
    assert not (folder / "store" / "work").exists() and not (folder / "store" / "objects").exists()


@pytest.mark.parametrize("command", MISTAKES)
def test_mistake(command, tmp_path):
    refused(command, tmp_path, inline)


@pytest.mark.slow
@pytest.mark.parametrize("command", COLD)
def test_mistake_of_a_command(command, tmp_path):
    refused(command, tmp_path, partial(run, cold=True))


@pytest.mark.slow
def test_refused_jobs_do_not_stop_the_plan_of_others(tmp_path):
    done = run(tmp_path, "-m", "sampler.steps=0,5", "do=plan", "preset=tiny", "data=digits", cold=True)
    assert "refused" in done.stdout and "sampler.steps=0" in done.stdout and done.returncode == 2
    assert "2 jobs, 1 refused" in done.stdout


BY_PREFLIGHT = {
    "+metric=clip_score": r"Type \+metric@evaluation.metrics.clip_score=clip_score",
    "+metric@evaluation.metric.clip=clip_score": r"Type \+metric@evaluation.metrics.clip=clip_score",
    "metric=clip_score": r"Type \+metric@evaluation.metrics.clip_score=clip_score",
    "conditioner=hybrid +conditioner@conditioner.part.map=semantic": r"Type \+conditioner@conditioner.parts.map=sem",
    "+sampler=ddpm": "Type sampler=ddpm, without +",
    "conditioner=hybrid conditioner.parts.objects=class": "as conditioner@conditioner.parts.objects=class",
    "conditioner=hybrid conditioner.dropout=0.1": "'conditioner.parts.objects.dropout' or 'conditioner.parts.picture.d",
    "evaluation.metrics=clip_score": r"as \+metric@evaluation.metrics.NAME=clip_score",
    "evaluation.metrics.clip=clip_score": r"as \+metric@evaluation.metrics.clip=clip_score",
    "evaluation.extractor=inception_2048": "as extractor@evaluation.extractor=inception_2048",
    "first_stage.loss.perceptual=alex": "chosen as perceptual=alex",
    "judge.verdict=classifier": "chosen as judge=classifier",
    "training.ema=0.99": "values for its keys .training.ema.decay",
    "steps=50": "'training.steps', 'sampler.steps'",
    "scale=3": "'guidance.scale' .with guidance=auto",
    "guidance=cfg": "Did you mean 'classifier_free'",
}
TAKEN = [
    "+metric@evaluation.metrics.clip=clip_score evaluation.metrics.clip.name=x",
    "conditioner=hybrid +conditioner@conditioner.parts.map=semantic conditioner@conditioner.parts.objects=class",
    "training.ema={decay:0.9} judge.verdict=null training.clip=null",
]


@pytest.fixture(scope="module")
def composed_once():
    """Composing takes most of a preflight: once for all cases with the same options."""
    known: dict[str, DictConfig] = {}
    compose = preflight._composed

    def composed(root, options):
        if str(options) not in known:
            known[str(options)] = compose(root, options)
        return known[str(options)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "_composed", composed)
        yield


@pytest.mark.parametrize("command", [*BY_PREFLIGHT, *TAKEN])
def test_options_stand_where_they_are_read(command, composed_once):
    if command in TAKEN:
        preflight.preflight(ROOT, command.split(), multirun=False)
        return
    with pytest.raises(ConfigError, match=BY_PREFLIGHT[command]):
        preflight.preflight(ROOT, command.split(), multirun=False)


def test_an_experiment_sets_nothing_that_no_group_has(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "experiments" / "mine.yaml").write_text("# @package _global_\ntitle: x\nsmapler: {steps: 5}\n")
    with pytest.raises(ConfigError, match=r"got 'smapler'\. Did you mean 'sampler'"):
        preflight.preflight(tmp_path, ["experiments=mine"], multirun=False)
