"""How workers decode Avro values: the converter of a registry, and its settings."""

import re
from collections.abc import Mapping
from enum import StrEnum

from eventmill_schemas.errors import UsageError

_CONFLUENT_API_OF_APICURIO = re.compile(r"/apis/ccompat/v\d+/?$")
_USER = re.compile(r"//[^/@]*@")
_NATIVE_API = "/apis/registry/v3"


class Converter(StrEnum):
    """Whose converter the workers have. Both read the same framing; each speaks its registry's own API."""

    APICURIO = "apicurio"
    CONFLUENT = "confluent"


def avro_converter(registry: str, converter: Converter | None = None) -> Mapping[str, str]:
    """Return the settings of a connector that decode Avro values with the schemas of `registry`.

    `registry` is the address of its Confluent-compatible API, or a reference that workers resolve. Without `converter`
    an address of Apicurio's gets Apicurio's, every other one Confluent's.
    Raises UsageError where the address holds a password: it would be in a file, and in Connect's REST API.
    """
    if _USER.search(registry) is not None:
        raise UsageError(
            "the registry's address holds a user and password, which every reader of the connector would see",
            remedy="Give a reference that workers resolve: --registry '${env:REGISTRY}' --converter confluent",
        )
    native = _CONFLUENT_API_OF_APICURIO.sub(_NATIVE_API, registry)
    if converter is None:
        converter = Converter.CONFLUENT if native == registry else Converter.APICURIO
    if converter is Converter.CONFLUENT:
        return {
            "value.converter": "io.confluent.connect.avro.AvroConverter",
            "value.converter.schema.registry.url": registry,
        }
    if native == registry and not registry.startswith("${") and "/apis/registry/" not in registry:
        native = registry.rstrip("/") + _NATIVE_API
    return {
        "value.converter": "io.apicurio.registry.utils.converter.AvroConverter",
        "value.converter.apicurio.registry.url": native,
        # The id in Confluent's framing is the schema's own (content id), and stands in the value.
        "value.converter.apicurio.registry.use-id": "contentId",
        "value.converter.apicurio.registry.headers.enabled": "false",
        "value.converter.apicurio.registry.auto-register": "false",
    }
