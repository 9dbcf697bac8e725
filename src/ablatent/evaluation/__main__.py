"""Score two folders of images: ``python -m ablatent.evaluation REAL_DIR FAKE_DIR``.

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


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    out = argparse.ArgumentParser(
        prog="python -m ablatent.evaluation",
        description="Score a folder of generated images against a folder of real ones.",
    )
    out.add_argument(
        "real", metavar="REAL_DIR", type=Path, help="images of one size, of any format that training reads"
    )
    out.add_argument("fake", metavar="FAKE_DIR", type=Path, help="images of the same size")
    out.add_argument("--extractor", default="inception_2048", help="inception_2048 (default) or inception_192")
    out.add_argument("--metrics", default="fid,kid,precision_recall", help="also is_effnet_lite0, is, clip_score")
    readers = "how files are read: ablatent (default), as training does; torch_fidelity, as its command does"
    out.add_argument("--reader", default="ablatent", help=readers)
    captions = "of FAKE_DIR, for clip_score: txt (beside each image), or a .jsonl or .csv below it"
    out.add_argument("--captions", metavar="FILE", help=captions)
    out.add_argument("--weights", metavar="FILE", help="Inception weights of your own, of the expected digest")
    out.add_argument("--json", metavar="OUT", type=Path, help="write the scores there too")
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
    real, fake = (FolderImages(folder, arguments.reader) for folder in (arguments.real, arguments.fake))
    if real.size != fake.size:
        sizes = [f"{images.folder}: {images.size[0]}x{images.size[1]} px" for images in (real, fake)]
        raise DataError(f"expected both folders to hold images of one size; got {sizes[0]}, {sizes[1]}.")

    for line in (*real.describe(), *fake.describe()):
        console.print(line, markup=False)

    import torch

    from ablatent.evaluation import catalogue
    from ablatent.evaluation.features import SetFeatures
    from ablatent.evaluation.scores import score_features

    names = [name.strip() for name in arguments.metrics.split(",") if name.strip()]
    extractor = catalogue.extractor(arguments.extractor, arguments.weights)
    metrics = {name: catalogue.metric(name, arguments.weights) for name in names}
    captions = _captions(arguments.captions, fake, metrics)
    extractor.check()
    for metric in metrics.values():
        metric.check()
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device", "cpu: no CUDA device answers", device)
    sets = {t: SetFeatures(images, t, device, arguments.batch_size) for t, images in (("real", real), ("fake", fake))}
    texts = None if captions is None else lambda used: used.texts(captions, device)
    scored = score_features(metrics, extractor, sets["fake"], sets["real"], texts)
    scores = {name: s.to_dict() for name, s in scored.items()}
    if arguments.reader != READERS[0]:
        for score in scores.values():
            score["protocol"]["reader"] = arguments.reader
    show(scores, arguments)
    for images in (real, fake):
        images.dark.say()
    if arguments.json is not None:
        write_json(arguments.json, scores)
    return 0


def _captions(named: str | None, fake: FolderImages, metrics: "Mapping[str, Metric]") -> list[str] | None:
    """Of the generated images; None where none are given. Raises ConfigError for a metric that needs some."""
    if named is not None:
        return read_captions(fake.folder, named, [file.name for file in fake.files])
    if by_captions := [name for name, metric in metrics.items() if metric.against == "captions"]:
        raise ConfigError("--captions", f"the captions of FAKE_DIR, for {', '.join(by_captions)}", None)
    return None


def show(scores: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """A table of every score; below it what all protocols share, then the notes."""
    protocols = [score["protocol"] for score in scores.values()]
    shared = {k: v for k, v in protocols[0].items() if all(p.get(k) == v for p in protocols)} if protocols else {}
    table = Table(
        title=for_console(f"{arguments.fake} (generated) against {arguments.real} (real)"), title_justify="left"
    )
    for title, justify in (("score", "left"), ("value", "right"), ("±", "right"), ("protocol", "left")):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for name, score in scores.items():
        own = {k: v for k, v in score["protocol"].items() if k not in shared}
        std = "" if score["std"] is None else f"{score['std']:.3g}"
        table.add_row(for_console(name), f"{score['value']:.6g}", std, for_console(_words(own)))
    console.print(table)
    console.print(for_console(f"all: {_words(shared)}"))
    for name, score in scores.items():
        for note in score["notes"]:
            console.print(for_console(f"note on {name}: {note}"))


def _words(values: dict[str, Any]) -> str:
    flat: list[str] = []
    for key, value in values.items():
        flat.append(f"{key} ({_words(value)})" if isinstance(value, dict) else f"{key} {value}")
    return ", ".join(flat)


def _check_options(arguments: argparse.Namespace) -> None:
    extractors = ("inception_2048", "inception_192")
    if arguments.extractor not in extractors:
        near = did_you_mean(arguments.extractor, extractors)
        raise ConfigError("--extractor", " or ".join(extractors), arguments.extractor, near)
    if arguments.device not in ("auto", "cpu", "cuda"):
        raise ConfigError("--device", "auto, cpu or cuda", arguments.device)
    if arguments.batch_size < 1:
        raise ConfigError("--batch-size", "an integer >= 1", arguments.batch_size)
    if arguments.json is not None and not arguments.json.absolute().parent.is_dir():
        raise ConfigError("--json", "a file in an existing folder", str(arguments.json))


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
