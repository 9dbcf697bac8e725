"""The report as Markdown, with the images that lie beside it under figures/."""

from ablatent.report.page import JUDGES, LATENTS, Figure, Page
from ablatent.report.tables import TableData


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def markdown_table(value: TableData) -> str:
    """A pipe table: best values bold, footnotes as numbers in brackets, numbers to the right."""
    lines = ["| " + " | ".join(_escape(c) for c in value.columns) + " |"]
    lines.append("|" + "|".join(" --- " if n < value.left else " ---: " for n in range(len(value.columns))) + "|")
    for row in value.rows:
        cells = []
        for cell in row:
            text = f"**{_escape(cell.text)}**" if cell.best and cell.text else _escape(cell.text)
            cells.append(text + "".join(f" [{n}]" for n in cell.notes))
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"{n}. {_escape(note)}" for n, note in enumerate(value.notes, 1)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _figures(figures: list[Figure]) -> list[str]:
    return [f"![{f.caption}](figures/{f.name.replace('/', '_')}.png)" for f in figures]


def render(page: Page) -> str:
    """report.md: the whole report; its images are the files of `page.write_figures`."""
    sweep = page.sweep
    parts = [
        f"# {page.title}",
        page.question,
        page.lead,
        f"Sweep `{sweep.id}`, {sweep.created}",
        f"```\n{sweep.command}\n```",
    ]
    parts += ["## Results", markdown_table(page.main), *(f"* {r}" for r in page.remarks)]
    parts += [f"> **Not comparable.** {w}" for w in page.warnings]
    if page.failures:
        parts += ["## Jobs that did not finish", markdown_table(page.failures)]
    if page.problems:
        parts += ["## What could not be read", "\n".join(f"* {_escape(p)}" for p in page.problems)]
    parts += _figures(page.axis_figures)
    if page.jobs:
        parts += ["### Job by job", markdown_table(page.jobs)]
    named = {f.name.split("-")[0]: f for f in page.sheets}
    if "reconstructions" in named:
        parts += ["## Reconstructions", *_figures([f for f in page.sheets if f.name.startswith("reconstructions")])]
    if page.latents:
        parts += ["## Latents", LATENTS, markdown_table(page.latents), *_figures(page.latent_figures)]
    if "samples" in named:
        parts += ["## Samples", page.samples.same_noise, *_figures([named["samples"]])]
    if page.task_figures:
        parts += ["## Tasks", *_figures(page.task_figures)]
    if page.curve_figures:
        parts += ["## Training curves", *_figures(page.curve_figures)]
    if page.judges:
        parts += ["## Judges", JUDGES, markdown_table(page.judges)]
    if page.protocols:
        parts += ["## Protocols", markdown_table(page.protocols)]
    parts += ["## Cost", page.cost_line, markdown_table(page.by_kind)]
    if page.provenance:
        parts += ["## Provenance", markdown_table(page.provenance)]
    parts += page.credits
    return "\n\n".join(p for p in parts if p) + "\n"
