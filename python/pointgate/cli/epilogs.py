"""The end of each command's `--help`: examples, and what its exit statuses mean (contract 9).

Invariant: every command has an entry (tested), and every line fits in 80 columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointgate.terminal import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CONFIGURATION: Final = {Status.CONFIGURATION: "bad configuration or catalog"}
_DONE: Final = {Status.DONE: "done"}
_USAGE: Final = {Status.USAGE: "wrong usage"}
_INPUT: Final = {Status.USAGE: "wrong usage, or an input that cannot be read"}
_STOPPED: Final = "stopped by SIGINT or SIGTERM"


def _epilog(examples: Sequence[str], statuses: Mapping[Status, str], end: str = "") -> str:
    r"""The text for click, which leaves a paragraph after `\b` as it is."""
    lines = ["\b", "Examples:", *(f"  {example}" for example in examples), "", "\b"]
    lines += ["Exit status:", *(f"  {int(one):<8} {what}" for one, what in statuses.items())]
    return "\n".join([*lines, f"  {'130, 143':<8} {end or _STOPPED}"])


EPILOGS: Final[dict[str, str]] = {
    "init": _epilog(
        ["pointgate init", "pointgate init /etc/pointgate --product solar"],
        _DONE
        | {Status.USAGE: "wrong usage, or a file exists; nothing was written"}
        | {Status.OUTPUT: "a file cannot be written"},
    ),
    "schema": _epilog(["pointgate schema > pointgate.schema.json"], _DONE | _USAGE),
    "serve": _epilog(
        [
            "pointgate serve",
            "POINTGATE_MQTT__PASSWORD=… pointgate serve -c /etc/pointgate/pointgate.toml",
        ],
        {Status.DONE: "stopped by SIGTERM or SIGINT once it was ready; drained"}
        | _USAGE
        | {Status.TEMPORARY: "its port or its spool is in use by another process"}
        | _CONFIGURATION,
        "stopped before it was ready",
    ),
    "check": _epilog(
        ["pointgate check", "pointgate check -c pointgate.toml --json | jq .problems"],
        {Status.DONE: "no problems"}
        | {Status.FINDINGS: "problems or failed catalog tests: serve would exit with 78"}
        | _USAGE,
    ),
    "doctor": _epilog(
        [
            "pointgate doctor",
            "pointgate doctor --json | jq '.findings[] | select(.result!=\"ok\")'",
        ],
        {Status.DONE: "no problems; there may be warnings"}
        | {Status.FINDINGS: "a problem: the service cannot work so"}
        | _USAGE
        | _CONFIGURATION,
    ),
    "leave": _epilog(
        ["pointgate leave", "pointgate leave -c /etc/pointgate/b.toml --timeout 300"],
        {Status.DONE: "the session has ended; nothing is left in it or in the spool"}
        | {Status.FINDINGS: "the broker has no session of this client id; the spool is empty"}
        | {Status.USAGE: "wrong usage, or no broker in the settings"}
        | {Status.TEMPORARY: "the service runs, or broker or a sink is away; repeat it"}
        | _CONFIGURATION,
    ),
    "explain": _epilog(
        [
            "pointgate explain payload.json --product solar",
            "mosquitto_sub -C 1 -t TOPIC | pointgate explain - --topic TOPIC",
        ],
        {Status.DONE: "accepted", Status.FINDINGS: "rejected"} | _INPUT | _CONFIGURATION,
    ),
    "validate": _epilog(
        [
            "pointgate validate archive/ --product solar",
            "pointgate validate a.ndjson.zst --product solar --rejects bad.ndjson",
            "pointgate validate archive/ --product solar --out points --json",
        ],
        {Status.DONE: "all were accepted", Status.FINDINGS: "some were rejected"}
        | _INPUT
        | {Status.SOFTWARE: "a worker process was killed from outside"}
        | {Status.OUTPUT: "the output cannot be written"}
        | _CONFIGURATION,
    ),
    "diff": _epilog(
        [
            "pointgate diff catalog new-catalog archive/ --product solar",
            "pointgate diff catalog new-catalog --quarantine",
            "mosquitto_sub -v -t 'sys/#' | pointgate diff catalog new-catalog - --topics",
            "pointgate tap --json --payload --seconds 60 | pointgate diff OLD NEW -",
        ],
        {Status.DONE: "no verdict changes", Status.FINDINGS: "some verdicts change"}
        | _INPUT
        | {Status.SOFTWARE: "a worker process was killed from outside"}
        | {Status.OUTPUT: "the output cannot be written"}
        | {Status.CONFIGURATION: "bad configuration, or one of the catalogs is bad"},
    ),
    "rejects": _epilog(
        [
            "pointgate rejects --since 2h --reason type",
            "pointgate rejects --product solar --payload --json > rejected.ndjson",
        ],
        _DONE | _USAGE | {Status.OUTPUT: "the quarantine cannot be read"} | _CONFIGURATION,
    ),
    "registry": _epilog(
        ["pointgate registry sql fleet | psql postgresql://owner@db/fleet"],
        _DONE | {Status.USAGE: "wrong usage, or no such registry"} | _CONFIGURATION,
    ),
    "top": _epilog(
        ["pointgate top", "pointgate top --url http://127.0.0.1:9464 --json | jq .products"],
        {Status.DONE: "done"} | _USAGE | {Status.OUTPUT: "no service answers"} | _CONFIGURATION,
    ),
    "tap": _epilog(
        [
            "pointgate tap --product solar --reason range",
            "pointgate tap --device inverter1 --payload",
            "pointgate tap --json --payload --seconds 60 | pointgate diff OLD NEW -",
        ],
        {Status.DONE: "ended by --seconds or --requests"}
        | _USAGE
        | {Status.OUTPUT: "no service answers, or it has ended"}
        | {Status.TEMPORARY: "four taps are attached, and no more are possible"}
        | {Status.CONFIGURATION: "bad configuration, or admin.enabled is false"},
    ),
    "replay": _epilog(
        ["pointgate replay --product solar --dry-run", "pointgate replay --since 12h"],
        {Status.DONE: "every selected request was accepted or removed"}
        | {Status.FINDINGS: "some were rejected again, or not answered"}
        | _USAGE
        | {Status.OUTPUT: "the broker or the quarantine cannot be used"}
        | _CONFIGURATION,
    ),
    "import": _epilog(
        [
            "pointgate import --sample history.csv > mapping.toml",
            "pointgate import history.csv --mapping mapping.toml --dry-run",
            "pointgate import history/ --mapping mapping.toml --sink parquet",
            "pointgate import history/ --mapping mapping.toml --post",
        ],
        {Status.DONE: "every point was accepted", Status.FINDINGS: "some were rejected"}
        | {Status.USAGE: "wrong usage, or an input that cannot be read or has changed"}
        | {Status.OUTPUT: "the output, a sink, the broker or the service is unavailable"}
        | {Status.TEMPORARY: "another process runs this import"}
        | _CONFIGURATION,
    ),
    "bench": _epilog(
        [
            "pointgate bench send --product solar --seconds 30",
            "pointgate bench send --product solar --rate 5000 --bad 0.05 --json",
            "pointgate bench send --url mqtt://127.0.0.1 --catalog catalog --shape M",
        ],
        {Status.DONE: "each request was answered with its code"}
        | {Status.FINDINGS: "replies were lost, or had another code"}
        | _USAGE
        | {Status.OUTPUT: "the broker cannot be used, or the connection was lost"}
        | _CONFIGURATION,
    ),
    "compact": _epilog(
        ["pointgate compact points", "pointgate compact points --now --json"],
        _DONE
        | {Status.FINDINGS: "some files cannot be merged"}
        | {Status.USAGE: "wrong usage, or not the folder of a sink"},
    ),
    "demo": _epilog(
        ["pointgate demo", "pointgate demo --seconds 30 --keep demo"],
        _DONE
        | {Status.FINDINGS: "something did not start"}
        | {Status.USAGE: "wrong usage, or the folder is not empty"},
    ),
}
"""The text by the name of the command."""
