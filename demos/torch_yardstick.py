#!/usr/bin/env python3
"""The model of `train_gpt --preset nano` or `small` in plain PyTorch: milliseconds of an AdamW step, f32, on the CPU.

    demos/torch_yardstick.py --preset nano --threads 2 --compile

A step is what train_gpt's is: a random batch, forward, backward, clipping to norm 1, update. No dropout. Prints one
JSON line; compare_with_torch.py reads it. Needs PyTorch 2.4 (an AdamW in one kernel on the CPU).
"""
import argparse
import json
import math
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

# As in demos/run/presets.cpp.
PRESETS = {
    "nano": {"layers": 4, "heads": 4, "channels": 128, "block_size": 64, "batch_size": 12},
    "small": {"layers": 6, "heads": 6, "channels": 384, "block_size": 256, "batch_size": 16},
}
WARM_UP_STEPS = 5  # not timed: PyTorch compiles, allocates and chooses kernels in them


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels, bias=False)

    def forward(self, x):  # [B, T, C]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, T, C/heads]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, bias=False)
        self.attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, bias=False)
        self.fc = nn.Linear(channels, 4 * channels, bias=False)
        self.proj = nn.Linear(4 * channels, channels, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.proj(F.gelu(self.fc(self.norm2(x))))


class Gpt(nn.Module):
    """GPT-2's shape without biases; the head is the token embedding."""

    def __init__(self, vocabulary, layers, heads, channels, block_size):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, channels)
        self.positions = nn.Embedding(block_size, channels)
        self.blocks = nn.ModuleList(Block(channels, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if name.endswith("proj.weight") else 0.02)

    def forward(self, ids, targets):
        """The mean cross-entropy in nats; ids and targets are [B, T]."""
        x = self.tokens(ids) + self.positions.weight[:ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def adamw(model):
    """With train_gpt's settings: matrices decay, gains do not."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)


def read_tokens(path):
    """Each character as its place among those that occur; without a file, 65 different ones at random."""
    if not path:
        return torch.randint(65, (100_000,)), 65
    with open(path, encoding="utf-8") as file:
        text = file.read()
    place = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([place[c] for c in text]), len(place)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--preset", choices=PRESETS, default="nano")
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    p.add_argument("--steps", type=int, default=100, help="how many are timed")
    p.add_argument("--compile", action="store_true", help="the model through torch.compile")
    p.add_argument("--data", default="", help="a text (default: random tokens)")
    a = p.parse_args()

    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    sizes = dict(PRESETS[a.preset])
    B, T = sizes.pop("batch_size"), sizes["block_size"]
    tokens, vocabulary = read_tokens(a.data)
    model = Gpt(vocabulary, **sizes)
    loss_of = torch.compile(model) if a.compile else model
    optimizer = adamw(model)

    def step():
        starts = torch.randint(len(tokens) - T, (B, 1))
        block = tokens[starts + torch.arange(T + 1)]  # the inputs and one more
        loss = loss_of(block[:, :-1].contiguous(), block[:, 1:].contiguous())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    milliseconds = []
    for _ in range(WARM_UP_STEPS + a.steps):
        start = time.perf_counter()
        loss = step()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({
        "median_ms": statistics.median(milliseconds[WARM_UP_STEPS:]),
        "loss": loss,
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
