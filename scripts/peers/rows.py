"""What is measured, and what is held against what.

A group is measured together, its contenders taking turns. A claim compares two sides of a
group: the fastest of ours with the fastest of theirs. Names are `ours fp32`, `torch amp
compiled` and so on; a side is the list of names that may stand for it.
"""

from dataclasses import dataclass, field


@dataclass
class Contender:
    name: str
    # "anemone", or the file of a peer without its ending.
    program: str
    # For anemone its arguments, the figure's name, and the flag that sets repetitions.
    arguments: list = field(default_factory=list)
    figure: str = ""
    repeat: str = ""
    # For a peer what it is to prepare.
    spec: dict = field(default_factory=dict)
    python: str = "torch"


@dataclass
class Claim:
    title: str
    ours: list
    theirs: list
    at_least: float
    # "rate", "memory" (megabytes, at most) or "memory ratio" (ours by theirs, at most).
    of: str = "rate"


@dataclass
class Group:
    key: str
    title: str
    # Units of work in one repetition, and their name.
    work: float
    unit: str
    contenders: list
    claims: list
    # Large models: a process for each turn instead of all of them in memory.
    fresh: bool = False
    # Whoever is below half of the best of its side after one round sits out the others.
    economize: bool = False


def train_ours(model, batch, dtype):
    arguments = ["train", "--model", model, "--batch", str(batch), "--seq", "256", "--dtype", dtype]
    return Contender(f"ours {dtype}", "anemone", arguments, "step", "--steps")


def train_torch(model, batch, mode, compiled, warm_up):
    spec = {"model": model, "batch": batch, "seq": 256, "mode": mode, "compile": compiled}
    spec["warm_up"] = warm_up
    name = f"torch {mode} {'compiled' if compiled else 'eager'}"
    return Contender(name, "torch_train", spec=spec)


def training(key, model, batch, modes, claims, **options):
    warm_up = {"train-1": 1, "train-8": 1}.get(key, 0)
    ours = [train_ours(model, batch, dtype) for dtype in ("fp32", "bf16")]
    theirs = [train_torch(model, batch, mode, compiled, warm_up) for mode, compiled in modes]
    title = f"training step, {model}, {batch} x 256 tokens"
    return Group(key, title, batch * 256, "tokens/s", ours + theirs, claims, **options)


OURS = ["ours fp32", "ours bf16"]
FP32 = ["torch fp32 eager", "torch fp32 compiled"]
AMP = ["torch amp eager", "torch amp compiled"]
BF16 = ["torch bf16 compiled"]


def llama(what, mode, model):
    spec = {"model": model, "mode": mode, "seq": 256, "what": what, "warm_up": 1}
    return Contender(f"llama.cpp {mode}", "llama_cpp_run", spec=spec, python="llama")


def generate_ours(what, dtype, model, int8=False):
    arguments = [what, "--model", model, "--prompt", "256", "--dtype", dtype]
    figure, repeat = {"prefill": ("prompt", "--repeat"), "decode": ("token", "--tokens")}[what]
    name = "ours int8" if int8 else f"ours {dtype}"
    arguments += ["--int8"] if int8 else []
    return Contender(name, "anemone", arguments, figure, repeat)


def convolutions(layers):
    ours = [
        Contender(
            f"ours {name}",
            "anemone",
            ["int8", "--layers", str(layers)],
            f"{layers} convolutions {name}",
            "--repeat",
        )
        for name in ("fp16", "w8a8")
    ]
    modes = ["fp32", "fp32-gemm", "bf16", "bf16-gemm", "fp16", "fp16-gemm", "int8", "int8-gemm"]
    spec = {"layers": layers, "channels": 512, "size": 64, "warm_up": 1}
    theirs = [Contender(f"oneDNN {m}", "onednn_conv", spec={**spec, "mode": m}) for m in modes]
    int8 = ["oneDNN int8", "oneDNN int8-gemm"]
    wide = [f"oneDNN {mode}" for mode in modes if "int8" not in mode]
    claims = [
        Claim("int8 against oneDNN int8", ["ours w8a8"], int8, 1.0),
        Claim("16 bit against oneDNN's best of fp32, bf16 and fp16", ["ours fp16"], wide, 1.0),
        Claim("int8 against 16 bit, ours", ["ours w8a8"], ["ours fp16"], 1.9),
        Claim("int8 against the best wider mode, oneDNN", int8, wide, 0.0),
    ]
    title = f"{layers} convolutions of 512 channels on 64 x 64"
    work = 2.0 * layers * 512 * 512 * 64 * 64 / 1e9
    return Group(f"conv-{layers}", title, work, "GOP/s", ours + theirs, claims)


def groups(small=""):
    """All of them, the cheap ones first. `small` is a model in place of the large ones, to try
    the script."""
    model = small or "stories110m"
    all_modes = [
        ("fp32", False), ("fp32", True), ("amp", False), ("amp", True), ("bf16", True),
    ]
    first = training("train-1", model, 1, all_modes, [
        Claim("bf16 against autocast", ["ours bf16"], AMP, 1.7),
        Claim("bf16 against pure bf16, compiled", ["ours bf16"], BF16, 1.3),
        Claim("fp32 against fp32", ["ours fp32"], FP32, 1.2),
        Claim("our best against their best", OURS, FP32 + AMP + BF16, 1.3),
        Claim("peak memory, bf16, MB", ["ours bf16"], AMP, 2000, "memory"),
        Claim("peak memory, fp32, MB", ["ours fp32"], FP32, 2000, "memory"),
    ])
    prefill = Group(
        "prefill", f"prefill 256, {model}", 256, "tokens/s",
        [generate_ours("prefill", d, model) for d in ("fp32", "bf16")]
        + [generate_ours("prefill", "fp32", model, True)]
        + [
            Contender(
                f"torch {mode} compiled", "torch_prefill",
                spec={"model": model, "seq": 256, "mode": mode, "compile": True},
            )
            for mode in ("fp32", "bf16")
        ]
        + [llama("prefill", mode, model) for mode in ("F32", "BF16", "Q8_0")],
        [
            Claim(
                "our best of fp32 and bf16 against PyTorch bf16 and llama.cpp", OURS,
                ["torch bf16 compiled", "llama.cpp F32", "llama.cpp BF16", "llama.cpp Q8_0"], 1.15,
            ),
            Claim("the same with PyTorch fp32", OURS, [
                "torch fp32 compiled", "torch bf16 compiled", "llama.cpp F32", "llama.cpp BF16",
                "llama.cpp Q8_0",
            ], 0.0),
            Claim("int8 against Q8_0", ["ours int8"], ["llama.cpp Q8_0"], 0.0),
        ],
    )
    decode = Group(
        "decode", f"decode, {model}", 1, "tokens/s",
        [generate_ours("decode", "fp32", model, True)]
        + [generate_ours("decode", d, model) for d in ("fp32", "bf16")]
        + [llama("decode", mode, model) for mode in ("Q8_0", "F32", "BF16")],
        [
            Claim("int8 against Q8_0", ["ours int8"], ["llama.cpp Q8_0"], 1.0),
            Claim("fp32 against F32", ["ours fp32"], ["llama.cpp F32"], 0.0),
            Claim("bf16 against BF16", ["ours bf16"], ["llama.cpp BF16"], 0.0),
        ],
    )
    batch = training(
        "train-8", model, 8,
        [("fp32", True), ("fp32", False), ("amp", True), ("bf16", True)],
        [Claim("our best against their best", OURS, FP32 + AMP + BF16, 1.3)], economize=True,
    )
    large = training(
        "qwen3", small or "qwen3-0.6b", 1, [("fp32", False), ("amp", False), ("bf16", False)],
        [
            Claim("our best against their best", OURS,
                  ["torch fp32 eager", "torch amp eager", "torch bf16 eager"], 1.3),
            Claim("memory of bf16 by that of autocast", ["ours bf16"], ["torch amp eager"], 1.0,
                  "memory ratio"),
            Claim("memory of fp32 by that of fp32", ["ours fp32"], ["torch fp32 eager"], 1.0,
                  "memory ratio"),
        ],
        fresh=True, economize=True,
    )
    return [decode, prefill, convolutions(64), convolutions(128), first, batch, large]
