"""The report of `compare.py` as a Markdown page, and the display names of the peers.

The report is the dictionary in the JSON file: `date`, `environment`, `rounds` and `streams`, each
with its `peers`; ratios and seconds are quartiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benches.peers import JUDGE, NO_VERDICT, PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator

Report = dict[str, Any]

NAMES: Final = {
    JUDGE: "pointgate",
    "pointgate_64": "pointgate, 64 a call",
    "pointgate_points": "… points as Arrow",
    "msgspec_typed": "msgspec, typed",
    "orjson_checks": "orjson + checks",
    "pydantic_typed": "pydantic TypedDict",
    "orjson_jsonschema": "orjson + jsonschema-rs",
    "orjson_loads": "orjson.loads alone",
}
assert NAMES.keys() == PEERS.keys()

GOALS: Final[dict[tuple[str, str], dict[str, float]]] = {
    ("S", "valid"): {
        "msgspec_typed": 4.5,
        "orjson_checks": 10,
        "pydantic_typed": 11,
        "orjson_loads": 3,
    },
    ("M", "valid"): {
        "msgspec_typed": 3,
        "orjson_checks": 7,
        "pydantic_typed": 6.5,
        "orjson_loads": 2.4,
    },
    ("L", "valid"): {
        "msgspec_typed": 3.2,
        "orjson_checks": 9,
        "pydantic_typed": 9,
        "orjson_loads": 3.3,
    },
    ("XL", "valid"): {
        "msgspec_typed": 5,
        "orjson_checks": 14,
        "pydantic_typed": 13,
        "orjson_loads": 7,
    },
    ("M", "error-last"): {"msgspec_typed": 10},
    **{
        (shape, variant): {"msgspec_typed": 2.5}
        for shape in ("S", "M", "L")
        for variant in ("shuffled", "pretty")
    },
}
"""The goals: how many times faster than a peer the judge must be at least."""


def goal_of(stream: Report, peer: str) -> float | None:
    """The goal against a peer on a stream."""
    return GOALS.get((stream["shape"], stream["variant"]), {}).get(peer)


def _table(*rows: list[str]) -> Iterator[str]:
    head, *body = rows
    for row in (head, ["---", *["---:"] * (len(head) - 1)], *body):
        yield f"| {' | '.join(row)} |"
    yield ""


def _ratio(stream: Report, peer: str) -> str:
    low, median, high = stream["peers"][peer]["ratio"]
    goal = goal_of(stream, peer)
    missed = goal is not None and median < goal
    text = f"{median:.2f} ({low:.2f} to {high:.2f})"
    return f"**{text}, goal {goal:g}**" if missed else text


def _speed(stream: Report, peer: str) -> str:
    figures = stream["peers"][peer]
    return f"{figures['mb_per_second']:,.0f} (±{figures['spread'] / 2:.0%})"


def markdown(report: Report, plot: str | None) -> str:
    """The Markdown page; `plot` is the link to the chart."""
    streams = report["streams"]
    others = [name for name in NAMES if name != JUDGE]
    floors = ", ".join(NAMES[name] for name in NO_VERDICT)
    goals = sum(goal_of(stream, peer) is not None for stream in streams for peer in NAMES)

    def named(stream: Report) -> str:
        return f"{stream['shape']} {stream['variant']}"

    ratios = [[named(stream), *(_ratio(stream, peer) for peer in others)] for stream in streams]
    speeds = [
        [
            named(stream),
            f"{stream['peers'][JUDGE]['ns_per_point']:.1f}",
            *(_speed(stream, peer) for peer in NAMES),
        ]
        for stream in streams
    ]
    lines = [
        "# The judge and its peers",
        "",
        f"Written by `make bench` on {report['date']}; one thread, one process, in each",
        f"of {report['rounds']} rounds every peer in turn. What the streams and the peers are, and",
        "where a peer does less than the judge, is said in `benches/corpus` and `benches/peers`.",
        "",
        *(f"- {name}: {value}" for name, value in report["environment"].items()),
        "",
        *([f"![How many times as long each peer takes]({plot})", ""] if plot else []),
        "## How many times as long a peer takes",
        "",
        f"Medians of the rounds' ratios, their quartiles in brackets; {floors} gives no verdict.",
        f"{goals} of the ratios have a goal, those in bold miss it.",
        "",
        *_table(["stream", *(NAMES[peer] for peer in others)], *ratios),
        "## MB/s",
        "",
        "Medians, with half the quartile range of the rounds. A shared machine changes its speed",
        "by half meanwhile, so compare within a row only. ns/point is the judge's.",
        "",
        *_table(["stream", "ns/point", *NAMES.values()], *speeds),
    ]
    return "\n".join(lines)
