"""The page of results: tables and plots, from what `results` measured and nothing else."""

import io

PUBLISHED = (
    ("CSGN, ResNet-20, lossless CIFAR-10", (1.97, 2.46, 2.81, 3.82), (91.39, 91.21, 90.18, 88.68)),
)
"""(name, MAC reductions, accuracies in percent). Source: Hyun et al., Electronics 2022."""


_HEAD = """\
Written by `penstock results` from results.json; [command_line.md](command_line.md) defines the
figures.
"""
_PUBLISHED_TEXT = """\
Published points are for lossless CIFAR-10 and other training; the networks here were trained and
tested on {dataset}: compare differences to the dense network, not accuracies.
"""


def page(results: dict, plot: str) -> str:
    """Markdown of the results; ``plot`` is the file name of `figure`'s SVG."""
    networks = results["networks"]
    dataset = results["dataset"]
    parts = [
        f"# ResNet-20 on {dataset}: accuracy against real cycles\n",
        _HEAD,
        _accuracy_table(networks, results["test_images"]),
        f"![Accuracy against MAC reduction and speed-up]({plot})\n",
        _PUBLISHED_TEXT.format(dataset=dataset),
        _published_table(),
    ]
    simulated = [network for network in networks if "cycles_gated" in network]
    if simulated:
        parts.append(_hardware_table(simulated, results["config"]))
        parts += [_layer_table(network) for network in simulated]
    parts.append(_commands(networks))
    return "\n".join(parts)


def figure(results: dict) -> bytes:
    """The plots as SVG: accuracy against MAC reduction, and against the measured speed-up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "penstock"  # the same figures give the same file
    drawn, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    networks = results["networks"]
    shipped = [network for network in networks if network["shipped"]]
    others = [network for network in networks if not network["shipped"]]
    left.plot(
        *_points(others, "mac_reduction"), "o", color="C0", fillstyle="none", label="not shipped"
    )
    for axes, field, label in (
        (left, "mac_reduction", "MAC reduction"),
        (right, "speedup", "speed-up in cycles, RTL"),
    ):
        axes.plot(*_points(shipped, field), "o-", color="C0", label="Penstock, integers")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    for name, reductions, accuracies in PUBLISHED:
        left.plot(reductions, accuracies, "s--", color="C1", label=name)
    left.set_ylabel("test accuracy, %")
    left.legend()
    content = io.BytesIO()
    drawn.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(drawn)
    return content.getvalue()


def _points(networks: list[dict], field: str) -> tuple[list[float], list[float]]:
    """What each network reaches, in order, and its accuracy in percent."""
    points = sorted((network[field], 100 * network["accuracy_int"]) for network in networks)
    return [reached for reached, _ in points], [accuracy for _, accuracy in points]


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _accuracy_table(networks: list[dict], images: int) -> str:
    dense = next((each["accuracy_int"] for each in networks if each["target"] is None), None)
    rows = [
        (
            network["name"] + ("" if network["shipped"] else " (not shipped)"),
            "" if network["target"] is None else f"{network['target']:g}",
            f"{network['accuracy_float']:.2%}",
            f"{network['accuracy_int']:.2%}",
            "" if dense is None else f"{100 * (network['accuracy_int'] - dense):+.2f}",
            f"{network['density']:.3f}",
            f"{network['mac_reduction']:.3f}x",
        )
        for network in networks
    ]
    heads = "network", "T_target", "float", "integers", "points to dense", "density"
    return f"All {images:,} test images:\n\n" + _table((*heads, "MAC reduction"), rows)


def _published_table() -> str:
    rows = [
        (name, f"{reduction:.2f}x", f"{accuracy:.2f}%")
        for name, reductions, accuracies in PUBLISHED
        for reduction, accuracy in zip(reductions, accuracies, strict=True)
    ]
    return _table(("published", "MAC reduction", "accuracy"), rows)


def _hardware_table(networks: list[dict], config: str) -> str:
    rows = [
        (
            network["name"],
            f"{network['mismatches']:,} of {network['compared']:,}",
            f"{network['cycles_gated']:,.0f}",
            f"{network['cycles_dense']:,.0f}",
            f"{network['mac_reduction_images']:.3f}x",
            f"{network['speedup']:.3f}x",
            f"{network['efficiency']:.3f} ({network['efficiency_min']:.3f})",
            f"{network['utilization_dense']:.3f}",
            f"{network['bus_bytes']:,.0f}",
            f"{network['cycles_gated_streamed']:,.0f} / {network['cycles_dense_streamed']:,.0f}",
            f"{network['bus_bytes_streamed']:,.0f}",
        )
        for network in networks
    ]
    heads = (
        *("network", "mismatches", "cycles, gating on", "off", "MAC reduction", "speed-up"),
        *("efficiency (one image, least)", "utilization, off", "bus bytes"),
        *("cycles, weights streamed, on / off", "bus bytes, streamed"),
    )
    count = networks[0]["images"]
    return f"\n## In the RTL\n\n{config}, {count} images of one START:\n\n" + _table(heads, rows)


def _layer_table(network: dict) -> str:
    rows = [
        (
            "+".join(layer["names"]),
            f"{layer['macs_dense']:,}",
            "" if layer["density"] is None else f"{layer['density']:.3f}",
            f"{layer['cycles_gated']:,.1f}",
            f"{layer['model_error_gated']:+.1%}",
            f"{layer['cycles_dense']:,.1f}",
            f"{layer['model_error_dense']:+.1%}",
        )
        for layer in network["layers"]
    ]
    heads = "layer", "MACs, dense", "density", "cycles, on", "model", "cycles, off", "model"
    return f"\n### {network['name']}\n\n" + _table(heads, rows)


def _commands(networks: list[dict]) -> str:
    lines = [f"    {network['command']}\n" for network in networks]
    versions = sorted({f"{k} {v}" for network in networks for k, v in network["versions"].items()})
    return f"\n## What made them\n\n{', '.join(versions)}\n\n" + "".join(lines)
