"""Segmentation of overlapping shapes with a loss made of Dice and a little L1.

style: medical segmentation script, encoder-decoder with skips returning a dict, poly learning rate
source: https://github.com/IAmSuyogJadhav/3d-mri-brain-tumor-segmentation-using-autoencoder-regularization/issues/7
fault: loss-sign
broken: 0.00
mended: 0.96
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIDE = 40


class Lesions(Dataset):
    """Smooth noise with one to three bright blobs; the mask is where they are."""

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.x = np.empty((n, 1, SIDE, SIDE), dtype=np.float32)
        self.y = np.empty((n, 1, SIDE, SIDE), dtype=np.float32)
        for i in range(n):
            mask = Image.new("L", (SIDE, SIDE))
            draw = ImageDraw.Draw(mask)
            for _ in range(rng.integers(1, 4)):
                cx, cy = rng.uniform(6, SIDE - 6, 2)
                a, b = rng.uniform(3, 8, 2)
                draw.ellipse((cx - a, cy - b, cx + a, cy + b), fill=255)
            mask = np.asarray(mask) > 0
            small = Image.fromarray((rng.random((6, 6)) * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
            image = np.asarray(small, dtype=np.float32) / 255 + 0.7 * mask + rng.normal(0, 0.25, (SIDE, SIDE))
            self.x[i, 0] = (image - image.mean()) / image.std()
            self.y[i, 0] = mask

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]), torch.from_numpy(self.y[i])


def green_block(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1),
        nn.GroupNorm(4, cout),
        nn.ReLU(),
        nn.Conv2d(cout, cout, 3, padding=1),
        nn.GroupNorm(4, cout),
        nn.ReLU(),
    )


class SegNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1, self.enc2 = green_block(1, 12), green_block(12, 24)
        self.mid = green_block(24, 24)
        self.dec2, self.dec1 = green_block(48, 16), green_block(28, 12)
        self.last = nn.Conv2d(12, 1, 1)

    def forward(self, x):
        a = self.enc1(x)
        b = self.enc2(nn.functional.max_pool2d(a, 2))
        c = self.mid(nn.functional.max_pool2d(b, 2))
        b = self.dec2(torch.cat([nn.functional.interpolate(c, scale_factor=2), b], 1))
        a = self.dec1(torch.cat([nn.functional.interpolate(b, scale_factor=2), a], 1))
        return {"prob": torch.sigmoid(self.last(a)), "bottleneck": c}


class CombinedLoss(nn.Module):
    def __init__(self, weight_l1=0.1, eps=1e-5):
        super().__init__()
        self.weight_l1, self.eps = weight_l1, eps

    def forward(self, prob, mask):
        inter = (prob * mask).sum(dim=(1, 2, 3))
        total = prob.pow(2).sum(dim=(1, 2, 3)) + mask.pow(2).sum(dim=(1, 2, 3))
        loss_dice = ((2 * inter + self.eps) / (total + self.eps)).mean()
        loss_l1 = (prob - mask).abs().mean()
        return loss_dice + self.weight_l1 * loss_l1


@torch.no_grad()
def test_dice(model, loader):
    model.eval()
    inter = total = 0.0
    for x, y in loader:
        p = (model(x)["prob"] > 0.5).float()
        inter += (p * y).sum().item()
        total += p.sum().item() + y.sum().item()
    return 2 * inter / total


def main():
    torch.manual_seed(3)
    train = DataLoader(Lesions(400, 0), batch_size=10, shuffle=True)
    test = DataLoader(Lesions(100, 1), batch_size=50)
    model, criterion = SegNet(), CombinedLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    epochs = 4
    poly = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: (1 - e / epochs) ** 0.9)
    for epoch in range(epochs):
        model.train()
        losses = []
        for x, y in train:
            loss = criterion(model(x)["prob"], y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        poly.step()
        print(f"epoch {epoch} loss {np.mean(losses):.4f} test dice {test_dice(model, test):.4f}")


if __name__ == "__main__":
    main()
