"""The cache of Java archives: filled once, whole or not at all."""

import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from eventmill.dev import jars
from eventmill.dev.jars import Archives
from eventmill_schemas.errors import SetupError, StackFailed

POM = Archives("stack", "Kafka (230 MB)", {"pom.xml": b"<project/>"})
# Does what Maven does with our pom, as far as a caller sees: fills the folder named by -Dout.
WORKS = """
for argument in "$@"; do case $argument in -Dout=*) out=${argument#-Dout=};; esac; done
mkdir -p "$out/kafka" "$out/registry" "$out/.maven"
echo jar > "$out/kafka/a.jar"; echo jar > "$out/registry/quarkus-run.jar"
"""
FAILS = 'echo "[INFO] so far so good"; echo "[ERROR] Could not resolve org.example:gone:1"; exit 1\n'

Maven = Callable[[str], str]


@pytest.fixture
def maven(tmp_path: Path) -> Maven:
    """Give a way to put a program in Maven's place, which notes each call in the file `calls`."""

    def make(script: str) -> str:
        program = tmp_path / "mvn"
        program.write_text(f'#!/bin/sh\necho "$*" >> "{tmp_path}/calls"\n{script}')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Give an empty cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def calls(cache: Path) -> list[str]:
    """Return the arguments of each call of Maven so far."""
    file = cache.parent / "calls"
    return file.read_text().splitlines() if file.exists() else []


def silent(_: str) -> None:
    """Report to nobody."""


def test_it_is_filled_once(cache: Path, maven: Maven) -> None:
    """The second start asks Maven nothing, and says nothing."""
    said: list[str] = []
    folder = jars.ensure(cache, said.append, POM, maven=maven(WORKS))
    assert (folder / "kafka" / "a.jar").exists()
    assert len(said) == 1
    assert jars.ensure(cache, said.append, POM, maven=maven(WORKS)) == folder
    assert len(calls(cache)) == len(said) == 1


def test_another_pom_is_another_folder(cache: Path, maven: Maven) -> None:
    """After an upgrade the new archives are fetched, and an older eventmill still finds its own."""
    one = jars.ensure(cache, silent, POM, maven=maven(WORKS))
    two = jars.ensure(cache, silent, replace(POM, poms={"pom.xml": b"<project />"}), maven=maven(WORKS))
    assert one != two
    assert jars.is_complete(one)


def test_a_fill_that_was_cut_off_is_not_taken_for_a_cache(cache: Path, maven: Maven) -> None:
    """What Maven wrote before it failed is in no folder that a start would use, and is removed."""
    with pytest.raises(StackFailed):
        jars.ensure(cache, silent, POM, maven=maven(WORKS + FAILS))
    assert not jars.archive_folder(cache, POM).exists()
    (cache / f"{jars.archive_folder(cache, POM).name}.unfinished-of-one-that-was-killed").mkdir()
    jars.ensure(cache, silent, POM, maven=maven(WORKS))
    assert not list(cache.glob("*unfinished*"))


@pytest.mark.parametrize("damage", [lambda jar: jar.unlink(), lambda jar: jar.write_text("ja")])
def test_a_cache_that_lost_a_file_is_filled_again(cache: Path, maven: Maven, damage: Callable[[Path], object]) -> None:
    """Somebody cleaned up, or a disk was full."""
    folder = jars.ensure(cache, silent, POM, maven=maven(WORKS))
    damage(folder / "kafka" / "a.jar")
    assert not jars.is_complete(folder)
    jars.ensure(cache, silent, POM, maven=maven(WORKS))
    assert (folder / "kafka" / "a.jar").read_text() == "jar\n"


def test_two_at_once_fill_it_once(cache: Path, maven: Maven) -> None:
    """The second waits for the first."""
    program = maven(WORKS + "sleep 0.3\n")
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda _: jars.ensure(cache, silent, POM, maven=program), range(2)))
    assert len(folders) == 1
    assert len(calls(cache)) == 1


def test_a_failure_is_tried_again_without_what_maven_remembers_of_it(cache: Path, maven: Maven) -> None:
    """A look-up that failed once is cached by Maven; -U makes it ask again."""
    jars.ensure(cache, silent, POM, maven=maven(f'case "$*" in *-U*) {WORKS} ;; *) {FAILS} ;; esac'))
    assert ["-U" in call.split() for call in calls(cache)] == [False, True]


def test_a_failure_for_good_is_told_in_mavens_words(cache: Path, maven: Maven) -> None:
    """Its error lines, without the rest of its talk."""
    with pytest.raises(StackFailed, match=r"Could not resolve org\.example:gone:1") as caught:
        jars.ensure(cache, silent, POM, maven=maven(FAILS))
    assert "so far so good" not in str(caught.value)


def test_no_maven_is_told_with_both_ways_out(cache: Path) -> None:
    """Install it, or use servers that run elsewhere."""
    with pytest.raises(SetupError) as caught:
        jars.ensure(cache, silent, POM, maven="no-such-maven")
    for way in ("apt-get install maven", "EVENTMILL_KAFKA", "EVENTMILL_REGISTRY", "EVENTMILL_POSTGRES"):
        assert way in str(caught.value.remedy)


@pytest.mark.parametrize("archives", [jars.SERVERS, jars.CONNECT, jars.ICEBERG], ids=lambda archives: archives.name)
def test_the_poms_of_the_package_pin_every_version(archives: Archives) -> None:
    """The archives of today and of next year are the same ones: nothing in them floats."""
    for text in (pom.decode() for pom in archives.poms.values()):
        assert text.count("<version>") == text.count("<artifactId>")
        assert not any(floating in text for floating in ("LATEST", "RELEASE", "SNAPSHOT", "[", "("))


def test_poms_that_belong_together_are_run_as_one(cache: Path, maven: Maven) -> None:
    """The first names the others, which lie beside it; a change in any of them is another set."""
    both = Archives("connect", "two", {"first.xml": b"<project/>", "second.xml": b"<project/>"})
    folder = jars.ensure(cache, silent, both, maven=maven(WORKS))
    assert "/first.xml package" in calls(cache)[0]
    assert (folder / "second.xml").read_bytes() == b"<project/>"
    changed = replace(both, poms={**both.poms, "second.xml": b"<project />"})
    assert jars.archive_folder(cache, changed) != folder


def test_the_worker_and_kafka_are_of_one_version() -> None:
    """A worker of another version than the broker is one more thing that nobody tested."""
    versions = [
        re.findall(r"<kafka.version>(.*)</kafka.version>", pom.decode())
        for pom in (jars.SERVERS.poms["pom.xml"], jars.CONNECT.poms["connect_worker.xml"])
    ]
    assert versions[0]
    assert versions[0] == versions[1]


def test_the_cache_is_where_the_system_keeps_caches(tmp_path: Path) -> None:
    """$XDG_CACHE_HOME, else the home folder."""
    xdg, home = tmp_path / "xdg", tmp_path / "home"
    both = {"XDG_CACHE_HOME": str(xdg), "HOME": str(home)}
    assert jars.cache_folder(tmp_path, both) == xdg / "eventmill"
    assert jars.cache_folder(tmp_path, {"HOME": str(home)}) == home / ".cache" / "eventmill"


def test_without_a_home_folder_it_is_in_the_project(tmp_path: Path) -> None:
    """HOME is not set, or is something that no folder can be made in."""
    (tmp_path / "file").touch()
    for environment in ({}, {"HOME": ""}, {"HOME": str(tmp_path / "file")}):
        assert jars.cache_folder(tmp_path, environment) == tmp_path / ".eventmill" / "cache"


def test_nowhere_to_write_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    """Every place that was tried is in the message."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"file/\.eventmill/cache.*XDG_CACHE_HOME"):
        jars.cache_folder(tmp_path / "file", {})


@pytest.mark.parametrize("home", [None, "missing", "file"])
def test_mavens_repository_is_in_the_cache_where_there_is_no_home_folder(
    cache: Path, tmp_path: Path, maven: Maven, home: str | None
) -> None:
    """An account of a container has none, or one that is not there: Maven would fail to write ~/.m2."""
    (tmp_path / "file").touch()
    jars._run_maven(maven(WORKS), cache / "pom.xml", tmp_path / home / "x" if home else None, cache / "maven")
    assert f"-Dmaven.repo.local={cache / 'maven'}" in calls(cache)[0].split()


@pytest.mark.parametrize("has_repository", [False, True])
def test_mavens_repository_is_the_users_own_elsewhere(
    cache: Path, tmp_path: Path, maven: Maven, has_repository: bool
) -> None:
    """With what is in it, and the user's settings."""
    if has_repository:
        (tmp_path / ".m2").mkdir()
    jars._run_maven(maven(WORKS), cache / "pom.xml", tmp_path, cache / "maven")
    assert "-Dmaven.repo.local" not in calls(cache)[0]
