"""What a job names in the store: first_stage=pretrained and diffusion.init_from, looked up before a plan is made.

The network of the first stage takes the place of its name, so that everything after sees a first stage like others.

Free of torch for jobs that do not ask for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablatent.core.errors import AblatentError, ConfigError
from ablatent.stages.objects import NOT_MODEL, make
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.identity import digest, stable_name
from ablatent.sweep.plan import Composed


def with_pretrained(jobs: Sequence[Composed], store: Store) -> list[Composed]:
    """The jobs, with imported first stages in the place of their names; refused where there is no such one."""
    known: dict[str, dict[str, Any]] = {}
    out = []
    for job in jobs:
        node = job.config.get("first_stage", {})
        if job.refused is None and stable_name(str(node.get("_target_"))) == "PretrainedFirstStage":
            try:
                name = digest(node)
                known[name] = known.get(name) or first_stage(node, store)
                job = replace(job, config={**job.config, "first_stage": known[name]})
            except AblatentError as e:
                job = replace(job, refused=str(e))
        if job.refused is None and job.config["diffusion"]["init_from"] is not None:
            try:
                job = replace(job, config=_init_from(job.config, store))
            except AblatentError as e:
                job = replace(job, refused=str(e))
        out.append(job)
    return out


def _init_from(config: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The configuration with the whole key of the imported network; ConfigError where the store has no such one."""
    from ablatent.inference.import_export import stored

    found = stored(store, str(config["diffusion"]["init_from"]), ("imported",), "diffusion.init_from")
    return {**config, "diffusion": {**config["diffusion"], "init_from": found.key}}


def first_stage(node: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The configuration of the stored first stage; a file is found, downloaded if it must be, and imported first."""
    from ablatent.core.weights import PretrainedFile
    from ablatent.inference.import_export import publish_first_stage, read, stored
    from ablatent.interop.published import Options

    asked = make(node)
    if asked.key is not None:
        artifact = stored(store, asked.key, ("first_stage",), "first_stage.key")
    else:
        from pathlib import Path

        path = None if asked.path is None else Path(asked.path).expanduser()
        if path is not None and not path.exists():
            raise ConfigError("first_stage.path", "a file or folder that exists", asked.path)
        if path is None or path.is_file():
            found = PretrainedFile(name="first_stage", path=asked.path, url=asked.url, sha256=asked.sha256).find()
            if asked.sha256 is not None and not found.sha256.startswith(asked.sha256):
                raise ConfigError("first_stage.sha256", asked.sha256, found.sha256, f"Other bytes in {found.path}.")
            path = found.path
        parts, source = read(path, asked.format, Options())
        if parts.first_stage is None:
            raise ConfigError("first_stage.path", "a file with an autoencoder", str(path))
        artifact, _ = publish_first_stage(store, parts.first_stage, source)
    config = dict(artifact.manifest["config"])
    return config if "digest" in config else dict(_trained_here(store, artifact).manifest["config"])


def _trained_here(store: Store, artifact: Artifact) -> Artifact:
    """A first stage of this store, trained on whatever images, as an imported one: its weights alone decide it."""
    from safetensors.torch import load_file

    from ablatent.inference.import_export import publish_first_stage
    from ablatent.interop.parts import FirstStagePart

    state = load_file(str(artifact.path / "model.safetensors"))
    if not state:
        raise ConfigError("first_stage.key", "a first stage with weights", artifact.key, "Choose first_stage=identity.")
    config = {k: v for k, v in artifact.manifest["config"].items() if k not in NOT_MODEL}
    source = {
        "path": artifact.key,
        "format": "store",
        "sha256": artifact.manifest["files"]["model.safetensors"]["sha256"],
    }
    return publish_first_stage(store, FirstStagePart(config, state), source)[0]
