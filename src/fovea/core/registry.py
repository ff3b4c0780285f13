"""Named things a recipe may ask for. A registry is a dict of entries; a duplicate raises, an unknown name suggests.

Recipes use registered names and never dotted paths: a dotted path in a recipe would be arbitrary code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from fovea.core.errors import UnknownName

Build = TypeVar("Build", bound=Callable[..., object])


@dataclass(frozen=True)
class Entry(Generic[Build]):
    """One registered thing: its name, the function that builds it, one line on what it is."""

    name: str
    build: Build
    summary: str


class Registry(Generic[Build]):
    """A dict of entries of one kind.

    >>> registry: Registry = Registry("greeting")
    >>> @registry.register("hello", summary="says hello")
    ... def hello() -> str:
    ...     return "hello"
    >>> registry["hello"].build()
    'hello'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[Build]] = {}

    def register(self, name: str, *, summary: str) -> Callable[[Build], Build]:
        """Return a decorator that registers a function under `name`."""

        def add(build: Build) -> Build:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = Entry(name, build, summary)
            return build

        return add

    def __getitem__(self, name: str) -> Entry[Build]:
        if name not in self._entries:
            raise UnknownName(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[Build]]:
        return iter(self._entries.values())

    def names(self) -> tuple[str, ...]:
        """Return the registered names, sorted."""
        return tuple(sorted(self._entries))
