"""The state file: whole or not there, readable for its owner only."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.dev.state import ProcessRecord, State, new_state, read_state, write_state
from eventmill_schemas.errors import SetupError

names = st.text(st.characters(codec="utf-8"), max_size=8)
states = st.builds(
    State,
    instance=names,
    cluster_id=names,
    password=names,
    postgres_data=names,
    ports=st.dictionaries(names, st.integers(1, 65535)),
    processes=st.dictionaries(names, st.builds(ProcessRecord, st.integers(1), st.floats(0, 2**40))),
)


@given(states)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, state: State) -> None:
    """Every state survives the file."""
    file = tmp_path_factory.mktemp("state") / "state.json"
    write_state(file, state)
    assert read_state(file) == state


def test_no_file_is_no_state(tmp_path: Path) -> None:
    """A folder where no stack was started is not an error."""
    assert read_state(tmp_path / "state.json") is None


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """It holds the password of the database."""
    write_state(tmp_path / "state.json", new_state())
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


def test_a_write_that_fails_leaves_the_old_state(tmp_path: Path) -> None:
    """The file is replaced when the new text is complete, not before."""
    file, old = tmp_path / "state.json", new_state()
    write_state(file, old)
    with pytest.raises(TypeError):
        write_state(file, State("i", "c", "p", ports={"kafka": object()}))  # type: ignore[dict-item]  # not JSON
    assert read_state(file) == old


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 1, "processes": {"kafka": 7}}'])
def test_a_damaged_file_is_named_with_a_way_out(tmp_path: Path, text: str) -> None:
    """No stack trace for a file that somebody has edited."""
    file = tmp_path / "state.json"
    file.write_text(text)
    with pytest.raises(SetupError, match=r"state\.json is damaged.*Remove the folder"):
        read_state(file)


def test_the_file_of_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    """Its processes are left to the eventmill that started them."""
    file = tmp_path / "state.json"
    file.write_text('{"version": 2}')
    with pytest.raises(SetupError, match="another version"):
        read_state(file)


def test_no_cluster_id_looks_like_an_option() -> None:
    """Kafka's tools would take one that begins with "-" for an option (1 of 64 random ones does)."""
    assert not any(new_state().cluster_id.startswith("-") for _ in range(1000))


def test_two_stacks_have_nothing_in_common() -> None:
    """Neither the mark of their processes nor Kafka's id nor the password."""
    one, two = new_state(), new_state()
    assert one.marker("kafka") != two.marker("kafka")
    assert one.cluster_id != two.cluster_id
    assert one.password != two.password
    assert one.password not in repr(one)
