"""The YAML of extractors, metrics and evaluations, and the plain-Python catalogue, describe the same things."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ablatent.core.errors import ConfigError
from ablatent.core.weights import PretrainedFile
from ablatent.evaluation import catalogue
from ablatent.evaluation.inception import InceptionExtractor
from ablatent.evaluation.scores import Extractor, Metric

CONF = Path(__file__).parents[2] / "conf"


def composed(group: str, name: str) -> Any:
    """A group's option, instantiated; preset values stand in for the lead configuration's."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(f"{group}/{name}")[group]
    preset = {"preset": {"evaluation": {"reference_count": 128, "reconstruction_count": 64}}}
    whole = OmegaConf.create({group: OmegaConf.to_container(config, resolve=False), **preset})
    with torch.device("meta"):  # nothing is loaded
        return instantiate(whole[group], _convert_="all")


def facts(thing: Extractor | Metric) -> dict[str, Any]:
    out = {k: v for k, v in vars(thing).items() if not k.startswith("_")}
    out = {k: facts(v) if isinstance(v, Extractor) else v for k, v in out.items()}
    if isinstance(thing, Extractor):
        out |= {"weights": {k: list(v) if isinstance(v, list | tuple) else v for k, v in asdict(thing.weights).items()}}
    return {"class": type(thing).__qualname__, **out}


def names(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", sorted(catalogue.EXTRACTORS))
def test_extractors_agree(name: str) -> None:
    assert facts(composed("extractor", name)) == facts(catalogue.extractor(name))


@pytest.mark.parametrize("name", sorted(catalogue.METRICS))
def test_metrics_agree(name: str) -> None:
    assert facts(composed("metric", name)) == facts(catalogue.metric(name))


def test_every_option_is_in_the_catalogue_unless_a_job_trains_it() -> None:
    trained = {name for name in names("extractor") if composed("extractor", name).needs_stages}
    assert sorted(catalogue.EXTRACTORS) == sorted({*names("extractor")} - trained) and trained == {"judge"}
    assert sorted(catalogue.METRICS) == names("metric")


@pytest.mark.parametrize("name", names("evaluation"))
def test_evaluations_can_be_had(name: str) -> None:
    evaluation = composed("evaluation", name)
    assert {"fid", "kid", "precision_recall"} <= set(evaluation["metrics"])
    assert set(evaluation["reconstruction_metrics"]) <= set(evaluation["metrics"])
    assert all(isinstance(metric, Metric) for metric in evaluation["metrics"].values())
    assert (evaluation["reference_count"], evaluation["reconstruction_count"]) == (128, 64)
    for part in (evaluation["extractor"], evaluation["perceptual"], *evaluation["metrics"].values()):
        part.check()


def test_check_names_what_is_missing(tmp_path: Path) -> None:
    absent = PretrainedFile(name="absent", path=str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="absent"):
        InceptionExtractor("192", "_192", absent, "").check()
