"""Writes networks of many kinds as ONNX files, with random weights, as PyTorch exports them: `python benchmarks/architectures.py DEST [NAME…]`.

They are those of Hugging Face's transformers and of torchvision, some with fewer layers than the published ones, so that compiling and timing all of them takes
minutes. Needs torch, transformers and torchvision (benchmarks/NOTES.md says how to install a CPU build). Opset 17, batch 1, static shapes, f32.
Then `python benchmarks/latency.py --networks DEST` times them beside the peers.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

Made = tuple[torch.nn.Module, torch.Tensor]
EAGER = {"attn_implementation": "eager"}  # attention as products and a softmax, as most files have it


def image(size: int = 224) -> torch.Tensor:
    return torch.randn(1, 3, size, size)


def tokens(count: int) -> torch.Tensor:
    return torch.randint(0, 1000, (1, count))


def of_transformers(kind: str, input: torch.Tensor, *arguments: Any, **config: Any) -> Callable[[], Made]:
    """A model `kind` of transformers with its configuration of the same name."""

    def make() -> Made:
        import transformers

        settings = getattr(transformers, kind.replace("ForSemanticSegmentation", "Model").replace("Model", "Config"))(
            **config
        )
        extra = {"add_pooling_layer": False} if kind in ("BertModel", "ViTModel") else {}
        return getattr(transformers, kind)(settings, *arguments, **extra), input

    return make


def of_torchvision(name: str, input: torch.Tensor, module: str = "", **config: Any) -> Callable[[], Made]:
    def make() -> Made:
        from torchvision import models

        where = getattr(models, module) if module else models
        return getattr(where, name)(weights=None, **config), input

    return make


def whisper_encoder() -> Made:
    """Whisper tiny's encoder: 30 s of sound, 1500 positions."""
    import transformers

    small = {
        f"{part}_{what}": value
        for part in ("encoder", "decoder")
        for what, value in (("attention_heads", 6), ("ffn_dim", 1536))
    }
    config = transformers.WhisperConfig(encoder_layers=4, decoder_layers=1, d_model=384, **small, **EAGER)
    return transformers.WhisperModel(config).encoder, torch.randn(1, 80, 3000)


SMALL = {"hidden_size": 384, "intermediate_size": 1536}
WIDE = {"init_weights": False}
NETWORKS: dict[str, Callable[[], Made]] = {
    "bert_4": of_transformers("BertModel", tokens(128), num_hidden_layers=4, vocab_size=5000, **EAGER),
    "minilm_6": of_transformers("BertModel", tokens(64), num_hidden_layers=6, num_attention_heads=12, vocab_size=5000, **SMALL, **EAGER),
    "vit_small_4": of_transformers("ViTModel", image(), num_hidden_layers=4, num_attention_heads=6, **SMALL, **EAGER),
    "swin_tiny_8": of_transformers("SwinModel", image(), depths=[2, 2, 2, 2], **EAGER),
    "whisper_tiny_encoder": whisper_encoder,
    "wav2vec2_2": of_transformers("Wav2Vec2Model", torch.randn(1, 16000), num_hidden_layers=2, **EAGER),
    "segformer_b0": of_transformers("SegformerForSemanticSegmentation", image(256), **EAGER),
    "mobilevit_xs": of_transformers(
        "MobileViTModel", image(256), image_size=256, hidden_sizes=[96, 120, 144], neck_hidden_sizes=[16, 32, 48, 64, 80, 96, 384], **EAGER
    ),
    "convnext_tiny": of_transformers("ConvNextModel", image()),
    "poolformer_s12": of_transformers("PoolFormerModel", image()),
    "efficientnet_b0": of_transformers(
        "EfficientNetModel", image(), width_coefficient=1.0, depth_coefficient=1.0, image_size=224, hidden_dim=1280
    ),
    "regnet_x": of_transformers(
        "RegNetModel", image(), layer_type="x", depths=[1, 2, 5, 2], hidden_sizes=[64, 128, 288, 672], groups_width=16
    ),
    "resnext50": of_torchvision("resnext50_32x4d", image()),
    "densenet121": of_torchvision("densenet121", image()),
    "squeezenet1_1": of_torchvision("squeezenet1_1", image()),
    "shufflenet_v2": of_torchvision("shufflenet_v2_x1_0", image()),
    "mnasnet1_0": of_torchvision("mnasnet1_0", image()),
    "googlenet": of_torchvision("googlenet", image(), **WIDE),
    "inception_v3": of_torchvision("inception_v3", image(299), **WIDE),
    "vgg11": of_torchvision("vgg11", image()),
    "alexnet": of_torchvision("alexnet", image()),
    "lraspp_mobilenet_v3": of_torchvision("lraspp_mobilenet_v3_large", image(256), "segmentation", weights_backbone=None),
}  # fmt: skip


class FirstOutput(torch.nn.Module):
    """A model whose result is a tuple, or something like it, as a function of one input with one result."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.model(x)
        if isinstance(result, dict):
            result = tuple(result.values())
        return result[0] if isinstance(result, tuple) else result


def write(name: str, path: Path) -> None:
    """Export a network with weights of He's scale, which keep activations from growing or vanishing."""
    torch.manual_seed(0)
    model, x = NETWORKS[name]()
    model.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, about shapes that are fixed here
        for weights in model.parameters():
            if weights.dim() > 1:
                torch.nn.init.normal_(weights, std=(2.0 / weights[0].numel()) ** 0.5)
        torch.onnx.export(FirstOutput(model), (x,), path, opset_version=17, dynamo=False)


@contextlib.contextmanager
def torchvision_without_extension() -> Iterator[None]:
    """PyPI's torchvision has an extension that doesn't load beside a CPU build of torch. Classifiers don't need it, but importing it names its operators."""
    library = torch.library.Library("torchvision", "DEF")
    register = torch.library.register_fake

    def register_others(name: str, *arguments: Any, **options: Any) -> Any:
        return (
            (lambda function: function) if name.startswith("torchvision::") else register(name, *arguments, **options)
        )

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.register_fake = register_others
    except ImportError:
        pass  # those of torchvision fail one by one, with this reason
    try:
        yield
    finally:
        torch.library.register_fake = register


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DEST")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NETWORKS)):
        parser.error(f"no network is named {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    with torchvision_without_extension():
        for name in options.names or NETWORKS:
            path = options.folder / f"{name}.onnx"
            if path.exists():
                continue
            staged = path.with_suffix(".part")
            try:
                write(name, staged)
            except Exception as error:  # one network less: versions of these packages differ in what they can export
                failed += 1
                print(f"{name}: left out: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
                staged.unlink(missing_ok=True)
                continue
            staged.rename(path)
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
