"""TLS as this service uses it: 1.2 or newer, certificate and host name always verified."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pointgate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pointgate.config import MqttSettings


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """The TLS settings, None without TLS. Names and certificates are always checked.

    Raises:
        ConfigError: A certificate or key file cannot be used.
    """
    if not settings.tls:
        return None
    key, file = "mqtt.ca_file", settings.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file:
            key, file = "mqtt.cert_file", settings.cert_file
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:  # ssl.SSLError is one
        reason = f"expected PEM that can be read, got: {error.strerror or error}"
        raise ConfigError([Problem(file=str(file), location=key, reason=reason)]) from error
    return context
