"""Shapes of the models, as `anemone bench --model` knows them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int
    theta: float = 1e4
    eps: float = 1e-5
    qk_norm: bool = False


SHAPES = {
    "tiny": Shape(192, 4, 6, 2, 32, 512, 1024),
    "stories15m": Shape(288, 6, 6, 6, 48, 768, 32000),
    "stories110m": Shape(768, 12, 12, 12, 64, 2048, 32000),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 151936, 1e6, 1e-6, True),
}
