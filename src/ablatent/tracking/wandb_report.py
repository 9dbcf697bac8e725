"""A W&B report of a sweep: question, verdicts, results, panels of its runs, code and command."""

from typing import TYPE_CHECKING

from ablatent.core.escape import fenced, for_markdown
from ablatent.tracking.publication import Publication, PublishedClaim
from ablatent.tracking.workspace import runs_of, sections_of

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.reports.v2 import interface

TITLE_LENGTH = 128
"""W&B's limit for titles of reports, in characters."""


def report_of(publication: Publication, title: str, project: str, entity: str) -> "wr.Report":
    """The report of a sweep.

    entity: empty where it is not known yet; with one, W&B is called for the number of the project, which must be there.
    """
    import wandb_workspaces.reports.v2 as wr

    sweep = publication.overview.sweep
    blocks: list[interface.BlockTypes] = [wr.P(publication.question)] if publication.question else []
    if publication.claims:
        blocks += [wr.H2("Claims and verdicts"), wr.MarkdownBlock("\n\n".join(map(_claim, publication.claims)))]
    blocks += [wr.H2("Results"), wr.MarkdownBlock("\n".join([publication.results, "", *_listed(publication)]))]
    for name, panels in sections_of(publication.overview):
        runs = wr.Runset(entity=entity, project=project, name=f"sweep {sweep}", filters=runs_of(publication.overview))
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=panels)]
    made = [f"Sweep {for_markdown(sweep)}, {for_markdown(publication.created)}.", *publication.code]
    blocks += [wr.H2("Code and command"), wr.MarkdownBlock("\n\n".join([*made, fenced(publication.command)]))]
    return wr.Report(
        entity=entity,
        project=project,
        title=title,
        description=f"Ablatent, sweep {sweep}",
        blocks=blocks,
        width="fluid",
    )


def _claim(claim: PublishedClaim) -> str:
    head = f"**{for_markdown(claim.verdict)}**: {for_markdown(claim.statement)}"
    return "\n".join([head, *([""] if claim.contrasts else []), *(f"* {for_markdown(c)}" for c in claim.contrasts)])


def _listed(publication: Publication) -> list[str]:
    return [f"* {for_markdown(remark)}" for remark in publication.remarks]
