"""The judge's instruction count per byte, a performance gate that does not depend on load.

    python benches/instructions.py [--update]

`rust/core/examples/judge_stream.rs` validates a dumped stream, without Python, under callgrind:
with one pass, and with three. The difference is two passes without start-up; divided by their bytes
it is the cost per byte. `instructions.json` has the limits; above one of them the exit status is 1.
`--update` writes new limits, `MARGIN` above the current counts.

The hash of the device table has a random seed, so counts of the same binary differ by a thousandth
at most. Another compiler gives other counts, and so may another processor, for which the C library
chooses other routines for copying and searching. The limits are for the compiler that
`instructions.json` names; with another one nothing fails.

It does not measure stalls: branch mispredictions and cache misses also cost time, which
`compare.py` measures.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import orjson

# Run as a script, Python looks for modules beside this file only.
if not __package__:
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benches.corpus import Stream, stream

ROOT: Final = Path(__file__).parent.parent
LIMITS: Final = Path(__file__).with_suffix(".json")
STREAMS: Final = {
    "S": ("S", "valid"),
    "M": ("M", "valid"),
    "L": ("L", "valid"),
    "M pretty": ("M", "pretty"),
    "M shuffled": ("M", "shuffled"),
}
"""The streams that are counted; all requests in them are accepted."""
MARGIN: Final = 1.03
"""The ratio of a limit to the count when it was written; a smaller change does not fail a build."""
GOALS: Final = {"S": 10.5, "M": 12.0, "L": 12.0, "M shuffled": 16.5}
"""No limit is above its goal."""
FEW, MANY = 1, 3
"""The passes of the two runs."""
TOTAL: Final = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


def build() -> Path:
    """Build the driver with the options of the extension; returns its path."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--package", "pointgate-core"]
    message = ["--example", "judge_stream", "--message-format", "json"]
    lines = subprocess.run([*command, *message], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    built = [orjson.loads(line).get("executable") for line in lines.stdout.splitlines()]
    return Path(next(filter(None, built)))


def dump(requests: Stream, folder: Path) -> list[Path]:
    """Write the driver's input: the model, the devices, the payloads with their lengths."""
    product = requests.product
    contents = {
        "model.json": orjson.dumps(product.model),
        "devices.txt": "\n".join(product.devices).encode(),
        "stream": b"".join(struct.pack("<I", len(one)) + one for one in requests.payloads),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def count(driver: Path, files: list[Path], requests: Stream, passes: int) -> int:
    """The instructions of the driver's whole run."""
    counts = files[0].with_name("callgrind.out")
    callgrind = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={counts}"]
    command = [*callgrind, str(driver), *map(str, files), str(passes)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    accepted, expected = int(run.stdout), passes * len(requests.payloads)
    assert accepted == expected, f"{accepted} of {expected} requests were accepted"
    total = TOTAL.search(counts.read_text(encoding="utf-8"))
    assert total, "callgrind wrote no total"
    return int(total[1])


def per_byte(driver: Path, requests: Stream) -> float:
    """The instructions per byte of a stream."""
    with tempfile.TemporaryDirectory() as folder:
        files = dump(requests, Path(folder))
        few, many = (count(driver, files, requests, passes) for passes in (FEW, MANY))
    return (many - few) / ((MANY - FEW) * requests.size)


def compare(counted: dict[str, float], limits: dict[str, float]) -> bool:
    """Print the counts and their limits; returns whether all are within."""
    within = True
    for name, instructions in counted.items():
        limit = limits.get(name, 0.0)
        verdict = "" if instructions <= limit else "  ABOVE"
        within = within and not verdict
        print(f"{name:<12}{instructions:>8.3f} instructions a byte, at most {limit:.3f}{verdict}")
    return within


def update(compiler: str, counted: dict[str, float]) -> None:
    """Write new limits."""
    gate = {
        "compiler": compiler,
        "counted": {name: round(one, 3) for name, one in counted.items()},
        "limits": {
            name: min(round(one * MARGIN, 3), GOALS.get(name, math.inf))
            for name, one in counted.items()
        },
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    LIMITS.write_bytes(orjson.dumps(gate, option=options))


def main() -> None:
    """Count, and compare with the limits or write new ones."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="write new limits first")
    options = parser.parse_args()
    for command in ("cargo", "valgrind"):
        if shutil.which(command) is None:
            parser.error(f"expected {command} on the PATH")
    compiler = subprocess.check_output(["rustc", "--version"], cwd=ROOT, text=True).strip()
    driver = build()
    counted = {name: per_byte(driver, stream(*which)) for name, which in STREAMS.items()}
    if options.update:
        update(compiler, counted)
    gate = orjson.loads(LIMITS.read_bytes())
    within = compare(counted, gate["limits"])
    if compiler != gate["compiler"]:
        print(f"not compared: counts of {compiler}, limits of {gate['compiler']}")
    elif not within:
        sys.exit(1)


if __name__ == "__main__":
    main()
