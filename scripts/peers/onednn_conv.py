"""oneDNN through PyTorch: a chain of 1x1 convolutions, `channels` wide on `size` x `size`.

`fp32`, `bf16` and `fp16` as convolutions (channels last) or as matrix products (`-gemm`), which
are the same work; `int8` with u8 activations that are requantized behind each layer, s8 weights
and a scale for each output channel, all within oneDNN's operation.
"""

import torch
import torch.nn.functional as F

from worker import serve


def chain(spec):
    n, c, size = spec["layers"], spec["channels"], spec["size"]
    mode, _, form = spec["mode"].partition("-")
    pixels = size * size
    if mode == "int8":
        # Steps that keep activations in the middle of their range.
        step, zero, scales = 0.05, 128, torch.full((c,), 6e-4)
        offsets = torch.zeros(c, dtype=torch.int32)
        weights = [torch.randint(-127, 128, (c, c), dtype=torch.int8) for _ in range(n)]
        if form == "gemm":
            packed = [torch.ops.onednn.qlinear_prepack(w, [pixels, c]) for w in weights]
            x = torch.randint(0, 256, (pixels, c), dtype=torch.uint8)

            def layer(x, w):
                return torch.ops.onednn.qlinear_pointwise(
                    x, step, zero, w, scales, offsets, None,
                    step, zero, torch.uint8, "none", [], "",
                )
        else:
            x = torch.randint(0, 256, (1, c, size, size), dtype=torch.uint8)
            x = x.to(memory_format=torch.channels_last)
            one, none = [1, 1], [0, 0]
            packed = [
                torch.ops.onednn.qconv_prepack(
                    w.view(c, c, 1, 1), scales, step, zero, one, none, one, 1, list(x.shape)
                )
                for w in weights
            ]

            def layer(x, w):
                return torch.ops.onednn.qconv_pointwise(
                    x, step, zero, w, scales, offsets, None, one, none, one, 1,
                    step, zero, torch.uint8, "none", [], "",
                )
        return x, packed, layer
    # Without the instructions PyTorch would take loops of its own, which say nothing of oneDNN.
    if mode == "fp16" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise RuntimeError("oneDNN computes no fp16 on this processor")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[mode]
    weights = [torch.randn(c, c) * c**-0.5 for _ in range(n)]
    if form == "gemm":
        x = torch.randn(pixels, c).to(dtype)
        weights = [w.to(dtype) for w in weights]
        # PyTorch sends fp32 products to MKL unless asked by name.
        product = torch.ops.mkldnn._linear_pointwise
        return x, weights, lambda x, w: product(x, w, None, "none", [], "")
    last = {"dtype": dtype, "memory_format": torch.channels_last}
    x = torch.randn(1, c, size, size).to(**last)
    return x, [w.view(c, c, 1, 1).to(**last) for w in weights], F.conv2d


def prepare(spec):
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    x, weights, layer = chain(spec)

    def once():
        y = x
        with torch.inference_mode():
            for w in weights:
                y = layer(y, w)

    return once, f"oneDNN in PyTorch {torch.__version__}"


if __name__ == "__main__":
    serve(prepare)
