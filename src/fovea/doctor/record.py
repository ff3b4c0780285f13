"""What was seen of a training: plain values and a few small arrays, which probes read.

Nothing here looks at a training itself (`watcher` does) and nothing judges (`probes` do). A step is one call of an
optimiser's `step`; steps are numbered from 0. Steps that were looked at closely are called samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fovea.doctor.files.seen import SeenFiles

Phase = Literal["train", "eval"]
NAN = float("nan")
MOST_VALUES = 100  # of targets that are whole numbers
MOST_SPREADS = 48  # of a layer or a weight


@dataclass(frozen=True)
class Place:
    """A line of somebody's code.

    >>> str(Place("train.py", 12))
    'train.py:12'
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Group:
    """A parameter group of an optimiser, as it was before the first step."""

    names: list[str]  # of its parameters, where they belong to a model that was seen
    settings: dict[str, Any]  # lr, momentum, weight_decay, betas ...: plain numbers only


@dataclass
class Optimiser:
    """One optimiser."""

    kind: str
    groups: list[Group]
    where: Place | None  # of the first call of step
    lr: list[float] = field(default_factory=list)  # of the first group, at each step
    lr_set_at: list[int] = field(default_factory=list)  # steps before which it had changed
    samples: int = 0  # steps that were looked at
    idle: int = 0  # of these, for which none of its parameters had a gradient
    cleared: int = 0  # of these, whose gradients had come, and were gone or zero before the step


@dataclass
class Step:
    """One step of an optimiser: the losses and batches since the one before."""

    loss: float = NAN  # mean over the batches that were propagated back
    batches: int = 0  # calls of backward
    images: int = 0
    right: int = -1  # of the images, where labels and scores were seen; -1 unknown
    stale_gradients: bool = False  # the first backward found gradients that the step before had used
    flipped: bool = False  # backward was called on the negative of the loss
    eval_mode: bool = False  # the network was in evaluation mode in training
    optimiser: int = 0  # its number
    seconds: float = NAN  # since the step before


@dataclass
class Batch:
    """What the network was given once, in numbers."""

    step: int
    phase: Phase
    shape: tuple[int, ...]  # (B, C, H, W) or whatever came
    dtype: str
    mean: np.ndarray  # of each channel (C,)
    std: np.ndarray
    lowest: float
    highest: float
    digest: str  # of the pixels
    values: int = 0  # different ones among its first few thousand
    common: dict[float, float] = field(default_factory=dict)  # the commonest values, with their shares
    labels: np.ndarray | None = None  # (B,) integers, or (B, C) of zeros and ones
    module_training: bool = True  # the mode that the network was in


@dataclass
class Loss:
    """One kind of call of a loss function: the same function from the same line in the same phase."""

    name: str
    phase: Phase
    where: Place | None
    reduction: str
    calls: int = 0
    classes: int | None = None  # columns of the scores
    labels_lowest: int | None = None
    labels_highest: int | None = None
    labels_dtype: str = ""
    rows_sum_to_one: int = 0  # calls whose scores were not negative and summed to one in each row
    within_unit: int = 0  # calls whose scores all lay between 0 and 1
    above_zero: int = 0  # calls some of whose scores were clearly above 0
    several: int = 0  # calls some of whose images had several labels, each yes or no
    looked_at: int = 0  # calls whose scores were looked at
    scores_shape: tuple[int, ...] = ()  # of the first call
    target_shape: tuple[int, ...] = ()
    label_counts: np.ndarray | None = None  # (C,)
    # of masks, images (looked at) that hold k of the classes, for each k (C + 1,); and those whose k are 0 to k - 1
    held: np.ndarray | None = None
    held_from_0: np.ndarray | None = None
    # of targets that are numbers, how often 0, 1, 2 ... occurred; None once there was another
    whole_counts: np.ndarray | None = field(default_factory=lambda: np.zeros(MOST_VALUES, np.int64))
    values: list[tuple[int, float, int]] = field(default_factory=list)  # (step, value, images)


@dataclass
class Drop:
    """The dropout function of `torch.nn.functional`, called from one line."""

    where: Place
    p: float
    on: int = 0  # calls with gradients that dropped something
    on_without_gradients: int = 0
    off: int = 0  # calls that let everything pass


@dataclass
class Sigmoid:
    """A line of somebody's code that takes sigmoids in evaluation, outside of any network."""

    where: Place | None
    calls: int = 0
    of_probabilities: int = 0  # calls all of whose values lay between 0 and 1 already
    values: int = 0


@dataclass
class Shown:
    """A figure that a line of somebody's code prints again and again."""

    kind: Literal["accuracy", "f1"]
    phase: Phase | None  # that it is printed as being of
    where: Place
    text: str = ""  # the part of the line that said so last
    values: list[tuple[int, float]] = field(default_factory=list)  # (step, share); the last few


@dataclass
class Cut:
    """Parts of one size that Pillow has cut out of pictures of one size."""

    whole: tuple[int, int]  # width and height in px before anything was done to it
    part: tuple[int, int]
    centred: bool
    kept: float  # share of the whole that the first one shows
    count: int = 0


@dataclass
class Squashed:
    """A loss that squashes what is squashed already, as autograd's graph tells."""

    first: str  # function, such as "Softmax"
    second: str
    where: Place | None  # of the call of backward
    calls: int = 0


@dataclass
class Compared:
    """Answers that a line of somebody's code compared with labels, in sum over its calls."""

    where: Place
    yes_or_no: bool  # scores are of one question, not of classes
    calls: int = 0
    images: int = 0
    right: int = 0  # as they were compared
    of_scores: int = 0  # as the scores decide
    alike: int = 0  # calls whose answers were all the same
    cut: int = 0  # calls whose answers were yes above some score
    spread: int = 0  # calls whose shapes, such as (B, 1) and (B,), made B × B results of B
    shapes: tuple[tuple[int, ...], ...] = ()  # of the first call's two sides


@dataclass
class Round:
    """One evaluation: the calls without a backward between two steps."""

    step: int
    images: int = 0
    loss_sum: float = 0.0
    loss_images: int = 0
    right: int = 0
    judged: int = 0  # images whose label and scores were seen
    training_mode: int = 0  # batches that a network in training mode, with layers for which that matters, was given
    batches: int = 0
    grad_enabled: int = 0
    confusion: np.ndarray | None = None  # (C, C) counts, rows true
    first_digest: str = ""  # of the pixels of its first batch
    loader: int | None = None  # that handed out its first batch
    parts: list[tuple[int, int]] = field(default_factory=list)  # of each judged batch: right answers, images
    # F1 of each judged batch: mean over the classes that occur in it, and over all, where those that do not count 0
    f1s: list[tuple[float, float]] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)  # of yes and no, (n,) each: the first few thousand
    truths: list[np.ndarray] = field(default_factory=list)  # zeros and ones that belong to them

    @property
    def loss(self) -> float:
        return self.loss_sum / self.loss_images if self.loss_images else NAN

    @property
    def accuracy(self) -> float:
        return self.right / self.judged if self.judged else NAN


@dataclass
class Spread:
    """How values were spread over magnitudes at some samples: what a layer put out, or a gradient.

    Of a long training some samples in between are let go, ever more of the later ones.
    """

    steps: list[int] = field(default_factory=list)
    shares: list[np.ndarray] = field(default_factory=list)  # (magnitudes.BINS,) each; they sum to 1

    def add(self, step: int, shares: np.ndarray) -> None:
        """Add a sample; when there are too many, let go of the one whose neighbours stand closest."""
        self.steps.append(step)
        self.shares.append(shares)
        if len(self.steps) > MOST_SPREADS:
            steps = np.array(self.steps, dtype=np.float64)
            gone = 1 + int(((steps[2:] - steps[:-2]) / np.sqrt(1 + steps[1:-1])).argmin())
            del self.steps[gone], self.shares[gone]


@dataclass
class Parameter:
    """A parameter of a network, and how it moved at each sample."""

    name: str
    module: str  # name of the module it belongs to
    kind: str  # class of that module
    shape: tuple[int, ...]
    trainable: bool
    optimised: bool = False
    reached: bool = False  # by a gradient; looked for where no optimiser has it
    first_std: float = NAN  # of its values when it was first seen
    uneven_rows: float = NAN  # how much the spread of its rows varies, 1 in weights drawn alike
    equal_rows: float = NAN  # share of its rows that equal another row, when it was first seen
    steps: list[int] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)  # norm; NaN where there was none
    weight: list[float] = field(default_factory=list)  # norm before the step
    update: list[float] = field(default_factory=list)  # norm of the change
    # of one in 16 bits: share of its values with gradients that the step left as they were
    unmoved: list[float] = field(default_factory=list)
    gradients: Spread = field(default_factory=Spread)  # of weights: what has at least two axes


@dataclass
class Layer:
    """A module without children, and what it put out at each sample in training."""

    name: str
    kind: str
    settings: dict[str, Any]  # p of a dropout, momentum of a normalisation ...
    order: int = -1  # place among the layers in the order of the first forward pass
    out_shape: tuple[int, ...] = ()
    steps: list[int] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)
    zeros: list[float] = field(default_factory=list)  # share of the values
    saturated: list[float] = field(default_factory=list)  # share of the units whose values lie at the ends
    # at each sample, calls whose output had a graph, and those of them that a gradient came back to
    passes: list[tuple[int, int]] = field(default_factory=list)
    fired_at: np.ndarray | None = None  # (units,) step at which it was last seen to fire, -1 never
    outputs: Spread = field(default_factory=Spread)


@dataclass
class Kernels:
    """The weights of the first layer that sees pixels, as pictures: at most 64 of them."""

    layer: str
    count: int  # of all that it has
    steps: list[int]  # before the first step that was seen, and at the end; none without a training
    values: list[np.ndarray]  # (kernels, C, h, w) each


@dataclass
class FeatureMap:
    """What one layer made of one image."""

    layer: str
    kind: str
    shape: tuple[int, ...]  # of all that it put out for the image: (C, h, w)
    values: np.ndarray  # of the first channels, at most (8, 32, 32)


@dataclass
class Features:
    """What several layers made of one image: the first of the last sample's first batch, or one that was chosen."""

    step: int | None  # None of an image that was chosen
    image: np.ndarray  # (C, H, W), at most 64 px
    maps: list[FeatureMap]


@dataclass
class Mistyped:
    """An attribute that was set in place of `requires_grad` of parameters."""

    name: str  # of the module or parameter that it was set on
    attribute: str
    value: bool
    parameters: list[str]  # which it was meant for, and which are otherwise


@dataclass
class Network:
    """A module that was called from outside any other, with parameters."""

    kind: str
    parameters: dict[str, Parameter]
    layers: dict[str, Layer]
    follows: list[tuple[str, str]] = field(default_factory=list)  # (layer, the layer that took its very output)
    compiled: bool = False
    pretrained_hint: bool = False  # its weights do not look freshly drawn
    out_dim: int | None = None
    kernels: Kernels | None = None
    features: Features | None = None
    evaluated: int = 0  # batches in evaluation mode
    unreached: int = 0  # batches in training mode, with layers that mind it, which no gradient came back to
    fresh_norms: list[str] = field(default_factory=list)  # whose running statistics never moved, if it was evaluated
    kept_fresh: list[str] = field(default_factory=list)  # weights that are frozen, and as freshly drawn as at first
    mistyped: list[Mistyped] = field(default_factory=list)
    put_in_later: list[str] = field(default_factory=list)  # parameters that get gradients and that no optimiser has
    on_masks: list[tuple[int, float]] = field(default_factory=list)  # step, correlation of its output with masks


@dataclass
class NonFinite:
    """The first value that was not finite."""

    step: int
    what: str  # "input", "output of", "loss", "gradient of", "parameter"
    name: str
    where: Place | None = None


@dataclass
class Loader:
    """A DataLoader that was iterated."""

    batch_size: int | None
    shuffled: bool | None  # None where the sampler is not one of torch's
    drop_last: bool
    images: int | None
    phase: Phase | None = None
    rounds: int = 0
    transforms: str = ""  # as the dataset prints them
    moves: list[str] = field(default_factory=list)  # random ones that move what is seen, and can move no target with it
    places: str = ""  # what its targets say of places: boxes, masks, keypoints
    dataset: int = 0  # which one it is: equal for loaders of the same
    label_batches: list[np.ndarray] = field(default_factory=list)  # labels of its first batches, in order

    def is_like(self, other: Loader) -> bool:
        """Whether another loader hands out the same dataset in the same way."""
        return all(
            getattr(self, name) == getattr(other, name) for name in ("dataset", "batch_size", "shuffled", "drop_last")
        )


@dataclass
class Gallery:
    """Some inputs as small grey pictures, with labels: enough to find copies across phases."""

    pictures: list[np.ndarray] = field(default_factory=list)  # (64, 64) uint8
    labels: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)  # (64, 64, 3) uint8: the first few once more, as RGB
    networks: list[int] = field(default_factory=list)  # which one was given each
    sources: list[int] = field(default_factory=list)  # loader, or below 0 the place of its batch in the evaluation

    def only(self, rows: Iterable[int]) -> Gallery:
        """Return some of the pictures, without colours."""
        kept = list(rows)
        return Gallery(
            [self.pictures[row] for row in kept],
            [self.labels[row] for row in kept],
            [self.steps[row] for row in kept],
            networks=[self.networks[row] for row in kept],
            sources=[self.sources[row] for row in kept],
        )


@dataclass
class Record:
    """Everything seen."""

    networks: list[Network] = field(default_factory=list)
    optimisers: list[Optimiser] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    squashed: list[Squashed] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    sigmoids: list[Sigmoid] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    loaders: list[Loader] = field(default_factory=list)
    galleries: dict[Phase, Gallery] = field(default_factory=lambda: {"train": Gallery(), "eval": Gallery()})
    files: SeenFiles = field(default_factory=SeenFiles)
    nonfinite: NonFinite | None = None
    audited: bool = False  # copies across splits were looked for by other means: the pictures need not be compared
    skipped_steps: int = 0  # by a gradient scaler
    unseen: list[str] = field(default_factory=list)  # what could not be observed, in words
    seconds: float = 0.0
    overhead_s: float = 0.0
    error: str = ""  # the exception that ended the training
    cut_short: bool = False  # by the user, or once enough was seen

    def trains_on(self, loader: int | None) -> bool:
        """Whether a loader hands out a dataset that is trained on."""
        trained = {each.dataset for each in self.loaders if each.phase == "train"}
        return loader is not None and self.loaders[loader].dataset in trained
