"""The TLS context: TLS 1.2 or newer, certificate and host name always verified."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NoReturn

from pointgate.diagnostics import os_reason
from pointgate.errors import ConfigError, PointgateError, Problem
from pointgate.sources.mqtt.certificates import (
    certificates,
    contents_of,
    is_certificate,
    is_private_key,
    labels_of,
    validity,
)
from pointgate.toml.document import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from pointgate.config import MqttSettings

_SOON: Final = timedelta(days=30)

_OTHER_KEY: Final = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""The last one for a key of another kind, such as EC beside RSA."""

_TOO_WEAK: Final = {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_MD_TOO_WEAK"}


class _PassphraseError(PointgateError):
    """The key is encrypted. Without a password callback OpenSSL would prompt on the terminal."""


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """The TLS context, None without TLS. Host names and certificates are always verified.

    Raises:
        ConfigError: A certificate or key file cannot be used.
    """
    if not settings.tls:
        return None
    context = _verifying(settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file:
        _load_own(context, settings.cert_file, settings.key_file)
    if settings.alpn:
        context.set_alpn_protocols([settings.alpn])
    return context


def tls_warnings(settings: MqttSettings) -> list[Problem]:
    """Certificates that are expired or about to expire: our own, and the last CA to expire."""
    if not settings.tls:
        return []
    now = datetime.now(UTC)
    warnings = []
    for key, file in ("mqtt.cert_file", settings.cert_file), ("mqtt.ca_file", settings.ca_file):
        spans = [span for span in map(validity, certificates(_content(file))) if span]
        if not spans:
            continue
        begins, ends = max(span[0] for span in spans), min(span[1] for span in spans)
        if key == "mqtt.ca_file":  # one valid CA is enough: bundles contain expired ones
            begins, ends = min(span[0] for span in spans), max(span[1] for span in spans)
        if reason := _span_reason(begins, ends, now):
            warnings.append(Problem(str(file), key, reason))
    return warnings


def _span_reason(begins: datetime, ends: datetime, now: datetime) -> str:
    if ends <= now:
        return f"the certificate ended on {ends:%Y-%m-%d}"
    if ends - now <= _SOON:
        return f"the certificate ends on {ends:%Y-%m-%d}, in {(ends - now).days} days"
    if begins > now:
        return f"the certificate is not valid before {begins:%Y-%m-%d %H:%M} UTC"
    return ""


def _verifying(file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        found = contents_of(_content(file))
        got = "a damaged certificate" if found == "a certificate" else found
        _refuse("mqtt.ca_file", file, f"expected CA certificates in PEM, got {got}", error)
    if file and not context.cert_store_stats()["x509"]:
        found = contents_of(_content(file))
        _refuse("mqtt.ca_file", file, f"expected CA certificates in PEM, got {found}")
    return context


def _load_own(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    def ask() -> str:
        raise _PassphraseError

    try:
        context.load_cert_chain(cert_file, key_file, password=ask)
    except _PassphraseError as error:
        # Without `key_file`, the key is in the certificate's file.
        key = "mqtt.key_file" if key_file else "mqtt.cert_file"
        reason = "expected a key without a passphrase, got one that needs it"
        _refuse(key, key_file or cert_file, reason, error)
    except OSError as error:
        _refuse_own(cert_file, key_file, error)


def _refuse_own(cert_file: Path, key_file: Path | None, error: OSError) -> NoReturn:
    """Report which of the two files OpenSSL refuses, and why."""
    data = _content(cert_file)
    if not any(map(is_certificate, labels_of(data))):
        reason = f"expected a certificate in PEM, got {contents_of(data)}"
        _refuse("mqtt.cert_file", cert_file, reason, error)
    key = "mqtt.key_file" if key_file else "mqtt.cert_file"
    data = _content(key_file or cert_file)
    if not any(map(is_private_key, labels_of(data))):
        reason = f"expected a private key in PEM, got {contents_of(data)}"
        if key_file is None:
            reason = "expected the private key in this file or in mqtt.key_file, got none"
        _refuse(key, key_file or cert_file, reason, error)
    code = getattr(error, "reason", "")
    if code in _OTHER_KEY:
        reason = "expected the key of the certificate, got that of another one"
        _refuse(key, key_file or cert_file, reason, error)
    if code in _TOO_WEAK:
        reason = f"the certificate is too weak for this machine's OpenSSL: {code}"
        _refuse("mqtt.cert_file", cert_file, reason, error)
    if not any(map(validity, certificates(_content(cert_file)))):
        reason = "expected a certificate in PEM, got a damaged one"
        _refuse("mqtt.cert_file", cert_file, reason, error)
    reason = f"expected a private key in PEM, got one that OpenSSL cannot read ({os_reason(error)})"
    _refuse(key, key_file or cert_file, reason, error)


def _refuse(key: str, file: Path | None, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ConfigError([Problem(file=str(file), location=key, reason=reason)]) from cause


def _content(file: Path | None) -> bytes:
    """The content of a file; empty if it cannot be read, which OpenSSL has reported then."""
    return read_file(file)[0] if file else b""
