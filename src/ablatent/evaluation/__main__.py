"""Score two folders of images: ``python -m ablatent.evaluation REAL_DIR FAKE_DIR``, or files of statistics.

Prints every score with its protocol and its notes. Bad input ends with one message and exit code 2.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ablatent.core.errors import AblatentError, ConfigError, DataError, did_you_mean
from ablatent.core.escape import for_console
from ablatent.core.files import write_json
from ablatent.core.progress import console
from ablatent.core.signals import end_on_signals
from ablatent.data.captions import read_captions
from ablatent.evaluation.folders import READERS, FolderImages

if TYPE_CHECKING:
    from ablatent.evaluation.scores import Metric
    from ablatent.evaluation.sources import Source


EXTRACTORS = ("inception_2048", "inception_192", "inception_spatial", "dinov2", "clip_vit_l14")
FORMATS = ("pytorch-fid", "adm")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    out = argparse.ArgumentParser(
        prog="python -m ablatent.evaluation",
        description="Score a folder of generated images against a folder of real ones.",
    )
    real = "images of one size, of any format that training reads; or a .npz file of statistics, or of images (arr_0)"
    out.add_argument("real", metavar="REAL", type=Path, help=real)
    fake = "images of the same size, or a .npz file; may be left out with --save-statistics"
    out.add_argument("fake", metavar="FAKE", type=Path, nargs="?", help=fake)
    out.add_argument("--extractor", default=EXTRACTORS[0], help=f"{', '.join(EXTRACTORS)} (default: the first)")
    metrics = "also fid_infinity, density_coverage, authenticity, is_effnet_lite0, is, clip_score"
    out.add_argument("--metrics", default="fid,kid,precision_recall", help=metrics)
    readers = "how files are read: ablatent (default), as training does; torch_fidelity, as its command does"
    out.add_argument("--reader", default="ablatent", help=readers)
    captions = "of FAKE, for clip_score: txt (beside each image), or a .jsonl or .csv below it"
    out.add_argument("--captions", metavar="FILE", help=captions)
    out.add_argument("--weights", metavar="FILE", help="Inception weights of your own, of the expected digest")
    out.add_argument("--json", metavar="OUT", type=Path, help="write the scores there too")
    saved = "write mean and covariance of REAL's features there (.npz)"
    out.add_argument("--save-statistics", metavar="OUT", type=Path, help=saved)
    formats = "pytorch-fid (default): mu, sigma; adm: mu_s, sigma_s too, which guided-diffusion wants"
    out.add_argument("--statistics-format", default=FORMATS[0], help=formats)
    out.add_argument("--batch-size", type=int, default=32, help="images at once (default 32)")
    out.add_argument("--device", default="auto", help="cpu, cuda, auto (default)")
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return run(arguments)
    except AblatentError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error[/red] {for_console(error)}")
        return 2


def run(arguments: argparse.Namespace) -> int:
    """Check everything that is cheap, then extract, score and show. Raises ConfigError and DataError."""
    _check_options(arguments)
    paths = {"real": arguments.real} | ({} if arguments.fake is None else {"fake": arguments.fake})

    from ablatent.evaluation import catalogue
    from ablatent.evaluation.features import SetFeatures
    from ablatent.evaluation.scores import score_features
    from ablatent.evaluation.sources import by_moments, lines_of, score_moments, source_of, statistics_of
    from ablatent.evaluation.statistics import Statistics

    sources = {which: source_of(path, arguments.reader) for which, path in paths.items()}
    for which, source in sources.items():
        for line in lines_of(paths[which], source):
            console.print(line, markup=False)
    images = {which: source for which, source in sources.items() if not isinstance(source, Statistics)}
    if len({source.size for source in images.values()}) > 1:
        sizes = [f"{paths[which]}: {source.size[0]}x{source.size[1]} px" for which, source in images.items()]
        raise DataError(f"expected both folders to hold images of one size; got {sizes[0]}, {sizes[1]}.")

    device = _device(arguments.device)
    extractor = catalogue.extractor(arguments.extractor, arguments.weights)
    sets = {which: SetFeatures(found, which, device, arguments.batch_size) for which, found in images.items()}
    if arguments.save_statistics is not None:
        if "real" not in sets:
            raise ConfigError("--save-statistics", "images as REAL", f"{arguments.real}, which has statistics alone")
        with_spatial = arguments.statistics_format == "adm"
        spatial = catalogue.extractor("inception_spatial", arguments.weights) if with_spatial else None
        statistics_of(extractor, spatial, sets["real"]).write(arguments.save_statistics)
        console.print(f"{arguments.save_statistics}: statistics of {arguments.real}", markup=False)
    if "fake" not in sources:
        return 0
    names = [name.strip() for name in arguments.metrics.split(",") if name.strip()]
    metrics = {name: catalogue.metric(name, arguments.weights) for name in names}
    of_features, of_moments, left_out = by_moments(metrics, sources["real"], sources["fake"])
    if left_out:
        console.print(f"left out: {', '.join(left_out)}: they take features, and a file of statistics has none")
    captions = _captions(arguments.captions, sources["fake"], of_features)
    if of_moments or any(metric.own_extractor is None for metric in of_features.values()):
        extractor.check()
    for metric in of_features.values():
        metric.check()
    texts = None if captions is None else lambda used: used.texts(captions, device)
    named = {which: (paths[which], source) for which, source in sources.items()}
    scored = score_moments(of_moments, extractor, named, sets)
    if of_features:
        scored |= score_features(of_features, extractor, sets["fake"], sets.get("real", sets["fake"]), texts)
    scores = {name: s.to_dict() for name, s in scored.items()}
    if arguments.reader != READERS[0]:
        for score in scores.values():
            score["protocol"]["reader"] = arguments.reader
    show(scores, arguments)
    for source in sources.values():
        if isinstance(source, FolderImages):
            source.dark.say()
    if arguments.json is not None:
        write_json(arguments.json, scores)
    return 0


def _device(name: str) -> str:
    """cpu or cuda. Raises ConfigError for one that does not answer."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device", "cpu: no CUDA device answers", name)
    return name


def _captions(named: str | None, fake: "Source", metrics: "Mapping[str, Metric]") -> list[str] | None:
    """Of the generated images; None where none are given. Raises ConfigError for a metric that needs some."""
    if named is not None:
        if not isinstance(fake, FolderImages):
            raise ConfigError("--captions", "a folder as FAKE, whose images have names", "a .npz file")
        return read_captions(fake.folder, named, [file.name for file in fake.files])
    if by_captions := [name for name, metric in metrics.items() if metric.against == "captions"]:
        raise ConfigError("--captions", f"the captions of FAKE, for {', '.join(by_captions)}", None)
    return None


def show(scores: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """A table of every score; below it what all protocols share, then the notes."""
    protocols = [score["protocol"] for score in scores.values()]
    shared = {k: v for k, v in protocols[0].items() if all(p.get(k) == v for p in protocols)} if protocols else {}
    table = Table(
        title=for_console(f"{arguments.fake} (generated) against {arguments.real} (real)"), title_justify="left"
    )
    for title, justify in (
        ("score", "left"),
        ("value", "right"),
        ("±", "right"),
        ("95 % interval", "right"),
        ("protocol", "left"),
    ):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for name, score in scores.items():
        own = {k: v for k, v in score["protocol"].items() if k not in shared}
        std = "" if score["std"] is None else f"{score['std']:.3g}"
        span = "" if score["interval"] is None else "{:.4g} to {:.4g}".format(*score["interval"])
        table.add_row(for_console(name), f"{score['value']:.6g}", std, span, for_console(_words(own)))
    console.print(table)
    console.print(for_console(f"all: {_words(shared)}"))
    methods: dict[str, list[str]] = {}
    for name, score in scores.items():
        if score["interval_by"]:
            methods.setdefault(score["interval_by"], []).append(name)
    for method, of in methods.items():
        console.print(for_console(f"interval of {', '.join(of)}: {method}"))
    for name, score in scores.items():
        for note in score["notes"]:
            console.print(for_console(f"note on {name}: {note}"))


def _words(values: dict[str, Any]) -> str:
    flat: list[str] = []
    for key, value in values.items():
        flat.append(f"{key} ({_words(value)})" if isinstance(value, dict) else f"{key} {value}")
    return ", ".join(flat)


def _check_options(arguments: argparse.Namespace) -> None:
    for option, names in (("extractor", EXTRACTORS), ("statistics_format", FORMATS)):
        value = getattr(arguments, option)
        if value not in names:
            key = f"--{option.replace('_', '-')}"
            raise ConfigError(key, f"{', '.join(names[:-1])} or {names[-1]}", value, did_you_mean(value, names))
    if arguments.device not in ("auto", "cpu", "cuda"):
        raise ConfigError("--device", "auto, cpu or cuda", arguments.device)
    if arguments.batch_size < 1:
        raise ConfigError("--batch-size", "an integer >= 1", arguments.batch_size)
    for option, path in (("--json", arguments.json), ("--save-statistics", arguments.save_statistics)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(option, "a file in an existing folder", str(path))
    if arguments.save_statistics is not None and arguments.save_statistics.suffix != ".npz":
        raise ConfigError("--save-statistics", "a file that ends in .npz", str(arguments.save_statistics))
    if arguments.statistics_format == "adm" and arguments.extractor != EXTRACTORS[0]:
        raise ConfigError("--extractor", f"{EXTRACTORS[0]}, whose moments adm holds", arguments.extractor)
    if arguments.fake is None and arguments.save_statistics is None:
        raise ConfigError("FAKE", "images to score, or --save-statistics=OUT.npz alone", None)


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
