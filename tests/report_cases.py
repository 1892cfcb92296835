"""A run's JSON as a comparison writes it, and a parser of its page."""

import functools
import json
from html.parser import HTMLParser

import numpy as np
from random_networks import random_images
from test_cli import small_network

from penstock.compiler import compile_network
from penstock.config import preset
from penstock.registers import COUNTERS, Code
from penstock.report import DENSE, GATED, measure
from penstock.sim.simulate import Run

IMAGES = 5
VOID = {"meta", "img"}


def made_run(program, cycles: int, **counted: int) -> Run:
    """A run of IMAGES images as the hardware might have ended it; no tensor is looked at."""
    layers = len(program.layer_names)
    return Run(
        code=Code.OK,
        tensors={},
        logits=np.eye(10, dtype=np.int32)[np.arange(IMAGES) % 10],
        counters=dict.fromkeys(COUNTERS, 0) | {"CYCLES": cycles} | counted,
        cycles=cycles,
        layer_cycles=np.full((IMAGES, layers), cycles // layers // IMAGES),
        image_cycles=np.full(IMAGES, cycles // IMAGES),
        bytes_read=IMAGES * 1024,
        bytes_written=IMAGES * 40,
        speed=1e5,
        errors=[],
    )


@functools.cache
def measured() -> str:
    """The JSON of a comparison on the configuration tiny: real gates and made-up counters."""
    rng = np.random.default_rng(0)
    network = small_network(rng)
    program = compile_network(network, preset("tiny"))
    images = random_images(rng, network.input, IMAGES)
    gated = {"BASE_STEPS": 5000, "CONDITIONAL_STEPS": 3000, "STALL_DRAIN": 1500, "STALL_POOL": 499}
    dense = {"BASE_STEPS": 5000, "CONDITIONAL_STEPS": 12000, "STALL_QUEUE": 2999}
    runs = {GATED: made_run(program, 10000, **gated), DENSE: made_run(program, 20000, **dense)}
    tensors = [
        {"name": name, "values": 100, "mismatches_gated": 0, "mismatches_dense": 0}
        for name in ("input", "stem", "gated", "pool", "classifier")
    ]
    compared = {"mismatches": 0, "compared": 123_456, "tensors": tensors}
    figures = measure(program, images, runs) | compared | {"accuracy": 0.8, "seed": 7}
    return json.dumps(figures)


class Page(HTMLParser):
    """Elements of a page, its text, and whether every one is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str, style: str | None = None) -> list[dict]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (style is None or style in attributes.get("class", "").split())
        ]


def percent(text: str) -> float:
    return float(text.removesuffix("%"))
