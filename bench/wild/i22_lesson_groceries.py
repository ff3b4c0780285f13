"""Worksheet 6 for my upper-secondary computer science course: train a network that recognises eight groceries
from photos, then measure how good it is. Pupils fill in the last part themselves.

style: teacher's exercise, numbered tasks, plain loops
fault: eval-in-train-mode
broken: 0.367
mended: 0.883
"""

import os
import random

import numpy as np
import torch
from PIL import Image
from torch import nn

SHARED = os.environ["FOVEA_SHARED"]

# ---------------------------------------------------------------- Task 1: collect the photos
GROCERIES = ["Banana", "Kiwi", "Carrots", "Lemon", "Red-Beet", "Avocado", "Satsumas", "Aubergine"]
random.seed(11)
torch.manual_seed(11)


def open_photo(path):
    with Image.open(path) as photo:
        photo.draft("RGB", (90, 90))
        small = photo.convert("RGB").resize((40, 40), Image.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255 * 2 - 1


learn, exam = [], []
for number, grocery in enumerate(GROCERIES):
    found = []
    for list_name in ("train.txt", "val.txt"):
        with open(f"{SHARED}/data/grocery/{list_name}") as f:
            for line in f:
                path = line.split(",")[0]
                if path.split("/")[2] == grocery:
                    found.append(f"{SHARED}/data/grocery/{path}")
    random.shuffle(found)
    third = len(found) // 3
    for path in found[:third]:
        exam.append((open_photo(path), number))
    for path in found[third:]:
        learn.append((open_photo(path), number))
print("photos for learning:", len(learn))
print("photos for the exam:", len(exam))

# ---------------------------------------------------------------- Task 2: the network


def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))


network = nn.Sequential(
    block(3, 16), block(16, 32), block(32, 48), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48 * 5 * 5, len(GROCERIES))
)
print("number of weights:", sum(w.numel() for w in network.parameters()))

# ---------------------------------------------------------------- Task 3: learning
optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
error = nn.CrossEntropyLoss()


def learn_once():
    network.train()
    random.shuffle(learn)
    sum_of_errors = 0
    for start in range(0, len(learn) - 15, 16):
        part = learn[start : start + 16]
        pictures = torch.stack([p for p, n in part])
        if random.random() < 0.5:
            pictures = torch.flip(pictures, dims=[3])
        numbers = torch.tensor([n for p, n in part])
        e = error(network(pictures), numbers)
        optimizer.zero_grad()
        e.backward()
        optimizer.step()
        sum_of_errors += e.item()
    return sum_of_errors / (len(learn) // 16)


for round_number in range(1, 19):
    print("round", round_number, "error", round(learn_once(), 3), flush=True)

# ---------------------------------------------------------------- Task 4: the exam
right = 0
with torch.no_grad():
    for start in range(0, len(exam), 4):
        part = exam[start : start + 4]
        pictures = torch.stack([p for p, n in part])
        answers = network(pictures).argmax(dim=1)
        for answer, (p, n) in zip(answers, part):
            if answer.item() == n:
                right += 1
print("right answers in the exam:", right, "of", len(exam))
print("mark:", round(right / len(exam), 3))
