"""Identifies the content of TLS files, and reads the validity of certificates.

    contents_of(data)   "PKCS#12", "a private key" …: what a file contains, for error messages
    certificates(data)  the certificates of a PEM file, as DER
    validity(der)       the period in which a certificate is valid

OpenSSL decides what can be used. This module only describes what OpenSSL refuses, and reads two
dates, for which the standard library has no public function. It never raises because of a file's
content.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from typing import Final

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END ", re.DOTALL
)

_LABELS: Final = {
    "CERTIFICATE REQUEST": "a certificate request",
    "NEW CERTIFICATE REQUEST": "a certificate request",
    "OPENSSH PRIVATE KEY": "a private key in OpenSSH's own format",
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "a public key",
    "PKCS7": "PKCS#7",
    "CMS": "PKCS#7",
    "X509 CRL": "a revocation list",
    "DH PARAMETERS": "Diffie-Hellman parameters",
}

_BEGINNINGS: Final = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"-\0": "UTF-16 text",
    b"\0-": "UTF-16 text",
    b"\xfe\xed\xfe\xed": "a Java keystore",
    b"ssh-": "an SSH public key",
    b"ecdsa-": "an SSH public key",
}

_INTEGER, _OBJECT, _SEQUENCE, _EXPLICIT = 0x02, 0x06, 0x30, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_PKCS12_VERSION: Final = 3
_CENTURY_TURNS: Final = 50
"""UTCTime has a two-digit year: 50 and above mean 19xx (RFC 5280)."""


def contents_of(data: bytes) -> str:
    """The kind of a TLS file, in words; `other content` if it is unknown."""
    if not data.strip():
        return "an empty file"
    if labels := labels_of(data):
        return _of_label(labels[0])
    for beginning, name in _BEGINNINGS.items():
        if data.startswith(beginning):
            return name
    return _of_der(data) if data[0] == _SEQUENCE else "other content"


def labels_of(data: bytes) -> list[str]:
    """The labels of a PEM file's blocks, in order, such as `CERTIFICATE`."""
    return [label.decode("ascii") for label in _BLOCK.findall(data)]


def is_certificate(label: str) -> bool:
    """Whether a block of PEM is a certificate."""
    return label in {"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"}


def is_private_key(label: str) -> bool:
    """Whether a block of PEM is a private key that OpenSSL reads."""
    return label.endswith("PRIVATE KEY") and label != "OPENSSH PRIVATE KEY"


def certificates(data: bytes) -> list[bytes]:
    """The certificates of a PEM file, as DER, without damaged ones."""
    found = []
    for text in _CERTIFICATE.findall(data):
        try:
            found.append(binascii.a2b_base64(text))
        except binascii.Error:
            continue
    return found


def validity(der: bytes) -> tuple[datetime, datetime] | None:
    """The validity period of a certificate; None if `der` is not a certificate."""
    try:
        _, certificate, _ = _element(der)
        _, fields, _ = _element(certificate)
        tag, _, rest = _element(fields)
        if tag == _EXPLICIT:  # the version, which X.509 v1 does not have
            _, _, rest = _element(rest)
        for _ in "signature algorithm", "issuer":
            _, _, rest = _element(rest)
        _, dates, _ = _element(rest)
        first_tag, first, rest = _element(dates)
        last_tag, last, _ = _element(rest)
        return _instant(first_tag, first), _instant(last_tag, last)
    except (ValueError, IndexError):
        return None


def _of_label(label: str) -> str:
    if is_certificate(label):
        return "a certificate"
    if is_private_key(label):
        return "a private key"
    return _LABELS.get(label, "EC parameters" if label == "EC PARAMETERS" else "other PEM")


def _of_der(data: bytes) -> str:
    """The kind of a DER file, by the beginning of its outermost sequence."""
    try:
        _, body, _ = _element(data)
        tag, value, _ = _element(body)
        if tag == _INTEGER:
            is_store = value == bytes([_PKCS12_VERSION])
            return "PKCS#12 (.p12, .pfx)" if is_store else "a private key in DER"
        if tag == _OBJECT:
            return "PKCS#7 in DER"
        if tag == _SEQUENCE and value[:1] == bytes([_OBJECT]):
            return "an encrypted private key in DER"
        if tag == _SEQUENCE:
            return "a certificate in DER"
    except (ValueError, IndexError):
        pass
    return "other content"


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element of DER: its tag, its content, and what follows it."""
    length, start = data[1], 2
    if length == 0x80 or length > 0x84:  # noqa: PLR2004 - longer than any file, or not DER
        raise ValueError("not DER")
    if length > 0x80:  # noqa: PLR2004 - 0x82 0x03 0x1f: two bytes say 0x031f
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("cut")
    return data[0], data[start : start + length], data[start + length :]


def _instant(tag: int, text: bytes) -> datetime:
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("19" if int(digits[:2]) >= _CENTURY_TURNS else "20") + digits
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
