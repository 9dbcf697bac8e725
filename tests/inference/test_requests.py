"""Asking a finished model: what is typed arrives as it is, what does not fit is answered, pictures say how they were
made."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from ablatent.cli.raw_overrides import check_verb, quoted, unquoted, value_of
from ablatent.core.errors import AblatentError, ConfigError
from ablatent.core.images import save_png
from ablatent.inference.metadata import check_node, metadata_of, request_of
from ablatent.inference.model_reference import find, merge_overrides
from ablatent.inference.request import Request, RequestResolver, boxes_of, prompts_of
from ablatent.inference.sampling import _compared, repeat, texts
from ablatent.store.artifacts import Store
from ablatent.store.identity import digest
from ablatent.tasks.inpaint import Inpaint
from ablatent.tasks.sample import Sample
from ablatent.tracking.run_links import run_id
from commands import ROOT
from hostile import HOSTILE

RUNTIME = {"device": "cpu", "devices": 1, "compile": False, "threads": 1, "batch_size": 4, "checkpoint_seconds": 10.0}
UGLY = [
    "a red apple, two pears",
    'the "best" one, they say',
    "it's a dog's life",
    "[[not, a, list]]",
    "{a: b}",
    "x = y, z=(1)",
    r"C:\pictures\new\${HOME}",
    "${oc.env:HOME} and ${sampler.steps}",
    "красное яблоко, 赤いりんご, تفاحة, 🍎",
    "null",
    "3",
    "  two  spaces, a trailing backslash \\",
    "~`!@#$%^&*()|;:<>?/",
    "line one\nline two",
]


@pytest.mark.slow
def test_ugly_prompts_arrive_as_they_are_typed(tmp_path) -> None:
    (tmp_path / "c.yaml").write_text("{prompt: x, title: x, question: x, samples: {prompts: x}, sampler: {steps: 5}}\n")
    with initialize_config_dir(config_dir=str(tmp_path), version_base="1.3"):
        for prompt in [*UGLY, *HOSTILE]:
            for key in ("prompt", "title", "question"):
                cfg = compose("c", overrides=[quoted(f"{key}={prompt}")])
                assert OmegaConf.to_container(cfg, resolve=True)[key] == prompt
        cfg = compose("c", overrides=[quoted("samples.prompts=[a ${oc.env:HOME} cat, '${sampler.steps} dogs']")])
        prompts = OmegaConf.to_container(cfg, resolve=True)["samples"]["prompts"]
        assert prompts == ["a ${oc.env:HOME} cat", "${sampler.steps} dogs"]


def test_other_words_are_left_alone() -> None:
    for word in ("sampler.steps=5", "-m", "task=glob(*)", "prompt", "data.root=a,b"):
        assert quoted(word) == word
    assert unquoted(quoted("model=2026-a:first_stage=kl, vq").partition("=")[2]) == "2026-a:first_stage=kl, vq"
    assert value_of(["do=plan", "do=sample"], "do") == "sample" and value_of(["do=plan"], "n") is None


def test_the_jobs_words_come_first() -> None:
    job = [
        "preset=tiny",
        "sampler=ddpm",
        "sampler.steps=9",
        "guidance.scale=2",
        "task=interpolate",
        "title=x",
        "out=elsewhere",
        "seed=1",
    ]
    assert merge_overrides(job, ["do=sample", "guidance.scale=4"]) == [
        *("preset=tiny", "sampler=ddpm", "sampler.steps=9", "do=sample", "guidance.scale=4")
    ]
    assert merge_overrides(job, ["sampler=ddim"]) == ["preset=tiny", "guidance.scale=2", "sampler=ddim"]


@pytest.mark.parametrize(
    ("word", "key"),
    [("network=dit", "network"), ("promt=x", "promt"), ("samples.seed=2", "samples.seed"), ("+n=3", None)],
)
def test_what_has_no_meaning_with_do_sample(word: str, key: str | None) -> None:
    if key is None:
        check_verb(ROOT, ["do=sample", word], False)
        return
    with pytest.raises(ConfigError) as error:
        check_verb(ROOT, ["do=sample", word], False)
    assert error.value.key == key
    with pytest.raises(ConfigError, match="prompts=FILE"):
        check_verb(ROOT, ["do=sample"], True)


def resolver(needs: set[str], task=None) -> RequestResolver:
    classes = ("sneaker", "T-shirt", "bag")
    return RequestResolver(
        task=task or Sample(), needs=frozenset(needs), classes=classes, segments=("sky", "dog"), size=8
    )


def test_classes_layouts_and_prompts_become_sources(tmp_path) -> None:
    assert resolver({"labels"}).source(Request(class_="t-shirt", n=2)).annotations.labels.tolist() == [1, 1]
    assert resolver({"labels"}).source(Request(label=2, n=1)).annotations.labels.tolist() == [2]
    assert resolver({"labels"}).source(Request(n=4)).annotations.labels.tolist() == [0, 1, 2, 0]
    captions = resolver({"captions"}).source(Request(prompts=["a", "b"], n=2))
    assert captions.n == 4 and captions.annotations.captions == ["a", "a", "b", "b"]
    boxes = resolver({"boxes"}).source(Request(boxes=boxes_of("[[bag,0.1,0,0.5,1], [sneaker, 0,0,1,1]]"), n=3))
    assert boxes.annotations.boxes == [[(2, 0.1, 0.0, 0.5, 1.0), (0, 0.0, 0.0, 1.0, 1.0)]] * 3
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "map.png")
    maps = resolver({"segmentation"}).source(Request(image=str(tmp_path / "map.png"), n=1)).annotations.segmentation
    assert np.array_equal(maps[0], np.eye(4, dtype=np.uint8).repeat(2, 0).repeat(2, 1))
    (tmp_path / "p.txt").write_text("\ufeffa, b\r\n\n c=d \u2028 e\n")
    assert prompts_of(tmp_path / "p.txt") == ["a, b", "c=d \u2028 e"]


def test_pictures_and_masks_are_cut_alike(tmp_path) -> None:
    levels = np.zeros((8, 16, 3), np.uint8)
    levels[:, 8:] = 255  # the middle square is columns 4 to 11: half black, half white
    Image.fromarray(levels).save(tmp_path / "p.png")
    Image.fromarray(levels[..., 0]).save(tmp_path / "m.png")
    Image.fromarray(levels[:4, :, 0]).save(tmp_path / "small.png")
    ask, request = resolver(set(), Inpaint()), Request(image=str(tmp_path / "p.png"), mask=str(tmp_path / "m.png"), n=2)
    pixels, hole = ask.source(request).pixels, ask.mask(request)
    assert np.array_equal(pixels[1, ..., 0] > 128, hole > 0) and hole.sum() == 32 and "middle square" in ask.messages[0]
    with pytest.raises(ConfigError, match="16x8; got '16x4'"):
        ask.mask(replace(request, mask=str(tmp_path / "small.png")))


WRONG = {
    "n": lambda: Request(n=0),
    "seed": lambda: Request(seed=-1),
    "label": lambda: Request(class_="bag", label=1),
    "image": lambda: Request(image="no.png"),
    "class": lambda: resolver({"labels"}).source(Request(class_="sneeker")),
    "prompt": lambda: resolver({"labels"}).source(Request(prompts=["a bag"])),
    "boxes": lambda: resolver({"boxes"}).source(Request(boxes=[["bag", 0.5, 0, 0.1, 1]])),
}


@pytest.mark.parametrize("key", WRONG)
def test_what_does_not_fit_is_answered(key: str) -> None:
    with pytest.raises(ConfigError) as error:
        WRONG[key]()
    assert error.value.key == key
    if key == "class":
        assert "Did you mean 'sneaker'" in str(error.value)


def test_more_that_does_not_fit(tmp_path) -> None:
    for needs, request, key in (
        (set(), Request(class_="bag"), "class"),
        ({"captions"}, Request(), "prompt"),
        ({"labels"}, Request(label=3), "label"),
        ({"boxes"}, Request(boxes=[["cat", 0, 0, 1, 1]]), "boxes"),
        ({"boxes"}, Request(boxes=[["bag", 0, 0, 2, 1]]), "boxes"),
    ):
        with pytest.raises(ConfigError) as error:
            resolver(needs).source(request)
        assert error.value.key == key
    with pytest.raises(ConfigError, match="CLASS, x0"):
        boxes_of("dog, 1")
    with pytest.raises(ConfigError, match="label=11"):
        resolver({"labels"}).source(Request(class_="11"))
    with pytest.raises(ConfigError, match="at most 1, as many as the model reads; got '2 boxes'"):
        replace(resolver({"boxes"}), max_boxes=1).source(Request(boxes=[["bag", 0, 0, 1, 1]] * 2))
    with pytest.raises(ConfigError, match="text, in UTF-8"):
        Request(prompts=["\udcff"])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(ConfigError, match="decompression bomb"):
        resolver(set(), Inpaint()).source(Request(image=str(tmp_path / "huge.png")))


def node(kind: str, **options) -> dict:
    return {"_target_": f"ablatent.{kind}", **options}


FULL = {
    "keys": {"first_stage": "first_stage-00", "latents": "latents-00", "diffusion": "diffusion-00"},
    "sampler": node("samplers.ddim.DDIM", steps=2),
    "guidance": node("samplers.guidance.NoGuidance"),
    "samples": {"weights": "ema", "snapshot": "last", "decode_tile": None, "decode_overlap": 16},
    "task": node("tasks.sample.Sample"),
    "request": {"class_": None, "label": 1, "n": 2, "seed": 3, "boxes": None, "annotations": {}, "prompts": UGLY},
    "files": {},
    "size": 8,
    "runtime": {"batch_size": 4, "threads": 1, "device": "cpu"},
    "versions": {"torch": "2"},
    "git": {"commit": "0"},
}
OTHERS = (None, True, 0, -1, 1e12, 10**400, "abc", "../../x", [], [1], {}, {"a": {"_target_": "os.getcwd"}})


def picture(path, text: str):
    save_png(path, np.zeros((4, 4, 3), np.uint8), {"ablatent": text})
    return path


def leaves(value, path=()):
    """The path of every value in a JSON value."""
    yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from leaves(inner, (*path, name))


def put(value, path, other):
    return other if not path else {**value, path[0]: put(value[path[0]], path[1:], other)}


@pytest.mark.parametrize("path", list(leaves({**FULL, "index": 0})), ids=".".join)
def test_whatever_stands_in_a_picture_is_answered(tmp_path, path, monkeypatch) -> None:
    """Values of every other type in place of each: taken, where they are possible, or answered naming `repeat`."""
    monkeypatch.chdir(tmp_path)
    for other in OTHERS:
        picture(tmp_path / "a.png", json.dumps(put({**FULL, "index": 0}, path, other)))
        config = {"repeat": str(tmp_path / "a.png"), "out": str(tmp_path / "new"), "runtime": RUNTIME}
        with pytest.raises(AblatentError) as error:  # at the latest, as the store has no such model
            repeat(Store(tmp_path), config)
        if isinstance(error.value, ConfigError) and "request" not in path:
            named = (
                error.value.key in ("repeat", ".".join(path), *path) or error.value.key == FULL["sampler"]["_target_"]
            )
            assert named, error.value
        assert not (tmp_path / "new").exists(), "what was refused leaves no folder"


def test_a_damaged_picture_is_answered(tmp_path) -> None:
    whole = picture(tmp_path / "a.png", json.dumps({**FULL, "index": 0})).read_bytes()
    metadata_of(tmp_path / "a.png")
    texts_ = [
        b"",
        b"\x00",
        b"[" * 100_000,
        whole[:40],
        whole[:-30],
        b"\xff" + whole[1:],
        whole[:60] + b"\x00" + whole[61:],
    ]
    for data in texts_:
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(ConfigError, match=r"^repeat: expected a PNG file that do=sample wrote"):
            metadata_of(tmp_path / "a.png")
    for text in ("[" * 100_000, "[]", "3", "{}", "\x00"):
        with pytest.raises(ConfigError, match=r"^repeat: expected a PNG file that do=sample wrote"):
            metadata_of(picture(tmp_path / "a.png", text))
    assert "another size, 2x2" in _compared(np.zeros((2, 2, 3)), np.zeros((4, 4, 3)))


def test_a_picture_says_how_it_was_made(tmp_path) -> None:
    save_png(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8), texts(FULL, 2, UGLY[8]))
    found = metadata_of(tmp_path / "a.png")
    assert found.to_json() == {**FULL, "index": 2} and request_of(found).prompts == UGLY
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["prompt"] == UGLY[8] and json.loads(image.text["ablatent"])["request"]["prompts"] == UGLY
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    with pytest.raises(ConfigError, match="that do=sample wrote"):
        metadata_of(tmp_path / "b.png")


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "x"},
        {"_target_": "ablatent.stages.provenance.subprocess.run", "args": "x"},
        {"_target_": "ablatent.tasks.sample.Sample"},
        {"_target_": "ablatent.samplers.ddim.DDIM", "steps": {"_target_": "os.getcwd"}},
        {"_target_": "ablatent.samplers.ddim.DDIM", "_args_": [5]},
        {"_target_": "ablatent.samplers.ddim.DDIM", "steps": [[{"_target_": "pathlib.Path.touch"}]]},
        {"_target_": "ablatent.samplers.ddim.DDIM", "steps": "${oc.env:HOME}"},
    ],
)
def test_a_picture_runs_nothing_else(node) -> None:
    with pytest.raises(ConfigError, match="one of this package"):
        check_node("sampler", node)
    check_node("sampler", {"_target_": "ablatent.samplers.ddim.DDIM", "steps": 5})


def test_models_by_job_key_and_run(tmp_path) -> None:
    stages = {"diffusion": "diffusion-abc1", "latents": "latents-1", "first_stage": "first_stage-1", "samples": "s-1"}
    for key in stages.values():
        folder = tmp_path / "objects" / key.rsplit("-", 1)[0] / key
        folder.mkdir(parents=True)
        about = {"attempt": "0", "files": {}, "created": "now", "wall_seconds": 0.0, "inputs": {}}
        about |= {"kind": folder.parent.name, "key": key}
        (folder / "manifest.json").write_text(json.dumps({**about, "seal": digest(about)}))
    about = {"axes": {}, "stages": stages, "config": {}, "refused": None}
    jobs = [{"index": i, "name": f"sampler.steps={i}", "overrides": [f"sampler.steps={i}"], **about} for i in (0, 1)]
    (tmp_path / "sweeps" / "S").mkdir(parents=True)
    (tmp_path / "sweeps" / "S" / "plan.json").write_text(
        json.dumps({"id": "S", "created": "now", "command": "", "verb": "run", "axes": {}, "jobs": jobs, "stages": {}})
    )
    (tmp_path / "tracking" / "stages").mkdir(parents=True)
    (tmp_path / "tracking" / "stages" / "diffusion-abc1.json").write_text(json.dumps({"wandb": {"id": "0123"}}))
    for name in ("S:1", "S:sampler.steps=1", run_id("S", 1, "sampler.steps=1")):
        found = find(tmp_path, name)
        assert found.overrides == ["sampler.steps=1"] and found.inputs == {k: stages[k] for k in found.inputs}
        assert set(found.inputs) == {"diffusion", "latents", "first_stage"}
    assert find(tmp_path, "diffusion-abc").overrides == ["sampler.steps=0"] == find(tmp_path, "0123").overrides
    for wrong, message in (
        (None, "S:0"),
        ("S", "S:JOB"),
        ("S:7", "0 (sampler.steps=0)"),
        ("diffusion-x", "Did you mean"),
    ):
        with pytest.raises(ConfigError) as error:
            find(tmp_path, wrong)
        assert error.value.key == "model" and message in str(error.value)


def test_the_classes_that_are_drawn_are_named_with_their_numbers() -> None:
    for request, line in (
        (Request(label=2, n=2), "class 2: bag"),
        (Request(class_="T-shirt", n=2), "class 1: T-shirt"),
        (Request(n=5), "classes 0: sneaker, 1: T-shirt, 2: bag"),
    ):
        chosen = resolver({"labels"})
        chosen.source(request)
        assert chosen.messages == [line]
