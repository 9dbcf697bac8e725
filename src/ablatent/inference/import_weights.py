"""do=import: weights of other programs into the store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablatent.core.errors import ConfigError, DataError, did_you_mean
from ablatent.core.escape import for_console
from ablatent.core.files import sha256, write_json
from ablatent.core.progress import console, counted
from ablatent.core.tensor_files import is_index, shards_of, write_tensors
from ablatent.interop import compvis, diffusers
from ablatent.interop.parts import DiffusionPart, FirstStagePart, Parts
from ablatent.interop.published import Options
from ablatent.stages.all_kinds import built_in
from ablatent.stages.first_stage.kind import FirstStageKind
from ablatent.stages.imported.kind import ImportedKind
from ablatent.stages.provenance import record, stage_code
from ablatent.store.artifacts import Artifact, Store
from ablatent.store.pins import key_named
from ablatent.store.work import Work

FORMATS = ("compvis", "diffusers")
FILES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")


def import_weights(store: Store, config: Mapping[str, Any]) -> int:
    """Put the parts of a file or folder into the store, print what was read, assumed and left; the exit code.

    config: with path, format, interop. Raises ConfigError, DataError for what cannot be read.
    """
    path, format_ = path_and_format(config, "a file or folder to read")
    parts, source = read(path, format_, Options.of(config["interop"]))
    first_stage = None
    if parts.first_stage is not None:
        first_stage, new = publish_first_stage(store, parts.first_stage, source)
        _print_imported(first_stage, new, f"use it: first_stage=pretrained first_stage.key={first_stage.key}")
    if parts.diffusion is not None:
        found, new = publish_diffusion(store, parts.diffusion, source, first_stage)
        _print_imported(found, new, f"start a training from it: diffusion.init_from={found.key}")
    for line in parts.notes:
        console.print(for_console(f"  does not follow from the shapes: {line}"), soft_wrap=True)
    for name, count in sorted(parts.not_read.items()):
        unit = "file" if name.endswith("/") else "tensor"
        console.print(f"  [yellow]not read[/] {for_console(name)}: {counted(count, unit)}", soft_wrap=True)
    return 0


def path_and_format(config: Mapping[str, Any], what: str) -> tuple[Path, str]:
    """`path` and `format` of a configuration. Raises ConfigError for a missing path and an unknown format.

    what: the expected value of `path`, for the message.
    """
    if config["path"] is None:
        raise ConfigError("path", what, None, "Give it by path=… on the command line.")
    if config["format"] not in FORMATS:
        near = did_you_mean(str(config["format"]), FORMATS)
        raise ConfigError("format", "one of " + ", ".join(FORMATS), config["format"], near)
    return Path(str(config["path"])).expanduser(), str(config["format"])


def read(path: Path, format_: str, options: Options | None) -> tuple[Parts, dict[str, Any]]:
    """(parts that were read, their source: path, format, the SHA-256 of every file); with options None the autoencoder
    alone. Raises ConfigError, DataError."""
    if not path.exists():
        raise ConfigError("path", "a file or folder that exists", str(path))
    if format_ == "compvis":
        path = _only_file(path)
        parts, files = compvis.read(path, options), [*dict.fromkeys((path, *shards_of(path)))]
    else:
        parts, files = diffusers.read(path, options), diffusers.files_of(path)
    folder = path if path.is_dir() else path.parent
    digests = {f.relative_to(folder).as_posix(): sha256(f) for f in files}
    return parts, {"path": str(path.resolve()), "format": format_, "sha256": digests}


def _only_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(p for p in path.iterdir() if p.suffix in FILES)
    indices = sorted(p for p in path.iterdir() if is_index(p))
    if len(indices) == 1 and set(files) <= set(shards_of(indices[0])):
        return indices[0]
    if len(files) != 1:
        names = ", ".join(p.name for p in files) or "none"
        raise ConfigError("path", f"a file, or a folder with one ({', '.join(FILES)})", str(path), f"In it: {names}.")
    return files[0]


def publish_first_stage(store: Store, part: FirstStagePart, source: Mapping[str, Any]) -> tuple[Artifact, bool]:
    """(the artifact, whether it is new): equal tensors have equal keys, whichever file they came from.

    source: path, format and digests of the file, for the manifest.
    """
    stage = FirstStageKind().stage({**part.config, "digest": part.digest, "weights": dict(source)})

    def write(work: Work) -> None:
        write_tensors(work.files / "model.safetensors", part.state)
        write_json(
            work.files / "summary.json",
            {
                "parameters": _learned(part.state),
                "latent_channels": part.config["z_channels"],
                "downsample": part.config["stem"] * 2 ** (len(part.config["ch_mult"]) - 1),
            },
        )

    return store.get_or_build(stage.key, write, lambda work: {**record(stage, {}, stage_code(stage)), "source": source})


def publish_diffusion(
    store: Store, part: DiffusionPart, source: Mapping[str, Any], first_stage: Artifact | None
) -> tuple[Artifact, bool]:
    """(the artifact of kind `imported`, whether it is new), with its first stage as an input where there is one.

    source: path, format and digests of the file, for the manifest.
    """
    inputs = {} if first_stage is None else {FirstStageKind.name: first_stage.key}
    stage = ImportedKind().stage({**part.config, "digest": part.digest, "weights": dict(source)}, inputs)

    def write(work: Work) -> None:
        for kind, state in part.weights.items():
            # the names of a diffusion stage's files; no step of a training here is known
            write_tensors(work.files / f"{kind}-{0:07d}.safetensors", state)
        network = {k: v for k, v in part.weights["raw"].items() if k.startswith("network.")}
        write_json(
            work.files / "summary.json",
            {"parameters": _learned(network), "snapshots": [0], "weights": sorted(part.weights)},
        )

    return store.get_or_build(stage.key, write, lambda work: {**record(stage, {}, stage_code(stage)), "source": source})


def _learned(state: Mapping[str, Any]) -> int:
    counters = ("codebook.usage", "codebook.used", "codebook.recent", "codebook.initialised")
    return sum(v.numel() for k, v in state.items() if not k.startswith(counters))


def _print_imported(artifact: Artifact, new: bool, use: str) -> None:
    count = artifact.json("summary.json")["parameters"]
    word = "[green]imported[/]" if new else "found"
    console.print(f"  {artifact.key.short:<24} {word}, {counted(count, 'parameter')}; {use}", soft_wrap=True)


def exported_kinds() -> tuple[str, ...]:
    """The names of the kinds of stages whose weights can be written for other programs."""
    return tuple(kind.name for kind in built_in() if kind.exported)


def stored(store: Store, key: str, kinds: tuple[str, ...], config_key: str) -> Artifact:
    """The artifact of a key of one of these kinds, or of its beginning where that is unique.

    Raises ConfigError, which names `config_key`, for other keys, DataError for a damaged artifact.
    """
    kind = key.rpartition("-")[0]
    if kind not in kinds:
        raise ConfigError(config_key, "a key of the store: " + ", ".join(f"{k}-…" for k in kinds), key)
    whole = key_named(store.root, key, config_key)
    found = store.find(whole)
    if found is None:
        raise DataError(f"{config_key}: {whole} is damaged. Import or build it again.")
    return found
