"""Kafka security settings, given once in librdkafka's names, as Faust wants them."""

import os
import ssl
from collections.abc import Mapping
from typing import Any

import faust

from eventmill_schemas.errors import UsageError

_SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def credentials(client: Mapping[str, str]) -> Any:
    """Return Faust's `broker_credentials` for librdkafka settings, None for plain text. Raises UsageError."""
    protocol = client.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(_ssl_context(client))
    if protocol not in ("SASL_PLAINTEXT", "SASL_SSL"):
        raise UsageError(
            f"kafka.client: security.protocol {protocol!r} is not known",
            remedy="Use plaintext, ssl, sasl_plaintext or sasl_ssl",
        )
    mechanism = client.get("sasl.mechanism", client.get("sasl.mechanisms", "PLAIN")).upper()
    if mechanism not in _SASL:
        raise UsageError(
            f"kafka.client: sasl.mechanism {mechanism!r} is not supported", remedy=f"Use {', '.join(_SASL)}"
        )
    return faust.SASLCredentials(
        username=client.get("sasl.username"),
        password=client.get("sasl.password"),
        ssl_context=_ssl_context(client) if protocol == "SASL_SSL" else None,
        mechanism=mechanism,
    )


_TLS_KNOWN = frozenset(
    {"ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password"}
)
_TLS_DEFAULTS = {"enable.ssl.certificate.verification": "true", "ssl.endpoint.identification.algorithm": "https"}
_TLS_FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")


def _ssl_context(client: Mapping[str, str]) -> ssl.SSLContext:
    for setting, value in client.items():  # librdkafka would heed it, and the consumer, which is another library, not
        known = setting in _TLS_KNOWN or _TLS_DEFAULTS.get(setting) == value.lower()
        if (setting.startswith("ssl.") or setting in _TLS_DEFAULTS) and not known:
            raise UsageError(
                f"kafka.client: {setting} is not supported",
                remedy=f"Use {', '.join(sorted(_TLS_KNOWN))}; certificates and host names are always checked",
            )
    for setting in _TLS_FILES:  # Python's own message names no file
        if setting in client and not os.access(client[setting], os.R_OK):
            raise UsageError(f"kafka.client: {setting} {client[setting]!r} can't be read", remedy="Check the path")
    try:
        context = ssl.create_default_context(cafile=client.get("ssl.ca.location"))
        if "ssl.certificate.location" in client:
            context.load_cert_chain(
                client["ssl.certificate.location"], client.get("ssl.key.location"), client.get("ssl.key.password")
            )
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"kafka.client: the TLS files can't be read: {error}") from error
    return context
