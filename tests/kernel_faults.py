"""Which faults the GPU's kernels could have: found in the sources by patterns (DERIVED), or BY_HAND. tests/mutate_kernels puts
them in. A class of faults is a function that yields (start, end, fault) for a Source, a fault as `instead` writes it."""
import glob
import importlib.machinery
import importlib.util
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCES = ("cuda/*.cu", "cuda/*.h", "cuda/*.cpp")
# The checked devices, and what only a build with the CUDA Toolkit has.
NOT_OURS = ("cuda/guarded.", "cuda/checked.cpp", "cuda/devices.cpp", "cuda/no_watch.cpp")

# What it shares with tests/mutate, which has no name that could be imported: pictures of lines, the tables of reasons.
loader = importlib.machinery.SourceFileLoader("mutate", os.path.join(ROOT, "tests", "mutate"))
mutate = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate", loader))
loader.exec_module(mutate)

# How a fault is written: SWITCH is whether it is there, OLD is what stands there without it.
SWITCH, OLD = "⟦fault⟧", "⟦old⟧"


def instead(new):
    """Of an expression."""
    return f"({SWITCH} ? {new} : {OLD})"


NEVER = f"if (!{SWITCH}) {OLD}"  # a statement
FALSE = f"(!{SWITCH} && ({OLD}))"
TRUE = f"({SWITCH} || ({OLD}))"

CLASSES = {
    "barrier": "a barrier or fence taken out",
    "bound": "a bound off by one",
    "loop": "a loop or tail left out, or one that skips every other turn",
    "shuffle": "lanes missing in a mask or in a sum over a warp",
    "index": "a product of sizes in 32 bits",
    "block": "two blocks that do the same one's work",
    "stage": "a sum's first stage left out, or its parts in one place",
    "beta": "y read where beta is 0, or where it is only written",
    "gate": "a gate that is not looked at",
    "shape": "a leading dimension, stride or factor in the place of another",
    "grid": "one block too few, or more than a launch takes",
    "empty": "a launch of nothing",
    "shared": "shared memory: less than is used, or more than may be had unasked",
    "aligned": "packs where they are misaligned",
    "host": "memory of the host",
    "stream": "the default stream",
    "wait": "memory of the host that is read or written too early",
    "code": "a status that nobody looks at",
}

# (file, pattern, fault, class): what no pattern below finds.
BY_HAND = [
    ("cuda/blas.cpp", r"(?<=types\.stored, )B\.ld", instead("A.ld"), "shape"),
    ("cuda/blas.cpp", r"(?<=types\.stored, )A\.ld", instead("B.ld"), "shape"),
    ("cuda/blas.cpp", r"std::max\(c\.row_stride, c\.cols\)", instead("c.cols"), "shape"),
    ("cuda/blas.cpp", r"std::max\(c\.row_stride, c\.cols\)", instead("c.row_stride"), "shape"),
    ("cuda/blas.cpp", r"(?<=\{1, x\.row_stride, )x\.cols(?=\})", instead("1"), "shape"),
    ("cuda/blas.cpp", r"(?<=\{1, )x\.row_stride(?=, x\.cols\})", instead("1"), "shape"),
    ("cuda/blas.cpp", r"(?<=\{1, )x\.col_stride(?=, x\.rows\})", instead("x.row_stride"), "shape"),
    ("cuda/blas.cpp", r"(?<=\{1, x\.col_stride, )x\.rows(?=\})", instead("1"), "shape"),
    ("cuda/blas.cpp", r"\brows_lie(?= \? CUBLAS)", f"({OLD} != {SWITCH})", "shape"),
    ("cuda/blas.cpp", r"c\.cols(?=, c\.rows, a\.cols)", instead("c.rows"), "shape"),
    ("cuda/blas.cpp", r"(?<=c\.cols, )c\.rows(?=, a\.cols)", instead("c.cols"), "shape"),
    ("cuda/blas.cpp", r"step\(of_b\)", instead("step(of_a)"), "shape"),
    ("cuda/blas.cpp", r"step\(of_a\)", instead("step(of_b)"), "shape"),
    ("cuda/blas.cpp", r"step\(c\.batch\)", instead("step(of_a)"), "shape"),
    ("cuda/blas.cpp", r"(?<=together \? 1 : )c\.batch\.count\[0\]", instead("1"), "shape"),
    ("cuda/blas.cpp", r"is_one_batch\((?:c\.batch|of_a|of_b)\)", TRUE, "shape"),
    ("cuda/blas.cpp", r"b\.count\[1\] == 1(?= \? b\.stride)", FALSE, "shape"),
    ("cuda/blas.cpp", r"number\(beta, beta32\)", instead("number(alpha, alpha32)"), "shape"),
    ("cuda/blas.cpp", r"\bf64(?= \? static_cast)", f"({OLD} != {SWITCH})", "shape"),
    ("cuda/context.h", r"(?<== )shared_bytes(?=;)", f"{OLD} + {SWITCH} * ((48 << 10) + 1)", "shared"),
    ("cuda/backend.cpp", r"static_cast<const StepRecord\*>\(record\.data\)",
     instead("record.data ? new StepRecord{} : nullptr"), "host"),
    ("cuda/backend.cpp", r"on_\.wait\(\);", NEVER, "wait"),
    ("cuda/context.cpp", r"check_cuda\(cudaEventSynchronize\(.*\);", NEVER, "wait"),
    ("cuda/context.cpp", r"check_cuda\(cudaEventRecord\(.*\);", NEVER, "wait"),
    ("cuda/context.cpp", r"used_ == half(?=\) \{)", FALSE, "wait"),
    ("cuda/context.cpp", r"now_ = 1 - now_;", NEVER, "wait"),
    ("cuda/context.cpp", r"check_cublas\(cublasSetWorkspace\(.*\);", NEVER, "stream"),
    ("cuda/context.cpp", r"\(void\)cudaGetLastError\(\);", NEVER, "code"),
    ("cuda/backend.cpp", r"\(void\)cudaGetLastError\(\);", NEVER, "code"),
]

# --- what stands where in a source ---------------------------------------------------------------


def masked(text):
    """The text with blanks for what is in comments and strings."""
    def blank(found):
        return re.sub(r"[^\n]", " ", found.group(0))
    return re.sub(r'//[^\n]*|"(?:[^"\\\n]|\\.)*"|^#[^\n]*', blank, text, flags=re.MULTILINE)


def closing(text, at):
    """Where the bracket that opens at `at` closes."""
    depth, pairs = 0, {"(": ")", "{": "}", "[": "]"}
    opens, closes = text[at], pairs[text[at]]
    for i in range(at, len(text)):
        depth += (text[i] == opens) - (text[i] == closes)
        if depth == 0:
            return i
    sys.exit("mutate_kernels: a bracket that does not close")


def parts(text, separator):
    """(start, end) of the parts of a text between separators outside brackets."""
    spans, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c == separator and depth == 0:
            spans.append((start, i))
            start = i + 1
    return spans + [(start, len(text))]


class Source:
    def __init__(self, path):
        self.path = path
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            self.text = file.read()
        self.code = masked(self.text)
        self.kernels = list(self._kernels())  # (start, end, name) of what runs on the device

    def _kernels(self):
        for mark in re.finditer(r"__(?:global|device)__", self.code):
            at, name = mark.end(), ""
            while self.code[at] not in "{;":
                if self.code[at] == "(":
                    word = re.search(r"(\w*)\s*$", self.code[:at]).group(1)
                    name = name or (word if word != "__launch_bounds__" else "")
                    at = closing(self.code, at)
                at += 1
            if self.code[at] == "{":
                yield at, closing(self.code, at), name

    def kernel_at(self, at):
        return next((name for start, end, name in self.kernels if start <= at < end), None)

    def find(self, pattern, on_device):
        for found in re.finditer(pattern, self.code):
            if (self.kernel_at(found.start()) is not None) == on_device:
                yield found

    def calls(self, pattern, on_device=False):
        """(found, where its arguments begin and end)."""
        for found in self.find(pattern + r"\(", on_device):
            yield found, found.end(), closing(self.code, found.end() - 1)

    def line_of(self, at):
        start = self.code.rfind("\n", 0, at) + 1
        return self.code[start:self.code.find("\n", at)]


# --- the classes: each yields (start, end, fault) -------------------------------------------------------


def barriers(s):
    for f in s.find(r"__(?:syncthreads|syncwarp|threadfence(?:_block)?)\([^()]*\);", True):
        yield *f.span(), NEVER
    for f, start, end in s.calls(r"__syncthreads_(?:or|and|count)", True):
        yield f.start(), end + 1, instead(f"({s.text[start:end]})")


def bounds(s):
    for f in s.find(r"(?<= )(<|>=|<=) (?=\S)", True):
        if re.search(r"\bconstexpr\b|\bstatic_assert\b", s.line_of(f.start())):
            continue
        # The smaller or the larger of two is the same for equal ones.
        chosen = re.match(r"(.+?) \? (.+?) : (.+?)[;,)\n]", s.code[f.end():])
        if chosen:
            other, one, two = chosen.groups()
            if any(s.code[:f.start()].endswith(f"{a} ") and b == other for a, b in ((one, two), (two, one))):
                continue
        yield *f.span(), f"{OLD}{SWITCH} + "


def loops(s):
    for f, start, end in s.calls(r"\bfor ", True):
        head = [(start + a, start + b) for a, b in parts(s.code[start:end], ";")]
        if len(head) != 3:
            continue
        (a, b), (c, d) = head[1:]
        yield a, b, f" !{SWITCH} && ({OLD})"
        step = s.text[c:d].strip()
        for pattern, new in ((r"\+\+(\w+)$", rf"\1 += 1 + {SWITCH}"), (r"(\w+) \+= (.+)$", rf"\1 += (1 + {SWITCH}) * (\2)"),
                             (r"(\w+) ([/*]|>>|<<)= (\w+)$", rf"\1 \2= (1 + {SWITCH}) * \3")):
            if re.match(pattern, step, re.DOTALL):
                yield c, d, " " + re.sub(pattern, new, step, flags=re.DOTALL)


def shuffles(s):
    for f, start, end in s.calls(r"__\w+_sync", True):
        a, b = parts(s.code[start:end], ",")[0]
        yield start + a, start + b, f"({OLD}) >> 16 * {SWITCH}"
    for f in s.find(r"(?<=int lanes = )(?:16|8)\b", True):
        yield *f.span(), f"{OLD} / (1 + {SWITCH})"


SIZE = r"(?:\w+\.)*\w+(?:\(\)|(?:\[[\w.]+\])*)"


def indices(s):
    # What is an int64_t, here or in a struct of engine/.
    names = {"rows", "cols", "row_stride", "col_stride", "stride", "heads", "dim", "width"}
    for f in re.finditer(r"\bint64_t ((?:\w+(?: = [^;,()]+)?, )*\w+)", s.code):
        names.update(re.findall(r"(\w+)(?: = [^,]+)?(?:, |$)", f.group(1)))

    def is_size(text):
        return text.endswith("()") or re.search(r"(\w+)(?:\[.*)?$", text).group(1) in names

    for f in s.find(r"int64_t\{1\} << 32", False):
        yield *f.span(), instead("int64_t{1} << 62")

    done = 0
    for f in s.find(r"(?:static_cast<int64_t>\(([\w.]+)\)|(" + SIZE + r")|\)) \* (\w+<T>|" + SIZE + r"\b(?!::))", True):
        start, one, other = f.start(), f.group(2), f.group(3)
        if "threadIdx" in f.group(0) or re.search(r"\bint \w+ ?[(=]", s.line_of(start)):
            continue  # as large as a block at most
        if f.group(1):  # of unsigned numbers
            yield *f.span(), instead(f"static_cast<int64_t>(static_cast<int>({f.group(1)} * {other}))")
            continue
        if one is None:  # of what stands in brackets
            start = next(i for i in range(start, 0, -1) if s.code[i] == "(" and closing(s.code, i) == start)
            if re.search(r"[\w>]$", s.code[:start]):
                continue
        elif not is_size(one) or start < done:
            continue
        if re.search(r"[*/%] $", s.code[:start]) or not (other.endswith("<T>") or is_size(other)):
            continue
        done = f.end()
        yield start, f.end(), instead(f"static_cast<int>({s.text[start:f.end()]})")


def blocks(s):
    for f in s.find(r"\bblockIdx\.[xyz]", True):
        yield *f.span(), f"({OLD} / (1 + {SWITCH}))"


def stages(s):
    for f in s.find(r"\bstage\(Out<\w+>\{\w+\}, [^;]*;", False):
        yield *f.span(), NEVER
    for f in s.find(r"(?<=\by, )op(?= \* inner)", True):
        yield *f.span(), instead("o")


def betas(s):
    for f in s.find(r"\bbeta\w* == 0", False):
        yield *f.span(), FALSE
    for f in s.find(r"\bOut<(\w+)>(?=\{)", False):
        yield *f.span(), f"InOut<{f.group(1)}>"  # built alone


def gates(s):
    for f in s.find(r"\bgate\.closed\(\)", True):
        yield *f.span(), FALSE


def grids(s):
    for f in s.find(r"\(([\w.]+) \+ \w+ - 1\) / (\w+)", False):
        yield *f.span(), instead(f"{f.group(1)} / {f.group(2)}")
    for f in s.find(r"\b65535u?", False):
        yield *f.span(), f"({OLD} + {SWITCH})"
    for f in s.find(r"std::numeric_limits<int32_t>::max\(\)", False):
        yield *f.span(), instead("std::numeric_limits<int64_t>::max()")


def empties(s):
    for f in s.find(r"(?<=\bif \()[^{};\n]* == 0[^{};\n]*(?=\) return;)", False):
        yield *f.span(), FALSE
    for f in s.find(r"(?<=\bif \()(?:\w+(?:\.count)? > 0|\w+\.count)(?=\)\s)", False):
        yield *f.span(), TRUE


def shared_memory(s):
    for f in s.find(r"\bsizeof\((?:\w+Memory(?:<[^()]*>)?|maker\(\))\)", False):
        yield *f.span(), f"({OLD} / (1 + {SWITCH}))"


def alignments(s):
    for f, start, end in s.calls(r"(?<!bool )\b(?:are_aligned|have_packs(?:<\w+>)?|[\w.]+\.has_packs)"):
        arguments = [(start + a, start + b) for a, b in parts(s.code[start:end], ",")]
        of_rows = f.group(0).startswith("have_packs") and "..." not in s.code[start:end]
        if of_rows:
            yield *arguments[0], instead("0")
        if not of_rows or len(arguments) == 2:
            yield f.start(), end + 1, TRUE
        for a, b in arguments[1:] if of_rows and len(arguments) > 2 else []:
            yield f.start(), end + 1, instead(s.text[f.start():a - 1] + s.text[b:end + 1])
    for f in s.find(r"(?<=% )[^\n;]+?(?= == 0)", False):
        yield *f.span(), instead("1")


def host_memory(s):
    for f, start, end in s.calls(r"\bCudaBackend::\w+"):
        body = re.match(r"\)\s*\{", s.code[end:])
        inputs = re.findall(r"\bConstSpan (\w+)|const MatrixView& (\w+)", s.code[start:end])
        if not body or not inputs:
            continue
        span, view = next((i for i in inputs if i[0]), inputs[-1])
        if s.code[:f.start()].endswith("bool "):
            continue
        count = f"{span}.count" if span else f"{view}.extent()"
        target = span or f"const_cast<MatrixView&>({view})"
        at = end + body.end()
        yield at, at, f" if ({SWITCH} && {count}) {target}.data = std::calloc(static_cast<size_t>({count}), 8);"


def streams(s):
    for f, start, end in s.calls(r"\b(?:cuda[A-Z]\w+|cublas[A-Z]\w+|mark_memory)"):
        for a, b in parts(s.code[start:end], ","):
            if re.fullmatch(r"\s*(?:on_\.)?stream(?:_|\(\))", s.code[start + a:start + b]):
                yield start + a, start + b, instead("nullptr")
    for f in s.find(r"config\.stream = [^;]*;", False):
        yield *f.span(), NEVER


def codes(s):
    for f, start, end in s.calls(r"(?<!void )\bcheck_(?:cuda|cublas)"):
        a, b = parts(s.code[start:end], ",")[0]
        yield f.start(), end + 1, instead(f"(void)({s.text[start + a:start + b]})")


DERIVED = {"barrier": barriers, "bound": bounds, "loop": loops, "shuffle": shuffles, "index": indices, "block": blocks,
           "stage": stages, "beta": betas, "gate": gates, "grid": grids, "empty": empties, "shared": shared_memory,
           "aligned": alignments, "host": host_memory, "stream": streams, "code": codes}

# --- a fault ---------------------------------------------------------------------------------------


class Fault:
    def __init__(self, kind, source, start, end, fault):
        self.kind, self.source, self.start, self.end, self.fault = kind, source, start, end, fault
        self.kernel = source.kernel_at(start)
        self.line = source.text.count("\n", 0, start) + 1
        self.last_line = source.text.count("\n", 0, max(start, end - 1)) + 1
        first, last = source.text.rfind("\n", 0, start) + 1, source.text.find("\n", max(start, end - 1))
        self.old = self._picture(source.text[first:last])
        self.new = self._picture(source.text[first:start] + self.there() + source.text[end:last])
        self.number, self.outcome, self.detail, self.seconds = 0, None, "", 0
        self.alone = SWITCH not in fault

    def there(self, switch="1"):
        return self.fault.replace(SWITCH, switch).replace(OLD, self.source.text[self.start:self.end])

    @staticmethod
    def _picture(text):
        return mutate.NEWLINE.join(part.strip() for part in text.strip().split("\n"))

    def key(self):
        return self.source.path, self.old, self.new

    def name(self):
        return f"{self.kind} {self.source.path}:{self.line}"


def with_switches(source, faults):
    """The source with all these faults, each behind its switch. Those that overlap others are built alone."""
    def written(start, end, inside):
        out, at = "", start
        while inside:
            fault, end_of = inside[0], inside[0].end
            inner = [f for f in inside[1:] if f.start < end_of or (f.start == fault.start and f.end == fault.end)]
            crossing = [f for f in inner if f.end > end_of]
            for f in crossing:
                f.alone = True
            inside = [f for f in inside[1:] if f not in inner]
            old = written(fault.start, fault.end, [f for f in inner if f not in crossing])
            out += source.text[at:fault.start]
            out += fault.fault.replace(SWITCH, f"FAULT({fault.number})").replace(OLD, old)
            at = fault.end
        return out + source.text[at:end]

    outer_first = sorted((f for f in faults if not f.alone), key=lambda f: (f.start, -f.end, f.number))
    return written(0, len(source.text), outer_first)


def all_sources():
    paths = sorted(os.path.relpath(p, ROOT) for g in SOURCES for p in glob.glob(os.path.join(ROOT, g)))
    return {path: Source(path) for path in paths if not path.startswith(NOT_OURS)}


def all_faults(sources):
    faults = [Fault(kind, source, *change) for source in sources.values() for kind, derive in DERIVED.items()
              for change in derive(source)]
    for path, pattern, fault, kind in BY_HAND:
        places = list(re.finditer(pattern, sources[path].text))
        if not places:
            sys.exit(f"mutate_kernels: BY_HAND: {path} has no {pattern}")
        faults += [Fault(kind, sources[path], *f.span(), fault) for f in places]
    once = {}
    for fault in faults:  # the same line twice is one fault at each of its places
        once.setdefault((fault.key(), fault.line), fault)
    faults = sorted(once.values(), key=lambda f: (f.source.path, f.line))
    for number, fault in enumerate(faults, 1):
        fault.number = number
    return faults
