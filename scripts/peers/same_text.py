"""Converts small models to GGUF and back, and lets llama.cpp, transformers and anemone write.

Usage: python scripts/peers/same_text.py [ANEMONE]

Needs torch, transformers, tokenizers and llama-cpp-python. Every family gets random parameters,
large enough that no two tokens are nearly as probable as each other, and a tokenizer of its own.
llama.cpp reads the GGUF files that `anemone convert` writes; transformers the directory that
`anemone convert` writes from those files.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import torch
import transformers
from llama_cpp import Llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PROMPTS = ["Once upon a time", "The sea is deep,", "def main():\n    "]
LENGTH = 24


def tokenizer(folder):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
    )
    inner.train_from_iterator([pathlib.Path(__file__).read_text()], trainer)
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|endoftext|>")
    whole.save_pretrained(folder)
    return whole


def families():
    common = dict(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        eos_token_id=0,
        bos_token_id=None,
    )
    return {
        "llama": transformers.LlamaConfig(**common),
        "mistral": transformers.MistralConfig(**common, sliding_window=None),
        "qwen2": transformers.Qwen2Config(**common),
        "qwen3": transformers.Qwen3Config(**common, head_dim=32, tie_word_embeddings=True),
        "gemma": transformers.GemmaConfig(**common | dict(initializer_range=0.05), head_dim=32),
        "gpt2": transformers.GPT2Config(
            vocab_size=512, n_embd=128, n_layer=3, n_head=4, n_positions=128, eos_token_id=0, bos_token_id=None, initializer_range=0.2
        ),
    }


def ours(anemone, path, dtype="fp32"):
    command = [anemone, "generate", "--model", path, "--temperature", "0", "--json", "--ignore-eos"]
    command += ["--max-tokens", str(LENGTH), "--dtype", dtype]
    for prompt in PROMPTS:
        command += ["--prompt", prompt]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line)["tokens"] for line in lines]


def theirs(path):
    model = Llama(str(path), n_ctx=128, verbose=False, logits_all=False)
    answers = []
    for prompt in PROMPTS:
        tokens = model.tokenize(prompt.encode(), add_bos=False, special=False)
        answer = []
        for token in model.generate(tokens, temp=0.0, repeat_penalty=1.0):
            answer.append(token)
            if len(answer) == LENGTH:
                break
        answers.append(answer)
    return answers


def reference(folder, words):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for prompt in PROMPTS:
        tokens = words(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            for _ in range(LENGTH):
                best = model(tokens).logits[0, -1].argmax()
                tokens = torch.cat([tokens, best.view(1, 1)], 1)
        answers.append(tokens[0, -LENGTH:].tolist())
    return answers


def main():
    anemone = sys.argv[1] if len(sys.argv) > 1 else "target/release/anemone"
    failures = 0
    for name, config in families().items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            torch.manual_seed(1)
            model = transformers.AutoModelForCausalLM.from_config(config)
            model.save_pretrained(folder / "hf")
            words = tokenizer(folder / "hf")
            expected = reference(folder / "hf", words)
            rows = {"anemone, directory": ours(anemone, folder / "hf")}
            for dtype in ["fp32", "bf16", "q8_0"]:
                gguf = folder / f"{dtype}.gguf"
                convert = [anemone, "convert", str(folder / "hf"), str(gguf), "--dtype", dtype]
                if (done := subprocess.run(convert, capture_output=True, text=True)).returncode:
                    rows[f"{dtype}"] = done.stderr.strip()
                    continue
                try:
                    rows[f"{dtype}: llama.cpp"] = theirs(gguf)
                except (ValueError, RuntimeError) as error:
                    rows[f"{dtype}: llama.cpp"] = repr(error)
                rows[f"{dtype}: anemone"] = ours(anemone, gguf)
                if dtype == "fp32":
                    back = folder / "back"
                    subprocess.run([anemone, "convert", str(gguf), str(back)], check=True, capture_output=True)
                    rows["back: transformers"] = reference(back, words)
        for row, found in rows.items():
            if isinstance(found, str):
                print(f"{name:8} {row:22} {found}")
                failures += 1
                continue
            same = [sum(a == b for a, b in zip(x, y)) for x, y in zip(found, expected)]
            exact = row.startswith(("anemone", "fp32", "back"))
            wrong = exact and same != [LENGTH] * len(PROMPTS)
            failures += wrong
            print(f"{name:8} {row:22} {same} of {LENGTH} tokens as transformers has them{' WRONG' if wrong else ''}")
        for dtype in ["bf16", "q8_0"]:
            pair = [rows.get(f"{dtype}: {who}") for who in ["llama.cpp", "anemone"]]
            if all(isinstance(one, list) for one in pair):
                agree = [sum(a == b for a, b in zip(x, y)) for x, y in zip(*pair)]
                print(f"{name:8} {dtype}: the two           {agree} of {LENGTH} tokens are the same")
    sys.exit(bool(failures))


main()
