"""Port of our 2017 TensorFlow 1 smear reader to PyTorch: red cells, white cells and platelets cut out of the
blood smears by their boxes, 32x32, a LeNet-like net. Same numbers as in the old flags file.

style: long-time TensorFlow 1 user, FLAGS, scopes in names
fault: dropout-misuse
broken: 0.835
mended: 0.993
"""

import os
import random
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

SHARED = os.environ["FOVEA_SHARED"]
FLAGS = SimpleNamespace(
    data_dir=SHARED + "/data/bccd",
    image_size=32,
    batch_size=32,
    keep_prob=0.9,
    learning_rate=1e-3,
    num_epochs=10,
    max_rbc_per_smear=2,
    random_seed=1,
)
LABELS = {"RBC": 0, "WBC": 1, "Platelets": 2}


def read_split(name):
    images, labels = [], []
    rng = random.Random(FLAGS.random_seed)
    for stem in open(f"{FLAGS.data_dir}/ImageSets/Main/{name}.txt").read().split():
        tree = ET.parse(f"{FLAGS.data_dir}/Annotations/{stem}.xml")
        smear = Image.open(f"{FLAGS.data_dir}/JPEGImages/{stem}.jpg").convert("RGB")
        boxes = {k: [] for k in LABELS}
        for obj in tree.iter("object"):
            b = [int(float(obj.find("bndbox").find(t).text)) for t in ("xmin", "ymin", "xmax", "ymax")]
            if b[2] - b[0] > 8 and b[3] - b[1] > 8:
                boxes[obj.find("name").text].append(b)
        if len(boxes["RBC"]) > FLAGS.max_rbc_per_smear:
            boxes["RBC"] = rng.sample(boxes["RBC"], FLAGS.max_rbc_per_smear)
        for cell, bs in boxes.items():
            for b in bs:
                crop = smear.crop(b).resize((FLAGS.image_size, FLAGS.image_size), Image.BILINEAR)
                images.append(np.asarray(crop, np.float32))
                labels.append(LABELS[cell])
    x = np.stack(images).transpose(0, 3, 1, 2)
    x = (x - x.mean((2, 3), keepdims=True)) / (x.std((2, 3), keepdims=True) + 1e-3)  # per_image_standardization
    return torch.from_numpy(x), torch.tensor(labels)


class Inference(nn.Module):
    """conv1/pool1/conv2/pool2/local3/softmax_linear, as in the tutorial."""

    def __init__(self, keep_prob):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 5, padding=2)
        self.conv2 = nn.Conv2d(24, 32, 5, padding=2)
        self.local3 = nn.Linear(32 * 8 * 8, 96)
        self.local4 = nn.Linear(96, 48)
        self.softmax_linear = nn.Linear(48, len(LABELS))
        self.drop3 = nn.Dropout(keep_prob)
        self.drop4 = nn.Dropout(keep_prob)

    def forward(self, images):
        pool1 = F.max_pool2d(F.relu(self.conv1(images)), 2)
        pool2 = F.max_pool2d(F.relu(self.conv2(pool1)), 2)
        local3 = self.drop3(F.relu(self.local3(pool2.flatten(1))))
        local4 = self.drop4(F.relu(self.local4(local3)))
        return self.softmax_linear(local4)


def main():
    torch.manual_seed(FLAGS.random_seed)
    train_x, train_y = read_split("trainval")
    test_x, test_y = read_split("test")
    print("train", torch.bincount(train_y).tolist(), "test", torch.bincount(test_y).tolist())
    net = Inference(FLAGS.keep_prob)
    train_op = torch.optim.Adam(net.parameters(), lr=FLAGS.learning_rate)
    step = 0
    for _ in range(FLAGS.num_epochs):
        net.train()
        for idx in torch.randperm(len(train_x)).split(FLAGS.batch_size):
            loss = F.cross_entropy(net(train_x[idx]), train_y[idx])
            train_op.zero_grad()
            loss.backward()
            train_op.step()
            if step % 50 == 0:
                print(f"step {step}, loss = {loss.item():.3f}", flush=True)
            step += 1
    net.eval()
    with torch.no_grad():
        precision = (net(test_x).argmax(1) == test_y).float().mean().item()
    print(f"precision @ 1 = {precision:.3f}")


if __name__ == "__main__":
    main()
