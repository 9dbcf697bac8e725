"""What changes a key, and what must not."""

import importlib
from pathlib import Path

import pytest
import yaml

from ablatent.core import declared, source
from ablatent.core.errors import ConfigError
from ablatent.store import identity
from ablatent.store.identity import canonical, key_of

CONF = Path(__file__).parents[2] / "conf"

SAMPLER = {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 20, "eta": 0.0}


def key(config, **more):
    return key_of("samples", 1, config, more.get("inputs", {"diffusion": "diffusion-1"}), more.get("digests", {}))


def test_golden_keys_of_old_configurations():
    """These may not change by accident: stores of users hold them."""
    assert key({"sampler": SAMPLER, "seed": 0}) == "samples-679cd85b5bbd59ba8a45cebd03caeac2"
    config = {"ch": 64, "ch_mult": [1, 2], "dropout": 0.0, "loss": {"pixel": "l1", "regularizer_weight": 1e-6}}
    assert key_of("first_stage", 1, config, {}, {"images": "a1"}) == "first_stage-042ac8dcb37eaef643a0d2cccdecacb1"


def test_spelling_does_not_matter():
    base = key({"a": 1, "b": [1.0, 2]})
    assert key({"b": (1, 2.0), "a": 1.0}) == base
    assert key({"a": 2, "b": [1, 2]}) != base


@pytest.mark.parametrize(
    "change", [{"steps": 21}, {"eta": 0.5}, {"_target_": "ablatent.samplers.ddpm.DDPM"}, {"_target_": "mine.DDIM"}]
)
def test_what_decides_changes_the_key(change):
    assert key({"sampler": SAMPLER | change}) != key({"sampler": SAMPLER})


def test_inputs_digests_and_kind_change_the_key():
    base = key({"sampler": SAMPLER})
    assert key({"sampler": SAMPLER}, inputs={"diffusion": "diffusion-2"}) != base
    assert key({"sampler": SAMPLER}, digests={"images": "0"}) != base
    assert key_of("samples", 2, {"sampler": SAMPLER}, {"diffusion": "diffusion-1"}, {}) != base


def test_a_moved_class_keeps_the_key():
    moved = SAMPLER | {"_target_": "ablatent.samplers.somewhere.else_.DDIM"}
    assert key({"sampler": moved}) == key({"sampler": SAMPLER})


@pytest.fixture
def later(tmp_path, monkeypatch):
    """A sampler of a user's whose class declares an option that was added later, at its neutral value."""
    (tmp_path / "samplers_of_mine.py").write_text(
        "import no_such_module\n\nclass Mine:\n    neutral = {'churn': 0.0}\n\nclass Derived(Mine):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    declared._in_source.cache_clear()
    for read in (source.file_of, source.tree_of, source.class_node, source.origin_of, source.bases_of):
        read.cache_clear()
    return {"_target_": "samplers_of_mine.Derived", "steps": 20}


def test_a_new_option_at_its_neutral_value_keeps_the_key(later):
    """Declared in the class itself, or a base, and read without importing the module."""
    base = key({"sampler": later, "count": 10})
    assert key({"sampler": later | {"churn": 0.0}, "count": 10}) == base
    assert key({"sampler": later | {"churn": 0.1}, "count": 10}) != base
    config = {"sampler": SAMPLER, "count": 10}
    assert key_of("samples", 1, config | {"tiles": None}, {}, {}, {"tiles": None}) == key_of(
        "samples", 1, config, {}, {}
    )
    assert key_of("samples", 1, config | {"tiles": 4}, {}, {}, {"tiles": None}) != key_of("samples", 1, config, {}, {})
    nested = {"training": {"ema": {"decay": 0.9}, "widths": []}}
    later_nested = {"training": {"ema": {"decay": 0.9, "widths": []}, "widths": []}}
    neutral = {"training.ema.widths": []}
    assert key_of("samples", 1, later_nested, {}, {}, neutral) == key_of("samples", 1, nested, {}, {})
    assert key_of("samples", 1, later_nested, {}, {}) != key_of("samples", 1, nested, {}, {})


def test_where_weights_were_found_does_not_matter():
    weights = {"_target_": "ablatent.core.weights.PretrainedFile", "path": "/a"}
    one = {"digest": "d", "weights": weights}
    assert canonical(one) == canonical(one | {"weights": weights | {"path": "/b"}})
    assert canonical(one) != canonical(one | {"digest": "e"})


def test_what_cannot_be_a_key_is_refused():
    with pytest.raises(ConfigError, match="finite"):
        key({"lr": float("nan")})
    with pytest.raises(ConfigError, match="plain value"):
        key({"lr": object()})


def _targets(node):
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)


def test_class_names_in_conf_are_unique_and_importable():
    """Keys hold class names without their modules, so two classes of one name would share keys."""
    found = {t for path in CONF.rglob("*.yaml") for t in _targets(yaml.safe_load(path.read_text()))}
    names = [t.rsplit(".", 1)[1] for t in found if t.startswith("ablatent.")]
    assert len(names) == len(set(names)), sorted(names)
    for target in found:
        module, _, name = target.rpartition(".")
        assert getattr(importlib.import_module(module), name)


def test_digest_is_stable():
    assert identity.digest({"a": [1, "x", None]}) == identity.digest({"a": [1, "x", None]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_digest_is_of_json_alone(value):
    """JSON has neither: other programs could not read what the key was made of."""
    with pytest.raises(ValueError, match="JSON"):
        identity.digest({"a": value})


def test_the_short_form_of_a_key():
    long = key({"sampler": SAMPLER})
    assert long.kind == "samples" and long.short == long[: len("samples-") + 8]


def test_a_stored_configuration_is_read_with_the_options_that_came_later(later):
    """What an old artifact does not have is what the code did then; and its key is that of today's configuration."""
    old = {"sampler": later, "seed": 0}
    new = identity.with_neutral(old)
    assert new == {"sampler": later | {"churn": 0.0}, "seed": 0}
    assert key(new) == key(old)
    assert identity.with_neutral({"sampler": later | {"churn": 3}})["sampler"]["churn"] == 3
