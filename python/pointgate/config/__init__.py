"""Settings: a TOML file, then the environment over it, checked as a whole.

    settings = load_settings(Path("pointgate.toml"), os.environ)

Every key of the file is also `POINTGATE_<SECTION>__<KEY>` in the environment, which wins; those of
a sink are `POINTGATE_SINKS__<NAME>__<KEY>`. Nothing is guessed: an unknown key or section, in the
file or in the environment, is a mistake that is named, and all mistakes are reported at once as
`ConfigError.problems`. A variable without the double underscore is not ours. Relative paths are
relative to the file's folder.

    settings.py   the sections; mqtt.py and quarantine.py those that are longer
    load.py       file and environment into `Settings`

The settings of a sink are in its folder (`sinks/registry.py` lists them), types of values in
`toml/values.py`.

Invariants: `Settings` is immutable and valid once it exists; a secret is never part of a `repr`,
an error or a log line, and is refused in the file itself, because files are copied, committed
and mailed.

It does not read the catalog (`catalog.py`) and does not connect anywhere.
"""

from pointgate.config.load import load_settings, stray_variables
from pointgate.config.mqtt import MqttSettings
from pointgate.config.settings import (
    CatalogSettings,
    LimitSettings,
    MetricsSettings,
    ReplySettings,
    Settings,
    SpoolSettings,
    StoreSettings,
)

__all__ = [
    "CatalogSettings",
    "LimitSettings",
    "MetricsSettings",
    "MqttSettings",
    "ReplySettings",
    "Settings",
    "SpoolSettings",
    "StoreSettings",
    "load_settings",
    "stray_variables",
]
