"""Linear probe on a pretrained backbone, as in representation-learning papers.

style: research code, argparse, frozen features under no_grad
fault: none
broken: n/a
mended: 0.889
"""

import argparse
import os

import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

AISLES = ["Fruit", "Packages", "Vegetables"]


def get_args():
    p = argparse.ArgumentParser("linear probe")
    p.add_argument("--data", default=os.path.join(os.environ["FOVEA_SHARED"], "data", "grocery"))
    p.add_argument("--ckpt", default=os.path.join(os.environ["FOVEA_SHARED"], "weights", "mobilenetv2_100.tf_in1k"))
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--img-size", type=int, default=80)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


class ListFile(Dataset):
    def __init__(self, root, listing, tf):
        with open(os.path.join(root, listing)) as fh:
            recs = [l.strip().split(", ") for l in fh]
        self.samples = [(os.path.join(root, r[0]), AISLES.index(r[0].split("/")[1])) for r in recs]
        self.tf = tf

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, k):
        fn, target = self.samples[k]
        with Image.open(fn) as im:
            im.draft("RGB", (116, 116))
            im = im.convert("RGB")
        return self.tf(im), target


class Probe(nn.Module):
    """Backbone stays exactly as downloaded; only the classifier learns."""

    def __init__(self, ckpt, num_classes):
        super().__init__()
        self.backbone = timm.create_model("local-dir:" + ckpt, pretrained=True, num_classes=0)
        for p in self.backbone.parameters():
            p.requires_grad_(False)
        self.norm = nn.BatchNorm1d(self.backbone.num_features, affine=False)
        self.fc = nn.Linear(self.backbone.num_features, num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        with torch.no_grad():
            f = self.backbone(x)
        return self.fc(self.norm(f))


def accuracy(model, loader, ce):
    model.eval()
    tot = loss = good = 0
    with torch.inference_mode():
        for x, y in loader:
            z = model(x)
            loss += ce(z, y).item() * y.numel()
            good += (z.argmax(-1) == y).sum().item()
            tot += y.numel()
    return loss / tot, good / tot


def main():
    args = get_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = Probe(args.ckpt, len(AISLES))
    c = model.backbone.pretrained_cfg
    tail = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(c["mean"], c["std"])]
    train_tf = v2.Compose(
        [v2.RandomResizedCrop(args.img_size, scale=(0.6, 1.0), antialias=True), v2.RandomHorizontalFlip(), *tail]
    )
    test_tf = v2.Compose([v2.Resize(int(args.img_size * 1.14), antialias=True), v2.CenterCrop(args.img_size), *tail])
    tr = DataLoader(ListFile(args.data, "train.txt", train_tf), args.batch_size, shuffle=True, drop_last=True)
    va = DataLoader(ListFile(args.data, "val.txt", test_tf), args.batch_size)
    ce = nn.CrossEntropyLoss()
    opt = torch.optim.SGD(model.fc.parameters(), lr=args.lr * args.batch_size / 256, momentum=0.9, weight_decay=0.0)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, args.epochs * len(tr))
    for ep in range(args.epochs):
        model.train()
        seen = run = ok = 0
        for x, y in tr:
            z = model(x)
            loss = ce(z, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            run += loss.item() * len(y)
            ok += (z.argmax(1) == y).sum().item()
            seen += len(y)
        vl, va_acc = accuracy(model, va, ce)
        print(f"[{ep}] loss={run / seen:.4f} top1={ok / seen:.4f} val_loss={vl:.4f} val_top1={va_acc:.4f}", flush=True)


if __name__ == "__main__":
    main()
