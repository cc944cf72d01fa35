"""A database's address is never shown with its password, whatever it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill_connectors.postgres.address import checked, masked
from eventmill_connectors.postgres.pool import Database
from eventmill_schemas.errors import SetupError

passwords = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: f"hush{text}HUSH")


@given(
    passwords,
    st.sampled_from(
        [
            "postgresql://user:{}@host/db",
            "postgresql://user:{}@host:5432/db?sslmode=require",
            "postgresql://host/db?user=u&password={}",
            "postgresql://host/db?password={}&sslmode=require",
            "postgres://:{}@[::1]:5432/db",
            "mysql://user:{}@host/db",
            "postgresql://user:{}@host:nonumber/db",
            "user:{}@host/db",
            "{}",
        ]
    ),
)
def test_no_message_has_the_password(password: str, address: str) -> None:
    """Masked, refused or in a repr: the password, or a piece of it, is not there."""
    url = address.format(password)
    shown = [masked(url)]
    try:
        shown.append(repr(Database(url)))
    except SetupError as error:
        shown += [str(error), repr(error.__cause__)]
    for text in shown:
        if "&" in password and "?" in address:   # there the password ends: what follows is another parameter
            assert "hush" not in text
        else:
            assert "hush" not in text
            assert "HUSH" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql:///db?host=/run/postgresql&password=pw&user=me", "postgresql:///db?host=/run/postgresql&password=***&user=me"),
    ],
)
def test_the_rest_of_an_address_is_shown(url: str, shown: str) -> None:
    """Who reads the message recognises the address; and it is one that can be used."""
    assert masked(url) == shown
    assert checked(url) == url


@pytest.mark.parametrize("url", ["", "host", "mysql://u:p@h/d", "postgresql://", "postgresql://u:p@h:x/d", "postgresql://h:0/d"])
def test_what_is_no_address_is_said_with_the_remedy(url: str) -> None:
    """A typing mistake is found before anything is connected, and shows what an address looks like."""
    with pytest.raises(SetupError, match=r"no address of a database.*postgresql://user:password@host:5432/database"):
        checked(url)
