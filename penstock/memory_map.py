"""Where a program, its images and its outputs lie in memory, and what they look like there."""

from dataclasses import dataclass

import numpy as np

from penstock.errors import PenstockError
from penstock.network import Classifier, Network
from penstock.program import WORD_BYTES, Program
from penstock.registers import ALIGNMENT


@dataclass(frozen=True)
class MemoryMap:
    """Byte addresses of one START's images and outputs, behind their program at 0."""

    program: Program
    images: int  # of one START

    @property
    def input_stride(self) -> int:
        """Bytes from one image to the next."""
        return _aligned(self.program.header["input_beats"] * WORD_BYTES)

    @property
    def output_stride(self) -> int:
        """Bytes from one output to the next."""
        return _aligned(self.program.header["output_beats"] * WORD_BYTES)

    @property
    def first_input(self) -> int:
        """Address of the first image."""
        return _aligned(self.program.header["length"] * WORD_BYTES)

    @property
    def first_output(self) -> int:
        """Address of the first image's output."""
        return self.first_input + self.images * self.input_stride

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.first_output + self.images * self.output_stride

    def registers(self, gating: bool) -> dict[str, int]:
        """What the registers must hold before START."""
        return {
            "PROGRAM": 0,
            "INPUT": self.first_input,
            "INPUT_STRIDE": self.input_stride,
            "OUTPUT": self.first_output,
            "OUTPUT_STRIDE": self.output_stride,
            "IMAGES": self.images,
            "GATING": int(gating),
        }

    def program_bytes(self) -> bytes:
        """The program as it lies in memory, up to its last word."""
        return self.program.to_words().astype("<u8").tobytes()

    def input_bytes(self, images: np.ndarray) -> bytes:
        """The images from `first_input` on, up to the first output."""
        stored = image_bytes(self.program, images)
        padded = np.zeros((self.images, self.input_stride), np.uint8)
        padded[:, : stored.shape[1]] = stored
        return padded.tobytes()

    def logits(self, output: bytes) -> np.ndarray | None:
        """(N, classes) int32 of what lies from `first_output` on; None without a classifier."""
        last = self.program.network.layers[-1]
        if not isinstance(last, Classifier):
            return None
        stored = np.frombuffer(output, np.uint8).reshape(self.images, -1)
        return np.ascontiguousarray(stored[:, : 4 * len(last.weights)]).view("<i4")


def check_images(network: Network, images: np.ndarray):
    """Raise PenstockError unless ``images`` are what the network takes."""
    shape = network.input
    wanted = shape.channels, shape.height, shape.width
    if images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise PenstockError(
            f"images: must be (N, {', '.join(map(str, wanted))}) with N of 1 or more, "
            f"not {images.shape}"
        )
    dtype = np.dtype(np.int8 if shape.signed else np.uint8)
    if images.dtype != dtype:
        raise PenstockError(f"images: must be {dtype.name}, not {images.dtype.name}")


def image_bytes(program: Program, images: np.ndarray) -> np.ndarray:
    """Images as they lie in memory: (N, bytes of one image) uint8, whole 64-bit words each.

    Channel words in order, in each the pixels in raster order, w bytes a pixel; missing channels
    are 0.
    """
    word, header = program.config.word, program.header
    count, channels, height, width = images.shape
    planes = header["input_planes"]
    padded = np.zeros((count, planes * word, height, width), np.uint8)
    padded[:, :channels] = images.view(np.uint8)
    pixels = padded.reshape(count, planes, word, height, width).transpose(0, 1, 3, 4, 2)
    stored = np.zeros((count, header["input_beats"] * WORD_BYTES), np.uint8)
    stored[:, : padded[0].size] = pixels.reshape(count, -1)
    return stored


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
