"""What a tensor's positions mean in the image: which dimensions run along its height and width, and what each sees.

A `Field` goes with every tensor that depends on the image. Its axes say which input pixels a position sees, as in
Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019, §2); its dimensions say
where those axes lie after views and transpositions. How operators change fields is `fieldrules`' work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

HEIGHT, WIDTH = "h", "w"


@dataclass(frozen=True)
class Axis:
    """Position i of the map sees the input pixels from i·stride + low to i·stride + high.

    Attributes:
        size: positions along the axis.
        whole: it also sees every other pixel, through pooling over the whole map, attention or a fully connected layer;
            low and high then still tell what it sees by convolution and pooling alone.
    """

    size: int
    stride: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    whole: bool = False

    @property
    def extent(self) -> int:
        """Pixels that one position sees by convolution and pooling alone.

        >>> Axis(7, low=Fraction(-1), high=Fraction(1)).extent
        3
        """
        return math.floor(self.high - self.low) + 1

    def windowed(self, size: int, *, kernel: int, stride: int, padding: int, dilation: int = 1) -> Axis:
        """Return the axis after a window has slid over it."""
        return replace(
            self,
            size=size,
            stride=self.stride * stride,
            low=self.low - self.stride * padding,
            high=self.high + self.stride * (dilation * (kernel - 1) - padding),
        )

    def shifted(self, positions: int) -> Axis:
        """Return the axis when its position 0 is what was `positions` before; negative ones are padding."""
        return replace(self, low=self.low + self.stride * positions, high=self.high + self.stride * positions)


@dataclass(frozen=True)
class Atom:
    """A part of a dimension: so many positions, along the axes named in `along` ("", "h", "w" or "hw")."""

    size: int
    along: str = ""


Dim = tuple[Atom, ...]


@dataclass(frozen=True)
class Field:
    """What a tensor's positions see.

    Attributes:
        dims: for each dimension its atoms, outermost first.
        axes: "h" and "w".
        gap: why it could not be followed; empty where it could.
    """

    dims: tuple[Dim, ...]
    axes: Mapping[str, Axis]
    gap: str = ""

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> Field:
        """Return the field of images (B,3,H,W): each pixel sees itself."""
        batch, channels, height, width = shape
        dims = ((Atom(batch),), (Atom(channels),), (Atom(height, HEIGHT),), (Atom(width, WIDTH),))
        return cls(dims, {HEIGHT: Axis(height), WIDTH: Axis(width)})

    @property
    def has_positions(self) -> bool:
        """Whether its elements still belong to places in the image: it is a feature map, or a list of tokens."""
        return {letter for position in range(len(self.dims)) for letter in self.along(position)} == {HEIGHT, WIDTH}

    def along(self, position: int) -> str:
        """Return the axes that a dimension runs along."""
        return "".join(sorted({letter for atom in self.dims[position] for letter in atom.along}))

    def axis_of(self, position: int) -> str | None:
        """Return the axis that a dimension is, where it is all of one axis and nothing else."""
        atoms = [atom for atom in self.dims[position] if atom.size > 1 or atom.along]
        if len(atoms) == 1 and atoms[0].along in self.axes and atoms[0].size == self.axes[atoms[0].along].size:
            return atoms[0].along
        return None

    def mixed(self, positions: Sequence[int]) -> Field:
        """Return the field after all positions along these dimensions have been mixed: each sees what all saw."""
        axes, gap = dict(self.axes), self.gap
        for letter in {letter for position in positions for letter in self.along(position)}:
            sizes = [atom.size for place in positions for atom in self.dims[place] if letter in atom.along]
            if math.prod(sizes) < self.axes[letter].size:
                gap = gap or "positions are mixed within windows"
            axes[letter] = replace(axes[letter], whole=True)
        return replace(self, axes=axes, gap=gap)

    def without(self, positions: Sequence[int], *, keepdim: bool) -> Field:
        """Return the field after these dimensions have been reduced to one number each."""
        mixed = self.mixed(positions)
        dims = [(Atom(1),) if at in positions else dim for at, dim in enumerate(self.dims)]
        return replace(mixed, dims=tuple(dim for at, dim in enumerate(dims) if keepdim or at not in positions))

    def viewed(self, shape: Sequence[int]) -> Field:
        """Return the field of the same elements in another shape.

        >>> flat = Field.of_image((1, 3, 4, 5)).viewed((1, 3, 20))
        >>> flat.along(2), flat.viewed((1, 3, 4, 5)).axis_of(3)
        ('hw', 'w')
        >>> flat.viewed((1, 5, 12)).along(1)  # neither rows nor columns
        'hw'
        """
        atoms = [atom for dim in self.dims for atom in dim if atom.size > 1 or atom.along]
        dims: list[Dim] = []
        for size in shape:
            taken: list[Atom] = []
            missing = size
            while missing > 1 and atoms:
                atom = atoms.pop(0)
                if atom.size > missing and atom.size % missing == 0:
                    atoms.insert(0, replace(atom, size=atom.size // missing))
                    atom = replace(atom, size=missing)
                if missing % atom.size:
                    break
                taken.append(atom)
                missing //= atom.size
            if size == 1 and atoms and atoms[0].size == 1:
                taken.append(atoms.pop(0))
            if missing > 1:
                return replace(self, dims=self._blurred(shape))
            dims.append(tuple(taken) or (Atom(size),))
        return replace(self, dims=tuple(dims))

    def _blurred(self, shape: Sequence[int]) -> tuple[Dim, ...]:
        everything = "".join(sorted({letter for position in range(len(self.dims)) for letter in self.along(position)}))
        return tuple((Atom(size, everything if size > 1 else ""),) for size in shape)


def merged(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """Return the field of a tensor of this shape that is computed, position by position, from several (broadcast)."""
    if not fields:
        raise ValueError("nothing to merge")
    dims: list[Dim] = []
    for back in range(len(shape), 0, -1):  # dimensions are matched from the last one backwards
        aligned = [field.dims[-back] for field in fields if len(field.dims) >= back]
        fitting = [dim for dim in aligned if math.prod(atom.size for atom in dim) == shape[-back]]
        dims.append(max(fitting, key=_labels, default=(Atom(shape[-back]),)))
    gap = next((field.gap for field in fields if field.gap), "")
    axes = {}
    for letter in (HEIGHT, WIDTH):
        spread = [field for field in fields if any(letter in field.along(at) for at in range(len(field.dims)))]
        axes[letter] = _united([field.axes[letter] for field in spread or fields])
        axes[letter] = replace(axes[letter], whole=any(field.axes[letter].whole for field in fields))
        if len({field.axes[letter].stride for field in spread}) > 1:
            gap = gap or "branches of different strides meet"
    return Field(tuple(dims), axes, gap)


def _united(axes: Sequence[Axis]) -> Axis:
    return replace(axes[0], low=min(axis.low for axis in axes), high=max(axis.high for axis in axes))


def _labels(dim: Dim) -> int:
    return sum(len(atom.along) for atom in dim)
