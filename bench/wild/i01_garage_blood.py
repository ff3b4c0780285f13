"""Weekend project: my cheap USB microscope should tell red cells, white cells and platelets apart. I start
with the BCCD pictures and a net that I can later squeeze into 8-bit on a microcontroller.

style: hobbyist, globals, cut and paste, small comments
fault: input-ignored
broken: 0.496
mended: 0.993
"""

import os
import random
import xml.etree.ElementTree as ET
import numpy as np
import torch
import torch.nn as nn
from PIL import Image

SHARED = os.environ["FOVEA_SHARED"]
BASE = SHARED + "/data/bccd/"
SIZE = 28
NAMES = ["RBC", "WBC", "Platelets"]
random.seed(5)
np.random.seed(5)
torch.manual_seed(5)


def get_cells(listfile):
    cells = []
    for name in open(BASE + "ImageSets/Main/" + listfile):
        name = name.strip()
        pic = Image.open(BASE + "JPEGImages/" + name + ".jpg").convert("RGB")
        objs = list(ET.parse(BASE + "Annotations/" + name + ".xml").getroot().iter("object"))
        random.shuffle(objs)
        reds = 0
        for o in objs:
            kind = o.find("name").text
            if kind == "RBC":
                reds += 1
                if reds > 2:
                    continue  # there are way too many of them
            bb = o.find("bndbox")
            x0, y0, x1, y1 = [int(float(bb.find(k).text)) for k in ("xmin", "ymin", "xmax", "ymax")]
            if x1 - x0 < 6 or y1 - y0 < 6:
                continue
            cells.append((pic.crop((x0, y0, x1, y1)).resize((SIZE, SIZE)), NAMES.index(kind)))
    return cells


def to_arrays(cells):
    # one big 8-bit block like on the microcontroller, then float for torch
    block = np.zeros((len(cells), SIZE, SIZE, 3), dtype=np.uint8)
    y = np.zeros(len(cells), dtype=np.int64)
    for i, (im, k) in enumerate(cells):
        block[i] = np.asarray(im, dtype=np.float32) / 255
        y[i] = k
    x = torch.from_numpy(block).permute(0, 3, 1, 2).float()
    return (x - 0.6) / 0.2, torch.from_numpy(y)


xtrain, ytrain = to_arrays(get_cells("trainval.txt"))
xtest, ytest = to_arrays(get_cells("test.txt"))
print(len(xtrain), "cells to learn,", len(xtest), "cells to test")

net = nn.Sequential(
    nn.Conv2d(3, 12, 3, stride=2, padding=1),
    nn.BatchNorm2d(12),
    nn.ReLU6(),
    nn.Conv2d(12, 24, 3, stride=2, padding=1),
    nn.BatchNorm2d(24),
    nn.ReLU6(),
    nn.Conv2d(24, 32, 3, stride=2, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU6(),
    nn.Flatten(),
    nn.Linear(32 * 16, 3),
)

opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
lossf = nn.CrossEntropyLoss()
BS = 32
for epoch in range(10):
    net.train()
    perm = torch.randperm(len(xtrain))
    tot = 0
    for i in range(0, len(perm) - BS + 1, BS):
        p = perm[i : i + BS]
        out = net(xtrain[p])
        l = lossf(out, ytrain[p])
        opt.zero_grad()
        l.backward()
        opt.step()
        tot += l.item()
    print("epoch", epoch + 1, "loss %.3f" % (tot / (len(perm) // BS)), flush=True)

net.eval()
with torch.no_grad():
    guess = net(xtest).argmax(1)
print("test: %.3f right" % (guess == ytest).float().mean().item())
for k, n in enumerate(NAMES):
    m = ytest == k
    print("  %-10s %d of %d" % (n, (guess[m] == k).sum(), m.sum()))
