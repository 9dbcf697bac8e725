"""Preparing images of a folder against torchvision."""

import torch
from torch.utils.data import DataLoader

from bench.image_files import SIDE, SIZE, written
from bench.row import Case, Prepared, Row
from bench.rows.data_loading import ours


def torchvision(case: Case) -> Prepared:
    """torchvision's ImageFolder with the same resize, and a DataLoader in the process, whose batches are kept."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    number = 40 if case.quick else 400
    written(case.options["kind"], case.scratch / "source", number)
    resize = transforms.Resize(SIZE, transforms.InterpolationMode.LANCZOS)
    steps = transforms.Compose([resize, transforms.CenterCrop(SIZE), transforms.PILToTensor()])
    folder = ImageFolder(str(case.scratch / "source"), steps)

    def call() -> None:
        torch.cat([images for images, _ in DataLoader(folder, batch_size=64)])

    return Prepared(call, units=number)


ROW = Row(
    title=f"Preparing images of a folder ({SIDE} px) at {SIZE} px against torchvision's ImageFolder",
    sides={"ours": ours, "torchvision": torchvision},
    cases={"png": {"kind": "png"}, "jpg": {"kind": "jpg"}},
    unit="images",
    seconds=10,
    rounds=(3, 10),
    note="Ours also writes the array to disk; torchvision keeps it in memory.",
)
