"""`pointgate init`: writes a starting configuration and catalog, and a request to try them with.

    pointgate.toml              every setting, with its meaning and default
    pointgate.schema.json       for editors that complete and check TOML
    catalog/catalog.toml        one product, and what else it can have
    catalog/models/KEY.json     its thing model
    catalog/devices/KEY.txt     its device keys
    catalog/tests/KEY.jsonl     requests and the verdicts that they must get
    example.json                a request that is accepted

Invariants: no file is ever overwritten; if one of them exists, nothing is written.
"""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, NoReturn

import orjson
import typer

from pointgate.cli.options import local_path_option
from pointgate.config.schema import settings_schema
from pointgate.config.template import starting_configuration
from pointgate.diagnostics import os_reason
from pointgate.terminal import Status, printable, say
from pointgate.topics import product_key

_SCHEMA: Final = "pointgate.schema.json"

_CATALOG: Final = """\
# The products, each with its thing model, its devices and its settings. Changes of this file, or of
# a file that it names, take effect within two seconds (hot reload).

[products.{key}]                     # the key in sys/{key}/integration/measurepoint/post
model = "models/{key}.json"          # JSON of the model service or the console's export
devices = "devices/{key}.txt"        # or .csv (a column deviceKey), .jsonl
# registry = …                       # in place of devices: the folder of a registry's copy
# changes = "devices/{key}.changes"   # appended lines +KEY and -KEY, active within a second
# max_shrink = 20                    # percent: a reload that removes more devices is refused
# default_device = …                 # the device of entries without a deviceKey
# numbers_as_strings = false         # true: a string that is a number counts as that number
# mode = "enforce"                   # "shadow": a trial, faults are counted and answered 200;
#                                    # "lenient": faulty points are left out, the others stored
# null_points = "reject"             # "ignore": points without a value are skipped
# unknown_points = "reject"          # "ignore": points that the model does not have are skipped
# on_unknown = "reject"              # "recheck": ask the registry before a device is rejected
# time.min = "2000-01-01"            # reject earlier times, such as seconds for milliseconds
# time.max_past = "30d"              # reject older times
# time.max_future = "10m"            # reject times that are further ahead
"""


_TESTS: Final = """\
# Requests to {key}, one on each line, and the verdicts that they must get. `pointgate check` runs
# them; the service refuses a changed catalog with a test that fails.
{{"code":200,"points":1,"payload":{before}1.02{behind}}}
{{"code":1204,"reason":"type","pointer":"{pointer}","payload":{before}"abc"{behind}}}
"""
_BEFORE: Final = (
    '{"id":"1","version":"1.0","method":"integration.measurepoint.post",'
    '"params":[{"deviceKey":"device1","measurepoints":{"temp":'
)
_BEHIND: Final = '},"time":1700000000000}]}'
_POINTER: Final = "/params/0/measurepoints/temp"


def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    typer.echo(orjson.dumps(settings_schema(), option=orjson.OPT_INDENT_2))


def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Where to write; made if missing.", parser=local_path_option
        ),
    ] = Path(),
    *,
    product: Annotated[
        str, typer.Option(metavar="PK", help="The key of the first product.")
    ] = "example",
) -> NoReturn:
    """Write a commented configuration and a sample catalog."""
    try:
        product_key(product)
    except ValueError as error:
        say(f"--product: {error}")
        sys.exit(Status.USAGE)
    contents = _contents(product)
    if found := [name for name in contents if os.path.lexists(folder / name)]:
        say(f"{folder / found[0]} exists; nothing was written")
        sys.exit(Status.USAGE)
    try:
        for name, text in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            typer.echo(f"wrote {printable(str(path))}")
    except OSError as error:
        say(f"{error.filename or folder}: cannot be written: {os_reason(error)}")
        sys.exit(Status.OUTPUT)
    config = folder / "pointgate.toml"
    say(f"next: set mqtt.url in {config} to your broker, then run pointgate check -c {config}")
    sys.exit(Status.DONE)


def _contents(key: str) -> dict[str, str]:
    """Each file with its text."""
    demo = files("pointgate.demo")
    return {
        "pointgate.toml": starting_configuration(f"#:schema ./{_SCHEMA}"),
        _SCHEMA: orjson.dumps(settings_schema(), option=orjson.OPT_INDENT_2).decode() + "\n",
        "catalog/catalog.toml": _CATALOG.format(key=key),
        f"catalog/models/{key}.json": demo.joinpath("catalog/models/example.json").read_text(
            "utf-8"
        ),
        f"catalog/devices/{key}.txt": demo.joinpath("catalog/devices/example.txt").read_text(
            "utf-8"
        ),
        f"catalog/tests/{key}.jsonl": _TESTS.format(
            key=key, before=_BEFORE, behind=_BEHIND, pointer=_POINTER
        ),
        "example.json": demo.joinpath("example.json").read_text("utf-8"),
    }
