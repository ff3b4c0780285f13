"""The formats: what each reader makes of layouts as people have them, and what it says about the odd ones."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from fovea.core.errors import DataError
from fovea.data.formats.base import FORMATS, Rows, split_of
from fovea.data.formats.classfile import ClassFile, find_class_file, read_class_file
from fovea.data.formats.folder import read_folder
from fovea.data.formats.listfile import read_listfile
from fovea.data.formats.table import read_table


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def folder(root: Path, class_file: ClassFile | None = None) -> Rows:
    rows = read_folder(root, label_column=None, class_file=class_file)
    assert rows is not None
    return rows


def table(path: Path, label_column: str | None = None) -> Rows:
    rows = read_table(path, label_column=label_column, class_file=None)
    assert rows is not None
    return rows


def listed(path: Path, label_column: str | None = None) -> Rows:
    rows = read_listfile(path, label_column=label_column, class_file=None)
    assert rows is not None
    return rows


def simple(rows: Rows) -> list[tuple[str, str | None, str | None]]:
    """Return (path, labels joined, split) of each row."""
    return [
        (path, None if labels is None else "|".join(labels), split)
        for path, labels, split in rows.table.select("path", "labels", "split").iter_rows()
    ]


def codes(rows: Rows) -> list[str]:
    return [finding.code for finding in rows.findings]


def test_formats_are_tried_with_the_folder_last():
    assert [entry.name for entry in FORMATS] == ["table", "listfile", "folder"]


@pytest.mark.parametrize(
    ("name", "split"),
    [("TRAIN", "train"), ("Training", "train"), ("valid", "val"), (" dev ", "val"), ("testing", "test"), ("cat", None)],
)
def test_split_names(name: str, split: str | None):
    assert split_of(name) == split


class TestFolder:
    def test_splits_and_nested_classes(self, tmp_path: Path):
        names = [
            "Train/Fruit/Apple/1.jpg",
            "Train/Fruit/Pear/1.JPEG",
            "validation/Fruit/Apple/ä b.png",
            "test/Milk/1.webp",
        ]
        rows = folder(touch(tmp_path, *names))
        assert sorted(simple(rows)) == [
            ("Train/Fruit/Apple/1.jpg", "Fruit/Apple", "train"),
            ("Train/Fruit/Pear/1.JPEG", "Fruit/Pear", "train"),
            ("test/Milk/1.webp", "Milk", "test"),
            ("validation/Fruit/Apple/ä b.png", "Fruit/Apple", "val"),
        ]
        assert rows.findings == () and not rows.labels_are_ids

    def test_no_splits(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"))
        assert simple(rows) == [
            ("cats/1.jpg", "cats", None),
            ("dogs/1.jpg", "dogs", None),
            ("dogs/2.jpg", "dogs", None),
        ]

    def test_train_may_be_a_class_of_vehicles(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "bus/1.jpg", "car/1.jpg", "train/1.jpg"))
        assert simple(rows) == [("bus/1.jpg", "bus", None), ("car/1.jpg", "car", None), ("train/1.jpg", "train", None)]

    def test_train_may_be_a_class_of_nested_vehicles(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "bus/red/1.jpg", "train/steam/1.jpg"))
        assert simple(rows) == [("bus/red/1.jpg", "bus/red", None), ("train/steam/1.jpg", "train/steam", None)]

    def test_a_flat_folder_beside_one_split_is_no_class(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "unlabelled/1.jpg", "unlabelled/2.jpg"))
        assert [split for _, _, split in simple(rows)] == ["train", "train"]
        (finding,) = rows.findings
        assert finding.code == "ignored-folder" and finding.severity == "warning"
        assert finding.message == "unlabelled beside train were not read; they hold 2 images"

    def test_hidden_files_litter_and_other_files_are_passed_over(self, tmp_path: Path):
        names = [
            "a/.hidden.jpg",
            "a/Thumbs.db",
            "a/notes.txt",
            "__MACOSX/a/1.jpg",
            ".git/x/1.jpg",
            "a/1.jpg",
            "b/1.jpg",
        ]
        rows = folder(touch(tmp_path, *names))
        assert [path for path, _, _ in simple(rows)] == ["a/1.jpg", "b/1.jpg"]
        assert rows.findings == ()

    def test_photographs_in_formats_that_cannot_be_opened_are_mentioned(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "a/1.jpg", "a/2.HEIC", "b/3.heic", "b/4.png"))
        assert [finding.message for finding in rows.findings] == [
            "2 .heic files were ignored: fovea does not open these formats"
        ]

    def test_images_without_a_class_are_kept_out_and_counted(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "train/loose.jpg", "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "top.jpg"))
        out = rows.table.filter(pl.col("excluded").is_not_null())
        assert sorted(out["path"]) == ["top.jpg", "train/loose.jpg"]
        assert out["excluded"].unique().to_list() == ["lies outside every class folder"]
        assert codes(rows) == ["no-class", "no-class"]
        assert "1 images in train lie outside every class folder" in rows.findings[0].message

    def test_a_class_folder_inside_a_class_folder(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "apple/1.jpg", "apple/green/2.jpg", "pear/3.jpg"))
        assert simple(rows) == [
            ("apple/1.jpg", "apple", None),
            ("apple/green/2.jpg", "apple/green", None),
            ("pear/3.jpg", "pear", None),
        ]
        assert codes(rows) == ["class-map"]
        assert rows.findings[0].evidence == {"folders": ["apple"]}

    def test_links_are_followed_and_a_loop_ends(self, tmp_path: Path):
        touch(tmp_path, "far/apples/1.jpg", "data/pears/1.jpg")
        (tmp_path / "data" / "apples").symlink_to(tmp_path / "far" / "apples")
        (tmp_path / "data" / "pears" / "again").symlink_to(tmp_path / "data")
        assert simple(folder(tmp_path / "data")) == [("apples/1.jpg", "apples", None), ("pears/1.jpg", "pears", None)]

    def test_an_unpacked_archive_has_one_folder_more(self, tmp_path: Path):
        rows = folder(touch(tmp_path, "photos/train/a/1.jpg", "photos/test/a/1.jpg"))
        assert rows.root == tmp_path / "photos"
        assert [split for _, _, split in simple(rows)] == ["test", "train"]

    def test_empty_class_folders_are_mentioned(self, tmp_path: Path):
        touch(tmp_path, "a/1.jpg", "b/1.jpg")
        (tmp_path / "c").mkdir()
        assert [finding.message for finding in folder(tmp_path).findings] == ["1 folder without an image: c"]

    def test_a_name_that_is_no_text_is_kept_out(self, tmp_path: Path):
        touch(tmp_path, "a/1.jpg")
        try:
            with open(os.fsencode(tmp_path) + b"/a/\xff.jpg", "wb"):
                pass
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        out = folder(tmp_path).table.filter(pl.col("excluded").is_not_null())
        assert out["excluded"].to_list() == ["has a name that is not valid UTF-8"]
        assert out["path"].to_list() == ["a/\ufffd.jpg"]

    def test_label_column_makes_no_sense_there(self, tmp_path: Path):
        touch(tmp_path, "a/1.jpg")
        with pytest.raises(DataError, match="has no label columns"):
            read_folder(tmp_path, label_column="2", class_file=None)


class TestTable:
    def write(self, folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path

    def test_path_label_split_group(self, tmp_path: Path):
        rows = table(
            self.write(tmp_path, "path,label,split,group\na.jpg,cat,Train,p1\nb/ä.jpg,dog,valid,\nc.jpg,cat,,p2\n")
        )
        assert simple(rows) == [("a.jpg", "cat", "train"), ("b/ä.jpg", "dog", "val"), ("c.jpg", "cat", None)]
        assert rows.table["group"].to_list() == ["p1", None, "p2"]
        assert rows.root == tmp_path and not rows.labels_are_ids and not rows.multilabel

    @pytest.mark.parametrize("header", ["image,class", "File , Target", "filename,category", "filepath,labels"])
    def test_other_names_of_the_columns(self, tmp_path: Path, header: str):
        assert simple(table(self.write(tmp_path, f"{header}\na.jpg,cat\n"))) == [("a.jpg", "cat", None)]

    @pytest.mark.parametrize(
        "data",
        [
            "path,label\r\na.jpg,größe\r\nb.jpg,x\r\n".encode("utf-8-sig"),
            "path,label\na.jpg,größe\nb.jpg,x".encode("cp1252"),
            "path,label\ra.jpg,größe\rb.jpg,x\r".encode(),
            "path;label\na.jpg;größe\nb.jpg;x\n".encode(),
            "path,label\na.jpg,größe\nb.jpg,x\n".encode("utf-16"),
            '"path","label"\n"a.jpg"," größe "\nb.jpg,x\n\n,\n'.encode(),
        ],
        ids=["bom-crlf", "cp1252", "cr", "semicolon", "utf-16", "quotes-spaces-blank-rows"],
    )
    def test_files_as_spreadsheets_write_them(self, tmp_path: Path, data: bytes):
        rows = table(self.write(tmp_path, data))
        assert simple(rows) == [("a.jpg", "größe", None), ("b.jpg", "x", None)]
        assert rows.findings == ()

    def test_quoted_separators_and_tabs(self, tmp_path: Path):
        rows = table(self.write(tmp_path, 'path,label\n"a, b.jpg","cat, small"\n'))
        assert simple(rows) == [("a, b.jpg", "cat, small", None)]
        rows = table(self.write(tmp_path, "path\tlabel\na, b.jpg\tcat, small\n", "data.tsv"))
        assert simple(rows) == [("a, b.jpg", "cat, small", None)]

    def test_a_row_with_too_many_cells_is_named(self, tmp_path: Path):
        path = self.write(tmp_path, "path,label\na.jpg,cat\na, b.jpg,cat\n")
        with pytest.raises(DataError, match="line 3 has 3 cells, the header has 2"):
            table(path)

    def test_ids_stay_ids(self, tmp_path: Path):
        rows = table(self.write(tmp_path, "path,label\na.jpg,10\nb.jpg,9\nc.jpg,\n"))
        assert rows.labels_are_ids
        assert simple(rows) == [("a.jpg", "10", None), ("b.jpg", "9", None), ("c.jpg", None, None)]
        rows = table(self.write(tmp_path, "path,label\na.jpg,10.0\nb.jpg,9.0\n"))
        assert [label for _, label, _ in simple(rows)] == ["10", "9"]
        rows = table(self.write(tmp_path, "path,label\na.jpg,1.5\nb.jpg,2.0\n"))
        assert [label for _, label, _ in simple(rows)] == ["1.5", "2.0"]

    def test_several_labels(self, tmp_path: Path):
        rows = table(self.write(tmp_path, "path,label\na.jpg,cat| dog|cat\nb.jpg,cat\nc.jpg,\n"))
        assert rows.multilabel
        assert simple(rows) == [("a.jpg", "cat|dog", None), ("b.jpg", "cat", None), ("c.jpg", None, None)]

    def test_label_column(self, tmp_path: Path):
        path = self.write(tmp_path, "path,label,Coarse Label,split\na.jpg,x,y,train\n")
        assert simple(table(path, "coarse")) == [("a.jpg", "y", "train")]
        assert simple(table(path, "label")) == [("a.jpg", "x", "train")]
        with pytest.raises(DataError, match="label_column 'colour' is no label column"):
            table(path, "colour")

    def test_parquet_of_numbers_lists_and_categories(self, tmp_path: Path):
        path = tmp_path / "data.parquet"
        pl.DataFrame({"path": ["a.jpg", "b.jpg"], "label": [3, None]}).write_parquet(path)
        rows = table(path)
        assert simple(rows) == [("a.jpg", "3", None), ("b.jpg", None, None)] and rows.labels_are_ids
        pl.DataFrame({"path": ["a.jpg", "b.jpg"], "label": [["x", "y"], []]}).write_parquet(path)
        rows = table(path)
        assert rows.table["labels"].to_list() == [["x", "y"], []] and rows.multilabel
        labels = pl.Series(["x", "y"], dtype=pl.Categorical)
        pl.DataFrame({"path": ["a.jpg", "b.jpg"], "label": labels}).write_parquet(path)
        assert [label for _, label, _ in simple(table(path))] == ["x", "y"]
        pl.DataFrame({"image": [{"bytes": b"1", "path": "a"}], "label": [1]}).write_parquet(path)
        with pytest.raises(DataError, match=r"the column 'image' of data\.parquet holds Struct"):
            table(path)
        path.write_bytes(b"PAR1 and no more")
        with pytest.raises(DataError, match="is not a readable Parquet file"):
            table(path)

    def test_splits_that_are_none(self, tmp_path: Path):
        rows = table(self.write(tmp_path, "path,label,split\na.jpg,x,train\nb.jpg,y,extra\n"))
        assert rows.table["excluded"].to_list() == [None, "is in split extra, which is not train, val or test"]
        with pytest.raises(DataError, match=r"the column 'split' of data\.csv names no split; it holds '0', '1'"):
            table(self.write(tmp_path, "path,label,split\na.jpg,x,0\nb.jpg,y,1\n"))

    def test_rows_without_a_path(self, tmp_path: Path):
        rows = table(self.write(tmp_path, "path,label\na.jpg,x\n,y\n"))
        assert simple(rows) == [("a.jpg", "x", None)]
        assert rows.findings[0].message == "1 rows of data.csv have a label and no path"

    def test_missing_columns_are_named(self, tmp_path: Path):
        with pytest.raises(DataError, match="has no column for the image path; it has 'url', 'label'"):
            table(self.write(tmp_path, "url,label\nx,y\n"))
        with pytest.raises(DataError, match="has no column for the label; it has 'path', 'colour'") as error:
            table(self.write(tmp_path, "path,colour\na.jpg,y\n"))
        assert "label_column" in error.value.hint
        with pytest.raises(DataError, match="is empty"):
            table(self.write(tmp_path, "\n\n"))

    def test_paths_in_other_notations(self, tmp_path: Path):
        touch(tmp_path, "img/a.jpg", "img/b.jpg", "img/c.jpg", "img/d.jpg")
        text = f"path,label\nimg\\a.jpg,x\n./img//b.jpg,x\n{tmp_path}/img/c.jpg,x\n/img/d.jpg,x\n/nowhere/e.jpg,x\n"
        rows = table(self.write(tmp_path, text))
        assert rows.table["path"].to_list() == ["img/a.jpg", "img/b.jpg", "img/c.jpg", "img/d.jpg", "/nowhere/e.jpg"]


class TestListFile:
    def write(self, folder: Path, text: str, name: str = "train.txt") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    @pytest.mark.parametrize("mark", [" ", ", ", ",", "\t", "   "])
    def test_path_and_label(self, tmp_path: Path, mark: str):
        rows = listed(self.write(tmp_path, f"a.jpg{mark}0\nb/c d, e.jpg{mark}12\n\nf.PNG{mark}3\n"))
        assert simple(rows) == [("a.jpg", "0", "train"), ("b/c d, e.jpg", "12", "train"), ("f.PNG", "3", "train")]
        assert rows.labels_are_ids and rows.findings == ()

    @pytest.mark.parametrize("mark", [" ", ", "])
    def test_further_columns(self, tmp_path: Path, mark: str):
        path = self.write(tmp_path, f"a b.jpg{mark}7{mark}1\nc.jpg{mark}8{mark}2\n")
        assert [label for _, label, _ in simple(listed(path))] == ["7", "8"]
        assert [label for _, label, _ in simple(listed(path, "2"))] == ["1", "2"]
        with pytest.raises(DataError, match="label_column '3' is no label column"):
            listed(path, "3")

    def test_names_as_labels(self, tmp_path: Path):
        rows = listed(self.write(tmp_path, "a.jpg golden retriever\nb.jpg tabby cat\nc.jpg pug\n", "test.txt"))
        assert simple(rows) == [
            ("a.jpg", "golden retriever", "test"),
            ("b.jpg", "tabby cat", "test"),
            ("c.jpg", "pug", "test"),
        ]
        assert not rows.labels_are_ids

    def test_a_header_names_the_columns(self, tmp_path: Path):
        path = self.write(tmp_path, "path,fine,coarse\na.jpg,1,5\nb.jpg,2,6\n", "list.txt")
        assert simple(listed(path, "coarse")) == [("a.jpg", "5", None), ("b.jpg", "6", None)]
        assert listed(path).findings == ()

    def test_a_csv_without_a_header_is_a_list(self, tmp_path: Path):
        path = self.write(tmp_path, "a.jpg,cat\nb.jpg,dog\n", "labels.csv")
        assert read_table(path, label_column=None, class_file=None) is None
        assert simple(listed(path)) == [("a.jpg", "cat", None), ("b.jpg", "dog", None)]

    def test_images_without_endings(self, tmp_path: Path):
        rows = listed(self.write(tmp_path, "img/000 1 4\nimg/000 2 5\n"))
        assert [path for path, _, _ in simple(rows)] == ["img/000", "img/000"]  # whole numbers at the end are labels
        rows = listed(self.write(tmp_path, "img/a b, 4\nimg/c, 5\n"))
        assert simple(rows) == [("img/a b", "4", "train"), ("img/c", "5", "train")]

    def test_lines_that_name_no_image_are_counted(self, tmp_path: Path):
        rows = listed(self.write(tmp_path, "# made by hand\na.jpg 0\nb.jpg 1\nsee the readme\nc.jpg\n"))
        assert simple(rows) == [("a.jpg", "0", "train"), ("b.jpg", "1", "train"), ("c.jpg", None, "train")]
        (finding,) = rows.findings
        assert finding.message == "1 lines of train.txt name no image and were skipped: line 4"

    def test_a_folder_of_lists_beside_image_folders(self, tmp_path: Path):
        touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "extra/4.jpg")
        self.write(tmp_path, "train/a/1.jpg 0\ntrain/b/2.jpg 1\n")
        self.write(tmp_path, "val/a/3.jpg 0\n", "Valid.txt")
        rows = listed(tmp_path)
        assert sorted(split for _, _, split in simple(rows)) == ["train", "train", "val"]
        (finding,) = rows.findings
        assert finding.code == "list-files" and finding.severity == "note"
        assert "Valid.txt and train.txt decide" in finding.message and finding.evidence["unlisted"] == 1

    def test_a_readme_named_test_is_no_list(self, tmp_path: Path):
        touch(tmp_path, "a/1.jpg", "b/1.jpg")
        (tmp_path / "test.txt").write_text("How we tested:\nby hand, on a Monday.\nSee a/1.jpg for one.\n")
        (tmp_path / "train.txt").write_text("a/1.jpg\nb/1.jpg\n")  # paths alone, as YOLO has them
        assert read_listfile(tmp_path, label_column=None, class_file=None) is None

    def test_a_list_without_labels_or_of_something_else(self, tmp_path: Path):
        with pytest.raises(DataError, match=r"train\.txt lists 2 images without labels"):
            listed(self.write(tmp_path, "a.jpg\nb.jpg\n"))
        (tmp_path / "model.bin").write_bytes(bytes(100))
        for path in (tmp_path / "model.bin", self.write(tmp_path, "Dear reader,\nhello\n", "letter.txt")):
            assert read_listfile(path, label_column=None, class_file=None) is None


class TestClassFile:
    def read(self, tmp_path: Path, text: str, name: str = "classes.txt") -> ClassFile:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_class_file(tmp_path / name)

    @pytest.mark.parametrize(
        "text", ["cat\nhouse dog\n", "0 cat\n1 house dog\n", "0: cat\n1: house dog\n", "0,cat\n1,house dog"]
    )
    def test_names_by_line_or_by_id(self, tmp_path: Path, text: str):
        (level,) = self.read(tmp_path, text).levels
        assert level.names == {"0": "cat", "1": "house dog"}

    def test_names_before_ids(self, tmp_path: Path):
        (level,) = self.read(tmp_path, "house dog 4\ncat 3\n").levels
        assert level.names == {"4": "house dog", "3": "cat"}

    def test_commas_in_plain_names_are_part_of_them(self, tmp_path: Path):
        (level,) = self.read(tmp_path, "tench, Tinca tinca\ngoldfish, Carassius auratus\n").levels
        assert level.names == {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus"}

    def test_wordnet(self, tmp_path: Path):
        (level,) = self.read(tmp_path, "n01440764 tench, Tinca tinca\nn01443537 goldfish\n", "synset_words.txt").levels
        assert level.names == {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}
        assert level.lines == ("tench, Tinca tinca", "goldfish")

    def test_two_namings_in_one_table(self, tmp_path: Path):
        text = "name,id,group,group_id\nGala,0,Apple,0\nPink Lady,1,Apple,0\nAnjou,2,Pear,1\n"
        fine, coarse = self.read(tmp_path, text, "classes.csv").levels
        assert fine.names == {"0": "Gala", "1": "Pink Lady", "2": "Anjou"}
        assert coarse.names == {"0": "Apple", "1": "Pear"} and coarse.headers == ("group", "group_id")

    def test_headers(self, tmp_path: Path):
        (level,) = self.read(tmp_path, "id,name\n0,cat\n1,dog\n", "classes.csv").levels
        assert level.names == {"0": "cat", "1": "dog"}
        (level,) = self.read(tmp_path, "id,name\nc,cat\nd,dog\n", "classes.csv").levels
        assert level.names == {"c": "cat", "d": "dog"}
        (level,) = self.read(tmp_path, "name\ncat\ndog\n", "classes.csv").levels
        assert level.names == {"0": "cat", "1": "dog"}

    def test_one_id_with_two_names(self, tmp_path: Path):
        (level,) = self.read(tmp_path, "0,cat\n0,dog\n1,cow\n").levels
        assert level.names == {"0": "cat", "1": "cow"} and level.repeated == ("0",)

    def test_finding_and_missing(self, tmp_path: Path):
        assert find_class_file(tmp_path) is None
        touch(tmp_path, "Classes.CSV", "labels.txt")
        assert find_class_file(tmp_path) == tmp_path / "Classes.CSV"
        with pytest.raises(DataError, match="is empty"):
            read_class_file(tmp_path / "labels.txt")
        with pytest.raises(DataError, match="no class file at"):
            read_class_file(tmp_path / "none.txt")


class TestActions:
    """A table that says which rows to leave out, as the audit's proposal does."""

    def read(self, folder: Path, text: str, name: str = "clean.csv") -> Rows:
        (folder / name).write_text(text, encoding="utf-8")
        return table(folder / name)

    def test_rows_are_left_out_with_their_reason(self, tmp_path: Path):
        text = "path,label,action,reason\na.jpg,x,keep,\nb.jpg,x,leave out,is blurred\nc.jpg,y,review,why\nd.jpg,y,,\n"
        rows = self.read(tmp_path, text)
        assert rows.table["excluded"].to_list() == [None, "is left out by the table: is blurred", None, None]
        (finding,) = rows.findings
        assert (finding.code, finding.severity, finding.files) == ("left-out", "note", ("c.jpg",))
        assert finding.evidence == {"left_out": 1, "review": 1}
        assert finding.message.startswith("clean.csv leaves out 1 of its 4 images, each with a reason, and marks 1 for")

    def test_actions_may_be_typed_by_hand_and_lack_reasons(self, tmp_path: Path):
        rows = self.read(tmp_path, "path,label,Action\na.jpg,x, Leave_Out \nb.jpg,x,LEAVE-OUT\nc.jpg,x,Keep\n")
        assert rows.table["excluded"].to_list() == ["is left out by the table", "is left out by the table", None]

    def test_an_unknown_action_names_the_row_and_the_words(self, tmp_path: Path):
        with pytest.raises(DataError, match=r"the column 'action' of clean.csv holds 'delete' \(row 3\)") as refused:
            self.read(tmp_path, "path,label,action\na.jpg,x,keep\nb.jpg,x,delete\n")
        assert refused.value.hint == "write one of: keep, review, leave out"

    @pytest.mark.parametrize("cells", ["jump,run", ",", "1,2"])
    def test_another_column_called_action_is_left_alone(self, tmp_path: Path, cells: str):
        first, second = cells.split(",")
        rows = self.read(tmp_path, f"path,label,action,reason\na.jpg,'x,{first},no\nb.jpg,y,{second},no\n")
        assert rows.table["excluded"].to_list() == [None, None]
        assert simple(rows)[0] == ("a.jpg", "'x", None) and rows.findings == ()

    def test_ids_keep_most_rows_names_when_somebody_relabels_one(self, tmp_path: Path):
        text = (
            "path,label,class_id,action\na.jpg,Zebra,0,keep\nb.jpg,Zebra,0,keep\nc.jpg,Ape,0,keep\nd.jpg,Ape,1,keep\n"
        )
        level = self.read(tmp_path, text).level
        assert level is not None and level.names == {"0": "Zebra", "1": "Ape"}

    def test_a_row_without_a_path_moves_no_reason_to_another(self, tmp_path: Path):
        rows = self.read(tmp_path, "path,label,action,reason\n,x,keep,\na.jpg,x,leave out,dark\nb.jpg,x,keep,\n")
        assert rows.table["excluded"].to_list() == ["is left out by the table: dark", None]


def test_an_image_is_no_list(tmp_path: Path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    assert read_listfile(tmp_path / "a.png", label_column=None, class_file=None) is None
