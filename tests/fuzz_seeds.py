#!/usr/bin/env python3
"""Makes the seeds in tests/fuzz_seeds anew:  tests/fuzz_seeds.py build/release/demos

Small files by hand, and two checkpoints by train_gpt from a text of four different bytes.
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

SEEDS = pathlib.Path(__file__).with_name("fuzz_seeds")


def seed(name, header, data=b""):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    (SEEDS / name).write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def checkpoint(name, flags, programs):
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text"
        text.write_text("abc\n" * 30)
        size = "--n_layer 1 --n_head 1 --n_embd 4 --mlp_expansion 1 --block_size 4 --batch_size 1 --bias false"
        run = f"{programs}/train_gpt --data {text} --out_dir {folder} {size} {flags} --max_iters 1 --eval_iters 1"
        subprocess.run(run.split(), check=True, stdout=subprocess.DEVNULL)
        (SEEDS / name).write_bytes((pathlib.Path(folder) / "ckpt.safetensors").read_bytes())


def main(programs):
    SEEDS.mkdir(exist_ok=True)
    seed("empty", {})
    seed("halves", {"h": tensor("F16", [3], 0, 6), "b": tensor("BF16", [1], 6, 8)},
         struct.pack("<4H", 0x3C00, 0x7C01, 1, 0x7FC0))
    seed("integers", {"l": tensor("I64", [2], 0, 16), "i": tensor("I32", [1, 1], 16, 20)},
         struct.pack("<2qi", -3, 2**31 - 1, 7))
    seed("doubles", {"d": tensor("F64", [2, 1, 1], 0, 16)}, struct.pack("<2d", 1e200, float("nan")))
    seed("no_numbers", {"a": tensor("F32", [0], 0, 0), "b": tensor("F32", [2, 0, 3], 0, 0),
                        "c": tensor("F32", [], 0, 4)}, struct.pack("<f", 1))
    seed("metadata", {"__metadata__": {"format": "borealis-gpt-2", "step": "1"}})
    seed("nested", '{"w":{"dtype":' + "[" * 50 + "]" * 50 + "}}")
    seed("objects", '{"a":' * 50 + "1" + "}" * 50)
    seed("twice", '{"w":{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}}')
    seed("huge", {"w": tensor("F32", [2**62, 4], 0, 0)})
    seed("hugging_face", {"h.0.attn.bias": tensor("F32", [1, 1, 1, 1], 0, 4),
                          "lm_head.weight": tensor("F32", [1, 1], 4, 8),
                          "wte.weight": tensor("F32", [1, 1], 8, 12)}, struct.pack("<3f", 1, 2, 2))
    checkpoint("gpt2", "", programs)
    checkpoint("modern", "--style modern --optimizer muon", programs)


if __name__ == "__main__":
    main(sys.argv[1])
