"""Shapes at 32 px, trained with a command line borrowed from torchvision's classification reference.

style: torchvision-reference-like
fault: learning-rate-high
"""

import argparse
import datetime
import random
import time

import torch
import torch.utils.data
from PIL import Image, ImageDraw
from torch import nn
from torchvision.transforms.functional import normalize, to_tensor


class SyntheticShapes(torch.utils.data.Dataset):
    classes = ["disc", "ring", "box", "frame", "wedge", "bar", "plus", "two-discs"]

    def __init__(self, n, seed):
        rng = random.Random(seed)
        self.data = []
        for _ in range(n):
            label = rng.randrange(len(self.classes))
            self.data.append((self.draw(self.classes[label], rng), label))

    @staticmethod
    def draw(name, rng):
        img = Image.new("RGB", (32, 32), tuple(rng.randint(90, 170) for _ in range(3)))
        d = ImageDraw.Draw(img)
        ink = tuple(rng.choice([rng.randint(0, 60), rng.randint(195, 255)]) for _ in range(3))
        x, y, r = rng.randint(10, 22), rng.randint(10, 22), rng.randint(5, 9)
        box = (x - r, y - r, x + r, y + r)
        if name == "disc":
            d.ellipse(box, fill=ink)
        elif name == "ring":
            d.ellipse(box, outline=ink, width=2)
        elif name == "box":
            d.rectangle(box, fill=ink)
        elif name == "frame":
            d.rectangle(box, outline=ink, width=2)
        elif name == "wedge":
            d.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
        elif name == "bar":
            d.rectangle((x - r, y - 2, x + r, y + 2), fill=ink)
        elif name == "plus":
            d.rectangle((x - r, y - 1, x + r, y + 1), fill=ink)
            d.rectangle((x - 1, y - r, x + 1, y + r), fill=ink)
        else:
            q = r // 2
            d.ellipse((x - r, y - q, x - r + 2 * q, y + q), fill=ink)
            d.ellipse((x + r - 2 * q, y - q, x + r, y + q), fill=ink)
        return img

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        image, label = self.data[i]
        return normalize(to_tensor(image), [0.5] * 3, [0.25] * 3), label


class VGGish(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        layers, c = [], 3
        for width in (16, "M", 32, "M", 48, 48, "M"):
            if width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(c, width, 3, padding=1), nn.ReLU(inplace=True)]
                c = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(48 * 16, 96), nn.ReLU(inplace=True), nn.Linear(96, num_classes))
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def train_one_epoch(model, criterion, optimizer, data_loader, epoch, args):
    model.train()
    for i, (image, target) in enumerate(data_loader):
        output = model(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % args.print_freq == 0:
            print(f"Epoch: [{epoch}] [{i}/{len(data_loader)}] lr: {optimizer.param_groups[0]['lr']} loss: {loss:.4f}")


def evaluate(model, criterion, data_loader):
    model.eval()
    hits, seen, loss = 0, 0, 0.0
    with torch.inference_mode():
        for image, target in data_loader:
            output = model(image)
            loss += criterion(output, target).item() * len(target)
            hits += output.argmax(1).eq(target).sum().item()
            seen += len(target)
    print(f"Test:  Acc@1 {100 * hits / seen:.3f} loss {loss / seen:.4f}")


def main(args):
    torch.manual_seed(args.seed)
    dataset, dataset_test = SyntheticShapes(1600, 0), SyntheticShapes(600, 1)
    data_loader = torch.utils.data.DataLoader(dataset, batch_size=args.batch_size, shuffle=True)
    data_loader_test = torch.utils.data.DataLoader(dataset_test, batch_size=args.batch_size)
    model = VGGish(len(dataset.classes))
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=args.lr_step_size, gamma=args.lr_gamma)
    start_time = time.time()
    for epoch in range(args.epochs):
        train_one_epoch(model, criterion, optimizer, data_loader, epoch, args)
        lr_scheduler.step()
        evaluate(model, criterion, data_loader_test)
    print(f"Training time {datetime.timedelta(seconds=int(time.time() - start_time))}")


def get_args_parser():
    parser = argparse.ArgumentParser(description="PyTorch Classification Training", add_help=True)
    parser.add_argument("-b", "--batch-size", default=64, type=int)
    parser.add_argument("--epochs", default=8, type=int)
    parser.add_argument("--lr", default=0.1, type=float, help="initial learning rate")
    parser.add_argument("--momentum", default=0.9, type=float)
    parser.add_argument("--wd", "--weight-decay", default=1e-4, type=float, dest="weight_decay")
    parser.add_argument("--label-smoothing", default=0.0, type=float)
    parser.add_argument("--lr-step-size", default=5, type=int)
    parser.add_argument("--lr-gamma", default=0.1, type=float)
    parser.add_argument("--print-freq", default=10, type=int)
    parser.add_argument("--seed", default=5, type=int)
    return parser


if __name__ == "__main__":
    main(get_args_parser().parse_args())
