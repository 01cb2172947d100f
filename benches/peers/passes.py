"""Each peer's pass over a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import orjson

from benches.peers.judge import collect_bursts, judge_bursts, judge_singly
from benches.peers.msgspec_typed import msgspec_typed
from benches.peers.orjson_checks import orjson_checks
from benches.peers.orjson_jsonschema import orjson_jsonschema
from benches.peers.pydantic_typed import pydantic_typed

if TYPE_CHECKING:
    from benches.corpus import Product, Stream

Pass = Callable[[], list[int]]
"""Validates every request of a stream once; returns the codes."""


def _python(compile_judge: Callable[[Product], Callable[[bytes], int]]) -> Callable[[Stream], Pass]:
    def prepare(stream: Stream) -> Pass:
        judge, payloads = compile_judge(stream.product), stream.payloads
        return lambda: [judge(payload) for payload in payloads]

    return prepare


def _orjson_loads(stream: Stream) -> Pass:
    loads, payloads = orjson.loads, stream.payloads

    def parse() -> list[int]:
        for payload in payloads:
            try:
                loads(payload)
            except orjson.JSONDecodeError:
                continue
        return []

    return parse


JUDGE: Final = "pointgate"
PEERS: Final[dict[str, Callable[[Stream], Pass]]] = {
    JUDGE: judge_singly,
    "pointgate_64": judge_bursts,
    "pointgate_points": collect_bursts,
    "msgspec_typed": _python(msgspec_typed),
    "orjson_checks": _python(orjson_checks),
    "pydantic_typed": _python(pydantic_typed),
    "orjson_jsonschema": _python(orjson_jsonschema),
    "orjson_loads": _orjson_loads,
}
NO_VERDICT: Final = frozenset({"orjson_loads"})


def prepare(name: str, stream: Stream) -> Pass:
    """Make a peer ready for a stream; its codes have been compared with the stated ones."""
    judge_all = PEERS[name](stream)
    codes = judge_all()
    if name not in NO_VERDICT:
        stream.check(name, codes)
    return judge_all
