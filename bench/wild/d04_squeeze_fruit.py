"""Shop pictures: SqueezeNet retrained on the product groups of a shop.

style: forum post, torchvision v2 transforms and a small engine function
fault: normalised-twice
accept: not-normalised, input-ignored
broken: 0.074
mended: 0.449
"""

import os

import torch
import torch.nn as nn
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2 as transforms

shared = os.environ["FOVEA_SHARED"]
root = shared + "/data/grocery/"
torch.set_num_threads(1)
torch.manual_seed(11)


def read_rows(name):
    rows = [l.strip().split(", ") for l in open(root + name)]
    return [(r[0], int(r[2])) for r in rows]


train_rows, test_rows = read_rows("train.txt"), read_rows("val.txt")
num_classes = 1 + max(y for _, y in train_rows)


class Pictures(Dataset):
    def __init__(self, rows, tf):
        self.tf = tf
        self.data = []
        for p, y in rows:
            im = Image.open(root + p)
            im.draft("RGB", (116, 116))
            self.data.append((im.convert("RGB"), y))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        im, y = self.data[i]
        return self.tf(im), y


train_tf = transforms.Compose(
    [
        transforms.RandomResizedCrop(72, scale=(0.5, 1), antialias=True),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
)
test_tf = transforms.Compose([transforms.Resize(80, antialias=True), transforms.CenterCrop(72), transforms.ToTensor()])
train_loader = DataLoader(Pictures(train_rows, train_tf), batch_size=32, shuffle=True)
test_loader = DataLoader(Pictures(test_rows, test_tf), batch_size=64)

net = torchvision.models.squeezenet1_0()
net.load_state_dict(load_file(shared + "/weights/squeezenet1_0.deepcompression_in1k/model.safetensors"))
net.classifier[1] = nn.Conv2d(512, num_classes, 1)
nn.init.normal_(net.classifier[1].weight, std=0.01)
nn.init.zeros_(net.classifier[1].bias)

mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def prepare(batch):
    batch = batch.float() / 255.0
    return (batch - mean) / std


optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, weight_decay=1e-2)
criterion = nn.CrossEntropyLoss()


def run(loader, training):
    net.train(training)
    total, right, count = 0.0, 0, 0
    with torch.set_grad_enabled(training):
        for images, target in loader:
            output = net(prepare(images))
            loss = criterion(output, target)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += loss.item() * target.size(0)
            right += (output.argmax(1) == target).sum().item()
            count += target.size(0)
    return total / count, right / count


for epoch in range(4):
    a = run(train_loader, True)
    b = run(test_loader, False)
    print("epoch %d train %.3f/%.3f test %.3f/%.3f" % (epoch, *a, *b), flush=True)
