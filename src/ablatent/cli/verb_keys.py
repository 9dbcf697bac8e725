"""The keys that single verbs read, beside those of a job: their types, ranges and meanings."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt

from ablatent.core.fields import Count, Fields, NotNegative, Positive, StageKey, Text, WeightsName, Whole
from ablatent.tracking.wandb_runs import Name


class JobsKeys(Fields):
    """The keys of verbs of jobs."""

    title: Annotated[Text | None, "at the head of the report"]
    question: Annotated[Text | None, "that the sweep answers, at the head of the report"]
    out: Annotated[Text | None, "folder of the report; null: the sweep's in the store"]


class PlanKeys(JobsKeys):
    """The keys of do=plan."""

    estimate: Annotated[bool, "time some steps of trainings of which the store tells nothing"]


class ReportKeys(Fields):
    """The keys of do=report."""

    sweep: Annotated[Text | None, "id of the sweep, below store/sweeps; null: the newest"]
    out: Annotated[Text | None, "folder of the report; null: the sweep's in the store"]
    compare: Annotated[Sequence[Text] | None, "ids of two sweeps that are compared, in place of a report of one"]
    index: Annotated[Text | None, "folder of reports, into which a page is written that lists them"]


class StatusKeys(Fields):
    """The keys of do=status."""

    sweep: Annotated[Text | None, "id of a sweep whose jobs and stages are shown; null: none"]
    watch: Annotated[bool, "go on showing them until the sweep ends; without `sweep`: the newest one's"]


class RecordedKeys(Fields):
    """The keys of the verbs of a recorded sweep."""

    sweep: Annotated[Text | None, "id of the sweep, below store/sweeps; null: the newest"]


class SampleKeys(Fields):
    """The keys of do=sample."""

    model: Annotated[Text | None, "SWEEP:JOB, the key of a diffusion or imported stage, or a W&B run id"]
    prompt: Annotated[str | None, "one prompt, for models that read captions"]
    prompts: Annotated[Text | None, "a text file with one prompt a line"]
    class_: Annotated[Text | None, "a class by its name"]
    label: Annotated[Whole | None, "a class by its number"]
    image: Annotated[Text | None, "file of an image, for models and tasks that read one"]
    mask: Annotated[Text | None, "file of a mask of the size of the image, white = fill, grey = in part"]
    map: Annotated[Text | None, "file of a segmentation map"]
    boxes: Annotated[Text | None, "[[CLASS, x0, y0, x1, y1], …] in shares of the image from left and top"]
    annotations: Annotated[Mapping[str, Any] | None, "further annotations by name; a list gives values in turn"]
    n: Annotated[Count, "images, of each prompt"]
    out: Annotated[Text | None, "folder of the PNG files; null: a new one below samples/"]
    repeat: Annotated[Text | None, "a PNG file of do=sample, which is made again"]
    size: Annotated[
        Count | None, "side in pixels of the images of an imported model; null: as its file has it, else 256"
    ]


class ImportOptions(Fields):
    """The keys of `interop` with do=import."""

    heads: Annotated[Count | None, "attention heads of the UNet"]
    head_channels: Annotated[Count | None, "channels of an attention head of the UNet"]
    heads_first: Annotated[bool, "rows of fused query, key and value are ordered by head first"]
    T: Annotated[Count | None, "times of the schedule"]
    beta_start: Annotated[float, Gt(0), Lt(1), "variance of the first step"] | None
    beta_end: Annotated[float, Gt(0), Lt(1), "variance of the last step"] | None
    scale_factor: Annotated[Positive | None, "by which raw latents are multiplied"]
    null_label: Annotated[bool, "the last row of a class embedding is the null class"]
    freq_shift: Annotated[bool, "of a DiT: frequencies of the time as diffusers has them; the paper: false"]


class ExportOptions(Fields):
    """The keys of `interop` with do=export."""

    weights: Annotated[WeightsName, "which weights, to diffusers"]
    snapshot: Annotated[Count | Literal["last"], "of the weights: after so many steps"]


class ImportKeys(Fields):
    """The keys of do=import."""

    path: Annotated[Text | None, "the file or folder to read"]
    format: Annotated[Text | None, "of the file: compvis or diffusers"]
    interop: Annotated[ImportOptions, "what does not follow from the file; null: as in the released model"]


class ExportKeys(Fields):
    """The keys of do=export."""

    path: Annotated[Text | None, "the folder to write"]
    format: Annotated[Text | None, "of the files: compvis or diffusers"]
    key: Annotated[StageKey | None, "of the first_stage, diffusion or imported stage"]
    interop: Annotated[ExportOptions, "which weights"]


class ClearKeys(Fields):
    """The keys of do=gc."""

    keep: Annotated[Whole | None, "so many of the newest sweeps are kept; null: all"]
    older_than: Annotated[NotNegative, "days: what is younger is never deleted"]
    delete: Annotated[bool, "delete it, and not only show it"]
    pin: Annotated[Text | Sequence[Text] | None, "objects and sweeps that are kept from now on, by key or id"]
    unpin: Annotated[Text | Sequence[Text] | None, "those that are pinned no longer"]


class PushKeys(Fields):
    """The keys of do=push."""

    to: Annotated[Text | None, "the other store: a folder, or a URL that fsspec knows"]
    sweep: Annotated[Text | None, "id of the sweep that is copied; null: the newest, unless keys are given"]
    keys: Annotated[Text | Sequence[Text] | None, "of objects that are copied"]
    caches: Annotated[bool, "with prepared images and features"]


class PullKeys(Fields):
    """The keys of do=pull."""

    from_: Annotated[Text | None, "the other store: a folder, or a URL that fsspec knows"]
    sweep: Annotated[Text | None, "id of the sweep that is copied; null: the newest, unless keys are given"]
    keys: Annotated[Text | Sequence[Text] | None, "of objects that are copied"]
    caches: Annotated[bool, "with prepared images and features"]


class PublishKeys(Fields):
    """The keys of do=publish."""

    sweep: Annotated[Text | None, "id of the sweep, below store/sweeps; null: the newest"]
    project: Annotated[Name | None, "of W&B; null: that of the sweep's runs"]
    entity: Annotated[Name | None, "user or team of W&B; null: that of the sweep's runs, else of the key"]
    artifacts: Annotated[
        Sequence[Literal["checkpoints", "samples"]], "stages that become artifacts, with all that they read"
    ]
    dry: Annotated[bool, "send nothing: show and write what would be sent"]


class HelpKeys(Fields):
    """The keys of do=help."""

    option: Annotated[Text | None, "whose page is shown, as GROUP/NAME; null: that of the command line"]


class CheckKeys(Fields):
    """The keys of do=check."""

    option: Annotated[Text | None, "that is checked, as GROUP/NAME"]


class ListKeys(Fields):
    """The keys of do=list."""

    what: Annotated[
        Literal["experiments", "presets", "models", "options"] | None, "is listed; null: how many there are of each"
    ]
