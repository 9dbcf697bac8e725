"""Mistakes end with one message that names the key, what was expected and the nearest spelling; nothing is trained."""

import pytest

from commands import run

MISTAKES = {
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
    "parameterization=eps schedule.zero_terminal_snr=true": ["parameterization", "v or x0"],
    "guidance.scale=3": ["guidance.scale", "It is a key of guidance=auto,classifier,classifier_free"],
    "guidance=classifier_free": ["guidance", "conditioner=class"],
    "runtime.strategy=fsdp": ["runtime.strategy", "ddp with runtime.devices=1"],
    "do=plann": ["do", "Did you mean 'plan'"],
    "do=import format=compvis": ["path", "path=…"],
    "do=import path=file format=compviss": ["format", "Did you mean 'compvis'"],
    "do=import path=file format=compvis": ["file", "cannot be read"],
    "do=export path=out format=compvis": ["key", "first_stage-…"],
    "first_stage=pretrained": ["first_stage.key", "do=import"],
    "diffusion.start_from=imported-00": ["diffusion.start_from", "imported-00"],
    "do=sample": ["model", "SWEEP:INDEX"],
    "do=sample model=[/x]": ["model", "got '[/x]'"],
    "do=sample repeat=a.png n=3": ["n: expected nothing but out", "beside repeat"],
    "do=sample model=diffusion-12": ["model", "diffusion-12"],
    "prompt=x": ["prompt", "do=sample"],
    "samples.snapshot=7": ["samples.snapshot", "last"],
    "title=a, b": ["title", "one value", "-m title"],
    "title=(": ["command line", "quotes"],
    "first_stage=identity first_stage.ch=3": ["first_stage.ch", "first_stage=identity"],
    "-m first_stage=kl,vv": ["first_stage", "Did you mean 'vq'"],
}


# These look into the store or a file, and import torch for it.
LOOKING = ("do=import", "do=export", "first_stage=pretrained", "diffusion.start_from")
COMMANDS = [pytest.param(c, marks=pytest.mark.slow) if c.startswith(LOOKING) else c for c in MISTAKES]


@pytest.mark.parametrize("command", COMMANDS)
def test_mistake(command, tmp_path):
    (tmp_path / "file").write_text("")
    overrides = [command] if command.startswith("title") else command.split()
    done = run(tmp_path, *overrides)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said, said
    for part in MISTAKES[command]:
        assert part in said.replace("\n", " "), said
    assert not (tmp_path / "store" / "work").exists() and not (tmp_path / "store" / "objects").exists()


@pytest.mark.slow
def test_refused_jobs_do_not_stop_the_plan_of_others(tmp_path):
    done = run(tmp_path, "-m", "sampler.steps=0,5", "do=plan", "preset=tiny", "data=digits")
    assert "refused" in done.stdout and "sampler.steps=0" in done.stdout and done.returncode == 2
    assert "2 jobs, 1 refused" in done.stdout
