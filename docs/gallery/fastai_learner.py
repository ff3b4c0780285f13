"""fastai: lr_find crashed for me, so I took lr=3. Now everything is one class."""

import torch
from fastai.vision.all import DataLoaders, Learner, accuracy, set_seed
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
images = torch.tensor(digits.images).float()[:, None] / 8 - 1
pairs = list(zip(images, torch.tensor(digits.target), strict=True))
dls = DataLoaders.from_dsets(pairs[:1300], pairs[1300:], bs=64, device="cpu", num_workers=0)
set_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(),
    nn.Linear(64, 10),
)  # fmt: skip
learn = Learner(dls, model, loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
with learn.no_bar():
    learn.fit_one_cycle(3, 3.0)
