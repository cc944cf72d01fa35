"""The address of a database, as it may be shown: without its password."""

import re
from urllib.parse import parse_qs, urlsplit

from eventmill_schemas.errors import SetupError

_SCHEMES = ("postgresql", "postgres")
_SECRETS = re.compile(r"(?P<name>[?&](?:password|sslpassword|passfile)=)[^&]*", re.IGNORECASE)
_REMEDY = "It looks like postgresql://user:password@host:5432/database; write special characters of the password as %XX"


def masked(url: str) -> str:
    """Return `url` with *** for the password, wherever in it the password stands. Never raises."""
    scheme, found, rest = _SECRETS.sub(r"\g<name>***", url).partition("://")
    if not found or scheme not in _SCHEMES:
        return "***"   # not what it should be: any part of it may be the password
    credentials, at, place = rest.rpartition("@")   # a password may hold an @ that should have been %40
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}:***@{place}" if colon else f"{scheme}://{credentials}{at}{place}"


def checked(url: str) -> str:
    """Return `url` if it can be an address of Postgres. Raises SetupError, which does not show the password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and parts.port != 0   # .port raises for what is no number
        host = parts.hostname or parse_qs(parts.query).get("host")
    except ValueError:
        usable, host = False, None   # the reason would quote a part of the address, which may be of the password
    if not usable or not host:
        raise SetupError(f"`postgres` is no address of a database: {masked(url)}", remedy=_REMEDY)
    return url
