"""The report as Markdown, with the images that lie beside it under figures/."""

from ablatent.core.escape import fenced, for_markdown
from ablatent.report.page import JUDGES, LATENTS, Figure, Page
from ablatent.report.tables import TableData
from ablatent.report.verdict_text import remarks, rule, table, titled


def markdown_table(value: TableData) -> str:
    """A pipe table: best values bold, footnotes as numbers in brackets, numbers to the right."""
    lines = ["| " + " | ".join(for_markdown(c) for c in value.columns) + " |"]
    lines.append("|" + "|".join(" --- " if n < value.left else " ---: " for n in range(len(value.columns))) + "|")
    for row in value.rows:
        cells = []
        for cell in row:
            text = f"**{for_markdown(cell.text)}**" if cell.best and cell.text else for_markdown(cell.text)
            cells.append(text + "".join(f" [{n}]" for n in cell.notes))
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"{n}. {for_markdown(note)}" for n, note in enumerate(value.notes, 1)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _figures(figures: list[Figure]) -> list[str]:
    return [f"![{for_markdown(f.caption)}](figures/{f.file})" for f in figures]


def _verdicts(page: Page) -> list[str]:
    """The verdicts on all claims, each with what was claimed; nothing without claims."""
    found = table(page.verdicts)
    if found is None:
        return []
    parts = ["## Claims", markdown_table(found), rule(page.verdicts), *_figures(page.verdict_figures)]
    for claim in page.verdicts.claims:
        about = claim.claim
        lines = [f"**{for_markdown(titled(claim))}: {claim.verdict}.** {for_markdown(about.statement)}"]
        lines += [f"Source: {for_markdown(about.source)}.", f"Refuted by: {for_markdown(about.refuted_by)}"]
        parts.append("  \n".join(lines))
        parts.append("\n".join(f"* {for_markdown(text)}" for text in remarks(claim)))
    return parts


def render(page: Page) -> str:
    """report.md: the whole report; its images are the files of `page.write_figures`."""
    sweep = page.sweep
    parts = [
        f"# {for_markdown(page.title)}",
        for_markdown(page.question),
        page.lead,
        f"Sweep {for_markdown(sweep.id)}, {for_markdown(sweep.created)}",
        fenced(sweep.command),
    ]
    parts += _verdicts(page)
    parts += ["## Results", markdown_table(page.main), *(f"* {for_markdown(r)}" for r in page.remarks)]
    parts += [f"> **Not comparable.** {for_markdown(w)}" for w in page.warnings]
    if page.failures:
        parts += ["## Jobs that did not finish", markdown_table(page.failures)]
    if page.problems:
        parts += ["## What could not be read", "\n".join(f"* {for_markdown(p)}" for p in page.problems)]
    parts += _figures(page.axis_figures)
    if page.jobs:
        parts += ["### Job by job", markdown_table(page.jobs)]
    named = {f.name.split("-")[0]: f for f in page.sheets}
    if "reconstructions" in named:
        parts += ["## Reconstructions", *_figures([f for f in page.sheets if f.name.startswith("reconstructions")])]
    if page.latents:
        parts += ["## Latents", LATENTS, markdown_table(page.latents), *_figures(page.latent_figures)]
    if "samples" in named:
        details = "\n".join(
            f"* {for_markdown(f'{card.label}: {card.detail}')}" for card in page.samples.cards if card.detail
        )
        parts += ["## Samples", for_markdown(page.samples.same_noise), details, *_figures([named["samples"]])]
    if page.task_figures:
        parts += ["## Tasks", *_figures(page.task_figures)]
    if page.curve_figures:
        parts += ["## Training curves", *_figures(page.curve_figures)]
    if page.judges:
        parts += ["## Judges", JUDGES, markdown_table(page.judges)]
    if page.protocols:
        parts += ["## Protocols", markdown_table(page.protocols)]
    if page.data_sets:
        parts += ["## Images", markdown_table(page.data_sets)]
    parts += ["## Cost", page.cost_line, markdown_table(page.by_kind)]
    if page.provenance:
        parts += ["## Provenance", markdown_table(page.provenance)]
    parts += map(for_markdown, page.credits)
    return "\n\n".join(p for p in parts if p) + "\n"
