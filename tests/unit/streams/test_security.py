"""librdkafka's security settings as Faust's credentials, and what is said about wrong ones."""

import ssl
from pathlib import Path

import faust
import pytest

from eventmill_schemas.errors import UsageError
from eventmill_streams.security import credentials


@pytest.mark.parametrize("client", [{}, {"security.protocol": "plaintext"}, {"security.protocol": "PLAINTEXT"}])
def test_plain_text_needs_no_credentials(client: dict[str, str]) -> None:
    """Without a protocol, or with plaintext in any case, there is nothing to hand over."""
    assert credentials(client) is None


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "scram-sha-512"])
def test_sasl_settings_are_handed_over(name: str, mechanism: str) -> None:
    """User, password and mechanism arrive, under both names that librdkafka knows for it."""
    client = {"security.protocol": "sasl_plaintext", name: mechanism, "sasl.username": "u", "sasl.password": "secret"}
    found = credentials(client)
    assert isinstance(found, faust.SASLCredentials)
    assert (found.username, found.password) == ("u", "secret")
    assert found.mechanism.value == mechanism.upper()
    assert found.ssl_context is None


def test_sasl_without_a_mechanism_is_plain() -> None:
    """The default is the simplest, as users expect of hosted clusters."""
    found = credentials({"security.protocol": "sasl_ssl", "sasl.username": "u", "sasl.password": "p"})
    assert found.mechanism.value == "PLAIN"


@pytest.mark.parametrize("protocol", ["ssl", "SASL_SSL"])
def test_tls_checks_the_server(protocol: str) -> None:
    """With TLS the broker's certificate and host name are verified."""
    found = credentials({"security.protocol": protocol})
    context = found.context if protocol == "ssl" else found.ssl_context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ssl.keystore.location", "/keys.p12"),
        ("ssl.ca.pem", "-----BEGIN"),
        ("enable.ssl.certificate.verification", "false"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ],
)
def test_tls_settings_that_only_one_of_the_two_clients_would_heed_are_refused(setting: str, value: str) -> None:
    """A setting that the consumer would ignore is an error, not half in force; the message tells what there is."""
    with pytest.raises(UsageError, match=rf"{setting} is not supported\. Use ssl\.ca\.location"):
        credentials({"security.protocol": "ssl", setting: value})


def test_tls_settings_that_say_what_holds_anyway_are_fine() -> None:
    """Asking for what is always done is no mistake."""
    client = {"enable.ssl.certificate.verification": "True", "ssl.endpoint.identification.algorithm": "https"}
    assert credentials({"security.protocol": "ssl", **client}).context.check_hostname


def test_an_unknown_protocol_is_named() -> None:
    """The message says what was given and what may be."""
    with pytest.raises(UsageError, match=r"'SSSL' is not known\. Use plaintext, ssl, sasl_plaintext or sasl_ssl"):
        credentials({"security.protocol": "sssl"})


def test_an_unsupported_mechanism_is_named_without_the_password() -> None:
    """GSSAPI is not supported: the message lists what is, and shows no secret."""
    client = {"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI", "sasl.password": "hunter2"}
    with pytest.raises(UsageError, match=r"'GSSAPI' is not supported\. Use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512") as bad:
        credentials(client)
    assert "hunter2" not in str(bad.value)


@pytest.mark.parametrize("setting", ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"])
def test_a_missing_tls_file_is_named_with_its_setting(setting: str, tmp_path: Path) -> None:
    """Setting and path are in the message: Python's own says neither."""
    missing = str(tmp_path / "nowhere.pem")
    with pytest.raises(UsageError) as caught:
        credentials({"security.protocol": "ssl", setting: missing})
    assert setting in str(caught.value)
    assert missing in str(caught.value)


@pytest.mark.parametrize("setting", ["ssl.ca.location", "ssl.certificate.location"])
def test_a_file_that_is_no_certificate_is_refused(setting: str, tmp_path: Path) -> None:
    """Garbage in a TLS file is a usage error, not a crash of the consumer."""
    file = tmp_path / "garbage.pem"
    file.write_text("not a certificate")
    with pytest.raises(UsageError, match="TLS files can't be read"):
        credentials({"security.protocol": "ssl", setting: str(file)})
