"""Reading: from a path to a manifest, with the class map, the reasons and the findings."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.data.manifest import Manifest
from fovea.data.reading import check_trainable, read, read_with_looks


def image(path: Path) -> None:
    """Write a small image whose pixels follow from its path, so that no two are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = hashlib.blake2b(str(path).encode("utf-8", "surrogateescape"), digest_size=48).digest()
    Image.frombytes("RGB", (4, 4), seed).save(path, "PNG")


def images(root: Path, *names: str) -> Path:
    for name in names:
        image(root / name)
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def found(manifest: Manifest, code: str) -> list[Finding]:
    return [finding for finding in manifest.findings if finding.code == code]


def labels(manifest: Manifest) -> dict[str, str]:
    """Return path → class name of the usable rows."""
    rows = manifest.usable()
    return {path: manifest.classes[index] for path, index in zip(rows["path"], rows["target"], strict=True)}


@pytest.fixture
def grocery(shared: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real data set; its tests share one cache, so that its files are opened once."""
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path_factory.getbasetemp() / "grocery-cache"))
    return shared / "data" / "grocery"


class TestGrocery:
    def test_fine_classes(self, grocery: Path):
        manifest = read(grocery)
        assert manifest.usable("train").height == 2640 and manifest.usable("val").height == 296
        assert manifest.excluded().height == 0
        assert len(manifest.classes) == 81
        assert manifest.class_ids == tuple(map(str, range(81)))
        assert (manifest.classes[0], manifest.classes[26], manifest.classes[80]) == (
            "Golden-Delicious",
            "Red-Grapefruit",
            "Zucchini",
        )
        assert not manifest.table["path"].str.contains("Iconic").any()
        (note,) = found(manifest, "list-files")
        assert note.severity == "note" and note.evidence["unlisted"] == 81
        (lacking,) = found(manifest, "class-map")
        assert lacking.message.startswith("21 classes of train have no image in val")
        first = manifest.table.row(0, named=True)
        assert first["path"] == "train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg"
        assert (first["width"], first["height"], first["bytes"]) == (348, 348, 15488)

    @pytest.mark.parametrize("column", ["Coarse Class ID (int)", "coarse", "2"])
    def test_coarse_classes(self, grocery: Path, column: str):
        manifest = read(grocery, label_column=column)
        assert len(manifest.classes) == 43 and manifest.class_ids == tuple(map(str, range(43)))
        assert manifest.classes[:3] == ("Apple", "Avocado", "Banana")
        assert manifest.counts().row(0)[1] == 278  # lines of train.txt with coarse id 0
        check_trainable(manifest)

    def test_one_list_directly(self, grocery: Path):
        manifest = read(grocery / "val.txt")
        assert manifest.usable("val").height == manifest.usable().height == 296
        assert manifest.root == grocery

    def test_class_folders_below_the_split(self, grocery: Path):
        manifest = read(grocery / "val")
        assert manifest.classes[0] == "Fruit/Apple/Golden-Delicious" and manifest.class_ids is None
        assert manifest.usable().height == 296 and manifest.table["split"].null_count() == 296

    def test_a_test_list_of_its_own_goes_by_the_model_s_ids(self, grocery: Path, tmp_path: Path):
        model = read(grocery)
        source = grocery / "val" / "Vegetables" / "Zucchini"
        shutil.copytree(source, tmp_path / "test" / "Zucchini")
        names = sorted(path.name for path in source.iterdir())
        write(tmp_path / "test.txt", "".join(f"test/Zucchini/{name}, 80, 42\n" for name in names))
        manifest = read(tmp_path, known=(model.classes, model.class_ids))
        assert manifest.classes == model.classes and manifest.class_ids == model.class_ids
        assert set(labels(manifest).values()) == {"Zucchini"} and manifest.usable("test").height == len(names)
        folders = read(grocery / "val", known=(model.classes, model.class_ids))
        assert folders.targets().tolist() == model.targets(model.usable("val").sort("path")).tolist()


class TestClassMap:
    def test_one_map_over_splits_that_disagree(self, tmp_path: Path):
        names = ["train/a/1.png", "train/b/1.png", "train/d/1.png", "val/b/1.png", "val/c/1.png", "val/d/2.png"]
        manifest = read(images(tmp_path, *names))
        assert manifest.classes == ("a", "b", "c", "d")
        assert labels(manifest)["val/b/1.png"] == "b" and labels(manifest)["val/d/2.png"] == "d"
        messages = [finding.message for finding in found(manifest, "class-map")]
        assert messages[0].startswith("1 class occur in val and have no image in train: c") or "c" in messages[0]
        assert any("1 class of train have no image in val: a" in message for message in messages)

    def test_names_sort_as_people_count(self, tmp_path: Path):
        names = ("class10", "class9", "Class1", "äpfel", "Zebra")
        manifest = read(images(tmp_path, *(f"{name}/1.png" for name in names)))
        assert manifest.classes == ("Class1", "class9", "class10", "Zebra", "äpfel")

    def test_ids_sort_as_numbers_and_name_themselves(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png", "c.png")
        manifest = read(write(tmp_path / "data.csv", "path,label\na.png,10\nb.png,9\nc.png,2\n"))
        assert manifest.classes == manifest.class_ids == ("2", "9", "10")

    def test_a_class_file_names_ids(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        source = write(tmp_path / "data.csv", "path,label\na.png,1\nb.png,0\n")
        write(tmp_path / "names" / "mine.txt", "zebra\nant\nbee\n")
        manifest = read(source, classes=tmp_path / "names" / "mine.txt")
        assert manifest.classes == ("zebra", "ant") and manifest.class_ids == ("0", "1")
        assert labels(manifest) == {"a.png": "ant", "b.png": "zebra"}
        assert "1 class of mine.txt have no image and are not in the class map: bee" in [
            finding.message for finding in found(manifest, "class-map")
        ]

    def test_ids_from_one_upwards(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        write(tmp_path / "classes.txt", "zebra\nant\n")
        manifest = read(write(tmp_path / "train.txt", "a.png 1\nb.png 2\n"))
        assert labels(manifest) == {"a.png": "zebra", "b.png": "ant"} and manifest.class_ids == ("1", "2")
        assert "counted from 1" in found(manifest, "class-map")[0].message

    def test_names_with_a_class_file_take_its_order(self, tmp_path: Path):
        images(tmp_path, "ant/1.png", "zebra/1.png")
        write(tmp_path / "labels.txt", "zebra\nant\n")
        manifest = read(tmp_path)
        assert manifest.classes == ("zebra", "ant") and manifest.class_ids == ("0", "1")

    def test_wordnet_folders_get_names(self, tmp_path: Path):
        images(tmp_path, "train/n01443537/1.png", "train/n01440764/1.png")
        write(tmp_path / "synset_words.txt", "n01443537 goldfish\nn01440764 tench, Tinca tinca\n")
        manifest = read(tmp_path)
        assert manifest.classes == ("tench, Tinca tinca", "goldfish")
        assert manifest.class_ids == ("n01440764", "n01443537")

    def test_one_name_for_two_ids(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png", "c.png")
        write(tmp_path / "classes.txt", "crane\ndog\ncrane\n")
        manifest = read(write(tmp_path / "train.txt", "a.png 0\nb.png 1\nc.png 2\n"))
        assert manifest.classes == ("crane (0)", "dog", "crane (2)")
        again = read(tmp_path / "train.txt", known=(manifest.classes, manifest.class_ids))
        assert again.targets().tolist() == [0, 1, 2]

    def test_a_class_file_that_does_not_fit(self, tmp_path: Path):
        images(tmp_path, "ant/1.png", "bee/1.png")
        write(tmp_path / "classes.txt", "sedan\ntruck\n")
        manifest = read(tmp_path)
        assert manifest.classes == ("ant", "bee")
        assert "does not name the labels" in found(manifest, "class-map")[0].message
        with pytest.raises(DataError, match=r"classes\.txt does not name the labels of the data \(ant, bee\)"):
            read(tmp_path, classes=tmp_path / "classes.txt")

    def test_labels_without_a_name_in_the_file(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        write(tmp_path / "classes.txt", "0 ant\n")
        manifest = read(write(tmp_path / "train.txt", "a.png 0\nb.png 7\n"))
        assert manifest.classes == ("ant", "7")
        assert "classes.txt has no name for 7" in found(manifest, "class-map")[0].message

    def test_case_is_kept_and_outer_spaces_are_not(self, tmp_path: Path):
        images(tmp_path, "apple/1.png", "apple /2.png", "Apple/3.png", "Caf\u00e9/4.png", "Cafe\u0301/5.png")
        manifest = read(tmp_path)
        assert manifest.classes == ("Apple", "apple", "Caf\u00e9")
        merged, alike = found(manifest, "class-map")
        assert "apple" in merged.message and "Caf\u00e9" in merged.message and "taken as one" in merged.message
        assert "Apple / apple" in alike.message and alike.severity == "warning"

    def test_a_class_of_unreadable_images_is_no_class(self, tmp_path: Path):
        images(tmp_path, "a/1.png", "b/1.png")
        write(tmp_path / "c" / "1.png", "")
        assert read(tmp_path).classes == ("a", "b")


class TestKnown:
    KNOWN = (("Apple", "Pear/Anjou"), ("7", "9"))

    def test_by_name_whatever_the_order_and_unknown_ones_out(self, tmp_path: Path):
        images(tmp_path, "Pear/Anjou/1.png", "Apple/1.png", "Plum/1.png", "Plum/2.png")
        manifest = read(tmp_path, known=self.KNOWN)
        assert manifest.classes == self.KNOWN[0] and manifest.class_ids == self.KNOWN[1]
        assert labels(manifest) == {"Apple/1.png": "Apple", "Pear/Anjou/1.png": "Pear/Anjou"}
        assert manifest.excluded()["excluded"].to_list() == ["is labelled Plum, which the model does not know"] * 2
        assert manifest.excluded()["target"].null_count() == 2
        (finding,) = found(manifest, "class-map")
        assert finding.message.startswith("2 of 4 images have labels that the model does not know")
        assert finding.evidence["labels"] == ["Plum"]

    def test_case_and_folders_above_are_forgiven_and_said(self, tmp_path: Path):
        manifest = read(images(tmp_path, "apple/1.png", "anjou/1.png"), known=self.KNOWN)
        assert labels(manifest) == {"apple/1.png": "Apple", "anjou/1.png": "Pear/Anjou"}
        assert "'apple' as 'Apple'" in found(manifest, "class-map")[0].message
        nested = read(images(tmp_path / "n", "Fruit/Apple/1.png"), known=self.KNOWN)
        assert labels(nested) == {"Fruit/Apple/1.png": "Apple"}

    def test_by_id_where_the_data_has_ids_only(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        manifest = read(write(tmp_path / "test.txt", "a.png 9\nb.png 3\n"), known=self.KNOWN)
        assert labels(manifest) == {"a.png": "Pear/Anjou"}

    def test_names_outweigh_ids_that_contradict_them(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png", "c.png")
        write(tmp_path / "classes.txt", "7 Pear/Anjou\n8 Apple\n9 Plum\n")
        manifest = read(write(tmp_path / "test.txt", "a.png 7\nb.png 8\nc.png 9\n"), known=self.KNOWN)
        assert labels(manifest) == {"a.png": "Pear/Anjou", "b.png": "Apple"}

    def test_a_model_with_ids_alone(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        write(tmp_path / "classes.txt", "0 ant\n1 bee\n")
        manifest = read(write(tmp_path / "test.txt", "a.png 1\nb.png 0\n"), known=(("0", "1"), ("0", "1")))
        assert manifest.targets().tolist() == [1, 0]

    def test_nothing_known_is_an_error(self, tmp_path: Path):
        with pytest.raises(DataError, match="2 × is labelled Plum, which the model does not know"):
            read(images(tmp_path, "Plum/1.png", "Plum/2.png"), known=self.KNOWN)


class TestBadFiles:
    def test_they_stay_in_the_table_with_their_reason(self, tmp_path: Path):
        images(tmp_path, "train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/ü 2.png")
        whole = (tmp_path / "train/a/2.png").read_bytes()
        (tmp_path / "train/a/2.png").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "train/b/ü 2.png").write_bytes(b"")
        calls: list[tuple[int, int]] = []
        manifest = read(tmp_path, progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (4, 4)
        assert manifest.table["path"].to_list() == [
            "train/a/1.png",
            "train/a/2.png",
            "train/b/1.png",
            "train/b/ü 2.png",
        ]
        assert manifest.usable()["path"].to_list() == ["train/a/1.png", "train/b/1.png"]
        (finding,) = found(manifest, "unreadable")
        assert finding.severity == "warning" and finding.files == ("train/a/2.png", "train/b/ü 2.png")
        assert finding.evidence["count"] == 2
        assert finding.message.startswith("2 of 4 images cannot be used and are left out: train/a/2.png is truncated")
        assert "train/b/ü 2.png is empty (0 bytes)" in finding.message

    def test_missing_files_and_labels_of_a_table(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png", "c.png")
        manifest = read(write(tmp_path / "data.csv", "path,label\na.png,x\nb.png,y\nc.png,\nd.png,x\n"))
        assert manifest.table["excluded"].to_list() == [None, None, "has no label", "is missing"]
        assert (
            found(manifest, "no-label")[0].message == "1 of 4 images have no label and are left out: c.png has no label"
        )
        assert found(manifest, "unreadable")[0].files == ("d.png",)

    def test_max_pixels(self, tmp_path: Path):
        with pytest.raises(DataError, match="2 × has 4 x 4 = 16 pixels, more than the 15 allowed"):
            read(images(tmp_path, "a/1.png", "b/1.png"), max_pixels=15)

    def test_paths_listed_again(self, tmp_path: Path):
        images(tmp_path, *(f"{name}.png" for name in "abcde"))
        lines = ["a.png,x,train", "./a.png,x,train", "b.png,y,train", "b.png,y,val", "c.png,x,train", "c.png,y,train"]
        text = "\n".join(["path,label,split", *lines, "d.png,y,train", "e.png,x,val"])
        manifest = read(write(tmp_path / "data.csv", text))
        assert manifest.table["excluded"].to_list() == [
            None,
            "is listed twice",
            "is listed again, kept in val",
            None,
            "is listed with different labels",
            "is listed with different labels",
            None,
            None,
        ]
        (finding,) = found(manifest, "duplicate-path")
        assert finding.evidence == {"files": 3, "across_splits": 1, "contradicting": 1}
        assert finding.files == ("a.png", "b.png", "c.png")


class TestUnlabelled:
    def test_a_folder_without_class_folders_is_one_class_when_no_labels_are_needed(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        manifest, looks = read_with_looks(tmp_path, unlabelled=True)
        assert manifest.classes == ("unlabelled",)
        assert manifest.targets().tolist() == [0, 0]
        assert (len(looks), manifest.findings) == (2, ())
        with pytest.raises(DataError, match="lies outside every class folder"):
            read(tmp_path)

    def test_class_folders_keep_their_meaning(self, tmp_path: Path):
        images(tmp_path, "a.png", "cat/b.png")
        manifest, _ = read_with_looks(tmp_path, unlabelled=True)
        assert manifest.classes == ("cat",)
        assert manifest.excluded()["path"].to_list() == ["a.png"]


class TestRefusals:
    def test_nothing_there(self, tmp_path: Path):
        (tmp_path / "photos").mkdir()
        with pytest.raises(DataError, match="there is nothing at") as error:
            read(tmp_path / "photo")
        assert error.value.hint == f"did you mean {tmp_path / 'photos'}?"

    def test_no_images(self, tmp_path: Path):
        for index in range(12):
            write(tmp_path / "notes" / f"{index}.md", "x")
        with pytest.raises(DataError, match=r"no images in .*: found 0 images, 12 \.md files") as error:
            read(tmp_path)
        assert "folder/{train,val,test}/CLASS/" in error.value.hint

    def test_images_without_classes_beside_a_table(self, tmp_path: Path):
        write(images(tmp_path, "1.png", "2.png") / "labels.csv", "path,label\n1.png,a\n2.png,b\n")
        with pytest.raises(DataError, match="2 × lies outside every class folder") as error:
            read(tmp_path)
        assert error.value.hint == f"labels.csv lies there; to read it, pass {tmp_path / 'labels.csv'}"

    def test_wrong_folder_for_the_paths(self, tmp_path: Path):
        with pytest.raises(DataError, match="2 × is missing") as error:
            read(write(tmp_path / "data.csv", "path,label\nimg/a.png,x\nimg/b.png,y\n"))
        assert error.value.hint == f"paths start from {tmp_path}; the first one is 'img/a.png'"

    def test_one_image_or_some_other_file(self, tmp_path: Path):
        image(tmp_path / "a.png")
        with pytest.raises(DataError, match="is one image, expected a folder"):
            read(tmp_path / "a.png")
        with pytest.raises(DataError, match="is neither a table nor a list"):
            read(write(tmp_path / "letter.txt", "Dear reader\n"))
        with pytest.raises(DataError, match="it has no rows"):
            read(write(tmp_path / "data.csv", "path,label\n"))

    def test_images_that_are_all_damaged(self, tmp_path: Path):
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "ein bild ü.jpg").touch()
        with pytest.raises(DataError, match=r"cannot be used: cat/ein bild ü\.jpg is empty \(0 bytes\)") as error:
            read(tmp_path)
        assert error.value.hint == "replace the files, or name another folder"
        (tmp_path / "cat" / "b.jpg").write_text("no picture")
        with pytest.raises(DataError, match=r"none of the 2 images of .* can be used: 1 × is"):
            read(tmp_path)

    def test_one_class_reads_and_does_not_train(self, tmp_path: Path):
        manifest = read(images(tmp_path, "a/1.png", "a/2.png"))
        with pytest.raises(DataError, match=r"at least 2 classes; found are 2 images of 1 class \('a'\)"):
            check_trainable(manifest)
        image(tmp_path / "b" / "1.png")
        check_trainable(read(tmp_path))
        with pytest.raises(DataError, match="has no training images"):
            check_trainable(read(images(tmp_path / "n", "val/a/1.png", "test/b/1.png")))


class TestMultiLabel:
    def test_targets_and_counts(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png", "c.png")
        manifest = read(write(tmp_path / "data.csv", "path,label\na.png,cat|dog\nb.png,dog\nc.png,ant\n"))
        assert manifest.multilabel and manifest.classes == ("ant", "cat", "dog")
        assert manifest.targets().tolist() == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]
        check_trainable(manifest)

    def test_a_model_of_several_labels_reads_single_ones_as_such(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png")
        source = write(tmp_path / "data.csv", "path,label\na.png,cat\nb.png,dog\n")
        manifest = read(source, known=(("cat", "dog"), None), multilabel=True)
        assert manifest.targets().tolist() == [[1, 0], [0, 1]]

    def test_an_empty_list_is_an_image_without_any_class(self, tmp_path: Path):
        images(tmp_path, "a.png", "b.png", "c.png")
        frame = pl.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": [["x", "y"], [], None]})
        frame.write_parquet(tmp_path / "data.parquet")
        manifest = read(tmp_path / "data.parquet")
        assert manifest.targets().tolist() == [[1, 1], [0, 0]]
        assert manifest.excluded()["excluded"].to_list() == ["has no label"]


def test_moving_the_folder_changes_nothing(tmp_path: Path):
    images(tmp_path / "one", "a/1.png", "b/ä 2.png")
    before = read(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two ü")
    after = read(tmp_path / "two ü")
    assert after.fingerprint == before.fingerprint
    assert after.paths() == [tmp_path / "two ü" / "a" / "1.png", tmp_path / "two ü" / "b" / "ä 2.png"]
    assert all(path.is_file() for path in after.paths())
    after.save(tmp_path / "manifest.parquet")
    assert Manifest.load(tmp_path / "manifest.parquet").table.equals(after.table)


def test_a_relative_source_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images(tmp_path / "photos", "a/1.png", "b/1.png")
    monkeypatch.chdir(tmp_path)
    manifest = read("photos")
    monkeypatch.chdir("/")
    assert manifest.paths()[0] == tmp_path / "photos" / "a" / "1.png"
