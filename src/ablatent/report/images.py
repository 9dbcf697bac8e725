"""Images of a report: reconstructions and samples side by side, as PNG bytes. Only Pillow and numpy."""

import hashlib
import io
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ablatent.core.escape import one_line
from ablatent.core.images import as_rgb
from ablatent.core.progress import counted
from ablatent.data.counts import class_title
from ablatent.report.model import UNREADABLE, Stored, StoredScore, Sweep

GAP = 2  # white pixels between images
COLUMNS = 12  # images in a row of reconstructions
SIDE = 4  # sample grids are SIDE × SIDE
MAX_SAMPLE_SETS = 32  # sample sets drawn; the report names what it leaves out


@dataclass(frozen=True)
class Strip:
    """One labelled image; detail is a line of small text."""

    label: str
    png: bytes
    detail: str = ""


@dataclass
class ReconstructionGroup:
    """The same originals through several first stages."""

    rows: list[Strip]


@dataclass
class SampleCard:
    """One sample set with what its decoder makes of N(0, I) latents."""

    label: str
    key: str
    detail: str
    samples: Strip
    prior: Strip | None


@dataclass
class SampleSets:
    """All sample sets; `same_noise` says whether image k of each started from the same x_T."""

    cards: list[SampleCard] = field(default_factory=list)
    same_noise: str = ""
    left_out: list[str] = field(default_factory=list)


def png(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """(N, H, W, C) uint8 -> one RGB image, `columns` a row, enlarged by a whole factor to at least 48 px an image."""
    images = as_rgb(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"expected uint8 images (N, H, W, 3 or 1), got {images.dtype} {images.shape}")
    n, h, w, _ = images.shape
    columns = min(columns, n)
    zoom = max(1, math.ceil(48 / max(h, w)))
    rows = math.ceil(n / columns)
    out = np.full((rows * (h * zoom + GAP) - GAP, columns * (w * zoom + GAP) - GAP, 3), 255, np.uint8)
    for k, image in enumerate(images):
        y, x = (k // columns) * (h * zoom + GAP), (k % columns) * (w * zoom + GAP)
        out[y : y + h * zoom, x : x + w * zoom] = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return out


def sheet(strips: Sequence[Strip], columns: int = 1) -> bytes:
    """Labelled images on one white sheet, for Markdown and slides."""
    font = ImageFont.load_default(size=13)
    opened = [Image.open(io.BytesIO(s.png)) for s in strips]
    columns = min(columns, len(strips))
    width = math.ceil(max([p.width for p in opened] + [font.getlength(one_line(s.label)) for s in strips]))
    rows = [range(n, min(n + columns, len(strips))) for n in range(0, len(strips), columns)]
    heights = [max(opened[k].height for k in row) + 34 for row in rows]
    page = Image.new("RGB", (columns * (width + 16) + 8, sum(heights) + 8), "white")
    draw = ImageDraw.Draw(page)
    top = 4
    for row, height in zip(rows, heights, strict=True):
        for n, k in enumerate(row):
            draw.text((8 + n * (width + 16), top + 4), one_line(strips[k].label), fill="black", font=font)
            page.paste(opened[k], (8 + n * (width + 16), top + 24))
        top += height
    buffer = io.BytesIO()
    page.save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def _scores(sweep: Sweep, key: str, sources: Collection[str]) -> list[StoredScore]:
    """Of the first job that uses the stage `key`, those that the stages `sources` left and in which one can win."""
    job = next((j for j in sweep.jobs if key in j.stages.values()), None)
    return [] if job is None else [s for s in job.scores.values() if s.better is not None and s.stage in sources]


def _line(scores: Iterable[StoredScore]) -> str:
    return ", ".join(f"{s.label} {s.value:.4g}" for s in scores)


def reconstructions(sweep: Sweep) -> list[ReconstructionGroup]:
    """Originals over each first stage's reconstructions; one group for each distinct set of originals."""
    groups: dict[str, ReconstructionGroup] = {}
    for stored in sweep.with_file("originals.npy", "images.npy"):
        try:
            originals, images = stored.array("originals.npy"), stored.array("images.npy")
            name = hashlib.sha256(originals.tobytes()).hexdigest()
            detail = _line(_scores(sweep, stored.key, [stored.key]))
            row = Strip(sweep.label(stored.key), png(tile(images[:COLUMNS], COLUMNS)), detail)
            group = groups.setdefault(name, ReconstructionGroup([]))
            if not group.rows:
                group.rows.append(Strip("original", png(tile(originals[:COLUMNS], COLUMNS)), "validation images"))
            group.rows.append(row)
        except UNREADABLE as error:
            sweep.problems.append(f"{stored.key}: reconstructions are not shown: {error}.")
    return list(groups.values())


def _same_noise(used: dict[str, Stored]) -> str:
    """Whether image k of each grid starts from the same x_T: it does for equal seed and latent shape."""
    groups: dict[str, list[str]] = {}
    for label, stored in used.items():
        seed, shape = stored.summary.get("seed"), stored.summary.get("latent_shape")
        if seed is None or shape is None:
            return "Whether the grids start from the same x_T is not recorded."
        groups.setdefault(f"seed {seed}, latent shape {json.dumps(shape)}", []).append(label)
    if len(used) < 2:
        return f"x_T: {next(iter(groups))}." if groups else ""
    if len(groups) == 1:
        return f"Image k of every grid starts from the same x_T ({next(iter(groups))})."
    parts = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in groups.items())
    return f"The grids do not all start from the same x_T; image k is comparable only within a group. {parts}."


def _classes(sweep: Sweep, stored: Stored) -> str:
    """The classes of the samples that are shown, by number and name; empty where they have none."""
    labels = stored.summary.get("labels")
    inputs = [o for key in stored.inputs.values() if (o := sweep.objects.get(key)) is not None and not o.problem]
    names = next((o.summary["class_names"] for o in inputs if o.summary.get("class_names")), None)
    if not labels or not names:
        return ""
    return "classes " + ", ".join(class_title(k, names) for k in dict.fromkeys(labels[: SIDE**2]))


def samples(sweep: Sweep) -> SampleSets:
    """The first SIDE² samples of each set, beside its decoded N(0, I) latents."""
    out, used = SampleSets(), dict[str, Stored]()
    for stored in sweep.with_file("images.npy", "prior.npy"):
        label = sweep.label(stored.key)
        if len(out.cards) == MAX_SAMPLE_SETS:
            out.left_out.append(label)
            continue
        try:
            about = stored.summary
            readers = {o.key for o in sweep.objects.values() if stored.key in o.inputs.values()}
            facts = [f"NFE {about['nfe']}"] if about.get("nfe") is not None else []
            facts += [counted(about["count"], "image")] if about.get("count") is not None else []
            facts += [text] if (text := _classes(sweep, stored)) else []
            scores = _scores(sweep, stored.key, readers)
            facts += [text] if (text := _line(s for s in scores if s.shown_in == "terminal")) else []
            grid = Strip(label, png(tile(stored.array("images.npy")[: SIDE**2], SIDE)))
            prior = None
            if stored.has("prior.npy"):
                prior = Strip(f"{label}: N(0, I)", png(tile(stored.array("prior.npy")[: SIDE**2], SIDE)))
            out.cards.append(SampleCard(label, stored.key, ", ".join(facts), grid, prior))
            used[label] = stored
        except UNREADABLE as error:
            sweep.problems.append(f"{stored.key}: samples are not shown: {error}.")
    out.same_noise = _same_noise(used)
    return out
