"""Copies of training images: which stages a score of them reads, what is refused, and the figure of a whole job."""

import copy
import json

import numpy as np
import pytest

from ablatent.core.errors import ConfigError
from ablatent.core.images import load_png
from ablatent.data.prepared import load_images
from ablatent.stages.check_counts import check_reconstruction_count, check_sample_count
from ablatent.sweep.plan import Composed, make_plan
from commands import SMALL, run
from composing import composed

ADDED = "+metric@evaluation.metrics.authenticity=authenticity"
BASE = ["preset=tiny", "data=digits", "runtime=cpu"]


def stages(*overrides):
    (job,) = make_plan([Composed([], copy.deepcopy(composed(*BASE, *overrides)))]).jobs
    assert job.refused is None, job.refused
    return job.stages


def test_only_a_score_of_training_images_reads_images_and_held_out_ones():
    plain, added = stages(), stages(ADDED)
    assert {role for role in plain if plain[role].key != added[role].key} == {"scores"}
    assert set(plain["scores"].inputs) == {"samples", "reference"} and not plain["scores"].digests
    assert added["scores"].inputs["held_out"] == added["reference_validation"].key
    assert added["scores"].digests == added["reference_train"].digests


def test_it_scores_no_reconstructions_and_wants_a_reference():
    config = composed(*BASE, ADDED, "evaluation.reconstruction_metrics=[authenticity]")
    with pytest.raises(ConfigError, match=r"evaluation\.reconstruction_metrics: .*training"):
        check_reconstruction_count(config)
    with pytest.raises(ConfigError, match=r"evaluation\.reference_count: .*at least 4"):
        check_sample_count(composed(*BASE, ADDED, "evaluation.reference_count=1"))


def test_fid_infinity_is_refused_at_planning_for_too_few_samples():
    added = "+metric@evaluation.metrics.fid_infinity=fid_infinity"
    with pytest.raises(ConfigError, match=r"samples\.count: .*at least 15000, which fid_infinity"):
        check_sample_count(composed(*BASE, added))
    config = composed(*BASE, added, "evaluation.metrics.fid_infinity.smallest=40", "samples.count=120")
    check_sample_count({**config, "evaluation": {**config["evaluation"], "reference_count": 32}})  # 32 are no samples


@pytest.mark.slow
def test_a_job_shows_its_samples_beside_the_nearest_training_images(tmp_path, first_stages):
    first_stages(tmp_path)
    done = run(tmp_path, *SMALL, ADDED)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "store/objects/scores").iterdir()
    scores = json.loads((folder / "scores.json").read_text())["metrics"]
    score, held_out = scores["authenticity_192"], scores["authenticity_192_held_out"]
    assert 0 <= score["interval"][0] <= score["value"] <= score["interval"][1] <= 1
    assert held_out["beside"] == "authenticity_192" and held_out["protocol"]["count_fake"] == 16
    assert "nearest among 32 of" in score["notes"][0]
    none = {name for name, s in scores.items() if s["interval"] is None}
    assert all(name.startswith("recall") and scores[name]["value"] == 0 for name in none), "no jackknife changes a 0"
    about = json.loads((folder / "neighbours.json").read_text())
    (data,) = (tmp_path / "store/objects/data").iterdir()
    images = load_images(data)
    assert about["training_images"] == len(images.indices("train")) and len(about["rows"]) == 16
    assert set(about["rows"]) <= set(images.indices("train").tolist())
    shown = about["shown"]
    assert [about["distances"][i] for i in shown] == sorted(about["distances"])[:8]
    picture = load_png(folder / "neighbours.png")
    first = images.pixels[about["rows"][shown[0]]]
    side = picture.shape[0] - 18 - 2
    below = picture[18 + side // 2 + 2 :, -8 * (2 * first.shape[1] + 2) :]
    enlarged = first.repeat(2, axis=0).repeat(2, axis=1)
    places = [(i, j) for i in range(6) for j in range(6)]
    sizes = enlarged.shape[:2]
    assert any(
        np.array_equal(below[i : i + sizes[0], j : j + sizes[1]], np.broadcast_to(enlarged, (*sizes, 3)))
        for i, j in places
    ), "the nearest training image stands below its sample"
