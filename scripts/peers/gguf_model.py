"""A GGUF file with random parameters, for llama.cpp."""

import os

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, LlamaFileType
from gguf.quants import quantize

from shapes import SHAPES

TYPES = {
    "F32": (Type.F32, LlamaFileType.ALL_F32),
    "BF16": (Type.BF16, LlamaFileType.MOSTLY_BF16),
    "Q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}


def write(path, model, kind):
    """Writes the file; the table is tied, which GGUF says by leaving the classifier out."""
    s, (of, file_type) = SHAPES[model], TYPES[kind]
    if s.qk_norm:
        raise ValueError(f"{model} is not of llama.cpp's architecture `llama`")
    part = f"{path}.{os.getpid()}.tmp"
    w = GGUFWriter(part, "llama")
    w.add_file_type(file_type)
    w.add_vocab_size(s.vocab)
    w.add_context_length(1024)
    w.add_embedding_length(s.dim)
    w.add_block_count(s.layers)
    w.add_feed_forward_length(s.hidden)
    w.add_head_count(s.heads)
    w.add_head_count_kv(s.kv_heads)
    w.add_rope_dimension_count(s.head_dim)
    w.add_rope_freq_base(s.theta)
    w.add_layer_norm_rms_eps(s.eps)
    # Tokens are numbers here; nothing is written as text.
    w.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(0)

    def matrix(name, rows, columns):
        values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)
        w.add_tensor(f"{name}.weight", quantize(values, of), raw_dtype=of)

    def ones(name):
        w.add_tensor(f"{name}.weight", np.ones(s.dim, np.float32))

    matrix("token_embd", s.vocab, s.dim)
    ones("output_norm")
    width, kv_width = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for i in range(s.layers):
        block = f"blk.{i}"
        ones(f"{block}.attn_norm")
        matrix(f"{block}.attn_q", width, s.dim)
        matrix(f"{block}.attn_k", kv_width, s.dim)
        matrix(f"{block}.attn_v", kv_width, s.dim)
        matrix(f"{block}.attn_output", s.dim, width)
        ones(f"{block}.ffn_norm")
        matrix(f"{block}.ffn_gate", s.hidden, s.dim)
        matrix(f"{block}.ffn_up", s.hidden, s.dim)
        matrix(f"{block}.ffn_down", s.dim, s.hidden)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.replace(part, path)
