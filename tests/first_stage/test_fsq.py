"""Finite scalar quantisation: the paper's numbers by hand, codes and their indices, gradients, the count of codes."""

import csv
import json
import math
from typing import Any

import pytest
import torch
from first_stage_parts import SMALL as SIZES
from omegaconf import OmegaConf

from ablatent.core.errors import ConfigError
from ablatent.core.rng import stream
from ablatent.core.validation import check_value
from ablatent.first_stage.codebook import code_use
from ablatent.first_stage.fsq import MAX_CODES, FSQAutoencoder, ScalarQuantiser
from ablatent.interop.layout import on_meta
from ablatent.stages.first_stage.check import check_first_stage
from commands import SMALL, run
from composing import composed
from options import CONF, option_of, preset_values

ARCHITECTURE = {k: v for k, v in SIZES.items() if k != "z_channels"}
TABLE_1 = [([8, 6, 5], 8), ([8, 5, 5, 5], 10), ([7, 5, 5, 5, 5], 12), ([8, 8, 8, 6, 5], 14), ([8, 8, 8, 5, 5, 5], 16)]


def maps(rows: list[list[float]]) -> torch.Tensor:
    """Rows of channels as maps of one position each."""
    return torch.tensor(rows)[:, :, None, None]


def model(levels: Any = (5, 4, 3)) -> FSQAutoencoder:
    torch.manual_seed(0)
    return FSQAutoencoder(levels=levels, **ARCHITECTURE)


def images(n: int = 4) -> torch.Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_values_by_hand() -> None:
    """Bounds, code and index of the example beside the paper's code, from its equations with plain numbers."""
    quantiser = ScalarQuantiser([3, 5, 4])
    # 3: 0.999 tanh(0.25). 5: 1.998 tanh(0.6) / 2. 4: (1.4985 tanh(-7 + tan(0.5 / 1.4985)) - 0.5) / 2
    z = quantiser.bound(maps([[0.25, 0.6, -7.0], [-0.6, -3.0, 0.2]]))
    torch.testing.assert_close(
        z, maps([[0.244674, 0.536513, -0.999248], [-0.536513, -0.994060, 0.123118]]), rtol=0, atol=2e-6
    )
    assert torch.equal(quantiser.quantise(z), maps([[0.0, 0.5, -1.0], [-1.0, -1.0, 0.0]]))
    # digits (1, 3, 0) and (0, 0, 2) with the place values 1, 3, 15
    assert quantiser.index(z).flatten().tolist() == [1 + 3 * 3 + 0, 0 + 0 + 2 * 15]


@pytest.mark.parametrize(("levels", "bits"), TABLE_1)
def test_the_sets_of_the_paper_have_about_a_power_of_two_codes(levels: list[int], bits: int) -> None:
    assert ScalarQuantiser(levels).codes == math.prod(levels) == pytest.approx(2**bits, rel=0.1)


@pytest.mark.parametrize("levels", [[8, 5, 4], [2, 3], [2], [16, 16], [8, 5, 5, 5]])
def test_all_codes_are_distinct_and_have_their_index(levels: list[int]) -> None:
    quantiser = ScalarQuantiser(levels)
    index = torch.arange(quantiser.codes)[:, None, None]
    codes = quantiser.code(index)
    assert quantiser.codes == math.prod(levels) == len(codes.unique(dim=0))
    assert torch.equal(quantiser.index(codes), index) and torch.equal(quantiser.quantise(codes), codes)
    for channel, n in enumerate(levels):
        assert codes[:, channel].unique().tolist() == pytest.approx([(k - n // 2) / (n // 2) for k in range(n)])
    assert codes.min() == -1 and codes.max() <= 1


@pytest.mark.parametrize("n", range(2, 17))
def test_bounded_values_rise_reach_every_level_and_none_beyond(n: int) -> None:
    quantiser = ScalarQuantiser([n])
    z = quantiser.bound(torch.linspace(-9, 9, 2001)[:, None, None, None]).flatten()
    assert (z.diff() >= 0).all()
    lowest, highest = -1.0, (n - 1 - n // 2) / (n // 2)
    assert lowest < z.min() and z.max() < highest
    assert len(quantiser.quantise(z[:, None, None, None]).unique()) == n
    assert quantiser.quantise(quantiser.bound(torch.zeros(1, 1, 1, 1))).item() == 0, "0 stays in the middle"
    far = quantiser.quantise(torch.tensor([-9.0, 9.0])[:, None, None, None])  # such as diffusion may give
    assert far.flatten().tolist() == pytest.approx([lowest, highest])


def test_gradients_pass_the_rounding_unchanged() -> None:
    fsq = model().eval()
    z = fsq.moments(images()).mean.detach().requires_grad_()
    code = fsq.quantiser.quantise(z).requires_grad_()
    weight = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    x_hat = fsq.decode(z)
    assert torch.equal(x_hat, fsq.decoded(code)), "what is decoded is the code to the last bit"
    (of_z,) = torch.autograd.grad((x_hat * weight).sum(), z)
    (of_code,) = torch.autograd.grad((fsq.decoded(code) * weight).sum(), code)
    assert of_code.any() and torch.equal(of_z, of_code)


def test_a_training_pass_has_no_regulariser_and_trains_the_encoder() -> None:
    fsq = model()
    rec = fsq(images(), torch.zeros(4, 3, 4, 4))
    assert (float(rec.regularizer), rec.regularizer_name) == (0.0, "none")
    assert torch.equal(rec.x_hat, fsq.decode(fsq.moments(images()).mean))
    rec.x_hat.square().mean().backward()
    assert [name for name, p in fsq.named_parameters() if p.grad is None] == []
    gradient = fsq.encoder.conv_in.weight.grad
    assert gradient is not None and gradient.any()


def test_channels_are_those_of_the_levels() -> None:
    assert model([8, 6, 5, 4]).latent_shape(16, 16) == (4, 4, 4)
    assert model(OmegaConf.create([7, 5])).latent_channels == 2
    option = option_of("first_stage", "fsq")
    assert "z_channels" not in option.node
    with pytest.raises(ConfigError) as error:
        check_value(option.key, {**option.node, "z_channels": 4}, option.field)
    assert error.value.key == "first_stage.z_channels"


@pytest.mark.parametrize("levels", [[], [8, 1], [-5, 5], [True, 5], [17, 17, 17, 17]])
def test_levels_that_are_none_name_their_key(levels: Any) -> None:
    with pytest.raises(ConfigError) as error:
        ScalarQuantiser(levels)
    assert error.value.key == "first_stage.levels"
    assert ScalarQuantiser([16] * 4).codes == MAX_CODES


def test_the_use_of_codes_is_that_of_all_micro_batches_of_the_trained_steps() -> None:
    fsq, x, noise, rng = model([8, 6, 5]), images(6), torch.zeros(3, 3, 4, 4), stream(0, "codes")
    fsq(x[:3], noise)
    fsq.forget_passes()
    assert fsq.after_step(1, rng) == {} and fsq.epoch_stats() == {}
    fsq.eval()(x[:3], noise)
    assert fsq.after_step(1, rng) == {} and fsq.epoch_stats() == {}, "validation counts for nothing"
    fsq.train()
    for part in (x[::2], x[1::2]):
        fsq(part, noise)
    fsq.after_step(2, rng)
    counts = fsq.code_counts(fsq.moments(x).mean)
    assert counts.sum() == 6 * 16 and torch.equal(fsq.usage, counts)
    resumed = model([8, 6, 5])
    resumed.load_state_dict(fsq.state_dict())
    usage, perplexity = code_use(counts)
    for each in (fsq, resumed):
        assert each.epoch_stats() == {"codebook_usage": usage, "codebook_perplexity": perplexity}
        assert each.epoch_stats() == {}


def test_latents_that_are_not_finite_stay_so_and_have_an_index_all_the_same() -> None:
    """The training names them; an index out of range would end it without a word on a GPU."""
    quantiser = ScalarQuantiser([5, 4])
    z = quantiser.bound(maps([[math.nan, 0.0]]))
    assert quantiser.quantise(z).isnan().any()
    assert 0 <= quantiser.index(z).item() < 20


def test_a_weight_of_what_is_not_there_is_refused() -> None:
    config = composed("preset=tiny", "data=digits", "first_stage=fsq", "perceptual=none")
    config["first_stage"]["loss"]["perceptual_weight"] = 0.0
    check_first_stage(config)
    config["first_stage"]["loss"]["regularizer_weight"] = 1.0
    with pytest.raises(ConfigError) as error:
        check_first_stage(config)
    assert error.value.key == "first_stage.loss.regularizer_weight"


def test_other_programs_have_no_such_network() -> None:
    with pytest.raises(ConfigError, match=r"KLAutoencoder, VQAutoencoder.*FSQAutoencoder.*Train one of these") as error:
        on_meta(option_of("first_stage", "fsq").arguments())
    assert error.value.key == "key"


@pytest.mark.parametrize("preset", ["zoo/f2", "zoo/f4", "zoo/f8"])
def test_in_the_zoo_it_has_the_shape_and_about_the_codes_of_the_others(preset: str) -> None:
    node = composed(f"preset={preset}", "experiments=autoencoder_zoo", "first_stage=fsq")["first_stage"]
    values = preset_values(preset)["first_stage"]
    assert len(node["levels"]) == values["z_channels"]
    assert math.prod(node["levels"]) == pytest.approx(values["n_embed"], rel=0.1)


def test_presets_give_about_as_many_codes_as_to_a_codebook() -> None:
    stated = 0
    for path in [*(CONF / "preset").rglob("*.yaml"), CONF / "recipe" / "paper.yaml"]:
        values = OmegaConf.load(path).get("first_stage", {})
        if "levels" in values:
            stated += 1
            assert math.prod(values["levels"]) == pytest.approx(values["n_embed"], rel=0.1), path
    assert stated >= 9


@pytest.mark.slow
def test_it_trains_and_shows_codes_in_use(tmp_path) -> None:
    done = run(tmp_path, "first_stage=fsq", "task=reconstruct", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    objects = tmp_path / "store" / "objects"
    (curves,) = objects.glob("first_stage/*/curves.csv")
    rows = list(csv.DictReader(curves.read_text().splitlines()))
    for name, largest in (("codebook_usage", 1), ("codebook_perplexity", 64)):
        values = [float(row["value"]) for row in rows if row["name"] == f"codebook/{name}"]
        assert len(values) == 2 and all(1 / 64 <= value <= largest for value in values), name
    (scores,) = objects.glob("reconstruction/*/scores.json")
    metrics = json.loads(scores.read_text())["metrics"]
    assert metrics["codebook_usage"]["protocol"]["codes"] == 64 and metrics["codebook_perplexity"]["value"] > 1
    assert "codes in use" in next((tmp_path / "store" / "sweeps").glob("*/report/report.md")).read_text()
