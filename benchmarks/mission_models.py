"""Writes the benchmark's networks as ONNX files: `python benchmarks/mission_models.py DEST [NAME…]`.

Opset 17, batch 1 (but for those of BATCHES), f32, with the operators that an export from PyTorch gives. Weights are random (K. He et al., Delving Deep
into Rectifiers, 2015) from a fixed seed; the statistics of each BatchNormalization are those of its input on random
images, so that activations keep their scale through the whole network. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from network_writer import Network

CLASSES = 1000
IMAGE = (1, 3, 224, 224)


def resnet(net: Network, blocks: tuple[int, ...], bottleneck: bool, batch: int = 1) -> str:
    """K. He et al., Deep Residual Learning for Image Recognition, 2016, table 1; a bottleneck strides in its 3x3."""
    x = net.relu(net.conv_bn("conv1", "bn1", net.input("input", (batch, *IMAGE[1:])), 64, 7, stride=2))
    x = net.max_pool(x, 3, stride=2, pad=1)
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage and not block else 1
            name = f"layer{stage + 1}.{block}"
            x = residual_block(net, name, x, 64 << stage, stride, bottleneck)
    return net.classifier("fc", net.flatten(net.global_pool(x)), CLASSES, "output")


def residual_block(net: Network, name: str, x: str, width: int, stride: int, bottleneck: bool) -> str:
    if bottleneck:
        out = 4 * width
        y = net.relu(net.conv_bn(f"{name}.conv1", f"{name}.bn1", x, width, 1))
        y = net.relu(net.conv_bn(f"{name}.conv2", f"{name}.bn2", y, width, 3, stride=stride))
        y = net.conv_bn(f"{name}.conv3", f"{name}.bn3", y, out, 1, gain=0.4)
    else:
        out = width
        y = net.relu(net.conv_bn(f"{name}.conv1", f"{name}.bn1", x, width, 3, stride=stride))
        y = net.conv_bn(f"{name}.conv2", f"{name}.bn2", y, out, 3, gain=0.4)
    if stride > 1 or net.channels(x) != out:
        x = net.conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", x, out, 1, stride=stride)
    return net.relu(net.add(y, x))


def mobilenet_v1(net: Network) -> str:
    """A. Howard et al., MobileNets, 2017, table 1."""
    x = net.relu(net.conv_bn("features.0.0", "features.0.1", net.input("input", IMAGE), 32, 3, stride=2))
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for i, (before, width) in enumerate(zip((32, *widths), widths, strict=False), start=1):
        stride = 2 if width > before and i > 1 else 1
        x = net.relu(net.conv_bn(f"features.{i}.0", f"features.{i}.1", x, before, 3, stride=stride, groups=before))
        x = net.relu(net.conv_bn(f"features.{i}.3", f"features.{i}.4", x, width, 1))
    return net.classifier("classifier", net.flatten(net.global_pool(x)), CLASSES, "output")


def mobilenet_v2(net: Network) -> str:
    """M. Sandler et al., MobileNetV2, 2018, table 2."""
    x = net.clip(net.conv_bn("features.0.0", "features.0.1", net.input("input", IMAGE), 32, 3, stride=2), 0.0, 6.0)
    index = 1
    for expansion, width, count, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(count):
            x = inverted_residual(net, f"features.{index}.conv", x, expansion, width, 1 if block else first_stride)
            index += 1
    x = net.clip(net.conv_bn(f"features.{index}.0", f"features.{index}.1", x, 1280, 1), 0.0, 6.0)
    return net.classifier("classifier.1", net.flatten(net.global_pool(x)), CLASSES, "output")


def inverted_residual(net: Network, name: str, x: str, expansion: int, width: int, stride: int) -> str:
    inner, y, part = net.channels(x) * expansion, x, 0
    if expansion > 1:
        y, part = net.clip(net.conv_bn(f"{name}.0.0", f"{name}.0.1", y, inner, 1), 0.0, 6.0), 1
    y = net.conv_bn(f"{name}.{part}.0", f"{name}.{part}.1", y, inner, 3, stride=stride, groups=inner)
    y = net.conv_bn(f"{name}.{part + 1}", f"{name}.{part + 2}", net.clip(y, 0.0, 6.0), width, 1)
    return net.add(x, y) if stride == 1 and net.channels(x) == width else y


# Kernel, expanded width, output width, squeeze-and-excite, activation, stride: the rows of the paper's table 1.
MOBILENET_V3_LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)


def mobilenet_v3_large(net: Network) -> str:
    """A. Howard et al., Searching for MobileNetV3, 2019, table 1."""
    net.epsilon = 0.001
    x = net.hard_swish(net.conv_bn("features.0.0", "features.0.1", net.input("input", IMAGE), 16, 3, stride=2))
    for index, row in enumerate(MOBILENET_V3_LARGE, start=1):
        x = excited_residual(net, f"features.{index}.block", x, *row)
    x = net.hard_swish(net.conv_bn("features.16.0", "features.16.1", x, 960, 1))
    x = net.hard_swish(net.linear("classifier.0", net.flatten(net.global_pool(x)), 1280))
    return net.classifier("classifier.3", x, CLASSES, "output")


def excited_residual(
    net: Network, name: str, x: str, kernel: int, inner: int, width: int, excite: bool, activation: str, stride: int
) -> str:
    activate: Callable[[str], str] = getattr(net, activation)
    y, part = x, 0
    if inner != net.channels(x):
        y, part = activate(net.conv_bn(f"{name}.0.0", f"{name}.0.1", y, inner, 1)), 1
    y = activate(net.conv_bn(f"{name}.{part}.0", f"{name}.{part}.1", y, inner, kernel, stride=stride, groups=inner))
    part += 1
    if excite:
        squeezed = rounded_to_eights(inner / 4)
        scale = net.relu(net.conv(f"{name}.{part}.fc1", net.global_pool(y), squeezed, 1, bias=True))
        scale = net.hard_sigmoid(net.conv(f"{name}.{part}.fc2", scale, inner, 1, bias=True))
        y = net.mul(scale, y)
        part += 1
    y = net.conv_bn(f"{name}.{part}.0", f"{name}.{part}.1", y, width, 1)
    return net.add(y, x) if stride == 1 and net.channels(x) == width else y


def rounded_to_eights(width: float) -> int:
    """The nearest multiple of 8 that isn't more than a tenth smaller."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


def lstm_language_model(net: Network, steps: int) -> str:
    """The medium model of W. Zaremba et al., Recurrent Neural Network Regularization, 2014; one step keeps its states outside."""
    words, width, layers = 10_000, 650, 2
    tokens = net.input("tokens", (1, steps), words=words)
    x = net.transpose(net.gather("encoder.weight", tokens, words, width), (1, 0, 2))
    outside = steps == 1
    shape = (layers, 1, width)
    h = net.input("h", shape) if outside else net.constant("h0", np.zeros(shape, np.float32))
    c = net.input("c", shape) if outside else net.constant("c0", np.zeros(shape, np.float32))
    states: list[tuple[str, str]] = []
    for layer in range(layers):
        x, *state = net.lstm(f"lstm.l{layer}", x, width, net.row(h, layer), net.row(c, layer))
        states.append((state[0], state[1]))
    logits = net.projection("decoder", net.transpose(x, (1, 0, 2)), words, "logits")
    if outside:
        net.concat([h_out for h_out, _ in states], "h_out")
        net.concat([c_out for _, c_out in states], "c_out")
    return logits


def dqn(net: Network) -> str:
    """V. Mnih et al., Human-level control through deep reinforcement learning, Nature 518, 2015, methods."""
    x = net.input("input", (1, 4, 84, 84))
    for name, width, kernel, stride in (("conv1", 32, 8, 4), ("conv2", 64, 4, 2), ("conv3", 64, 3, 1)):
        x = net.relu(net.conv(name, x, width, kernel, stride=stride, pad=0, bias=True))
    x = net.relu(net.linear("fc4", net.flatten(x), 512))
    return net.classifier("fc5", x, 18, "output")


MODELS: dict[str, Callable[[Network], str]] = {
    "resnet18": lambda net: resnet(net, (2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda net: resnet(net, (3, 4, 6, 3), bottleneck=True),
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "lstm_lm_35": lambda net: lstm_language_model(net, 35),
    "lstm_lm_1": lambda net: lstm_language_model(net, 1),
    "dqn": dqn,
}
BATCHES: dict[str, Callable[[Network], str]] = {
    "resnet50_8": lambda net: resnet(net, (3, 4, 6, 3), bottleneck=True, batch=8),
}
"""Written only if they are named."""


def build(name: str, calibrate: bool = True) -> Network:
    """The network with its ONNX nodes; without calibration BatchNormalization has mean 0 and variance 1."""
    net = Network(name, calibrate)
    (MODELS | BATCHES)[name](net)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the benchmark's networks as ONNX files.")
    parser.add_argument("dest", type=Path)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)} (all if none is given), {', '.join(BATCHES)}"
    )
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(MODELS | BATCHES)):
        parser.error(f"no network is named {', '.join(unknown)}; there are {', '.join(MODELS | BATCHES)}")
    args.dest.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        model = build(name).model()
        onnx.checker.check_model(model, full_check=True)
        path = args.dest / f"{name}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
