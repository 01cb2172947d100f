"""Hostile payloads: contract answers, bounded memory, no crash (contract 3 and 4)."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from tests.support.paths import CATALOG, ROOT
from tests.support.patience import PATIENCE

MEMORY_LIMIT: Final = 512 * 2**20
TOTAL_BYTES: Final = 2**30

# Runs in a process of its own: an address-space limit cannot be lifted again.
_ATTACK: Final = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
sys.path.insert(0, {tests!r})
from tests.judge.test_hostile import attack
attack({total})
"""


def _request(entries: bytes) -> bytes:
    head = b'{"id":"1","version":"1.0","method":"integration.measurepoint.post","params":'
    return head + entries + b"}"


def _filled(prefix: bytes, unit: bytes, suffix: bytes, size: int) -> bytes:
    count = (size - len(prefix) - len(suffix)) // len(unit)
    return prefix + unit * count + suffix


def hostile_payloads(size: int) -> dict[str, tuple[bytes, int]]:
    """Payloads of about `size` bytes that aim at time, memory or the stack, and their codes."""
    entry = b'{"deviceKey":"device1","measurepoints":{'
    return {
        "depth": (b"[" * size, 1220),
        "depth in an unknown member": (_filled(b'{"x":', b'{"a":', b"", size), 1220),
        "closed depth": (b"[" * (size // 2) + b"]" * (size // 2), 1220),
        "empty arrays": (_request(_filled(b"[", b"[],", b"[]]", size)), 1204),
        "empty entries": (_request(_filled(b"[", b"{},", b"{}]", size)), 1257),
        "empty points": (_request(_filled(b"[", entry + b"}},", entry + b"}}]", size)), 200),
        "unknown members": (_filled(b"{", b'"k":0,', b'"k":0}', size), 1220),
        "known members repeated": (_filled(b"{", b'"id":0,', b'"id":0}', size), 1220),
        "unknown points": (_request(b"[" + _filled(entry, b'"t":1,', b'"t":1}}]', size)), 1204),
        "one long identifier": (
            _request(b"[" + _filled(entry + b'"', b"t", b'":1}}]', size)),
            1204,
        ),
        "one long escaped identifier": (
            _request(b"[" + _filled(entry + b'"', rb"\u0074", b'":1}}]', size)),
            1204,
        ),
        "one long device key": (_request(_filled(b'[{"deviceKey":"', b"d", b'"}]', size)), 1257),
        "one long string": (
            _request(b"[" + _filled(entry + b'"temp":"', b"x", b'"}}]', size)),
            1204,
        ),
        "surrogate pairs": (_filled(b'{"x":"', rb"\ud83d\ude00", b'"}', size), 1220),
        "a long number": (_request(b"[" + _filled(entry + b'"temp":1', b"0", b"}}]", size)), 1220),
        "a long exponent": (
            _request(b"[" + _filled(entry + b'"temp":1e', b"9", b"}}]", size)),
            1220,
        ),
        "long numbers": (_filled(b"[", b"1" * 1024 + b",", b"1]", size), 1220),
        "a long id": (_filled(b'{"id":"', b"1", b'"}', size), 1220),
        "blanks": (b" " * size, 1220),
        "blanks around a document": (_filled(b"", b"\n", b"{}", size), 1220),
        "zeros": (b"\0" * size, 1220),
        "invalid UTF-8 at the end": (_filled(b'{"x":"', b"x", b"\xff", size), 1220),
        "a string without end": (b'"' + b"\\n" * (size // 2), 1220),
        "too large": (b"x" * (size + 2**23), 1008),
    }


def attack(total: int) -> None:
    """Judge hostile payloads in a row until `total` bytes were sent; print how many there were."""
    from pointgate import Catalog, Validator  # noqa: PLC0415 - after the limit is in force

    validator = Validator(Catalog.load(CATALOG))
    topic = "sys/protocol/integration/measurepoint/post"
    sent = count = 0
    while sent < total:
        for size in (2**23 - 2**10, 2**16, 2**12):
            for name, (payload, code) in hostile_payloads(size).items():
                (report,) = validator.validate([topic], [payload], now_ms=0)
                assert report.code == code, (name, size, report.fault)
                assert report.reply is not None
                assert len(report.reply) <= 1024 + 256, name
                sent += len(payload)
                count += 1
    print(count, sent)  # noqa: T201 - the parent process reads it


def test_a_gibibyte_of_hostile_payloads_fits_into_half_of_one() -> None:
    """Contract 3 for each, and no growth: invariant 5."""
    code = _ATTACK.format(memory=MEMORY_LIMIT, total=TOTAL_BYTES, tests=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    count, sent = map(int, done.stdout.split())
    assert count > 100
    assert sent >= TOTAL_BYTES
