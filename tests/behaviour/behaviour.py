"""What a change of names and places must leave alone: which stages are the same, and the numbers that they hold.

`python tests/behaviour/behaviour.py partition|bits` writes the fixture beside this file again; a fixture that differs
from the one before is a change of results, which wants a reason in the commit.
"""

import contextlib
import hashlib
import itertools
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser

from ablatent.cli.execute import execute
from ablatent.cli.main import composed
from ablatent.core.options import EXPERIMENTS, option_files, read_yaml
from ablatent.data.base import Fingerprint
from ablatent.data.counts import Counts
from ablatent.stages.kind_base import Fingerprints
from ablatent.store.identity import canonical, digest
from ablatent.sweep.plan import Composed, make_plan
from ablatent.training.diffusion import END

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MANY = 10**6  # images of each split
PARTITION, KEYS, BITS = HERE / "partition.json", HERE / "keys.json", HERE / "bits.json"


@contextlib.contextmanager
def _composer() -> Iterator[Any]:
    """Hydra's compose with experiments/ in reach, each file read once."""
    from composing import hydra_ready

    with hydra_ready():
        yield lambda overrides: composed(list(overrides), compose("config", overrides=list(overrides)))


class _ByConfiguration(Fingerprints):
    """Data sets by their configuration, so that none has to be there."""

    def of(self, config: Any) -> Fingerprint:
        # which images are refused or left out decides no key: the content of those that are used does
        name = digest(canonical({key: value for key, value in config.items() if not key.startswith("on_")}))
        return Fingerprint(f"images-{name}", f"annotations-{name}")

    def counts(self, config: Any) -> Counts:
        return Counts(found=2 * MANY, train=MANY, validation=MANY)


def planned(jobs: Sequence[Sequence[str]]) -> list[dict[str, str] | str]:
    """For each job role → key of its stage; of a job that planning refuses the configuration key that it names."""
    import ablatent.sweep.plan as plan

    kept, plan.Fingerprints = plan.Fingerprints, _ByConfiguration  # type: ignore[misc]
    try:
        with _composer() as composer:
            built = make_plan([composer(overrides) for overrides in jobs]).jobs
    finally:
        plan.Fingerprints = kept  # type: ignore[misc]
    out: list[dict[str, str] | str] = []
    for job in built:
        if job.refused is not None:
            key = job.refused.split(":")[0]
            out.append("refused" if " " in key else f"refused: {key}")  # some messages speak of the machine
        else:
            out.append({role: stage.key for role, stage in sorted(job.stages.items())})
    return out


def partition(jobs: Sequence[dict[str, str] | str]) -> list[dict[str, int] | str]:
    """For each planned job role → number of its stage, counted in the order of their first appearance over all jobs."""
    numbers: dict[str, int] = {}
    return [
        job if isinstance(job, str) else {role: numbers.setdefault(key, len(numbers)) for role, key in job.items()}
        for job in jobs
    ]


def golden(jobs: Sequence[dict[str, str] | str]) -> list[str]:
    """The distinct keys of planned jobs, in the order of their first appearance."""
    return list(dict.fromkeys(key for job in jobs if not isinstance(job, str) for key in job.values()))


def of_experiments() -> list[list[str]]:
    """The jobs of every experiment, as its own sweep makes them, of the first seed."""
    jobs = []
    for name, file in option_files(EXPERIMENTS).items():
        params = read_yaml(file).get("hydra", {}).get("sweeper", {}).get("params", {})
        parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
        values = [
            list(o.sweep_string_iterator()) if o.is_sweep_override() else [o.get_value_element_as_str()] for o in parsed
        ]
        axes = [
            [f"{o.key_or_group}={value}" for value in (of[:1] if o.key_or_group == "seed" else of)]
            for o, of in zip(parsed, values, strict=True)
        ]
        jobs += [[f"experiments={name}", *job] for job in itertools.product(*axes) if axes]
    return jobs


def of_presets() -> list[list[str]]:
    """A job of every preset."""
    return [[f"preset={name}"] for name in option_files("preset")]


def machine() -> dict[str, str]:
    """What bits depend on beside the code."""
    info = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    about = {key.strip(): value.strip() for key, value in info.items()}
    cpu = about.get("model name", platform.processor())
    if "cpu family" in about:  # hosts of virtual machines give many processors one name
        cpu += f" (family {about['cpu family']}, model {about['model']})"
    return {
        "cpu": cpu,
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def bits(jobs: dict[str, list[str]], store: Path) -> dict[str, Any]:
    """name → {"weights": {role/file: sha256}, "scores": {name: value}} of each job, all built in one store."""
    common = [f"store.path={store}", "tracking=none", "runtime=cpu", "runtime.threads=1"]
    with _composer() as composer:
        ready: list[Composed] = [composer([*overrides, *common]) for overrides in jobs.values()]
    assert execute(ready, "behaviour", []) == 0
    (plan,) = store.glob("sweeps/*/plan.json")
    out = {}
    for name, job in zip(jobs, json.loads(plan.read_text())["jobs"], strict=True):
        weights, scores = {}, {}
        for role, key in sorted(job["stages"].items()):
            folder = store / "objects" / key.rsplit("-", 1)[0] / key
            files = [*folder.glob("*.safetensors"), *folder.glob("images.npy"), *folder.glob("restored.npy")]
            for path in sorted(file for file in files if file.stem != END):  # an optimiser's state is no result
                weights[f"{role}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            if (folder / "scores.json").exists():
                metrics = json.loads((folder / "scores.json").read_text())["metrics"]
                scores |= {f"{role}/{metric}": score["value"] for metric, score in metrics.items()}
        out[name] = {"weights": weights, "scores": scores}
    return out


def imported_bits(folder: Path) -> dict[str, str]:
    """file → sha256 of what do=import makes of a checkpoint in CompVis' names, and of two pictures sampled from it."""
    from test_compvis import checkpoint

    from ablatent import load

    torch.save({"state_dict": checkpoint()}, folder / "model.ckpt")
    with _composer() as composer:
        source = [f"path={folder}/model.ckpt", "format=compvis", "interop.head_channels=32"]
        job = composer(["do=import", *source, f"store.path={folder}/imported"])
    assert execute([job], "behaviour", []) == 0
    files = sorted((folder / "imported" / "objects").rglob("*.safetensors"))
    found = {f"{p.parents[1].name}/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    key = next((folder / "imported" / "objects" / "imported").iterdir()).name
    pictures = load(key, folder / "imported", size=32).sample(n=2, seed=1, steps=2)
    return found | {f"picture {i}": hashlib.sha256(picture.tobytes()).hexdigest() for i, picture in enumerate(pictures)}


def main(what: str) -> None:
    """Write a fixture again, for the jobs that it names."""
    if what == "partition":
        known = json.loads(PARTITION.read_text())
        known["jobs"] |= {"experiments": of_experiments(), "presets": of_presets()}
        jobs = [job for part in known["jobs"].values() for job in part]
        found = planned(jobs)
        known["stages"] = partition(found)
        KEYS.write_text(json.dumps(golden(found), indent=0) + "\n")
        lines = ",\n".join(json.dumps(row) for row in known["stages"])
        parts = ",\n".join(
            f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(job) for job in part) + "\n]"
            for name, part in known["jobs"].items()
        )
        PARTITION.write_text('{"jobs": {\n' + parts + '\n},\n"stages": [\n' + lines + "\n]}\n")
    else:
        from tempfile import TemporaryDirectory

        torch.set_num_threads(1)
        known = json.loads(BITS.read_text())
        with TemporaryDirectory() as folder:
            built = bits(known["jobs"], Path(folder) / "store")
            imported = imported_bits(Path(folder))
        about = {"machine": machine(), "jobs": known["jobs"], "built": built, "imported": imported}
        BITS.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent), str(HERE.parent / "interop")]
    main(sys.argv[1])
