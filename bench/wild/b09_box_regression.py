"""Where is the triangle? Four box numbers from a 48-pixel scene, with an on-the-fly augmentation.

style: detection-like, collate_fn, tuples of image and target dict, smooth L1
source: https://github.com/fizyr/keras-retinanet/issues/150
fault: label-changing-augmentation
broken: 0.29
mended: 0.56
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.ops import box_iou

SIZE = 48


def render(rng):
    """A noisy background, a distracting disc and the triangle that is looked for."""
    base = rng.integers(20, 120, 3)
    img = Image.new("RGB", (SIZE, SIZE), tuple(int(v) for v in base))
    draw = ImageDraw.Draw(img)
    r = int(rng.integers(3, 6))
    x, y = (int(v) for v in rng.integers(r, SIZE - r, 2))
    draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(v) for v in rng.integers(60, 255, 3)))
    w, h = (int(v) for v in rng.integers(10, 22, 2))
    x0, y0 = int(rng.integers(0, SIZE - w)), int(rng.integers(0, SIZE - h))
    tip = x0 + int(rng.integers(0, w))
    draw.polygon([(x0, y0 + h), (x0 + w, y0 + h), (tip, y0)], fill=tuple(int(v) for v in rng.integers(160, 255, 3)))
    noisy = np.asarray(img, dtype=np.int16) + rng.normal(0, 8, (SIZE, SIZE, 3)).astype(np.int16)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), [x0, y0, x0 + w, y0 + h]


class Scenes(Dataset):
    def __init__(self, n, seed, transforms):
        rng = np.random.default_rng(seed)
        self.data = [render(rng) for _ in range(n)]
        self.transforms = transforms

    def __len__(self):
        return len(self.data)

    def __getitem__(self, idx):
        img, box = self.data[idx]
        target = {"boxes": torch.tensor([box], dtype=torch.float32), "image_id": idx}
        return self.transforms(img), target


def collate_fn(batch):
    images, targets = zip(*batch, strict=True)
    return torch.stack(images), list(targets)


class BoxNet(nn.Module):
    def __init__(self):
        super().__init__()

        def layer(i, o):
            return nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU())

        self.backbone = nn.Sequential(layer(3, 16), layer(16, 32), layer(32, 64))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 36, 64), nn.ReLU(), nn.Linear(64, 4))
        self.loss = nn.SmoothL1Loss(beta=0.05)

    def forward(self, images, targets=None):
        boxes = self.head(self.backbone(images))
        if targets is None:
            return boxes * SIZE
        truth = torch.cat([t["boxes"] for t in targets]) / SIZE
        return {"loss_box": self.loss(boxes, truth)}


@torch.no_grad()
def mean_iou(model, loader):
    model.eval()
    ious = []
    for images, targets in loader:
        pred = model(images)
        for p, t in zip(pred, targets, strict=True):
            ious.append(box_iou(p[None], t["boxes"]).item())
    return float(np.mean(ious))


def main():
    torch.manual_seed(2)
    train_tf = T.Compose(
        [
            T.RandomHorizontalFlip(),
            T.RandomVerticalFlip(),
            T.ColorJitter(0.2, 0.2, 0.2),
            T.ToTensor(),
            T.Normalize([0.4] * 3, [0.25] * 3),
        ]
    )
    test_tf = T.Compose([T.ToTensor(), T.Normalize([0.4] * 3, [0.25] * 3)])
    train = DataLoader(Scenes(1400, 0, train_tf), batch_size=32, shuffle=True, collate_fn=collate_fn)
    test = DataLoader(Scenes(300, 1, test_tf), batch_size=64, collate_fn=collate_fn)
    model = BoxNet()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=2e-3)
    epochs = 7
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        model.train()
        running = 0.0
        for images, targets in train:
            losses = model(images, targets)
            total = sum(losses.values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            running += total.item()
        scheduler.step()
        print(f"epoch {epoch}: loss {running / len(train):.4f} test IoU {mean_iou(model, test):.3f}")


if __name__ == "__main__":
    main()
