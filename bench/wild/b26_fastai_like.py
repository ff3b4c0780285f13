"""A learner class in the manner of fastai with layer groups and a slice of learning rates.

style: fastai-like Learner, callbacks, splitter, discriminative learning rates
fault: learning-rate-low
broken: 0.24
mended: 0.76
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
VOCAB = ["Apple", "Juice", "Melon", "Milk", "Potato", "Yoghurt"]


class DataLoaders:
    def __init__(self, train, valid, bs):
        self.train = DataLoader(train, batch_size=bs, shuffle=True, drop_last=True)
        self.valid = DataLoader(valid, batch_size=bs * 2)

    @classmethod
    def from_lists(cls, size, bs):
        return cls(*(cls._read(split, size) for split in ("train", "val")), bs)

    @staticmethod
    def _read(split, size):
        xs, ys = [], []
        for line in (GROCERY / f"{split}.txt").read_text().splitlines():
            path = line.split(", ")[0]
            if path.split("/")[2] in VOCAB:
                img = Image.open(GROCERY / path)
                img.draft("RGB", (2 * size, 2 * size))
                xs.append(np.asarray(img.convert("RGB").resize((size, size), Image.BILINEAR)))
                ys.append(VOCAB.index(path.split("/")[2]))
        x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2) / 255
        return TensorDataset((x - 0.5) / 0.26, torch.tensor(ys))


def accuracy(out, target):
    return (out.argmax(dim=-1) == target).float().sum()


class Callback:
    order = 0

    def __getattr__(self, name):
        if name.startswith(("before_", "after_")):
            return lambda learn: None
        raise AttributeError(name)


class Recorder(Callback):
    def before_fit(self, learn):
        print("epoch  train_loss  valid_loss  accuracy")

    def after_epoch(self, learn):
        print(f"{learn.epoch:5d}  {learn.train_loss:10.4f}  {learn.valid_loss:10.4f}  {learn.metric:8.4f}")


class OneCycle(Callback):
    def before_fit(self, learn):
        lrs = [g["lr"] for g in learn.opt.param_groups]
        total = learn.n_epochs * len(learn.dls.train)
        self.sched = torch.optim.lr_scheduler.OneCycleLR(learn.opt, max_lr=lrs, total_steps=total, pct_start=0.25)

    def after_step(self, learn):
        self.sched.step()


class Learner:
    def __init__(self, dls, model, loss_func, splitter, cbs=()):
        self.dls, self.model, self.loss_func, self.splitter = dls, model, loss_func, splitter
        self.cbs = sorted([Recorder(), *cbs], key=lambda cb: cb.order)

    def __call__(self, event):
        for cb in self.cbs:
            getattr(cb, event)(self)

    def _lrs(self, lr, n):
        if isinstance(lr, slice):
            return np.geomspace(lr.start, lr.stop, n).tolist()
        return [lr] * n

    def fit_one_cycle(self, n_epochs, lr, wd=0.01):
        groups = self.splitter(self.model)
        lrs = self._lrs(lr, len(groups))
        self.opt = torch.optim.AdamW(
            [{"params": g, "lr": v} for g, v in zip(groups, lrs, strict=True)], weight_decay=wd
        )
        self.n_epochs = n_epochs
        self.cbs.append(OneCycle())
        self("before_fit")
        for self.epoch in range(n_epochs):
            self._train()
            self._validate()
            self("after_epoch")

    def _train(self):
        self.model.train()
        total = 0.0
        for xb, yb in self.dls.train:
            loss = self.loss_func(self.model(xb), yb)
            loss.backward()
            self.opt.step()
            self("after_step")
            self.opt.zero_grad()
            total += loss.item()
        self.train_loss = total / len(self.dls.train)

    @torch.no_grad()
    def _validate(self):
        self.model.eval()
        loss, hits, n = 0.0, 0.0, 0
        for xb, yb in self.dls.valid:
            out = self.model(xb)
            loss += self.loss_func(out, yb).item() * len(yb)
            hits += accuracy(out, yb).item()
            n += len(yb)
        self.valid_loss, self.metric = loss / n, hits / n


def conv_layer(ni, nf, stride=2):
    return nn.Sequential(nn.Conv2d(ni, nf, 3, stride, 1, bias=False), nn.BatchNorm2d(nf), nn.ReLU())


def simple_cnn():
    body = nn.Sequential(conv_layer(3, 16), conv_layer(16, 32), conv_layer(32, 64))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(256, len(VOCAB)))
    return nn.Sequential(body, head)


def split_body_head(model):
    return [list(model[0][0].parameters()), list(model[0][1:].parameters()), list(model[1].parameters())]


if __name__ == "__main__":
    torch.manual_seed(99)
    dls = DataLoaders.from_lists(size=40, bs=32)
    learn = Learner(dls, simple_cnn(), nn.CrossEntropyLoss(), split_body_head)
    learn.fit_one_cycle(8, slice(1e-6, 1e-4))
