"""ImageFolder with train and val folders, after the transfer learning tutorial, without the transfer.

style: PyTorch tutorial (data_transforms dict, phases, dataloaders dict)
source: https://discuss.pytorch.org/t/data-transformation-for-training-and-validation-data/32507
fault: train-eval-transform
broken: 0.25
mended: 0.62
"""

import copy
import os
import tempfile
from pathlib import Path

import torch
import torch.nn as nn
import torch.optim as optim
from PIL import Image
from torch.optim import lr_scheduler
from torchvision import datasets, transforms

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
KEEP = ["Apple", "Juice", "Melon", "Milk", "Pepper", "Pear", "Tomato"]

data_transforms = {
    "train": transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    ),
    "val": transforms.Compose(
        [
            transforms.Resize(40),
            transforms.CenterCrop(40),
            transforms.ToTensor(),
        ]
    ),
}


def prepare(folder):
    """Small copies of the photos, sorted into folder/split/class/."""
    for split in ("train", "val"):
        for i, line in enumerate((GROCERY / f"{split}.txt").read_text().splitlines()):
            path = line.split(", ")[0]
            name = path.split("/")[2]
            if name not in KEEP:
                continue
            target = folder / split / name
            target.mkdir(parents=True, exist_ok=True)
            img = Image.open(GROCERY / path)
            img.draft("RGB", (80, 80))
            img.convert("RGB").resize((40, 40), Image.BILINEAR).save(target / f"{i:05d}.jpg", quality=95)


def train_model(model, dataloaders, sizes, criterion, optimizer, scheduler, num_epochs):
    best_model_wts = copy.deepcopy(model.state_dict())
    best_acc = 0.0
    for epoch in range(num_epochs):
        print(f"Epoch {epoch}/{num_epochs - 1}")
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_loss = 0.0
            running_corrects = 0
            for inputs, labels in dataloaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    _, preds = torch.max(outputs, 1)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
                running_corrects += torch.sum(preds == labels.data)
            if phase == "train":
                scheduler.step()
            epoch_loss = running_loss / sizes[phase]
            epoch_acc = running_corrects.double() / sizes[phase]
            print(f"{phase} Loss: {epoch_loss:.4f} Acc: {epoch_acc:.4f}")
            if phase == "val" and epoch_acc > best_acc:
                best_acc = epoch_acc
                best_model_wts = copy.deepcopy(model.state_dict())
    print(f"Best val Acc: {best_acc:4f}")
    model.load_state_dict(best_model_wts)
    return model


def small_net(n_classes):
    layers, cin = [], 3
    for cout in (24, 48, 96):
        layers += [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        cin = cout
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 25, 96), nn.ReLU(), nn.Linear(96, n_classes))


if __name__ == "__main__":
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as tmp:
        prepare(Path(tmp))
        image_datasets = {x: datasets.ImageFolder(Path(tmp) / x, data_transforms[x]) for x in ["train", "val"]}
        dataloaders = {
            x: torch.utils.data.DataLoader(image_datasets[x], batch_size=32, shuffle=True) for x in ["train", "val"]
        }
        dataset_sizes = {x: len(image_datasets[x]) for x in ["train", "val"]}
        model_ft = small_net(len(image_datasets["train"].classes))
        optimizer_ft = optim.SGD(model_ft.parameters(), lr=0.02, momentum=0.9)
        exp_lr_scheduler = lr_scheduler.StepLR(optimizer_ft, step_size=6, gamma=0.3)
        train_model(
            model_ft, dataloaders, dataset_sizes, nn.CrossEntropyLoss(), optimizer_ft, exp_lr_scheduler, num_epochs=9
        )
