"""A small store on disk in the formats that a sweep leaves behind."""

import hashlib
import io
import itertools
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ablatent.data.histograms import ChannelHistograms
from ablatent.stages.stage import Stage
from ablatent.store.identity import Key, digest

CATEGORIES = {
    "reference": 3.0,
    "first_stage": 240.0,
    "reconstruction": 8.0,
    "latents": 6.0,
    "diffusion": 300.0,
    "samples": 20.0,
}
SHOWN = {  # as the metrics declare it: tests/evaluation/test_scores.py
    "fid_192": {"label": "FID(quick)", "better": "lower", "shown_in": "terminal"},
    "kid_192": {"label": "KID(quick)", "better": "lower", "shown_in": "terminal"},
    "precision_192": {"label": "precision(quick)", "better": "higher"},
    "recall_192": {"label": "recall(quick)", "better": "higher"},
    "rfid_192": {"label": "rFID(quick)", "better": "lower", "shown_in": "terminal"},
    "psnr": {"label": "PSNR [dB]", "better": "higher", "shown_in": "terminal"},
    "ssim": {"label": "SSIM", "better": "higher"},
    "perceptual": {"label": "perceptual distance", "better": "lower", "shown_in": "terminal"},
    "kid_192_baseline": {
        **{"label": "KID(quick) of decoded N(0, I)", "better": None, "shown_in": "terminal", "beside": "kid_192"},
        **{"remark": "Decoded N(0, I): what the decoder makes of noise."},
    },
    "fid_192_baseline": {
        **{"label": "FID(quick) of decoded N(0, I)", "better": None, "shown_in": "csv", "beside": "fid_192"},
        **{"remark": "Decoded N(0, I): what the decoder makes of noise."},
    },
}
TRAININGS = {"": 0.0, "0": 0.0, "1": 0.02, "2": -0.015, "3": 0.03}
"""Seed of a diffusion training → how much worse its samples are, of KL by many steps."""
NOTE = "n = 192 <= 192 feature dimensions: the covariance is singular"


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """With the digest of everything else, as it is published."""
    about = {k: v for k, v in manifest.items() if k != "seal"}
    return {**about, "seal": digest(about)}


def curves(names: dict[str, float], steps: int, every: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    lines = ["step,name,value"]
    for step in range(every, steps + 1, every):
        for name, start in names.items():
            if name.startswith("validation") and step % (10 * every):
                continue
            lines.append(f"{step},{name},{start * np.exp(-2 * step / steps) * (1 + 0.15 * rng.standard_normal()):.6g}")
    return "\n".join(lines).encode()


def discs(n: int, seed: int, size: int = 32) -> np.ndarray:
    """Coloured discs on white: something an eye can follow from row to row."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    out = np.full((n, size, size, 3), 255, np.uint8)
    for image in out:
        cy, cx, r = rng.uniform(0.3, 0.7, 2)[0] * size, rng.uniform(0.3, 0.7) * size, rng.uniform(0.15, 0.4) * size
        image[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = rng.integers(0, 255, 3)
    return out


def blur(images: np.ndarray, amount: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-amount, amount + 1, images.shape)
    return np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)


def histograms() -> bytes:
    """Four channels of a unit normal distribution, each a little further off, and a codebook of which half is used."""
    z = np.random.default_rng(0).standard_normal((400, 4, 4, 4)) + np.array([0.0, 0.1, 0.2, 8.0])[:, None, None]
    counted = ChannelHistograms(4)
    counted.add(z[:300])
    counted.add(z[300:])
    return as_json({**counted.as_json(), "codes": [5, 5, 5, 5, 0, 0, 0, 0]})


class FakeStore:
    """Writes objects with true sizes and digests, and the plan and job records of a sweep."""

    def __init__(self, root: Path):
        self.root = root
        self.stages: dict[str, dict] = {}

    def put(
        self, kind: str, name: str, inputs: dict[str, str], files: dict[str, bytes], config: dict | None = None
    ) -> str:
        key = f"{kind}-{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}"
        self.stages[key] = Stage(
            kind=kind,
            version=1,
            config=config or {},
            inputs={role: Key(k) for role, k in inputs.items()},
            trained=kind in ("first_stage", "diffusion"),
            scored="scores.json" in files,
            figure="grid.png" if kind == "samples" else None,
        ).spec()
        folder = self.root / "objects" / kind / key
        if folder.exists():
            return key
        folder.mkdir(parents=True)
        for path, data in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data)
        manifest = {
            "key": key,
            "kind": kind,
            "attempt": "0123456789ab",
            "version": 1,
            "config": config or {},
            "inputs": inputs,
            "data": {"images": "5f" * 20, "annotations": "77" * 20}
            if kind in ("first_stage", "reference", "latents")
            else {},
            "files": {p: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for p, d in files.items()},
            "code": f"{abs(len(kind)):02x}" * 16,
            "git": {"commit": "0123abcd" * 5, "dirty": kind == "samples"},
            "packages": {"torch": "2.14.1", "numpy": "2.4.6"},
            "host": {"machine": "x86_64", "processor": "two cores", "device": "cpu", "threads": 2},
            "wall_seconds": CATEGORIES.get(kind, 2.0),
            "peak_memory_bytes": 700 * 2**20,
            "created": "2026-11-22T20:00:00Z",
        }
        (folder / "manifest.json").write_bytes(as_json(sealed(manifest)))
        return key

    def first_stage(self, name: str) -> dict[str, str]:
        weak = name == "vq"
        names = {
            "train/loss": 1.0,
            "train/pixel": 0.4,
            "train/perceptual": 0.6,
            "train/critic": 1.2,
            "validation/psnr": 28.0,
        }
        if weak:
            names |= {"codebook/usage": 0.9, "codebook/perplexity": 120.0}
        config = {"name": name, "perceptual": {"weights": "vgg16.npz", "digest": "cd" * 32}}
        files = {
            "curves.csv": curves(names, 2000, 10, weak),
            "summary.json": as_json({"parameters": 1_200_000, "steps": 2000}),
        }
        files["panels/reconstructions-002000.png"] = b"not read here"
        first = self.put("first_stage", name, {}, files, config)
        files = {"summary.json": as_json({"mean": [0.5, -2.0, 0.0, 1e-6], "deviation": [1.0, 3.0, 2.0, 1.5]})}
        if weak:  # the other has none
            files["histograms.json"] = histograms()
        latents = self.put("latents", name, {"first_stage": first}, files)
        originals = discs(20, 0)
        scores = {
            "rfid_192": score(0.9 + weak * 0.6, notes=[NOTE]),
            "psnr": score(24.31 - weak),
            "ssim": score(0.91),
            "perceptual": score(0.112 + weak * 0.02),
        }
        files = {"originals.npy": npy(originals), "images.npy": npy(blur(originals, 25 + 30 * weak, weak))}
        files["scores.json"] = metrics_json(scores)
        reference = self.put("reference", "validation", {}, {"features.npy": npy(np.zeros((4, 4)))})
        rec = self.put("reconstruction", name, {"first_stage": first, "reference": reference}, files)
        return {"first_stage": first, "latents": latents, "reference_validation": reference, "reconstruction": rec}

    def job(
        self,
        first: str,
        steps: int,
        seed: int,
        shape: list[int],
        count: int = 192,
        *,
        training: str = "",
        other: str = "",
        worse: float = 0.0,
    ) -> dict[str, str]:
        """training: a seed of TRAININGS; other: further options of the samples, as text; worse: what is added to their
        FID."""
        roles = self.first_stage(first)
        roles["reference_train"] = reference = self.put(
            "reference", "train", {}, {"features.npy": npy(np.zeros((4, 4)))}
        )
        train = {"train/loss": 0.6, "validation/loss": 0.7, "train/lr": 1e-3, "train/grad_norm": 2.0}
        files = {
            "curves.csv": curves(train, 3000, 10, len(first)),
            "summary.json": as_json({"steps": 3000, "class_names": ["cat", "10"]}),
        }
        roles["diffusion"] = self.put("diffusion", f"{first}{training}", {"latents": roles["latents"]}, files)
        about = {
            "count": count,
            "nfe": steps,
            "network_rows": 1,
            "flops_per_image": steps * 10**9,
            "seconds": 1.5 * steps + 10 * TRAININGS[training],
            "labels": [0, 1] * 96,
            "seed": seed,
            "latent_shape": shape,
        }
        real = discs(20, 5 + seed)
        files = {"images.npy": npy(blur(real, 200 // steps, seed)), "summary.json": as_json(about)}
        files["prior.npy"] = npy(np.random.default_rng(seed).integers(0, 255, (20, 32, 32, 3)).astype(np.uint8))
        name = f"{first}{steps}{seed}{training and f'-{training}'}{other}"
        samples = self.put("samples", name, {"diffusion": roles["diffusion"]}, files)
        bad = (first == "vq") * 0.4 + 8 / steps + seed * 0.05 + worse
        bad += TRAININGS[training] * (1 + (first == "vq") / 2 + 2 / steps)
        metrics = {
            "fid_192": score(1.5 + bad, count, notes=[NOTE]),
            "kid_192": score(0.0123 + bad / 100, count, 0.0011),
            "kid_192_baseline": score(0.2044, count),
            "fid_192_baseline": score(80.5, count),
            "precision_192": score(0.61 - bad / 10, count),
            "recall_192": score(0.35 + bad / 50, count),
        }
        files = {"scores.json": metrics_json(metrics)}
        inputs = {"samples": samples, "reference": reference}
        return {
            **roles,
            "samples": samples,
            "scores": self.put("scores", f"{name}{count}", inputs, files),
        }


def score(value: float, count: int = 192, std: float | None = None, notes: list[str] | None = None) -> dict:
    protocol = {"n_fake": count, "n_real": 500, "extractor": {"name": "inception", "layer": 192, "digest": "ab" * 32}}
    return {"value": value, "std": std, "protocol": protocol, "notes": notes or []}


def metrics_json(scores: dict[str, dict]) -> bytes:
    return as_json({"metrics": {name: {**score, **SHOWN[name]} for name, score in scores.items()}})


def build(
    root: Path,
    axes: dict[str, list],
    failed: int | Collection[int] | None = None,
    shape_of_vq: list[int] | None = None,
    counts: list[int] | None = None,
    sweep: str = "2026-11-22_20-00-00",
    worse: float = 0.0,
    claims: dict[str, Any] | None = None,
) -> str:
    """Write a sweep over first_stage, sampler.steps, seed and samples.seed (any of them, and others). Jobs `failed`
    fail.

    worse: added to the FID of all, whose samples and scores are then others.
    """
    store, failures = FakeStore(root), [failed] if isinstance(failed, int) else failed or ()
    jobs = []
    folder = root / "sweeps" / sweep
    (folder / "jobs").mkdir(parents=True)
    seen: set[str] = set()
    for n, values in enumerate(itertools.product(*axes.values())):
        chosen = dict(zip(axes, values, strict=True))
        first = chosen.get("first_stage", "kl")
        shape = shape_of_vq if first == "vq" and shape_of_vq else [4, 8, 8]
        count = counts[n] if counts else 192
        steps, seed = int(chosen.get("sampler.steps", 20)), int(chosen.get("samples.seed", 0))
        others = {a: v for a, v in chosen.items() if a in ("guidance.scale", "sampler.eta")}
        extra = sum(0.1 * abs(float(v) - 2) for v in others.values()) + worse
        training, other = str(chosen.get("seed", "")), f"{others or ''}{worse or ''}"
        roles = store.job(first, steps, seed, shape, count, training=training, other=other, worse=extra)
        name = " ".join(f"{k}={v}" for k, v in chosen.items())
        error = None
        if n in failures:
            message = "non-finite loss in <decoder> | step 40"
            error = {
                "stage": roles["scores"],
                "kind": "StageError",
                "message": message,
                "traceback": "Traceback: …\n  <here>",
            }
            (root / "objects/scores" / roles["scores"] / "manifest.json").unlink()
        status = {r: "built" if k not in seen else "found" for r, k in roles.items()}
        if error:
            status["scores"] = "failed"
        seen |= set(roles.values())
        stages = {r: {"key": k, "status": status[r], "seconds": 1.0} for r, k in roles.items()}
        record = {
            "index": n,
            "status": "failed" if error else "finished",
            "error": error,
            "seconds": 9.0,
            "stages": stages,
        }
        (folder / "jobs" / f"{n:03d}.json").write_bytes(as_json(record))
        config = {"question": "Does the first stage matter?", "title": "KL or VQ"}
        jobs.append(
            {
                "index": n,
                "name": name,
                "overrides": [],
                "axes": chosen,
                "config": config,
                "stages": roles,
                "refused": None,
            }
        )
    command = "python run.py -m " + " ".join(f"{k}={','.join(map(str, v))}" for k, v in axes.items())
    plan = {
        "id": sweep,
        "created": "2026-11-22T20:00:00",
        "command": command,
        "verb": "run",
        "axes": axes,
        "jobs": jobs,
        **({} if claims is None else {"claims": claims}),
    }
    (folder / "plan.json").write_bytes(as_json({**plan, "stages": store.stages}))
    return sweep
