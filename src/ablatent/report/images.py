"""Images of a report: reconstructions and samples side by side, as PNG bytes. Only Pillow and numpy."""

import hashlib
import io
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ablatent.core.escape import one_line
from ablatent.core.images import as_rgb
from ablatent.core.progress import counted
from ablatent.data.counts import class_title
from ablatent.report.model import UNREADABLE, Stored, StoredScore, Sweep

GAP = 2  # white pixels between images
COLUMNS = 12  # images in a row
AMPLIFIED = 4  # differences in error maps
MAX_SAMPLE_SETS = 64  # sample sets drawn; the report names what it leaves out


@dataclass(frozen=True)
class Strip:
    """A labelled row of images; detail is a line of small text. error: a second row, of its error maps."""

    label: str
    png: bytes
    detail: str = ""
    error: bytes | None = None
    alt: str = ""


@dataclass
class ReconstructionGroup:
    """The same originals through several first stages."""

    rows: list[Strip]


@dataclass
class SampleCard:
    """What is known of one sample set, with its row of images."""

    label: str
    key: str
    detail: str
    samples: Strip


@dataclass
class SampleGroup:
    """Sample sets of one seed and one shape of latents: image k of all rows starts from the same x_T. priors: rows of
    what decoders make of these x_T."""

    about: str
    cards: list[SampleCard] = field(default_factory=list)
    priors: list[Strip] = field(default_factory=list)

    @property
    def rows(self) -> list[Strip]:
        """All rows, those of noise at the end."""
        return [*(card.samples for card in self.cards), *self.priors]


@dataclass
class SampleSets:
    """All sample sets; `same_noise` says whether image k of each started from the same x_T."""

    groups: list[SampleGroup] = field(default_factory=list)
    same_noise: str = ""
    left_out: list[str] = field(default_factory=list)

    @property
    def cards(self) -> list[SampleCard]:
        """Of all groups."""
        return [card for group in self.groups for card in group.cards]


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


def errors(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """(N, H, W, C) uint8 of both -> AMPLIFIED |difference| of each channel, uint8; black where nothing differs."""
    difference = np.abs(as_rgb(images).astype(np.int16) - as_rgb(originals).astype(np.int16))
    return (difference * AMPLIFIED).clip(0, 255).astype(np.uint8)


def sheet(strips: Sequence[Strip]) -> bytes:
    """Labelled rows of images on one white sheet, for Markdown and slides."""
    font = ImageFont.load_default(size=13)
    rows = [[Image.open(io.BytesIO(data)) for data in (s.png, s.error) if data] for s in strips]
    width = math.ceil(max([p.width for row in rows for p in row] + [font.getlength(one_line(s.label)) for s in strips]))
    height = sum(p.height + GAP for row in rows for p in row) + 32 * len(rows) + 8
    page = Image.new("RGB", (width + 24, height), "white")
    draw = ImageDraw.Draw(page)
    top = 4
    for strip, row in zip(strips, rows, strict=True):
        draw.text((8, top + 4), one_line(strip.label), fill="black", font=font)
        top += 24
        for image in row:
            page.paste(image, (8, top))
            top += image.height + GAP
        top += 8
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
            group = groups.setdefault(name, ReconstructionGroup([]))
            if not group.rows:
                shown = png(tile(originals[:COLUMNS], COLUMNS))
                group.rows.append(Strip("original", shown, "validation images", alt="original validation images"))
            label = sweep.label(stored.key)
            group.rows.append(
                Strip(
                    label,
                    png(tile(images[:COLUMNS], COLUMNS)),
                    _line(_scores(sweep, stored.key, [stored.key])),
                    png(tile(errors(images[:COLUMNS], originals[:COLUMNS]), COLUMNS)),
                    f"the same images reconstructed by {label}",
                )
            )
        except UNREADABLE as error:
            sweep.problems.append(f"{stored.key}: reconstructions are not shown: {error}.")
    return list(groups.values())


def _same_noise(groups: Sequence[SampleGroup]) -> str:
    """Whether image k of each row starts from the same x_T: it does for equal seed and latent shape."""
    count = sum(len(g.cards) for g in groups)
    if any(not g.about for g in groups):
        return "Whether the rows start from the same x_T is not recorded."
    if count < 2:
        return f"x_T: {groups[0].about}." if groups else ""
    if len(groups) == 1:
        return f"Image k of every row starts from the same x_T ({groups[0].about})."
    parts = "; ".join(f"{g.about}: {', '.join(c.label for c in g.cards)}" for g in groups)
    return f"The rows do not all start from the same x_T; image k is comparable only within a group. {parts}."


def noise_of(stored: Stored) -> str:
    """What decides the x_T of a sample set; empty where it is not recorded."""
    seed, shape = stored.summary.get("seed"), stored.summary.get("latent_shape")
    return "" if seed is None or shape is None else f"seed {seed}, latent shape {json.dumps(shape)}"


def _classes(sweep: Sweep, stored: Stored) -> str:
    """The classes of the samples that are shown, by number and name; empty where they have none."""
    labels = stored.summary.get("labels")
    inputs = [o for key in stored.inputs.values() if (o := sweep.objects.get(key)) is not None and not o.problem]
    names = next((o.summary["class_names"] for o in inputs if o.summary.get("class_names")), None)
    if not labels or not names:
        return ""
    return "classes " + ", ".join(class_title(k, names) for k in dict.fromkeys(labels[:COLUMNS]))


def samples(sweep: Sweep) -> SampleSets:
    """The first COLUMNS samples of each set as a row, in groups of the same x_T, with the decoded x_T below."""
    out, groups = SampleSets(), dict[str, SampleGroup]()
    for count, stored in enumerate(sweep.with_file("images.npy", "prior.npy")):
        label = sweep.label(stored.key)
        if count >= MAX_SAMPLE_SETS:
            out.left_out.append(label)
            continue
        try:
            card = sample_card(sweep, stored)
            group = groups.setdefault(noise_of(stored), SampleGroup(noise_of(stored)))
            prior = png(tile(stored.array("prior.npy")[:COLUMNS], COLUMNS))
            if prior not in [p.png for p in group.priors]:
                alt = f"what the decoder of {label} makes of noise"
                group.priors.append(Strip("decoded N(0, I)", prior, f"of {label}", alt=alt))
            group.cards.append(card)
        except UNREADABLE as error:
            sweep.problems.append(f"{stored.key}: samples are not shown: {error}.")
    out.groups = [g for g in groups.values() if g.cards]
    for group in out.groups:
        if len(group.priors) == 1:  # one decoder for all
            group.priors = [replace(group.priors[0], detail="where samples start, by the same decoder")]
    out.same_noise = _same_noise(out.groups)
    return out


def sample_card(sweep: Sweep, stored: Stored) -> SampleCard:
    """The row of one sample set. Raises what UNREADABLE lists for damage."""
    about, label = stored.summary, sweep.label(stored.key)
    readers = {o.key for o in sweep.objects.values() if stored.key in o.inputs.values()}
    facts = [f"NFE {about['nfe']}"] if about.get("nfe") is not None else []
    facts += [counted(about["count"], "image")] if about.get("count") is not None else []
    facts += [text] if (text := _classes(sweep, stored)) else []
    scores = _scores(sweep, stored.key, readers)
    facts += [text] if (text := _line(s for s in scores if s.shown_in == "terminal")) else []
    detail, drawn = ", ".join(facts), stored.array("images.npy")[:COLUMNS]
    row = Strip(label, png(tile(drawn, COLUMNS)), detail, alt=f"{len(drawn)} samples of {label}")
    return SampleCard(label, stored.key, detail, row)
