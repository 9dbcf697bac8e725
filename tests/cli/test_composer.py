"""Jobs that share a choice of config groups are what Hydra makes of each by itself: values, references, errors."""

import os
import random
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablatent.cli.composer import Composer
from ablatent.cli.quick_hydra import quick_hydra
from commands import ROOT

VALUES = (
    *("seed=3", "diffusion.seed=7", "samples.count=12", "training.steps=7", "preset.training.steps=9"),
    *("preset.data.size=16", "data.size=64", "data={size: 48}", "latents.normalizer=none", "network.ch=24"),
    *("training.lr=${preset.training.lr}", "samples.seed=${diffusion.seed}", "first_stage.seed=${seed}"),
    *("samples.prompts=[a, 'b, c']", "evaluation.metrics={}", "++training.clip=null", "++runtime.threads=2"),
    *("~evaluation.metrics.fid", "~judge.verdict", "+latents.flip=true", "+diffusion.new=1", "store.path='/a b'"),
    *("title='a, b'", "preset=tiny", "guidance.scale=2", "sampler.steps=3", "+stages={}", "runtime=cpu"),
)
GROUPED = (
    *("experiments=inpainting", "experiments=text_swaps", "conditioner@conditioner.parts.objects=class"),
    *("+metric@evaluation.metrics.prc=precision_recall", "~metric@evaluation.metrics.fid", "do=plan", "do=run"),
    *("perceptual@evaluation.perceptual=alex", "+conditioner@conditioner.parts.more=semantic", "hydra.job.name=x"),
)
WRONG = (
    *("nothing=1", "seed.deeper=1", "sampler=none_such", "+seed=4", "~nothing", "seed=${none}", "hydra/launcher=none"),
    *("sampler@nowhere=ddim", "metric@evaluation.metrics.fid=kid", "++sampler=ddim", "sampler=3", "seed=1,2"),
)


@pytest.fixture(scope="module")
def pair():
    """(Hydra's own composition of a job's overrides, ours)."""
    typed, parsed = ["hydra.job.chdir=false"], {}

    def composer():
        with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            return Composer(loader, loader.load_configuration("config", typed, RunMode.MULTIRUN))

    os.environ["ABLATENT_ROOT"] = str(ROOT)
    hydra = composer()
    with quick_hydra(parsed):
        ours = composer()

    def quick(overrides):
        with quick_hydra(parsed):
            return made(ours, overrides)

    return lambda overrides: made(hydra.whole, overrides), quick, ours


def made(compose, overrides):
    """(unresolved, resolved) values, or the error."""
    try:
        cfg = compose(overrides)
        return OmegaConf.to_container(cfg), OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return type(error), str(error), str(error.__cause__)


def jobs(choices, seed):
    """Random jobs: up to three options of any groups, three jobs each with up to four values, and what may be wrong."""
    rng = random.Random(seed)
    groups = {
        folder.name: sorted(f.relative_to(folder).with_suffix("").as_posix() for f in folder.rglob("*.yaml"))
        for folder in sorted(Path(ROOT, "conf").iterdir())
        if folder.is_dir() and folder.name not in ("hydra", "recipe", "extractor", "metric")
    }
    for _ in range(choices):
        chosen = [f"{name}={rng.choice(groups[name])}" for name in rng.sample(sorted(groups), rng.randrange(4))]
        chosen += rng.sample(GROUPED, rng.random() < 0.3)
        for _ in range(3):
            job = [*chosen, *rng.sample(VALUES, rng.randrange(5)), *rng.sample(WRONG, rng.random() < 0.1)]
            yield rng.sample(job, len(job))


@pytest.mark.parametrize("overrides", [[value] for value in (*VALUES, *GROUPED, *WRONG)], ids=" ".join)
@pytest.mark.slow
def test_one_override(pair, overrides):
    hydra, ours, _ = pair
    assert ours(overrides) == hydra(overrides)


@pytest.mark.parametrize(
    ("choices", "seed"), [(1, 0), pytest.param(30, 1, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_random_jobs(pair, choices, seed):
    hydra, ours, _ = pair
    for overrides in jobs(choices, seed):
        assert ours(overrides) == hydra(overrides), overrides


def test_values_on_a_shared_choice(pair):
    """What a job changes is not seen by the next one, and their choice is composed once."""
    hydra, ours, composer = pair
    choice = ["preset=tiny", "sampler=ddpm", "do=plan"]
    before = ours(choice)
    composed = len(composer.chosen)
    jobs = [[*choice, value] for value in VALUES if value not in ("preset=tiny", "runtime=cpu")]
    assert sum(ours(job) != before for job in jobs) > len(jobs) // 2
    assert len(composer.chosen) == composed
    assert ours(choice) == before == hydra(choice)
    for job in jobs[:1]:
        assert ours(job) == hydra(job)
