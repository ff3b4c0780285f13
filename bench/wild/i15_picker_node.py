"""Vision node for our bin-picking arm: name the vegetable or fruit under the gripper from a 32 px patch,
so the arm knows the crate. Trained offline from disk, validated through the camera path.

style: robotics engineer, message structs, node classes
fault: channel-order
accept: train-eval-transform
broken: 0.057
mended: 0.965
"""

import glob
import os
from collections import namedtuple

import numpy as np
import torch
import torch.nn as nn
from PIL import Image

SHARED = os.environ["FOVEA_SHARED"]
Frame = namedtuple("Frame", "height width encoding step data")
CRATES = [
    "Green-Bell-Pepper",
    "Orange-Bell-Pepper",
    "Red-Bell-Pepper",
    "Yellow-Bell-Pepper",
    "Lemon",
    "Lime",
    "Orange",
    "Carrots",
    "Granny-Smith",
    "Red-Delicious",
]
SIDE = 32


class FakeCameraDriver:
    """Plays pictures back as the UVC driver publishes them (bgr8, like the RealSense node)."""

    def __init__(self, files):
        self.files = files

    def spin(self):
        for f in self.files:
            rgb = np.asarray(Image.open(f).convert("RGB").resize((96, 96), Image.BILINEAR))
            buf = np.ascontiguousarray(rgb[..., ::-1])
            yield Frame(96, 96, "bgr8", 96 * 3, buf.tobytes())


def imgmsg_to_array(msg):
    arr = np.frombuffer(msg.data, np.uint8)
    return arr.reshape(msg.height, msg.step)[:, : msg.width * 3].reshape(msg.height, msg.width, 3)


def read_disk(f):
    return np.asarray(Image.open(f).convert("RGB").resize((96, 96), Image.BILINEAR))


def patches(arr):
    """Four overlapping views around the gripper axis, area-averaged to SIDE."""
    views = []
    for dy, dx in ((6, 6), (6, 26), (26, 6), (16, 16)):
        v = Image.fromarray(arr[dy : dy + 64, dx : dx + 64]).resize((SIDE, SIDE), Image.BOX)
        views.append(np.asarray(v, np.float32))
    return np.stack(views)


def to_blob(stack):
    t = torch.from_numpy(stack).permute(0, 3, 1, 2) / 255.0
    return (t - 0.5) / 0.25


def find(crate):
    return (
        sorted(glob.glob(f"{SHARED}/data/grocery/train/*/*/{crate}/*.jpg"))
        + sorted(glob.glob(f"{SHARED}/data/grocery/train/*/{crate}/*.jpg"))
        + sorted(glob.glob(f"{SHARED}/data/grocery/val/*/*/{crate}/*.jpg"))
        + sorted(glob.glob(f"{SHARED}/data/grocery/val/*/{crate}/*.jpg"))
    )


class CrateNet(nn.Module):
    def __init__(self, k):
        super().__init__()

        def stage(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))

        self.trunk = nn.Sequential(stage(3, 24), stage(24, 48), stage(48, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, k)

    def forward(self, x):
        return self.head(self.trunk(x))


class TrainerNode:
    def __init__(self):
        torch.manual_seed(3)
        offline, online = [], []
        for k, crate in enumerate(CRATES):
            for i, f in enumerate(find(crate)):
                (online if i % 3 == 2 else offline).append((f, k))
        self.x = torch.cat([to_blob(patches(read_disk(f))) for f, _ in offline])
        self.y = torch.tensor([k for _, k in offline]).repeat_interleave(4)
        self.online = online
        self.net = CrateNet(len(CRATES))
        self.opt = torch.optim.SGD(self.net.parameters(), 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)
        self.sched = torch.optim.lr_scheduler.CosineAnnealingLR(self.opt, 14)
        print("offline pictures", len(offline), "camera pictures", len(online))

    def train(self):
        crit = nn.CrossEntropyLoss(label_smoothing=0.05)
        for ep in range(14):
            self.net.train()
            run = 0.0
            for idx in torch.randperm(len(self.x)).split(48):
                if len(idx) < 8:
                    continue
                xb = self.x[idx]
                if torch.rand(()) < 0.5:
                    xb = xb.flip(3)
                loss = crit(self.net(xb), self.y[idx])
                self.opt.zero_grad(set_to_none=True)
                loss.backward()
                self.opt.step()
                run += loss.item()
            self.sched.step()
            print(f"[trainer] epoch {ep} loss {run / (len(self.x) / 48):.3f}", flush=True)

    @torch.no_grad()
    def validate(self):
        self.net.eval()
        good = 0
        driver = FakeCameraDriver([f for f, _ in self.online])
        for msg, (_, k) in zip(driver.spin(), self.online):
            votes = self.net(to_blob(patches(imgmsg_to_array(msg)))).softmax(1).mean(0)
            good += int(votes.argmax().item() == k)
        return good / len(self.online)


if __name__ == "__main__":
    node = TrainerNode()
    node.train()
    print(f"[trainer] camera accuracy {node.validate():.3f}")
