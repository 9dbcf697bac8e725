"""What may be known of an image, by name: the four annotations that have fields of their own, and any further one.

A new kind of annotation is no line here: a data set puts an array into `Annotations.extra`, a conditioner names it in
its `needs`, and do=sample takes its values by `annotations={NAME: VALUE}`. Free of torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnnotationKind:
    """name: as conditioners name it in `needs`; title: in messages, plural; request: the key of do=sample that gives
    it; read_by: an option of conditioner that reads it, to be suggested before others."""

    name: str
    title: str
    request: str
    read_by: str | None = None


IMAGES = AnnotationKind("pixels", "images", "image")
"""The images themselves: no annotation, but a part of a source that conditioners read like one."""
_KINDS = (
    AnnotationKind("labels", "class labels", "class", "class"),
    AnnotationKind("captions", "captions", "prompt", "text_minilm"),
    AnnotationKind("boxes", "boxes of objects", "boxes", "layout"),
    AnnotationKind("segmentation", "segmentation maps", "map", "semantic"),
    IMAGES,
)
BUILT_IN = {kind.name: kind for kind in _KINDS}


def annotation_kind(name: str) -> AnnotationKind:
    """The kind of that name; one that is not built in is requested by `annotations={NAME: VALUE}`."""
    return BUILT_IN.get(name) or AnnotationKind(name, name.replace("_", " "), f"annotations.{name}")


def titles(names: object) -> str:
    """'captions and class labels': the titles of several kinds, sorted; empty for none. names: an iterable of str."""
    return " and ".join(sorted({annotation_kind(str(n)).title for n in names}))  # type: ignore[attr-defined]
