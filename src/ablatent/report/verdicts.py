"""Verdicts on the claims of a sweep, from the store alone, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ablatent.claims.claim import Claim, Contrast, claims_of
from ablatent.claims.intervals import LEVEL
from ablatent.claims.observations import Arms, Observation, arms_of, block_of
from ablatent.claims.verdict import ClaimVerdict, ContrastVerdict, claim_verdict, confidence_of, contrast_verdict
from ablatent.core.errors import did_you_mean
from ablatent.core.validation import check_value
from ablatent.report.model import JobResult, Sweep
from ablatent.report.spreads import trainings_under
from ablatent.report.tables import differing
from ablatent.stages.job_fields import job_fields
from ablatent.stages.replicates import unit_of

UNMEASURED = "not measured"
"""What is missing of a job that finished."""


@dataclass(frozen=True)
class Verdicts:
    """What a store says of all claims of a sweep. confidence: of each interval; questions: contrasts in all."""

    confidence: float = LEVEL
    questions: int = 0
    claims: Sequence[ClaimVerdict] = field(default_factory=list)

    @property
    def contrasts(self) -> Iterator[tuple[ClaimVerdict, ContrastVerdict]]:
        """Every contrast with its claim."""
        return ((claim, contrast) for claim in self.claims for contrast in claim.contrasts)


def verdicts_of(sweep: Sweep) -> Verdicts:
    """The verdicts on a sweep's claims, in their order. Raises ConfigError for claims that are none, as in a plan that
    another program wrote."""
    check_value("claims", sweep.claims, job_fields()["claims"])
    claims = claims_of({"claims": sweep.claims})
    confidence = confidence_of(claims)
    found = [
        claim_verdict(
            name,
            claim,
            [_of_contrast(sweep, claim, inner, contrast, confidence) for inner, contrast in claim.contrasts.items()],
        )
        for name, claim in claims.items()
    ]
    return Verdicts(confidence, sum(len(claim.contrasts) for claim in claims.values()), found)


def _of_contrast(sweep: Sweep, claim: Claim, name: str, contrast: Contrast, confidence: float) -> ContrastVerdict:
    metrics = (contrast.metric, contrast.against_metric or contrast.metric)
    arms = arms_of(contrast, *(observations(sweep, metric, claim.unit) for metric in metrics))
    return contrast_verdict(name, contrast, arms, confidence, _untested(sweep, contrast, arms, metrics))


def observations(sweep: Sweep, metric: str, unit: str | None = None) -> list[Observation]:
    """The jobs of a sweep with their scores of one metric. unit: the kind of stage whose trainings are replicates;
    None, or where a score stands on none of it: see `stages.replicates`."""
    roles = {
        role
        for job in sweep.jobs
        if metric in job.scores
        for role, key in job.stages.items()
        if key == job.scores[metric].stage
    }
    return [_observation(sweep, job, metric, unit, roles) for job in sweep.jobs]


def _observation(sweep: Sweep, job: JobResult, metric: str, unit: str | None, roles: set[str]) -> Observation:
    score = job.scores.get(metric)
    trainings = trainings_under(sweep, job, [key for role, key in job.stages.items() if role in roles])
    return Observation(
        name=job.name,
        axes=job.axes,
        typed=dict(text.lstrip("+").split("=", 1) for text in job.overrides if "=" in text),
        config=job.config,
        trainings=trainings,
        unit=unit_of(trainings, unit),
        value=None if score is None else score.value,
        interval=None if score is None else score.interval,
        missing="" if score else UNMEASURED if job.status == "finished" else job.status,
    )


def _untested(sweep: Sweep, contrast: Contrast, arms: Arms, metrics: tuple[str, str]) -> str:
    """Why the scores of a contrast tell nothing, empty where they do. metrics: of both arms."""
    protocols: dict[tuple[str, str], list[Mapping[str, Any]]] = {}  # a yardstick need not share that of its score
    for metric, arm in zip(metrics, (arms.of, arms.against), strict=True):
        if metric not in sweep.metrics and any(job.missing == UNMEASURED for job in arm):
            near = did_you_mean(metric, sweep.metrics)
            return f"no job has the score {metric}." + (f" {near}" if near else "")
        of_jobs = {job.name: job.scores[metric].protocol for job in sweep.jobs if metric in job.scores}
        for job in arm:
            if job.name in of_jobs:
                protocols.setdefault((block_of(job, contrast), metric), []).append(of_jobs[job.name])
    differ = dict.fromkeys(name for found in protocols.values() for name in differing(found))
    return f"its scores were measured by different protocols ({', '.join(differ)})" if differ else ""


def as_json(verdicts: Verdicts) -> dict[str, Any]:
    """What verdicts.json holds: plain values under keys that stay."""
    return {
        "confidence": verdicts.confidence,
        "together": LEVEL,
        "contrasts": verdicts.questions,
        "claims": {claim.name: _claim_json(claim) for claim in verdicts.claims},
    }


def _claim_json(claim: ClaimVerdict) -> dict[str, Any]:
    about = claim.claim
    return {
        "id": about.id,
        "statement": about.statement,
        "source": about.source,
        "refuted_by": about.refuted_by,
        "verdict": claim.verdict,
        "contrasts": {contrast.name: _contrast_json(contrast) for contrast in claim.contrasts},
    }


def _contrast_json(found: ContrastVerdict) -> dict[str, Any]:
    about = found.contrast
    samples = found.over_samples
    return {
        **asdict(about),
        "verdict": found.verdict,
        "reason": found.reason,
        "effect": found.effect,
        "interval": None if found.interval is None else list(found.interval),
        "bounds": list(found.bounds),
        "means": None if found.means is None else {"of": found.means[0], "against": found.means[1]},
        "unit": found.unit,
        "replicates": {"of": found.replicates[0], "against": found.replicates[1]},
        "trainings": {"of": dict(found.trainings[0]), "against": dict(found.trainings[1])},
        "spread": found.spread,
        "test": found.test,
        "degrees": found.degrees,
        "enough": found.enough,
        "over_samples": None if samples is None else {"effect": samples[0], "interval": list(samples[1])},
        "notes": list(found.notes),
    }
