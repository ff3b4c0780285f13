"""A plain PyTorch loop as the transfer-learning tutorial teaches it, on a timm model with timm's own transforms.

SGD at 0.001 with momentum 0.9, batches of 4, the rate divided by ten every seven epochs, the whole network trained.
Validation on the `val` rows after each epoch is part of the recipe and counts as time; scoring on the `score` rows,
where the table has them, does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import timm
import torch
from PIL import Image
from table import Diary, Images, parse_arguments, read_table
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Photos(Dataset):
    """Images of one split, opened when asked for."""

    def __init__(self, images: Images, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.images.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.images.targets[index]


def measure(model: nn.Module, loader: DataLoader) -> float:
    """Return the share of images whose likeliest class is right."""
    model.eval()
    with torch.no_grad():
        right = sum(int((model(images).argmax(1) == targets).sum()) for images, targets in loader)
    return right / len(loader.dataset)


def main() -> None:
    """Fine-tune and write accuracy over time."""
    options = parse_arguments()
    torch.set_num_threads(options.cores)
    splits = read_table(options.table)
    classes = max(splits["train"].targets) + 1
    model = timm.create_model(f"local-dir:{options.weights}", pretrained=True, num_classes=classes)
    config = resolve_model_data_config(model)
    loaders = {
        name: DataLoader(
            Photos(images, create_transform(**config, is_training=name == "train")),
            batch_size=4 if name == "train" else 32,
            shuffle=name == "train",
            num_workers=options.cores,
        )
        for name, images in splits.items()
    }
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    diary, scoring_s = Diary(options.out), 0.0
    for epoch in range(1, options.epochs + 1):
        model.train()
        for images, targets in loaders["train"]:
            optimizer.zero_grad()
            criterion(model(images), targets).backward()
            optimizer.step()
        scheduler.step()
        reached = measure(model, loaders["val"])
        if "score" in loaders:
            started = time.time()
            reached = measure(model, loaders["score"])
            scoring_s += time.time() - started
        diary.note(epoch=epoch, accuracy=reached, scoring_s=scoring_s)


if __name__ == "__main__":
    main()
