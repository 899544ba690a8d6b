"""PyTorch: reading a prompt into caches of keys and values, scores of the last token alone."""

import torch

from llama_torch import Model
from shapes import SHAPES
from worker import serve


def prepare(spec):
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    shape, tokens = SHAPES[spec["model"]], spec["seq"]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[spec["mode"]]
    model = Model(shape, tokens).to(dtype).eval().requires_grad_(False)
    size = (1, shape.kv_heads, tokens, shape.head_dim)
    caches = [tuple(torch.zeros(size, dtype=dtype) for _ in "kv") for _ in range(shape.layers)]
    ids = torch.randint(0, shape.vocab, (1, tokens))
    read = model.last
    if spec["compile"]:
        import torch._inductor.config as inductor

        # Parameters become constants, which the compiler packs ahead.
        inductor.freezing = True
        read = torch.compile(read)

    def once():
        with torch.no_grad():
            read(ids, caches)

    return once, f"PyTorch {torch.__version__}"


if __name__ == "__main__":
    serve(prepare)
