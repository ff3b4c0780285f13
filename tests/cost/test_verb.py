"""`fovea cost`: what it takes, what it prints, the JSON and the page, and all that goes into them put together."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from fovea.cli import main
from fovea.core.errors import ModelError
from fovea.core.html import render
from fovea.core.recipe import Recipe
from fovea.core.recipe_io import build_recipe
from fovea.core.run import Run
from fovea.cost import latency, roofline
from fovea.cost.chart import FAMILIES, Point, macs_against_time
from fovea.cost.costs import Costs, cost_of
from fovea.cost.page import build_page
from fovea.cost.wordings import family, reach_text, summary
from fovea.data.preprocess import Preprocess
from fovea.models.bundle import save_bundle
from fovea.workflows.costing import cost

from .test_time import MACHINE

Build = Callable[..., nn.Module]
MEASURED = ("latency_ms", "predicted_latency_ms", "bound", "peak_inference_bytes", "peak_training_bytes")


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "measure", lambda: MACHINE)
    monkeypatch.setattr(latency, "measure", functools.partial(latency.measure, budget_s=0.1))


def save_small(folder: Path) -> None:
    """Save a small network for 32 px as a training does."""
    args = {"stem_type": "", "channels": [16, 32, 64, 128]}
    save_bundle(
        folder,
        model=timm.create_model("resnet10t", num_classes=3, **args),
        architecture="resnet10t",
        model_args=args,
        pretrained_cfg={},
        classes=["a", "b", "c"],
        class_ids=None,
        preprocess=Preprocess(input_size=32).as_dict(),
        library="timm",
        extra={},
    )


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run folder that holds a trained model."""
    run = Run.create(tmp_path / "my run", Recipe())
    save_small(run.model_path)
    return run.folder


def test_json_has_the_sums_and_every_layer_without_measuring(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "squeezenet1_1", "--fast", "--json"]) == 0
    out, err = capsys.readouterr()
    told, total = json.loads(out), json.loads(out)["total"]
    assert err == ""
    assert (told["model"], told["input"], told["unknown"], told["machine"]) == (
        "squeezenet1_1",
        [1, 3, 224, 224],
        {},
        None,
    )
    assert (total["params"], total["trainable"], total["macs"]) == (1_235_496, 1_235_496, 349_151_936)
    assert total["flops"] == 2 * total["macs"]
    assert (total["receptive_field"], total["receptive_field_stride"], total["sees_whole_image"]) == (207, 16, False)
    assert total["bytes"] == total["bytes_read"] + total["bytes_written"]
    assert total["predicted_peak_training_bytes"] > total["predicted_peak_inference_bytes"] > 4 * total["params"]
    assert [total[name] for name in MEASURED] == [None] * 5
    for name in ("params", "macs", "flops", "activations", "bytes"):
        assert sum(layer[name] for layer in told["layers"]) == total[name]
    first = told["layers"][0]
    assert (first["name"], first["kind"], first["receptive_field"]) == ("features.0", "Conv2d", 3)


def test_size_and_batch_change_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "squeezenet1_1", "--fast", "--json", "--size", "64", "--batch", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["input"] == [3, 3, 64, 64] and told["total"]["params"] == 1_235_496


def test_networks_are_counted_at_the_size_they_are_made_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "resnet10t", "--fast", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input"] == [1, 3, 176, 176]


def test_a_run_and_the_model_in_it_cost_the_same(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    totals = []
    for folder in (run_folder, run_folder / "model"):
        assert main(["cost", str(folder), "--fast", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["source"], told["input"]) == ("trained", [1, 3, 32, 32])
        totals.append(told["total"])
    assert totals[0] == totals[1]
    assert totals[0]["params"] == sum(p.numel() for p in timm.create_model(
        "resnet10t", num_classes=3, stem_type="", channels=[16, 32, 64, 128]).parameters())  # fmt: skip


def test_of_models_that_answer_together_one_is_counted(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "cv", build_recipe(overrides=["train.folds=2"]))
    for fold in range(2):
        save_small(run.fold_path(fold) / "model")
    found = cost(str(run.folder), measure=False)
    assert (found.source, found.costs.count.shape) == ("one of 2 models that answer together", (1, 3, 32, 32))


def test_a_folder_of_timms_own_is_read_too(shared: Path) -> None:
    found = cost(str(shared / "weights" / "mobilenetv2_100.tf_in1k"), size=64, measure=False)
    assert found.costs.count.total["params"] == 3_504_872
    assert found.source == "timm, weights from a folder"


def test_of_a_folder_of_torchvisions_weights_the_library_is_named(shared: Path) -> None:
    found = cost(str(shared / "weights" / "squeezenet1_0.deepcompression_in1k"), size=64, measure=False)
    assert found.source == "torchvision, weights from a folder"


def test_a_file_of_weights_is_no_folder(run_folder: Path) -> None:
    path = run_folder / "model" / "model.safetensors"
    with pytest.raises(ModelError, match="is a file, expected a folder or a name") as caught:
        cost(str(path), measure=False)
    assert caught.value.hint == f"fovea cost {path.parent}"


def test_measured_words_and_page(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "the page.html"
    assert main(["cost", str(run_folder), "--batch", "2", "--html", str(page)]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["measuring what this machine can do", "measuring time", "measuring memory"]
    lines = out.splitlines()
    assert lines[0] == f"{run_folder} (trained), 2 images of 3 × 32 × 32"
    values = {line[2:20].strip(): line[20:].split() for line in lines[1:10]}
    assert values["latency"][1] == "ms" and values["memory, training"][-3] == "predicted"
    assert lines[-1] == f"report: {page}"
    assert "layers that take longest:" in out and "[where-time-goes]" in out
    text = page.read_text(encoding="utf-8")
    assert "measured time, ms" in text and "layer1.0.conv1" in text and "PyTorch dispatches" in text
    assert text.count("<svg") >= 1


def test_measurements_stand_beside_predictions() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1))
    told = cost_of(net, (2, 3, 40, 40)).as_dict()
    total = told["total"]
    assert total["latency_ms"] > 0 and total["predicted_latency_ms"] > 0
    assert total["peak_inference_bytes"] == pytest.approx(total["predicted_peak_inference_bytes"], rel=0.1)
    assert all(layer["latency_ms"] > 0 and layer["bound"] for layer in told["layers"])
    predicted = sum(layer["predicted_latency_ms"] for layer in told["layers"])
    assert predicted == pytest.approx(total["predicted_latency_ms"])
    json.dumps(told)


def test_a_gap_is_a_warning_and_with_strict_an_error() -> None:
    class Spectrum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.fft.rfft(images).real

    found = cost_of(Spectrum(), (1, 3, 8, 8), measure=False)
    (gap,) = [finding for finding in found.findings if finding.code == "unknown-operator"]
    assert gap.severity == "warning" and "aten._fft_r2c ×1" in gap.message
    with pytest.raises(ModelError, match="has no formula"):
        cost_of(Spectrum(), (1, 3, 8, 8), measure=False, strict=True)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["squeezenet1_2"], "'squeezenet1_2' is neither a folder nor a network of the catalogue", "squeezenet1_1"),
        (["alexnet", "--size", "20"], "does not run on an input of 1 × 3 × 20 × 20", "choose another --size"),
        (["alexnet", "--html", "no/such/../file/x.html"], "", ""),
    ],
)
def test_what_is_wrong_is_explained(
    arguments: list[str], message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no").write_text("a file", encoding="utf-8")
    assert main(["cost", *arguments, "--fast"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and hint in err and "Traceback" not in err


def test_a_folder_is_no_place_for_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "alexnet", "--fast", "--html", str(tmp_path)]) == 2
    assert "is a folder, expected a file" in capsys.readouterr().err


def test_the_python_of_the_page_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cost.md"
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(snippet, str(page), "exec"), {})


def counted_only(net: nn.Module, *shape: int) -> Costs:
    return cost_of(net, shape, measure=False)


def test_a_page_without_measurements_has_no_chart_and_no_times(on_meta: Build) -> None:
    text = render(
        build_page(counted_only(on_meta("vit_tiny_patch16_224", depth=1), 1, 3, 224, 224), name="a", source="b")
    )
    assert "time, ms" not in text and "measured time" not in text and "whole image" in text


def test_the_words_of_receptive_fields_and_frozen_weights(on_meta: Build) -> None:
    net = on_meta("mobilenetv3_small_050")
    net.requires_grad_(False)
    found = counted_only(net, 1, 3, 96, 96)
    rows = {name: (value, note) for name, value, note in summary(found)}
    assert (
        rows["receptive field"][0] == "whole image"
        and "px by convolution and pooling alone" in rows["receptive field"][1]
    )
    params = f"{found.count.total['params']:,}"
    assert rows["parameters"] == (params, f"{params} of them frozen")
    assert rows["memory, training"] == ("–", "not possible with this input")
    assert reach_text(None) == ("–", "")


def test_layers_belong_to_families() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    layers = counted_only(net, 1, 4, 8, 8).count.layers
    assert [family(layer) for layer in layers] == [FAMILIES[at] for at in (0, 1, 3, 3, 2)]


def test_the_chart_names_its_families_and_needs_macs() -> None:
    points = [Point(FAMILIES[0], 10**6, 0.5), Point(FAMILIES[2], 10**4, 0.1), Point(FAMILIES[3], 0, 0.2)]
    drawing = macs_against_time(points, flops_per_s=1e9)
    assert drawing is not None
    assert all(name in drawing for name in (FAMILIES[0], FAMILIES[2], FAMILIES[3], "the machine's best"))
    assert FAMILIES[1] not in drawing
    assert macs_against_time([Point(FAMILIES[3], 0, 0.2)], flops_per_s=1e9) is None


def test_a_name_of_the_catalogue_has_the_classes_that_its_authors_told_apart() -> None:
    assert cost("lenet5", measure=False).costs.total["params"] == 61_706
