"""Placement: where maps lie in the two activation buffers, and where weights lie on chip."""

from dataclasses import dataclass

from penstock.config import Config
from penstock.errors import PenstockError
from penstock.lowering import Operation
from penstock.network import INPUT, Shape

BUFFERS = 2

LANES = 8
"""Channels of a pixel that the compact engine multiplies at once in a 1x1 convolution."""


@dataclass(frozen=True)
class Region:
    """Addresses ``[base, base + size)`` in every bank of one buffer."""

    buffer: int
    base: int
    size: int

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.base + self.size

    def overlaps(self, other: "Region") -> bool:
        """Whether the two share an address."""
        return self.buffer == other.buffer and self.base < other.end and other.base < self.end


@dataclass(frozen=True)
class MapPlacement:
    """Regions by tensor, and the layer from whose start on the next image may be loaded.

    ``load_layer`` is None where the input's region is in use until the end of the last layer.
    """

    regions: dict[str, Region]
    load_layer: int | None


def plane_addresses(shape: Shape) -> int:
    """Addresses of one channel word of a map."""
    return -(-shape.width * -(-shape.height // 3) // 3)


def map_addresses(shape: Shape, word: int) -> int:
    """Addresses of a whole map."""
    return plane_addresses(shape) * -(-shape.channels // word)


def place_maps(operations: list[Operation], image: Shape, config: Config) -> MapPlacement:
    """Find a place for every map, the input's region free again as early as possible.

    A residual lies in the other buffer than the input of the layer that adds it. An output may take
    the exact place of its own residual when nobody needs that any more, since each output is
    written after its residual was read; it overlaps no other live map. Raises PenstockError,
    naming a layer, what it needs and what there is.
    """
    search = _Search(operations, image, config)
    for load_layer in range(search.last_use[INPUT] + 1, len(operations) + 1):
        regions = search.run(load_layer)
        if regions is not None:
            return MapPlacement(regions, load_layer if load_layer < len(operations) else None)
    raise search.refusal()


def padded_channels(shape: Shape) -> int:
    """Addresses of one cell of a map where channels are the low bits of an address."""
    return max(LANES, 1 << (shape.channels - 1).bit_length())


def place_padded_maps(
    operations: list[Operation], image: Shape, config: Config
) -> dict[str, Region]:
    """A region for every map where channels are the low bits of an address; as `place_maps`.

    A map begins at a multiple of its padded channels; the image is loaded before the first layer.
    """
    search = _PaddedSearch(operations, image, config)
    regions = search.run(len(operations))
    if regions is None:
        raise search.refusal()
    return regions


class _Search:
    """Backtracking over the ends of free gaps, layer by layer; failed states are remembered."""

    def __init__(self, operations: list[Operation], image: Shape, config: Config):
        self.config = config
        self.operations = operations
        self.available = config.map_words
        self.sizes = {INPUT: self._size(image)}
        self.last_use = {INPUT: 0}
        self.deepest = (-1, 0)  # layer without a place, largest gap that it found
        for index, operation in enumerate(operations):
            self.last_use[operation.source] = index
            if operation.residual is not None:
                self._check_residual(operation)
                self.last_use[operation.residual.source] = index
            self.last_use.setdefault(operation.output, index)
            if not operation.raw:
                self.sizes[operation.output] = self._size(operation.stored)
        self._check_sizes()

    def _size(self, shape: Shape) -> int:
        """Addresses of a map."""
        return map_addresses(shape, self.config.word)

    def _unit(self, operation: Operation) -> int:
        """What an output map's first address is a multiple of."""
        return 1

    def _check_residual(self, operation: Operation):
        if operation.residual.source == operation.source:
            raise PenstockError(
                f"layer {operation.name}: residual must be another tensor than the layer's input, "
                f"not {operation.source} for both"
            )

    def _check_sizes(self):
        for name, size in self.sizes.items():
            if size > self.available:
                what = "network input: map" if name == INPUT else f"layer {name}: output map"
                raise PenstockError(
                    f"{what} needs {size} addresses of a buffer, there are {self.available}"
                )

    def run(self, load_layer: int) -> dict[str, Region] | None:
        """Regions of all maps, with the input's region reserved again from ``load_layer`` on."""
        self.load_layer = load_layer
        self.failed = set()
        size = self.sizes[INPUT]
        for base in dict.fromkeys((0, self.available - size)):
            regions = {INPUT: Region(0, base, size)}
            if self._place(0, regions):
                return regions
        return None

    def refusal(self) -> PenstockError:
        """What stopped the search, at the layer where it came furthest."""
        index, gap = self.deepest
        operation = self.operations[index]
        if operation.raw or gap >= self.sizes[operation.output]:
            return PenstockError(
                f"layer {operation.name}: residual must lie in the other buffer than the input; "
                "no arrangement of the maps allows that"
            )
        return PenstockError(
            f"layer {operation.output}: output map needs {self.sizes[operation.output]} addresses "
            f"beside the maps in use, there are {gap} in one piece"
        )

    def _place(self, index: int, regions: dict[str, Region]) -> bool:
        """Place the outputs of the layers from ``index`` on; fill ``regions`` where that works."""
        if index == len(self.operations):
            return True
        state = (
            index,
            frozenset(
                (name, region)
                for name, region in regions.items()
                if name == INPUT or self.last_use[name] >= index
            ),
        )
        if state in self.failed:
            return False
        operation = self.operations[index]
        residual = operation.residual and regions[operation.residual.source]
        if residual is None or residual.buffer != regions[operation.source].buffer:
            if operation.raw:
                return self._place(index + 1, regions)
            for region in self._candidates(index, regions):
                regions[operation.output] = region
                if self._place(index + 1, regions):
                    return True
                del regions[operation.output]
        elif index > self.deepest[0]:
            self.deepest = (index, self.available)
        self.failed.add(state)
        return False

    def _candidates(self, index: int, regions: dict[str, Region]) -> list[Region]:
        operation = self.operations[index]
        size = self.sizes[operation.output]
        found = []
        if self._may_replace_residual(index, regions):
            found.append(regions[operation.residual.source])
        largest = 0
        for buffer in (1 - regions[operation.source].buffer, regions[operation.source].buffer):
            unit = self._unit(operation)
            for first, last in self._gaps(index, buffer, regions):
                first, last = -(-first // unit) * unit, last // unit * unit
                largest = max(largest, last - first)
                if last - first >= size:
                    found += [Region(buffer, first, size), Region(buffer, last - size, size)]
        if not found and index >= self.deepest[0]:
            gap = max(largest, self.deepest[1]) if index == self.deepest[0] else largest
            self.deepest = (index, gap)
        return list(dict.fromkeys(found))

    def _may_replace_residual(self, index: int, regions: dict[str, Region]) -> bool:
        operation = self.operations[index]
        residual = operation.residual
        if residual is None or self.last_use[residual.source] != index:
            return False
        if regions[residual.source].overlaps(regions[INPUT]) and not self._input_is_free(index):
            return False  # the next image would come while the output is still needed
        return all(
            getattr(operation.stored, side) == getattr(operation.residual_shape, side)
            for side in ("channels", "height", "width")
        )

    def _input_is_free(self, index: int) -> bool:
        """Whether the output of that layer is gone before the next image is loaded."""
        return self.last_use[self.operations[index].output] < self.load_layer

    def _gaps(self, index: int, buffer: int, regions: dict[str, Region]) -> list[tuple[int, int]]:
        """Free addresses of a buffer for the output of layer ``index``, as long as it is needed."""
        taken = sorted(
            (region.base, region.end)
            for name, region in regions.items()
            if region.buffer == buffer
            and (self.last_use[name] >= index or (name == INPUT and not self._input_is_free(index)))
        )
        gaps, position = [], 0
        for first, last in [*taken, (self.available, self.available)]:
            if first > position:
                gaps.append((position, first))
            position = max(position, last)
        return gaps


class _PaddedSearch(_Search):
    def _size(self, shape: Shape) -> int:
        return plane_addresses(shape) * padded_channels(shape)

    def _unit(self, operation: Operation) -> int:
        return padded_channels(operation.stored)


def place_weights(operations: list[Operation], sizes: list[int], config: Config) -> list[int]:
    """First address of each layer's ``sizes`` weight words on chip.

    Resident: one layer behind the other. Streamed: neighbours in the cyclic order of layers share
    no address. Raises PenstockError, naming a layer, what it needs and what there is.
    """
    if config.weights == "resident":
        return _place_resident(operations, sizes, config.weight_words)
    return _place_streamed(operations, sizes, config.weight_words)


def _place_resident(operations: list[Operation], sizes: list[int], available: int) -> list[int]:
    addresses, position = [], 0
    for operation, size in zip(operations, sizes, strict=True):
        addresses.append(position)
        position += size
        if position > available:
            raise PenstockError(
                f"layer {operation.name}: weights up to it need {position} words on chip, "
                f"there are {available}"
            )
    return addresses


def _place_streamed(operations: list[Operation], sizes: list[int], available: int) -> list[int]:
    count = len(sizes)
    for operation, size in zip(operations, sizes, strict=True):
        if size > available:
            raise PenstockError(
                f"layer {operation.name}: weights need {size} words on chip, there are {available}"
            )
    if count == 1:
        return [0]
    for index, size in enumerate(sizes):
        following = (index + 1) % count
        if size + sizes[following] > available:
            raise PenstockError(
                f"layer {operations[following].name}: weights need {size + sizes[following]} words "
                f"on chip together with those of layer {operations[index].name}, "
                f"there are {available}"
            )
    for first in dict.fromkeys((0, available - sizes[0], sizes[-1])):
        addresses = _alternate(sizes, first, available)
        if addresses is not None:
            return addresses
    need = min(sizes[i - 1] + sizes[i] + sizes[(i + 1) % count] for i in range(count))
    raise PenstockError(
        f"layer {operations[-1].name}: weights of three layers in a row need {need} words on chip, "
        f"since the number of layers is odd, there are {available}"
    )


def _alternate(sizes: list[int], first: int, available: int) -> list[int] | None:
    """Addresses that neighbours do not share, layer 0 at ``first``; None where none were found.

    Walks the positions that each layer can take: the two ends of the memory, and directly beside
    the layer before.
    """
    came_from: list[dict[int, int]] = [{first: -1}]
    for index in range(1, len(sizes)):
        size, before = sizes[index], sizes[index - 1]
        positions: dict[int, int] = {}
        for position in came_from[-1]:
            for candidate in (0, available - size, position + before, position - size):
                inside = 0 <= candidate <= available - size
                beside = candidate >= position + before or candidate + size <= position
                if inside and beside:
                    positions.setdefault(candidate, position)
        came_from.append(positions)
    for position in came_from[-1]:
        if position >= first + sizes[0] or position + sizes[-1] <= first:
            addresses = [position]
            for positions in reversed(came_from[1:]):
                addresses.append(positions[addresses[-1]])
            return addresses[::-1]
    return None
