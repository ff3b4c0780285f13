"""Everything that decides a training, as nested frozen dataclasses of plain values.

Stored as YAML. Defaults < file < command line. `None` means "fovea chooses and says what it chose"; the resolved
recipe in a run folder has no such gaps left that matter for repeating it. Reading and checking a recipe lives in
`recipe_io`; this module only says which settings exist, what they mean and what they default to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SWAPPED = ("pool", "global_pool", "norm", "act")  # the kinds of layers that a recipe can exchange


def setting(default: Any, help: str, *, choices: tuple[str, ...] = (), low: float | None = None) -> Any:
    """Declare one setting with its help text, its allowed names and its smallest value."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low})


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where the images are and how they become pixels."""

    source: str = setting("", "folder, table (CSV, TSV, Parquet) or list file")
    label_column: str | None = setting(None, "which column of a table or list file holds the label")
    classes: str | None = setting(None, "file with class names, one a line or a table with id and name")
    val_fraction: float = setting(0.2, "share of each class held out when the data brings no validation split", low=0)
    split_by: str = setting(
        "class",
        "class: every class gives its share; time: the latest images are held out, folds are stretches of time",
        choices=("class", "time"),
    )
    resize: str | None = setting(
        None, "how an image meets the input size; crop cuts the rim off", choices=("crop", "squash", "pad")
    )
    input_size: int | None = setting(None, "input side in pixels; the weights' own size when empty", low=8)
    max_pixels: int = setting(179_000_000, "images with more pixels than this are left out", low=1)
    audit: bool = setting(True, "look for copies, leaks and shortcuts first; no split then parts photos of one scene")
    augment: bool = setting(True, "random crops, flips and colour changes while training")
    crop_scale: float = setting(0.3, "smallest share of the area that a random crop keeps", low=0.01)
    hflip: float = setting(0.5, "probability of a horizontal flip", low=0)
    vflip: float = setting(0.0, "probability of a vertical flip", low=0)
    color_jitter: float = setting(0.3, "strength of brightness, contrast and saturation changes", low=0)
    rotate: float = setting(0.0, "largest rotation in degrees", low=0)
    shift: float = setting(0.0, "largest shift along each axis, as a share of that side", low=0)
    shear: float = setting(0.0, "largest lean of upright lines in degrees", low=0)
    pca_jitter: float = setting(0.0, "strength of the shift along the colours' principal axes; AlexNet has 0.1", low=0)
    pca_covariance: tuple[float, ...] = setting(
        (), "covariance of red, green and blue for pca_jitter, nine numbers for values 0..1; ImageNet's when empty"
    )
    blur: float = setting(0.0, "largest sigma of a Gaussian blur in pixels", low=0)
    noise: float = setting(0.0, "largest standard deviation of Gaussian noise, in units of 0..255", low=0)
    erase: float = setting(0.0, "probability that a rectangle is painted over with noise", low=0)
    erase_area: float = setting(0.4, "largest share of the area that such a rectangle covers", low=0.001)
    cache: bool = setting(True, "keep decoded pixels in a memory-mapped file between epochs and runs")
    workers: int | None = setting(None, "threads that decode images; the usable cores when empty", low=1)


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which network, and where its weights come from."""

    name: str | None = setting(None, "a name from the catalogue; the weights' own architecture when empty")
    weights: str | None = setting(None, "'hub', a timm folder, or a state-dict file; the hub when empty")
    from_scratch: bool = setting(False, "start from random weights")
    drop_rate: float = setting(0.2, "dropout before the classifier", low=0)
    pool: str | None = setting(None, "pooling to exchange the network's own for, such as softpool")
    global_pool: str | None = setting(None, "pooling of whole maps to exchange the network's own for")
    norm: str | None = setting(None, "normalisation to exchange the network's own for, such as group")
    act: str | None = setting(None, "activation to exchange the network's own for, such as mish")
    where: str = setting("*", "which layers are exchanged: a pattern for their names, such as layer4.*")

    @property
    def exchanged(self) -> dict[str, str]:
        """What is exchanged, by kind of layer, as `fovea.layers.swap` takes it; `where` only if anything is."""
        kinds = {kind: name for kind in SWAPPED if (name := getattr(self, kind)) is not None}
        return {**kinds, "where": self.where} if kinds else {}


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """How the network is trained."""

    budget_s: float | None = setting(None, "seconds of wall clock for the whole command; none is no limit", low=1)
    strategy: str = setting(
        "auto",
        "auto climbs as far as the budget allows: head, then the last stages, then the whole network",
        choices=("auto", "head", "tail", "full"),
    )
    folds: int | str | None = setting(
        None,
        "train once for each of so many folds, each judged on images it has not seen; loo holds out one at a time",
        choices=("loo",),
        low=2,
    )
    ensemble: str = setting("average", "how the models of the folds answer together", choices=("average", "vote"))
    views: int | None = setting(None, "augmented views of each image whose activations are cached for 'tail'", low=1)
    cut: str | None = setting(None, "name of the first module trained by 'tail'")
    epochs: int | None = setting(None, "passes over the training images; fitted to the budget when empty", low=1)
    batch_size: int = setting(32, "images in one step", low=1)
    batch_size_is: str = setting(
        "total",
        "total: of all devices together; per_device: of each, and lr is multiplied by the number of devices",
        choices=("total", "per_device"),
    )
    optimizer: str = setting("adamw", "which optimiser")
    lr: float | None = setting(None, "peak learning rate; chosen per optimiser and strategy when empty", low=0)
    momentum: float = setting(0.9, "momentum of SGD and RMSprop", low=0)
    nesterov: bool = setting(True, "Nesterov momentum for SGD")
    weight_decay: float = setting(0.02, "decay of weights, not of biases and normalisation", low=0)
    layer_decay: float = setting(0.9, "each stage further from the head learns slower by this factor", low=0)
    freeze_stages: int | None = setting(
        None, "how many of the first stages stay fixed under 'full'; fitted to the budget when empty", low=0
    )
    interpolate: bool = setting(True, "mix the weights from before and after fine-tuning as validates best")
    bn: str = setting(
        "auto",
        "BatchNorm statistics: frozen keeps those of the weights, update adapts them",
        choices=("auto", "frozen", "update"),
    )
    schedule: str = setting("cosine", "course of the learning rate")
    warmup: float = setting(0.1, "share of the steps spent warming up", low=0)
    step_epochs: tuple[int, ...] = setting((), "epochs at which the step schedule drops; thirds when empty")
    step_gamma: float = setting(0.1, "factor of each drop of the step schedule", low=0)
    label_smoothing: float = setting(0.1, "probability mass moved from the label to the other classes", low=0)
    mixup: float = setting(0.0, "alpha of mixup; 0 is off", low=0)
    cutmix: float = setting(0.0, "alpha of cutmix; 0 is off", low=0)
    class_weights: str = setting(
        "none", "weight of each class in the loss", choices=("none", "balanced", "sqrt_balanced")
    )
    sampler: str = setting(
        "shuffle",
        "how images are drawn: balanced draws each class equally often; over- and undersample bring every class to the "
        "size of the largest or the smallest",
        choices=("shuffle", "balanced", "oversample", "undersample"),
    )
    ema_decay: float = setting(0.99, "decay of the averaged weights; 0 is off", low=0)
    accumulate: int = setting(1, "batches whose gradients are summed into one step", low=1)
    clip_norm: float = setting(5.0, "largest norm of the gradient; 0 is off", low=0)
    early_stop: int = setting(0, "epochs without a better validation loss before stopping; 0 is off", low=0)
    precision: str = setting("auto", "number format of the heavy arithmetic", choices=("auto", "fp32", "bf16", "fp16"))
    channels_last: bool = setting(True, "memory layout that convolutions prefer")
    compile: str = setting("auto", "torch.compile", choices=("auto", "on", "off"))
    checkpoint_s: float = setting(60.0, "seconds between checkpoints inside an epoch", low=0)
    device: str = setting("auto", "where to train", choices=("auto", "cpu", "cuda", "mps"))
    threads: int | None = setting(None, "threads for arithmetic on CPU; the usable cores when empty", low=1)
    tensorboard: bool = setting(False, "also write TensorBoard events")
    doctor: bool = setting(True, "watch the training and say what is wrong with it; changes no result")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole of it. Equal recipes on equal data give equal models.

    >>> Recipe().train.batch_size
    32
    """

    seed: int = setting(0, "seed of everything random", low=0)
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)
