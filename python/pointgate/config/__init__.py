"""Settings from a TOML file and the environment, validated as a whole.

    settings = load_settings(Path("pointgate.toml"), os.environ)

Every key can also be set by the variable `POINTGATE_<SECTION>__<KEY>`, which overrides the file; a
key of a sink by `POINTGATE_SINKS__<NAME>__<KEY>`. An unknown key, section or variable is an error,
and all errors are reported at once, as `ConfigError.problems`. A variable without the double
underscore is ignored. Relative paths are relative to the file's folder.

    settings.py   the sections; mqtt.py, kafka.py, admin.py and quarantine.py some more
    load.py       reads file and environment into `Settings`

The settings of a sink are in its folder (`sinks/registry.py` lists them), types of values in
`toml/values.py`.

Invariants: a `Settings` is immutable and valid; a secret is in no `repr`, error or log line, and is
rejected in the file itself, because such files are copied, committed and mailed.

It does not read the catalog (`catalog.py`), and does not connect.
"""

from pointgate.config.kafka import KafkaSettings
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
    "KafkaSettings",
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
