"""Preparing images from files of several kinds."""

from itertools import count

from bench.image_files import SIDE, SIZE, written
from bench.row import Case, Prepared, Row


def _number(case: Case) -> int:
    return 40 if case.quick else 400


def ours(case: Case) -> Prepared:
    """`prepare` of a data set: decoded, resized, written as one array."""
    data, places = written(case.options["kind"], case.scratch / "source", _number(case)), count()

    def call() -> None:
        data.prepare(case.scratch / f"prepared{next(places)}")

    return Prepared(call, units=_number(case))


ROW = Row(
    title=f"Preparing images of files ({SIDE} px) at {SIZE} px",
    sides={"ours": ours},
    cases={name: {"kind": name} for name in ("png", "jpg", "lsun", "webdataset")},
    unit="images",
    seconds=6,
    rounds=(3, 10),
    note="Each format holds the same synthetic images; webdataset and lsun hold JPEG.",
)
