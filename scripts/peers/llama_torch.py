"""The model of `anemone bench`, in PyTorch: the Llama family with a tied table.

B: sequences, T: tokens, D: width, H: heads, C: width of a head.
"""

import torch
import torch.nn.functional as F
from torch import nn


def linear(n_in, n_out):
    layer = nn.Linear(n_in, n_out, bias=False)
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def rotate(x, cos, sin):
    """Rotary position embedding over halves; x: [B, H, T, C], cos and sin: [T, C/2]."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.q = linear(s.dim, s.heads * s.head_dim)
        self.k = linear(s.dim, s.kv_heads * s.head_dim)
        self.v = linear(s.dim, s.kv_heads * s.head_dim)
        self.o = linear(s.heads * s.head_dim, s.dim)
        if s.qk_norm:
            self.q_norm = nn.RMSNorm(s.head_dim, s.eps)
            self.k_norm = nn.RMSNorm(s.head_dim, s.eps)

    def forward(self, x, cos, sin, cache):
        s, (batch, tokens, _) = self.s, x.shape
        q = self.q(x).view(batch, tokens, s.heads, s.head_dim)
        k = self.k(x).view(batch, tokens, s.kv_heads, s.head_dim)
        v = self.v(x).view(batch, tokens, s.kv_heads, s.head_dim).transpose(1, 2)
        if s.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        # Autocast leaves norms in fp32; attention wants one element type.
        q = rotate(q.transpose(1, 2), cos, sin).to(v.dtype)
        k = rotate(k.transpose(1, 2), cos, sin).to(v.dtype)
        if cache is not None:
            cache[0][:, :, :tokens].copy_(k)
            cache[1][:, :, :tokens].copy_(v)
        grouped = s.kv_heads != s.heads
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return self.o(y.transpose(1, 2).reshape(batch, tokens, -1))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.attention, self.attention_norm = Attention(s), nn.RMSNorm(s.dim, s.eps)
        self.mlp_norm = nn.RMSNorm(s.dim, s.eps)
        self.gate, self.up = linear(s.dim, s.hidden), linear(s.dim, s.hidden)
        self.down = linear(s.hidden, s.dim)

    def forward(self, x, cos, sin, cache=None):
        x = x + self.attention(self.attention_norm(x), cos, sin, cache)
        h = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(nn.Module):
    def __init__(self, s, tokens):
        super().__init__()
        self.s = s
        self.table = nn.Parameter(torch.randn(s.vocab, s.dim) * 0.02)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = nn.RMSNorm(s.dim, s.eps)
        rates = s.theta ** -(torch.arange(0, s.head_dim, 2).float() / s.head_dim)
        angles = torch.outer(torch.arange(tokens).float(), rates)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def hidden(self, ids, caches=None):
        x = F.embedding(ids, self.table)
        for i, layer in enumerate(self.layers):
            x = layer(x, self.cos, self.sin, caches[i] if caches else None)
        return self.norm(x)

    def forward(self, ids, targets):
        """The mean loss of [B, T] next tokens."""
        logits = F.linear(self.hidden(ids), self.table)
        return F.cross_entropy(logits.view(-1, self.s.vocab).float(), targets.view(-1))

    def last(self, ids, caches):
        """Scores after the last token; keys and values go into the caches."""
        return F.linear(self.hidden(ids, caches)[:, -1:], self.table)
