#!/usr/bin/env python3
"""Borealis beside PyTorch on this machine: one table of medians, and of the medians of each round's ratios.

    python3 -m venv build/torch && build/torch/bin/pip install torch numpy
    build/torch/bin/python demos/compare_with_torch.py

The two sides take turns, so that a machine that slows down slows both. Our step time is the slope of wall-clock over
steps, seen from outside the program; PyTorch's is the median that its script prints: torch_yardstick.py beside this
one, or another that takes `--preset NAME --threads N --steps N --data TEXT [--compile]` and ends with a JSON line with
`median_ms` and PyTorch's version as `torch`. Needs `bench` and `train_gpt` built, and Linux.
"""
import argparse
import json
import os
import random
import re
import statistics
import string
import subprocess
import sys
import tempfile
import time

# Steps that are timed in a round, after as many (ours) or five (PyTorch) that are not.
STEPS = {"nano": 100, "small": 6}
MODEL_PRODUCTS = "qkv|attn_proj|mlp_fc|mlp_proj|head"


def run(command, until=None):
    """Runs a program to its end, or until a line of its output satisfies `until`.

    Returns its lines, each with the time it came, and the peak of its resident memory in MiB.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        lines, enough = [], False
        for line in process.stdout:
            lines.append((time.perf_counter(), line))
            if until and until(line):
                enough = True
                process.kill()
                break
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not enough:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{errors.read()[-600:]}")
    return lines, usage.ru_maxrss / 1024


def bench(a, rows, *flags):
    lines, _ = run([f"{a.build}/tests/bench", "--threads", str(a.threads), "--benchmark_format=json",
                    f"--benchmark_filter={rows}", *flags])
    return json.loads("".join(line for _, line in lines))["benchmarks"]


def our_step(a, preset, optimizer, text, folder):
    """Milliseconds a step, and MiB. No dropout, since the yardstick has none."""
    steps = max(2, round(a.scale * STEPS[preset]))
    # A line comes after each `steps` steps. Between the first and the second lies nothing but steps: no start, no
    # validation, no sample.
    lines, mib = run([f"{a.build}/demos/train_gpt", "--preset", preset, "--optimizer", optimizer, "--dropout", "0",
                      "--threads", str(a.threads), "--data", text, "--out_dir", folder, "--max_iters", "1000000",
                      "--eval_interval", "1000000", "--log_interval", str(steps)],
                     until=lambda line: re.match(rf"step +{2 * steps}/", line))
    first, second = [at for at, line in lines if line.startswith("step ")]
    return 1e3 * (second - first) / steps, mib


def torch_step(a, preset, mode, text):
    """The same of PyTorch's AdamW, and PyTorch's version."""
    command = [a.python, a.yardstick, "--preset", preset, "--threads", str(a.threads), "--data", text,
               "--steps", str(max(2, round(a.scale * STEPS[preset])))]
    lines, mib = run(command + (["--compile"] if mode == "compile" else []))
    result = json.loads(lines[-1][1])
    return result["median_ms"], mib, result["torch"]


def take_turns(a, preset, text, folder):
    """All rounds of one preset: {name: [a figure for each round]}, and the modes of PyTorch that ran."""
    figures, modes = {}, list(a.modes)

    def note(name, value):
        figures.setdefault(name, []).append(value)

    def peak():
        note("peak", bench(a, f"^machine/fma/threads:{a.threads}/")[0]["GFLOP/s"])

    note("gflop", bench(a, f"^step/{preset}/adamw/", "--benchmark_min_time=0.001")[0]["GFLOP"])
    for turn in range(a.rounds):
        peak()
        for mode in list(modes):
            try:
                ms, mib, a.version = torch_step(a, preset, mode, text)
            except RuntimeError as error:
                if mode == "eager":
                    raise
                print(f"left out: {error}", file=sys.stderr)
                modes.remove(mode)
                continue
            note(mode, ms)
            note(mode + " MiB", mib)
            peak()
        for optimizer in ("adamw", "aurora"):
            ms, mib = our_step(a, preset, optimizer, text, folder)
            note(optimizer, ms)
            note(optimizer + " MiB", mib)
            peak()
        products = bench(a, f"^gemm/{preset}/({MODEL_PRODUCTS})/", "--benchmark_min_time=0.1")
        note("gemm", sum(r["share_%"] * r["real_time"] for r in products) / sum(r["real_time"] for r in products))
        for row in bench(a, f"^optim/{preset}/(muon|aurora_leverage2)/(cans12|polar_express8)/"):
            note("/".join(row["name"].split("/")[2:4]), row["real_time"])
        print(f"{preset}, round {turn + 1}: " + ", ".join(f"{k} {v[-1]:.4g}" for k, v in figures.items()),
              file=sys.stderr)
    return figures, modes


def table(preset, figures, modes):
    m = {name: statistics.median(values) for name, values in figures.items()}
    mode = min(modes, key=m.get)
    torch, wall = m[mode], m["gflop"] / m["peak"] * 1e3
    torch_mib = min(m[k + " MiB"] for k in modes)

    def ratio(a, b):
        """Of the two in each round, since the machine's speed changes from round to round."""
        return f"{statistics.median(x / y for x, y in zip(figures[a], figures[b])):.2f}"

    def row(what, ours, other, ratio):
        print(f"| {preset} | {what} | {ours} | {other} | {ratio} |")

    row(f"AdamW, ms a step (PyTorch: {mode})", f"{m['adamw']:.1f}", f"{torch:.1f}", ratio("adamw", mode))
    row(f"the same in multiples of the arithmetic wall, {wall:.1f} ms", f"{m['adamw'] / wall:.2f}",
        f"{torch / wall:.2f}", "")
    row("Aurora, ms a step, beside PyTorch's AdamW", f"{m['aurora']:.1f}", f"{torch:.1f}", ratio("aurora", mode))
    row("Aurora's step / AdamW's, both ours", f"{m['aurora']:.1f} / {m['adamw']:.1f}", "", ratio("aurora", "adamw"))
    for polar in ("cans12", "polar_express8"):
        aurora, muon = f"aurora_leverage2/{polar}", f"muon/{polar}"
        row(f"Aurora's update / Muon's, both ours, {polar}, ms", f"{m[aurora]:.1f} / {m[muon]:.1f}", "",
            ratio(aurora, muon))
    row("products of the model, share of the FMA peak", f"{m['gemm']:.0f} %", "", "")
    for optimizer in ("adamw", "aurora"):
        mib = m[optimizer + " MiB"]
        row(f"peak memory with {optimizer}, MiB", f"{mib:.0f}", f"{torch_mib:.0f}", f"{mib / torch_mib:.2f}")
    others = "; ".join(f"PyTorch {k} {m[k]:.1f} ms" for k in modes)
    return (f"{preset}: {others}; FMA peak {m['peak']:.0f} GFLOP/s ({min(figures['peak']):.0f} to "
            f"{max(figures['peak']):.0f}); {m['gflop']:.2f} GFLOP a step.")


def random_text(path):
    """As many different characters as Tiny Shakespeare has; the speed does not depend on which."""
    rng = random.Random(1)
    letters = string.ascii_letters + string.digits + ".\n "
    with open(path, "w") as out:
        out.write(letters + "".join(rng.choices(letters, k=100_000)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    p.add_argument("--yardstick", default=os.path.join(here, "torch_yardstick.py"),
                   help="the script that times PyTorch")
    p.add_argument("--python", default=sys.executable, help="a Python that has PyTorch (default: this one)")
    p.add_argument("--build", default=os.path.join(here, "../build/release"),
                   help="the build folder, with demos/train_gpt and tests/bench")
    p.add_argument("--data", default="", help="a text for both sides (default: random letters)")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--presets", nargs="+", choices=STEPS, default=list(STEPS))
    p.add_argument("--modes", nargs="+", choices=["eager", "compile"], default=["eager", "compile"],
                   help="how PyTorch runs; the faster one counts")
    p.add_argument("--scale", type=float, default=1, help="times as many steps in a round")
    a = p.parse_args()

    notes = []
    with tempfile.TemporaryDirectory() as folder:
        text = a.data or os.path.join(folder, "text.txt")
        if not a.data:
            random_text(text)
        results = [(preset, *take_turns(a, preset, text, folder)) for preset in a.presets]
        print("| preset | what | Borealis | PyTorch | ratio |\n|---|---|---|---|---|")
        for result in results:
            notes.append(table(*result))
    print(f"\nMedians of {a.rounds} interleaved rounds, {a.threads} threads, PyTorch {a.version}. " + " ".join(notes))


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError) as error:
        sys.exit(f"compare_with_torch: {error}")
