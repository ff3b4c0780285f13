"""Files that a training reads: how they are cut, squashed, coloured and kept is named where it harms."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from fovea.doctor.diagnosis import diagnose
from fovea.doctor.files.afterwards import look_at_files
from fovea.doctor.files.colors import order_of
from fovea.doctor.files.linking import MOST_FILES, FileWatch, paths_of
from fovea.doctor.files.seen import Box, Judged, SeenFiles, Shown, Stored
from fovea.doctor.files.subject import class_names
from fovea.doctor.files.windows import SIDE, Picture, find_window
from fovea.doctor.finding import Diagnosis
from fovea.doctor.record import Record
from fovea.doctor.senses.files import WORKERS
from fovea.doctor.watching import Doctor

CODES = ("bad-resize", "channel-order", "metadata-shortcut")
NORMAL = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
SIDE_PX = 48


def photo(rng: np.random.Generator, *, width: int = 160, height: int = 120) -> Image.Image:
    """A picture with light and dark blobs of many sizes, tinted in other ones."""

    def blobs(rows: int, shape: tuple[int, ...]) -> np.ndarray:
        values = rng.integers(0, 256, (rows, round(rows * 4 / 3), *shape), dtype=np.uint8)
        image = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(image.convert("RGB"), dtype=np.float64)

    grey = 0.5 * blobs(4, ()) + 0.35 * blobs(9, ()) + 0.15 * blobs(20, ())
    return Image.fromarray(np.clip(grey + 0.5 * (blobs(3, (3,)) - 128), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train and val with two classes each: 24 and 16 files of 160 x 120 px."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 16)):
        for number in range(count):
            folder = root / split / ("cat", "dog")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            photo(rng).save(folder / f"{rng.integers(10**6):06}.jpg", quality=92)
    return root


class Files(Dataset[Any]):
    """Reads a file for each item, as most people's datasets do; what it lists is no path by itself."""

    def __init__(self, root: Path, change: Callable[[Any], torch.Tensor], read: Callable[[str], Any] | None = None):
        self.root, self.change = root, change
        self.names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
        self.read = read or (lambda path: Image.open(path).convert("RGB"))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.change(self.read(str(self.root / self.names[place]))), int("dog" in self.names[place])


def network(channels: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2)
    )


def train(data: Dataset[Any], held: Dataset[Any], *, channels: int = 3, workers: int = 0) -> nn.Module:
    torch.manual_seed(0)
    model = network(channels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for images, labels in DataLoader(data, batch_size=8, shuffle=True, num_workers=workers):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for images, labels in DataLoader(held, batch_size=16, num_workers=workers):
            functional.cross_entropy(model(images), labels)
    return model


def watched(data: Dataset[Any], held: Dataset[Any], **options: Any) -> Doctor:
    with Doctor(strict=True) as doctor:
        train(data, held, **options)
    return doctor


def said(doctor: Doctor) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in doctor.findings if each.code in CODES]


def found(doctor: Doctor) -> tuple[int, int]:
    return len(doctor.record.files.shown["train"]), len(doctor.record.files.shown["eval"])


def letterbox(image: Image.Image) -> Image.Image:
    image.thumbnail((SIDE_PX, SIDE_PX))
    square = Image.new("RGB", (SIDE_PX, SIDE_PX), (114, 114, 114))
    square.paste(image, ((SIDE_PX - image.width) // 2, (SIDE_PX - image.height) // 2))
    return square


def steps(*before: Callable[[Any], Any], after: Sequence[Callable[[Any], Any]] = NORMAL) -> transforms.Compose:
    return transforms.Compose([*before, *after])


SQUASHED = steps(transforms.Resize((SIDE_PX, SIDE_PX)))
MIDDLE = steps(transforms.Resize(54), transforms.CenterCrop(SIDE_PX))
RANDOM = steps(
    transforms.RandomResizedCrop(SIDE_PX), transforms.RandomHorizontalFlip(), transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
)
REVERSED = steps(transforms.Resize((SIDE_PX, SIDE_PX)), after=[*NORMAL, lambda image: image.flip(0)])
GREY = steps(
    transforms.Grayscale(),
    transforms.Resize((SIDE_PX, SIDE_PX)),
    after=[transforms.ToTensor(), transforms.Normalize(0.5, 0.2)],
)


@pytest.mark.parametrize(
    ("change", "held", "channels"),
    [(RANDOM, MIDDLE, 3), (SQUASHED, SQUASHED, 3), (steps(letterbox), steps(letterbox), 3), (GREY, GREY, 1)],
    ids=["random crops", "squashed a little", "letterbox", "grey"],
)
def test_usual_ways_of_preparing_photos_are_no_fault(
    photos: Path, change: transforms.Compose, held: transforms.Compose, channels: int
) -> None:
    doctor = watched(Files(photos / "train", change), Files(photos / "val", held), channels=channels)
    assert min(found(doctor)) >= 12
    assert said(doctor) == []
    assert doctor.record.files.unlike == {"train": 0, "eval": 0}


SMALL_PARTS = steps(transforms.RandomCrop(24), transforms.Resize(SIDE_PX))


@pytest.mark.parametrize(
    ("change", "held", "expected", "words"),
    [
        (SQUASHED, REVERSED, ("channel-order", "alarm"), "swapped in evaluation: red less blue"),
        (REVERSED, REVERSED, ("channel-order", "note"), "swapped in training and evaluation"),
        (SMALL_PARTS, MIDDLE, ("bad-resize", "alarm"), "training crops show"),
        (MIDDLE, steps(transforms.CenterCrop(SIDE_PX)), ("bad-resize", "alarm"), "a part of 48 x 48 px of 160 x 120"),
        (
            steps(transforms.Resize((45, 60))), steps(transforms.Resize((96, 60))), ("bad-resize", "alarm"),
            "evaluated images are squashed to another shape, by 2.1 to 1",
        ),
        (
            steps(transforms.Resize((120, 60))), steps(transforms.Resize((120, 60))), ("bad-resize", "note"),
            "squashed by 2.7 to 1",
        ),
        (steps(transforms.Resize(250)), steps(transforms.Resize(250)), ("bad-resize", "note"), "2.1 times as large"),
    ],
    ids=["bgr in evaluation", "bgr in both", "small parts", "middle alone", "squashed in one", "squashed", "enlarged"],
)  # fmt: skip
def test_what_was_done_to_files_is_named(
    photos: Path, change: transforms.Compose, held: transforms.Compose, expected: tuple[str, str], words: str
) -> None:
    doctor = watched(Files(photos / "train", change), Files(photos / "val", held))
    assert said(doctor) == [expected]
    message = next(each.message for each in doctor.findings if each.code == expected[0])
    assert words in message
    assert "train-eval-transform" not in [each.code for each in doctor.findings]


def test_swapped_colors_harm_weights_that_were_trained_before(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fovea.doctor.probes.files.pretrained", lambda record: True)
    doctor = watched(Files(photos / "train", REVERSED), Files(photos / "val", REVERSED))
    assert said(doctor) == [("channel-order", "alarm")]


def test_opencv_is_heard_once_a_script_has_imported_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL.JpegImagePlugin import JpegImageFile

    def imread(filename: str) -> np.ndarray | None:
        if not Path(filename).is_file():
            return None
        with JpegImageFile(filename) as image:
            return np.asarray(image.convert("RGB"))[:, :, ::-1]

    def read(path: str) -> Image.Image:
        import cv2

        assert cv2.imread(path + ".missing") is None
        return Image.fromarray(np.ascontiguousarray(cv2.imread(path)))

    opencv = types.ModuleType("cv2")
    opencv.imread = imread  # type: ignore[attr-defined]
    with Doctor(strict=True) as doctor:
        monkeypatch.setitem(sys.modules, "cv2", opencv)
        train(Files(photos / "train", SQUASHED, read), Files(photos / "val", SQUASHED))
    assert opencv.imread is imread
    assert said(doctor) == [("channel-order", "alarm")]
    assert "swapped in training" in doctor.findings[0].message


@pytest.mark.filterwarnings("ignore:The image decoding")
def test_torchvision_is_heard(photos: Path) -> None:
    from torchvision.io import decode_image, read_image

    change = steps(
        transforms.Resize((SIDE_PX, SIDE_PX)),
        after=[transforms.ConvertImageDtype(torch.float), transforms.Normalize(0.5, 0.2)],
    )
    data = Files(photos / "train", change, lambda path: decode_image(path, "RGB"))
    doctor = watched(data, Files(photos / "val", change, read_image))
    assert min(found(doctor)) >= 12
    assert said(doctor) == []


def test_workers_files_are_found_where_the_dataset_lists_them(photos: Path) -> None:
    doctor = watched(
        ImageFolder(str(photos / "train"), SQUASHED), ImageFolder(str(photos / "val"), REVERSED), workers=1
    )
    assert doctor.record.unseen == []
    assert said(doctor) == [("channel-order", "alarm")]


def test_workers_files_that_nobody_lists_are_said_to_be_unseen(photos: Path) -> None:
    doctor = watched(Files(photos / "train", SQUASHED), Files(photos / "val", REVERSED), workers=1)
    assert doctor.record.unseen == [WORKERS]
    assert doctor.record.files.opened == 0
    assert "channel-order" not in [each.code for each in doctor.findings if "files" in each.message]


def test_files_that_were_all_read_before_are_known_by_their_pictures(photos: Path) -> None:
    def whole(split: str, change: transforms.Compose) -> TensorDataset:
        items = list(Files(photos / split, change))
        return TensorDataset(torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items]))

    with Doctor(strict=True) as doctor:
        train(whole("train", SQUASHED), whole("val", REVERSED))
    assert min(found(doctor)) >= 12
    assert said(doctor) == [("channel-order", "alarm")]


def test_images_that_are_read_one_by_one_without_a_loader_are_linked(photos: Path) -> None:
    with Doctor(strict=True) as doctor:
        model = train(Files(photos / "train", SQUASHED), TensorDataset(torch.zeros(2, 3, 48, 48), torch.tensor([0, 1])))
        for path in sorted((photos / "val").rglob("*.jpg")):
            with torch.no_grad():
                model(REVERSED(Image.open(path).convert("RGB"))[None])
    assert found(doctor)[1] >= 12
    assert said(doctor) == [("channel-order", "alarm")]


def test_watching_files_changes_nothing_and_leaves_readers_as_they_were(photos: Path) -> None:
    data, held = Files(photos / "train", RANDOM), Files(photos / "val", MIDDLE)
    torch.manual_seed(3)
    alone, state = train(data, held), torch.get_rng_state()
    code = PIL.Image.open.__code__
    with Doctor(strict=True):
        assert PIL.Image.open.__code__ is not code
        model = train(data, held)
    assert PIL.Image.open.__code__ is code
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(*pair) for pair in zip(alone.parameters(), model.parameters(), strict=True))


def test_files_that_are_gone_in_the_end_are_let_go(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(16):
        photo(rng).save(tmp_path / f"{number}.jpg")
    with Doctor(strict=True) as doctor:
        train(Files(tmp_path, SQUASHED), Files(tmp_path, REVERSED))
        for path in tmp_path.glob("*.jpg"):
            path.unlink() if path.stem != "3" else path.write_bytes(b"no image")
    assert (doctor.record.files.opened, found(doctor)) == (16, (0, 0))
    assert doctor.record.unseen == []


# -- parts of it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "mirrored", "kind"),
    [
        (Box(0, 0, 1, 1), False, "whole"),
        (Box(0.125, 0, 0.875, 1), False, "centred"),
        (Box(0.1, 0.35, 0.5, 0.8), True, "elsewhere"),
    ],
)
def test_the_part_of_a_file_that_an_input_shows_is_found(box: Box, mirrored: bool, kind: str) -> None:
    image = photo(np.random.default_rng(1))
    part = image.crop((round(box.left * 160), round(box.top * 120), round(box.right * 160), round(box.bottom * 120)))
    pixels = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BOX)).mean(axis=2)
    window = find_window(
        pixels[:, ::-1] if mirrored else pixels,
        Picture(np.asarray(image).mean(axis=2), image.size),
        input_size=(SIDE_PX, SIDE_PX),
    )
    assert window.kind == kind
    assert window.likeness > 0.95
    both = window.seen.shared(box)
    assert both / (window.seen.area + box.area - both) > 0.9
    assert window.turn == mirrored


def test_only_so_many_files_are_kept_and_only_those_of_the_training() -> None:
    import threading

    watch = FileWatch()
    for number in range(MOST_FILES + 10):
        watch.opened(f"{number}.jpg", 4, 3)
    other = threading.Thread(target=watch.opened, args=("other.jpg", 4, 3))
    other.start()
    other.join()
    assert watch.take(3) is None
    assert len(watch.sizes) == MOST_FILES
    for name in ("a", "a", "b", "b"):  # looked at first, then read
        watch.opened(f"/{name}.jpg", 4, 3)
    assert watch.take(2) == ("/a.jpg", "/b.jpg")
    assert watch.take(2) is None


def test_the_files_of_a_dataset_are_those_that_it_lists(photos: Path) -> None:
    from torch.utils.data import Subset

    folder = ImageFolder(str(photos / "train"))
    assert paths_of(Subset(folder, [3, 1])) == [folder.samples[3][0], folder.samples[1][0]]
    assert paths_of(Files(photos / "train", SQUASHED)) == []


def shown(**given: Any) -> Shown:
    plain: dict[str, Any] = {"path": "a.jpg", "size": (200, 100), "input_size": (64, 64), "box": Box(0, 0, 1, 1)}
    plain |= {"kind": "whole", "likeness": 0.99, "stretch": 0.5, "enlarged": 0.3, "colors": None}
    return Shown(**plain | given)


def test_pictures_without_color_say_nothing_about_its_order() -> None:
    grey = np.repeat(np.random.default_rng(0).normal(128, 40, (2, 64, 1)), 3, axis=2)
    assert order_of([shown(colors=grey)] * 20) is None


@pytest.mark.parametrize("turned", [0.0, 0.65, 1.0])
def test_only_colors_that_are_swapped_in_nearly_every_picture_are(turned: float) -> None:
    rng = np.random.default_rng(0)
    files = rng.normal(128, 40, (40, 64, 3))
    some = np.arange(40) < 40 * turned
    given = np.where(some[:, None, None], files[..., ::-1], files * 0.1)
    order = order_of([shown(colors=np.stack(pair)) for pair in zip(given, files, strict=True)])
    assert order is not None
    assert (order.swapped, order.right) == (turned == 1, turned == 0)


def judge(record: Record) -> list[Diagnosis]:
    return [each for each in diagnose(record) if each.code in CODES]


def test_squashing_is_an_alarm_where_squashed_files_are_told_worse() -> None:
    rng = np.random.default_rng(0)
    files = SeenFiles(shown={"train": [shown()] * 20, "eval": [shown()] * 20})
    for label in (0, 1):
        files.judged += [Judged((200, 100), label, bool(rng.random() < 0.5)) for _ in range(60)]
        files.judged += [Judged((100, 100), label, bool(rng.random() < 0.95)) for _ in range(60)]
    (finding,) = judge(Record(files=files))
    assert (finding.severity, finding.evidence["lost"] > 0.3) == ("alarm", True)
    for each in files.judged:
        each.right = bool(rng.random() < 0.8)
    (finding,) = judge(Record(files=files))
    assert finding.severity == "note"
    assert "in training and evaluation alike" in finding.message


# -- shortcuts --------------------------------------------------------------------------------------------------------


def stored(root: Path, save: Callable[[Image.Image, Path, int], Path]) -> list[Stored]:
    """Return 80 files of two classes as the look afterwards finds them, each written by `save`."""
    rng, watch = np.random.default_rng(0), FileWatch()
    for number in range(80):
        watch.labels[str(save(photo(rng, width=40, height=30), root / f"{rng.integers(10**6):06}", number % 2))] = (
            number % 2
        )
    watch.sizes = dict.fromkeys(watch.labels, (40, 30))
    return look_at_files(watch, budget_s=5).stored


@pytest.mark.parametrize("by_class", [True, False])
def test_a_format_that_tells_the_class_is_a_shortcut(tmp_path: Path, by_class: bool) -> None:
    rng = np.random.default_rng(1)

    def save(image: Image.Image, path: Path, label: int) -> Path:
        name = path.with_suffix(".png" if (label if by_class else rng.random() < 0.5) else ".jpg")
        image.save(name)
        return name

    findings = judge(Record(files=SeenFiles(stored=stored(tmp_path, save))))
    assert [each.severity for each in findings] == ["alarm"] * by_class
    if by_class:
        assert findings[0].code == "metadata-shortcut"
        assert "of 80 training files, the file format predicts the class almost completely" in findings[0].message


def test_sizes_of_objects_that_were_cut_out_are_a_note(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def save(image: Image.Image, path: Path, label: int) -> Path:
        side = int(rng.integers(20, 40) if label else rng.integers(45, 80))
        image.resize((side, side + int(rng.integers(-3, 4)))).save(path.with_suffix(".png"))
        return path.with_suffix(".png")

    findings = judge(Record(files=SeenFiles(stored=stored(tmp_path, save))))
    assert [(each.code, each.severity) for each in findings] == [("metadata-shortcut", "note")]


@pytest.mark.parametrize("words", [("cat", "dog"), ("IMG", "DSC")])
def test_names_tell_the_class_by_their_source_or_because_labels_were_made_from_them(
    tmp_path: Path, words: tuple[str, str]
) -> None:
    def save(image: Image.Image, path: Path, label: int) -> Path:
        name = path.with_name(f"{words[label]}_{path.name}.png")
        image.save(name)
        return name

    files = stored(tmp_path, save)
    cameras = words[0] == "IMG"
    assert class_names(files) == (("class 0", "class 1") if cameras else words)
    assert [each.severity for each in judge(Record(files=SeenFiles(stored=files)))] == ["alarm"] * cameras


@pytest.mark.parametrize("mixed", [0.0, 0.15])
def test_folders_are_a_shortcut_unless_labels_were_made_from_them(tmp_path: Path, mixed: float) -> None:
    rng = np.random.default_rng(2)

    def save(image: Image.Image, path: Path, label: int) -> Path:
        kind = label if rng.random() >= mixed else 1 - label
        name = path.parent / ("north", "south")[kind] / f"{('a', 'b')[label]}{rng.integers(6)}" / f"{path.name}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        image.save(name)
        return name

    findings = judge(Record(files=SeenFiles(stored=stored(tmp_path, save))))
    assert [each.severity for each in findings] == ["alarm"] * (mixed > 0)


def test_classes_are_called_by_the_folder_that_tells_them() -> None:
    def of(*paths: str) -> list[Stored]:
        return [Stored(path, number // 2, 4, 3, 100, None) for number, path in enumerate(paths)]  # type: ignore[arg-type]

    assert class_names(of("/d/apple/red/1.jpg", "/d/apple/green/2.jpg", "/d/pear/x/3.jpg", "/d/pear/y/4.jpg")) == (
        "apple",
        "pear",
    )
    assert class_names(of("/d/IMG_1.jpg", "/d/IMG_2.jpg", "/d/DSC_3.jpg", "/d/DSC_4.jpg")) == ("class 0", "class 1")
