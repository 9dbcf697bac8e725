"""What other programs call our keys leads to ours: every key of the table exists, and the message names it."""

from functools import cache

import pytest
from hydra import compose

from ablatent.cli import preflight
from ablatent.cli.raw_overrides import check_verb
from ablatent.core.errors import ConfigError, did_you_mean
from ablatent.core.synonyms import KEYS, NODES, meant
from commands import ROOT
from composing import hydra_ready

OURS = sorted({target for targets in KEYS.values() for target in targets})
MEANT = {
    **dict.fromkeys(["resolution=64", "size=64", "image_size=64", "data.resolution=64", "+resolution=64"], "data.size"),
    **dict.fromkeys(["learning_rate=1", "training.lr=1", "lr=1", "trainer.learning_rate=1"], "optimizer.lr"),
    **dict.fromkeys(["epochs=1", "max_epochs=1", "num_train_steps=1", "trainer.max_steps=1"], "training.steps"),
    **dict.fromkeys(["batch_size=1", "train_batch_size=1", "data.batch_size=1"], "training.batch_size"),
    **{"ema_decay=0.9": "training.ema.decay", "num_workers=2": "runtime.threads", "seed_everything=1": "seed"},
    **{"gpus=2": "runtime.devices", "devices=2": "runtime.devices", "output_dir=x": "out' or 'store.path"},
    **{"fp16=true": "runtime.precision", "mixed_precision=bf16": "runtime.precision", "dataset=digits": "data"},
    **{"model=unet": "network", "model.ch=3": "network.ch", "model.channels=3": "network.ch"},
    **{"vae.ch=3": "first_stage.ch", "vae.learning_rate=1": "first_stage.training.lr", "n=4": "samples.count"},
    **dict.fromkeys(["dataset.path=x", "data.path=x", "data.dir=x", "path=x"], "data=image_folder data.root=…"),
    "data=image_folder data.path=x": "data.root",
    "guidance_scale=3": "guidance=classifier_free guidance.scale=…",
    "do=sample num_images=3": "n",
    "do=sample output_dir=x": "out",
}


@cache
def keys_with(*options: str) -> set[str]:
    with hydra_ready():
        return set(preflight._keys(compose("config", overrides=list(options))))


@pytest.mark.parametrize("target", OURS)
def test_the_key_exists(target: str) -> None:
    *options, key = target.split()
    assert key in keys_with(*options) | keys_with("do=sample") | {"experiments"}, target


def test_no_synonym_is_a_key_that_exists_with_the_default_options() -> None:
    assert not {key for key in keys_with() if key in KEYS}
    assert set(NODES.values()) <= keys_with()


@pytest.mark.parametrize("typed", MEANT)
def test_the_message_names_it(typed: str) -> None:
    with pytest.raises(ConfigError) as error:
        words = typed.split()
        check_verb(ROOT, words, False)
        preflight.preflight(ROOT, words, multirun=False)
    assert f"Did you mean '{MEANT[typed]}'" in str(error.value)


def test_what_is_nothing_like_a_key_suggests_none() -> None:
    known = keys_with()
    assert [did_you_mean(key, known) for key in ("training.foo", "sampler.xyz", "foo")] == [""] * 3
    assert did_you_mean("training.stpes", known) == "Did you mean 'training.steps'?"
    assert did_you_mean("trainin.steps", known) == "Did you mean 'training.steps'?"
    assert meant("steps", known) == []
