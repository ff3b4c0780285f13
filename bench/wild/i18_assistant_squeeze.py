"""Please write me a complete script that trains a classifier on my photos of eight kinds of fruit and
vegetables, with a pretrained SqueezeNet so that it also runs on a Raspberry Pi.

style: LLM-written, tidy dataclass and docstrings everywhere
fault: normalised-twice
broken: 0.105
mended: 0.686
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Tuple

import torch
import torch.nn as nn
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import squeezenet1_0

SHARED = Path(os.environ["FOVEA_SHARED"])


@dataclass
class TrainingConfig:
    """All hyperparameters in one place."""

    data_root: Path = SHARED / "data" / "grocery"
    weights: Path = SHARED / "weights" / "squeezenet1_0.deepcompression_in1k" / "model.safetensors"
    class_names: List[str] = field(
        default_factory=lambda: ["Apple", "Melon", "Pear", "Pepper", "Potato", "Tomato", "Banana", "Kiwi"]
    )
    max_per_class: int = 40
    image_size: int = 112
    batch_size: int = 32
    epochs: int = 5
    learning_rate: float = 2e-3
    seed: int = 0


class GroceryDataset(Dataset):
    """Reads the list file of one split and returns (image, label) pairs."""

    def __init__(self, config: TrainingConfig, split: str, hold_out: bool) -> None:
        self.transform = transforms.Compose(
            [
                transforms.Resize((config.image_size, config.image_size), antialias=True),
                transforms.ToTensor(),
            ]
        )
        self.samples: List[Tuple[Path, int]] = []
        seen = [0] * len(config.class_names)
        for name in ["train", "val"] if hold_out else ["train"]:
            for line in (config.data_root / f"{name}.txt").read_text().splitlines():
                relative = line.split(",")[0].strip()
                coarse = relative.split("/")[2]
                if coarse not in config.class_names:
                    continue
                label = config.class_names.index(coarse)
                if name == "val":
                    self.samples.append((config.data_root / relative, label))
                    continue
                seen[label] += 1
                # every fourth picture goes to the held-out part
                if (seen[label] % 4 == 0) == hold_out and seen[label] <= config.max_per_class * 4 // 3:
                    self.samples.append((config.data_root / relative, label))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        image = Image.open(path)
        image.draft("RGB", (160, 160))
        return self.transform(image.convert("RGB")), label


class BatchPreprocessor:
    """Moves the per-channel standardisation out of the workers: one fused operation per batch."""

    def __init__(self) -> None:
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.float().div(255.0).sub(self.mean).div(self.std)


def build_model(config: TrainingConfig) -> nn.Module:
    """Loads the ImageNet weights and replaces the classifier."""
    model = squeezenet1_0(weights=None)
    model.load_state_dict(load_file(str(config.weights)))
    for parameter in model.features.parameters():
        parameter.requires_grad = False
    model.classifier = nn.Sequential(
        nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, len(config.class_names))
    )
    return model


class SqueezeClassifier(nn.Module):
    """Wrapper that keeps the feature extractor and the head apart."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        base = build_model(config)
        self.features, self.classifier = base.features, base.classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))


def evaluate(model: nn.Module, loader: DataLoader, prepare: BatchPreprocessor) -> float:
    """Returns the accuracy over the loader."""
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (model(prepare(images)).argmax(dim=1) == labels).sum().item()
            total += labels.numel()
    return correct / total


def main() -> None:
    """Entry point."""
    config = TrainingConfig()
    torch.manual_seed(config.seed)
    train_loader = DataLoader(GroceryDataset(config, "train", False), config.batch_size, shuffle=True)
    val_loader = DataLoader(GroceryDataset(config, "val", True), config.batch_size)
    model = SqueezeClassifier(config)
    prepare = BatchPreprocessor()
    optimizer = torch.optim.Adam(model.classifier.parameters(), lr=config.learning_rate)
    criterion = nn.CrossEntropyLoss()
    print(f"Training on {len(train_loader.dataset)} images, validating on {len(val_loader.dataset)}")
    for epoch in range(1, config.epochs + 1):
        model.train()
        running = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(prepare(images)), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
        print(f"Epoch {epoch}/{config.epochs} - loss: {running / len(train_loader):.4f}", flush=True)
    print(f"Final validation accuracy: {evaluate(model, val_loader, prepare):.4f}")


if __name__ == "__main__":
    main()
