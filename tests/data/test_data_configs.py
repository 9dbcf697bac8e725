"""Each YAML of conf/data names a class and lists exactly its constructor arguments, with its defaults."""

import dataclasses
import importlib
from pathlib import Path

import pytest
from omegaconf import OmegaConf

FILES = sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_yaml_lists_every_option(file: Path) -> None:
    config = OmegaConf.create({"preset": {"data": {"size": 32, "limit": 50}}, "data": OmegaConf.load(file)})
    values = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(values, dict)
    module, _, name = values.pop("_target_").rpartition(".")
    fields = {f.name: f for f in dataclasses.fields(getattr(importlib.import_module(module), name))}
    assert set(values) == set(fields)
    assert (values.pop("size"), values.pop("limit")) == (32, 50)
    assert {k: v for k, v in values.items() if v != "???"} == {
        k: fields[k].default for k, v in values.items() if v != "???"
    }
