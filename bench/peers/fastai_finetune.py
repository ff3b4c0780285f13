"""fastai as its vision tutorial teaches it: presized images, `aug_transforms`, `vision_learner(...).fine_tune(epochs)`.

The backbone and its weights are the same local timm folder that fovea gets. Validation on the `val` rows after each
epoch is part of the recipe and counts as time; scoring on the `score` rows, where the table has them, does not.
"""

from __future__ import annotations

import time

import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.metrics import accuracy
from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms, vision_learner
from table import Diary, parse_arguments, read_table


class Score(Callback):
    """Writes down the accuracy after every epoch."""

    order = 60  # after the recorder

    def __init__(self, diary: Diary, score: pd.DataFrame | None) -> None:
        super().__init__()
        self.diary, self.score = diary, score
        self.scoring_s, self.epochs = 0.0, 0

    def after_epoch(self) -> None:
        self.epochs += 1
        reached = float(self.learn.recorder.values[-1][-1])
        if self.score is not None:
            started = time.time()
            reached = self._accuracy(self.score)
            self.scoring_s += time.time() - started
        self.diary.note(epoch=self.epochs, accuracy=reached, scoring_s=self.scoring_s)

    def _accuracy(self, score: pd.DataFrame) -> float:
        model, loader = self.learn.model, self.learn.dls.test_dl(score, with_labels=True)
        model.eval()
        with torch.no_grad():
            right = sum(int((model(images).argmax(1) == targets).sum()) for images, targets in loader)
        return right / len(score)


def main() -> None:
    """Fine-tune and write accuracy over time."""
    options = parse_arguments()
    torch.set_num_threads(options.cores)
    splits = read_table(options.table)
    frames = {
        name: pd.DataFrame({"path": images.paths, "label": images.targets, "is_valid": name == "val"})
        for name, images in splits.items()
    }
    loaders = ImageDataLoaders.from_df(
        pd.concat([frames["train"], frames["val"]], ignore_index=True),
        path="/",
        valid_col="is_valid",
        item_tfms=Resize(460),
        batch_tfms=aug_transforms(size=224),
        num_workers=options.cores,
    )
    learner = vision_learner(loaders, f"local-dir:{options.weights}", metrics=accuracy)
    learner.add_cb(Score(Diary(options.out), frames.get("score")))
    with learner.no_bar():
        learner.fine_tune(options.epochs)


if __name__ == "__main__":
    main()
