"""PyTorch: one training step, forward, backward and AdamW (fused), on random tokens.

`fp32`; `amp`: autocast to bf16 with master weights and moments in fp32; `bf16`: everything in
bf16, moments included, which keeps less than the others do.
"""

import torch

from llama_torch import Model
from shapes import SHAPES
from worker import serve


def prepare(spec):
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    shape, mode, size = SHAPES[spec["model"]], spec["mode"], (spec["batch"], spec["seq"])
    model = Model(shape, spec["seq"])
    if mode == "bf16":
        model = model.bfloat16()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    forward = torch.compile(model) if spec["compile"] else model
    ids, targets = (torch.randint(0, shape.vocab, size) for _ in range(2))

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "amp"):
            loss = forward(ids, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step, f"PyTorch {torch.__version__}"


if __name__ == "__main__":
    serve(prepare)
