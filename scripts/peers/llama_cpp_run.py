"""llama.cpp: reading a prompt, or writing tokens, by its C functions: no sampling, no text.

The model is a GGUF file of the same shape with random parameters, written once for each type.
Prompt and positions are those of `anemone bench`: 64 tokens behind a prompt of 256.
"""

import os
import random
import time

import llama_cpp as api

import gguf_model
from worker import serve

WRITTEN = 64


def prepare(spec):
    path = os.path.join(spec["folder"], f"{spec['model']}-{spec['mode']}.gguf")
    if not os.path.exists(path):
        gguf_model.write(path, spec["model"], spec["mode"])
    api.llama_backend_init()
    model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp does not load {path}")
    prompt = spec["seq"]
    options = api.llama_context_default_params()
    options.n_ctx = prompt + 2 * WRITTEN
    options.n_batch = options.n_ubatch = prompt
    options.n_threads = options.n_threads_batch = spec["threads"]
    context = api.llama_init_from_model(model, options)
    if not context:
        raise RuntimeError("llama.cpp makes no context")
    memory = api.llama_get_memory(context)
    count = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    draw = random.Random(0)
    ids = (api.llama_token * (prompt + WRITTEN))(*(draw.randrange(count) for _ in range(prompt + WRITTEN)))
    one = api.llama_token * 1

    def read(tokens, n):
        status = api.llama_decode(context, api.llama_batch_get_one(tokens, n))
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")
        # Reading the scores waits for them.
        api.llama_get_logits_ith(context, -1)

    def prefill():
        api.llama_memory_clear(memory, True)
        read(ids, prompt)

    position = [prompt + WRITTEN]

    def decode():
        if position[0] == prompt + WRITTEN:
            prefill()
            position[0] = prompt
        token = one(ids[position[0]])
        position[0] += 1
        start = time.perf_counter()
        read(token, 1)
        return time.perf_counter() - start

    work = decode if spec["what"] == "decode" else prefill
    return work, f"llama-cpp-python {api.__version__}"


if __name__ == "__main__":
    serve(prepare)
