"""What tells stored texts apart, and which of several versions of an event is written."""

from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill_connectors.postgres.document import Document, document, fingerprint, is_behind, newest
from eventmill_schemas.events import Source
from eventmill_schemas.local_models import Chunk, Owner

texts = st.lists(st.text(alphabet="ab\n", max_size=3), max_size=4)
tenants = st.none() | st.sampled_from(["", "a", "of a", "None"])
sources = st.builds(Source, st.sampled_from(["x", "y"]), st.integers(0, 1), st.integers(0, 5))


@settings(max_examples=50)
@given(texts, tenants, texts, tenants)
def test_the_hash_tells_texts_and_tenants_apart(
    one: list[str], of_one: str | None, two: list[str], of_two: str | None
) -> None:
    """Equal hashes mean the same texts in the same cut for the same tenant, and the other way round."""
    source = Source("mails", 0, 1)
    first = fingerprint(Owner("e", of_one, source), one)
    second = fingerprint(Owner("e", of_two, source), two)
    assert (first.text_hash == second.text_hash) == ((of_one, one) == (of_two, two))


@settings(max_examples=50)
@given(st.text(max_size=20), st.text(max_size=20), st.none() | st.text(max_size=5))
def test_a_document_has_the_fingerprint_of_its_texts(event_id: str, text: str, tenant: str | None) -> None:
    """What is asked before computing vectors is what is stored after; nothing in it that Postgres refuses."""
    owner = Owner(event_id, tenant, Source("mails", 0, 1))
    stored = document(owner, [Chunk(text, [3.0, 4.0])], 2)   # type: ignore[arg-type]  # any sequence is a vector here
    assert stored.mark == fingerprint(owner, [text])
    for kept in (stored.mark.event_id, stored.tenant or "", *stored.texts):
        assert "\0" not in kept
        kept.encode()
    assert stored.rows == 2


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("ab"), sources), max_size=12))
def test_one_version_of_each_event_is_left(given_versions: list[tuple[str, Source]]) -> None:
    """The kept version is behind no other of its event that came after it; nothing else is kept or invented."""
    documents = [Document(fingerprint(Owner(event, None, at), []), None, (), (), b"") for event, at in given_versions]
    kept = newest(documents)
    assert {one.mark.event_id for one in kept} == {event for event, _ in given_versions}
    assert len(kept) == len({one.mark.event_id for one in kept})
    for one in kept:
        versions = [other for other in documents if other.mark.event_id == one.mark.event_id]
        after = versions[[version is one for version in versions].index(True) + 1 :]
        assert all(is_behind(other.mark.source, one.mark.source) for other in after)


@settings(max_examples=50)
@given(sources, sources)
def test_only_offsets_of_one_partition_have_an_order(one: Source, two: Source) -> None:
    """Behind is strict, never both ways, and says nothing about other partitions."""
    assert not (is_behind(one, two) and is_behind(two, one))
    assert is_behind(one, two) == (one[:2] == two[:2] and one.offset < two.offset)
