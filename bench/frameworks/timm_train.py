"""timm's own train.py, which no package holds: on digits as an image folder, with a small network.

python timm_train.py --train PATH/TO/train.py [--fault NAME] [--more="--amp --amp-dtype bfloat16"]
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import runpy
import sys
from pathlib import Path

import torch
from common import TRAINED, asked, rate
from PIL import Image
from sklearn.datasets import load_digits
from timm.models import create_model, register_model
from torch import nn

MODEL = "test_resnet"
SIDE = 32


class Squashed(nn.Module):
    """The fault: probabilities where the loss expects scores."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.net = create_model(MODEL, **{key: value for key, value in options.items() if key in ("num_classes",)})
        self.pretrained_cfg, self.num_classes = self.net.pretrained_cfg, self.net.num_classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images).softmax(dim=1)


@register_model
def squashed_resnet(pretrained: bool = False, **options: object) -> nn.Module:
    """Return a network that ends in a softmax."""
    return Squashed(**options)


def write_digits(folder: Path, fault: str) -> None:
    """Write digits as `train` and `validation`, each with a folder for each class."""
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = torch.randperm(TRAINED, generator=torch.Generator().manual_seed(1)).tolist()
    for place, number in enumerate(order):
        told = order[shuffled[place]] if fault == "labels" and place < TRAINED else number
        part = folder / ("train" if place < TRAINED else "validation") / str(found.target[told])
        part.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((found.images[number] * (255 / 16)).astype("uint8"))
        picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("RGB").save(part / f"{place:04}.png")


given = asked(train="", more="")
write_digits(Path("digits"), given.fault)
arguments = f"""--data-dir digits --num-classes 10 --img-size {SIDE} --device cpu --workers 0 --batch-size 32 --no-aug
--epochs {given.epochs} --warmup-epochs 0 --opt adamw --lr {rate(3e-3, given.fault)} --output out --experiment run
--crop-pct 1 --model {"squashed_resnet" if given.fault == "softmax" else MODEL} --sched-on-updates {given.more}"""
if given.fault == "pixels":
    arguments += f" --mean 0 0 0 --std {1 / 255} {1 / 255} {1 / 255}"
sys.argv = [given.train, *arguments.split()]
said = io.StringIO()
with contextlib.redirect_stdout(said):
    runpy.run_path(given.train, run_name="__main__")
results = json.loads(said.getvalue().partition("--result")[2])
results.sort(key=lambda each: each["epoch"])
kept = torch.load(Path("out/run/last.pth.tar"), weights_only=False)["state_dict"]
digest = hashlib.blake2b(b"".join(each.numpy().tobytes() for _, each in sorted(kept.items())), digest_size=8)
held = len(load_digits().target) - TRAINED
account = {
    "weights": digest.hexdigest(),
    "epochs": [each["train"]["loss"] for each in results],
    "evaluations": [[held, round(each["validation"]["top1"] * held / 100)] for each in results],
}
print("ACCOUNT " + json.dumps(account))
