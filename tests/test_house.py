"""The rules of the house that no linter knows: the lock, the map, the sizes, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from fovea import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LONGEST_MODULE = 500


def tracked(*patterns: str) -> list[Path]:
    """Return the text files under version control that match."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *patterns]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in {".png", ".jpg", ".ico", ".woff2"}]


def pinned(lock: Path) -> dict[str, list[tuple[Requirement, int, str]]]:
    """Return what a lock pins: name → (requirement, number of hashes, why it is there), one for each marker."""
    entries: dict[str, list[tuple[Requirement, int, str]]] = {}
    blocks = re.split(r"^(?=\S)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for block in filter(str.strip, blocks):
        head, _, rest = block.partition("\\\n")
        requirement = Requirement(head.strip())
        entry = (requirement, rest.count("--hash=sha256:"), " ".join(re.findall(r"#\s*(.*)", rest)))
        entries.setdefault(canonicalize_name(requirement.name), []).append(entry)
    return entries


def wanted() -> dict[str, Requirement]:
    """Return every requirement that pyproject.toml names and requirements.lock must pin."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    lines += [line for extra in project["optional-dependencies"].values() for line in extra]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def test_the_lock_pins_what_the_project_asks_for_and_nothing_it_does_not() -> None:
    lock = pinned(ROOT / "requirements.lock")
    for name, requirement in wanted().items():
        assert name in lock, f"{name} is not locked: make lock"
        for entry, _, _ in lock[name]:
            (pin,) = entry.specifier
            assert pin.operator == "=="
            assert Version(pin.version) in requirement.specifier, f"{name} is locked at {pin}: make lock"
    direct = {name for name, entries in lock.items() if any("fovea (pyproject.toml" in why for *_, why in entries)}
    assert direct == set(wanted()), "the lock and pyproject.toml differ: make lock"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-uv.txt", "bench/peers.lock"])
def test_every_pin_has_a_hash_and_no_address(name: str) -> None:
    lock = pinned(ROOT / name)
    assert lock
    assert [entry for entries in lock.values() for entry, hashes, _ in entries if not hashes] == []
    assert "://" not in (ROOT / name).read_text(encoding="utf-8")


def test_torch_and_torchvision_are_the_pair_that_belongs_together() -> None:
    lock = pinned(ROOT / "requirements.lock")
    torch, vision = (next(iter(lock[name][0][0].specifier)).version for name in ("torch", "torchvision"))
    assert vision == metadata.version("torchvision").partition("+")[0]
    (needed,) = (need for need in map(Requirement, metadata.requires("torchvision") or []) if need.name == "torch")
    assert Version(torch) in needed.specifier


def test_no_registry_address_and_no_path_of_one_machine_is_committed() -> None:
    address = re.compile(
        "|".join(["index" + "-url", "registry = " + '"http', '"resolved": ' + '"http', "find" + "-links"])
    )
    local = re.compile(r"(?:^|[^\w.])/(?:work|home|root)/", re.MULTILINE)
    offenders = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in tracked()
        if path != Path(__file__).resolve()
        for pattern in (address, local)
        if (found := pattern.search(path.read_text(encoding="utf-8").replace("--no-emit-" + "index" + "-url", "")))
    ]
    assert offenders == []


def test_no_module_is_too_long_to_be_read() -> None:
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in tracked("*.py")}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_the_map_shows_the_layers_that_are_enforced() -> None:
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    drawn = re.search(r"## Rooms.*?```\n(.*?)```", design, re.DOTALL)
    assert drawn, "docs/design.md no longer draws the rooms"
    assert drawn.group(1).splitlines() == [re.sub(r"[()]", "", layer) for layer in layers]


def test_every_room_is_on_the_map() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "src" / "fovea").glob("*/__init__.py")}
    assert {room for room in rooms if room not in design} == set()


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_links_between_the_pages_lead_somewhere() -> None:
    broken = []
    for page in tracked("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
