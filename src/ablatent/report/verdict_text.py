"""Verdicts as a person reads them: a table, remarks, and a line a claim."""

from ablatent.claims.claim import Contrast
from ablatent.claims.intervals import LEVEL
from ablatent.claims.observations import shown
from ablatent.claims.verdict import ClaimVerdict, ContrastVerdict
from ablatent.report.tables import Cell, TableData
from ablatent.report.verdicts import Verdicts

TONE = {"agree": "ok", "disagree": "bad", "inconclusive": "quiet", "not tested": "quiet"}


def rule(verdicts: Verdicts) -> str:
    """How the verdicts were reached."""
    several = verdicts.questions > 1
    each = f" for all {verdicts.questions} contrasts together, {percent(verdicts.confidence)} each (Bonferroni)"
    return (
        f"Intervals over trainings, of {percent(LEVEL)}{each if several else ''}; sets of samples of one training are "
        "averaged first. Agree: the interval lies beyond the bound that is claimed, or between both of an equality; "
        "disagree: it excludes what is claimed; else inconclusive."
    )


def percent(share: float) -> str:
    """A confidence as text: 95 %, 99.17 %."""
    return f"{100 * share:.4g} %"


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def effect_text(contrast: ContrastVerdict) -> str:
    """-0.12, or ×0.88; a dash where there is none."""
    if contrast.effect is None:
        return "–"
    return _signed(contrast.effect, contrast.contrast)


def _signed(effect: float, contrast: Contrast) -> str:
    return f"×{number(effect)}" if contrast.scale == "ratio" else f"{effect:+.3g}"


def interval_text(contrast: ContrastVerdict) -> str:
    """[low, high]; a dash where there is none."""
    return "–" if contrast.interval is None else f"[{number(contrast.interval[0])}, {number(contrast.interval[1])}]"


def trainings_text(contrast: ContrastVerdict) -> str:
    """Replicates of both arms, and their distinct trainings by kind: '3 (3 diffusion, 1 first_stage)'; a dash where
    there are none."""
    of, against = (", ".join(f"{n} {kind}" for kind, n in side.items()) for side in contrast.trainings)
    if not of and not against:
        return "–"
    counts = [str(n) for n in contrast.replicates]
    if of == against and counts[0] == counts[1]:
        return f"{counts[0]} ({of})"
    return " / ".join(f"{count} ({side or 'none'})" for count, side in zip(counts, (of, against), strict=True))


def replicates_text(contrast: ContrastVerdict) -> str:
    """'3 trainings an arm'; 'replicates' where each is the mean of several trainings, in blocks or of one below."""
    of, against = contrast.replicates
    alone = all(
        max(side.values(), default=n) <= n for side, n in zip(contrast.trainings, contrast.replicates, strict=True)
    )
    many = f"{of}" if of == against else f"{of} and {against}"
    return f"{many} {'trainings' if alone else 'replicates'} an arm"


def test_text(contrast: ContrastVerdict) -> str:
    """'paired t, df 2'; a dash where there is none."""
    return f"{contrast.test}, df {number(contrast.degrees)}" if contrast.degrees is not None else "–"


def claimed_text(contrast: Contrast) -> str:
    """What is claimed of the effect: '< -0.1', '= ±0.05', '< ×0.95'."""
    margin = contrast.margin
    if contrast.scale == "ratio":
        high, low = number(1 + margin), number(1 / (1 + margin))
        return {"lower": f"< ×{low}", "higher": f"> ×{high}", "equal": f"×{low} … ×{high}"}[contrast.expect]
    bound = number(margin)
    minus = f"-{bound}" if margin else bound
    return {"lower": f"< {minus}", "higher": f"> {bound}", "equal": f"±{bound}"}[contrast.expect]


def table(verdicts: Verdicts) -> TableData | None:
    """A row for each contrast; None without claims."""
    rows = []
    for claim in verdicts.claims:
        for n, contrast in enumerate(claim.contrasts):
            about = contrast.contrast
            arms = f"{shown(about.of)} against {shown(about.against)}" + (f" at {shown(about.at)}" if about.at else "")
            arms += f" ({about.against_metric})" if about.against_metric else ""
            first = (
                [Cell(titled(claim)), Cell(claim.verdict, tone=TONE[claim.verdict])] if not n else [Cell(""), Cell("")]
            )
            rows.append(
                [
                    *first,
                    Cell(f"{contrast.name}: {about.metric}", hint=arms),
                    Cell(contrast.verdict, tone=TONE[contrast.verdict], hint=contrast.reason),
                    Cell(claimed_text(about)),
                    Cell(effect_text(contrast), hint="" if contrast.effect is None else repr(contrast.effect)),
                    Cell(interval_text(contrast)),
                    Cell(trainings_text(contrast)),
                    Cell(test_text(contrast)),
                ]
            )
    columns = ["claim", "verdict", "contrast", "of it", "claimed", "effect", f"{percent(verdicts.confidence)} interval"]
    return TableData([*columns, "replicates (trainings)", "test"], rows, 4) if rows else None


def titled(claim: ClaimVerdict) -> str:
    """Its letter and its name."""
    return f"{claim.claim.id} {claim.name}" if claim.claim.id else claim.name


def remarks(claim: ClaimVerdict) -> list[str]:
    """What a reader must know of each contrast: the reason of its verdict, what would settle it, what is beside it."""
    found = []
    for contrast in claim.contrasts:
        texts = [*([contrast.reason] if contrast.reason else []), *settled(contrast), *contrast.notes]
        if contrast.over_samples is not None:
            effect, (low, high) = contrast.over_samples
            about = contrast.contrast
            texts.append(
                f"over the samples of single trainings, not of other trainings: {_signed(effect, about)}, "
                f"{percent(LEVEL)} [{number(low)}, {number(high)}]"
            )
        if texts:
            sentence = f"{contrast.name}: {'; '.join(texts)}"
            found.append(sentence if sentence.endswith(("?", ".")) else f"{sentence}.")
    return found


def settled(contrast: ContrastVerdict) -> list[str]:
    """How many trainings would settle an inconclusive contrast."""
    if contrast.verdict != "inconclusive" or contrast.interval is None:
        return []
    if contrast.enough is None:
        return ["were effect and spread as estimated, not even 1000 trainings an arm would settle it"]
    return [f"were effect and spread as estimated, {contrast.enough} trainings an arm would settle it (power 80 %)"]


def lines(verdicts: Verdicts) -> list[str]:
    """One line a claim, for a terminal."""
    return [
        f"claim {titled(claim)}: {claim.verdict} ({'; '.join(map(_brief, claim.contrasts))})"
        for claim in verdicts.claims
    ]


def _brief(contrast: ContrastVerdict) -> str:
    about = contrast.contrast
    if contrast.interval is None:
        effect = "" if contrast.effect is None else f" {effect_text(contrast)}"
        return f"{about.metric}{effect}, {contrast.verdict}: {contrast.reason}"
    more = f", {contrast.enough} would settle it" if contrast.enough is not None else ""
    return (
        f"{about.metric} {effect_text(contrast)}, {percent(contrast.confidence)} {interval_text(contrast)}, "
        f"{replicates_text(contrast)}, {contrast.test}{more}"
    )
