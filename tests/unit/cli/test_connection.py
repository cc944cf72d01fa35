"""Where a command connects to."""

from pathlib import Path

import pytest

from eventmill.cli.connection import USUAL_KAFKA, USUAL_REGISTRY, find_kafka, find_pipeline
from eventmill_schemas.errors import PipelineFileError

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "support-mail" / "pipeline.yaml"


def test_what_is_given_wins_over_file_over_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the usual addresses are the last resort."""
    monkeypatch.chdir(tmp_path)
    assert find_pipeline(None) is None
    usual = find_kafka(None, None, None)
    assert (usual.bootstrap, usual.registry) == (USUAL_KAFKA, USUAL_REGISTRY)
    monkeypatch.setenv("KAFKA", "environment:1")
    monkeypatch.setenv("REGISTRY", "http://environment:2")
    environment = find_kafka(None, None, None)
    assert (environment.bootstrap, environment.registry) == ("environment:1", "http://environment:2")
    monkeypatch.delenv("KAFKA")
    pipeline = find_pipeline(EXAMPLE)
    assert find_kafka(pipeline, None, None).bootstrap == "127.0.0.1:9092"
    given = find_kafka(pipeline, "given:3", "http://given:4")
    assert (given.bootstrap, given.registry) == ("given:3", "http://given:4")


def test_a_pipeline_in_the_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word, as every command of a pipeline does."""
    monkeypatch.chdir(EXAMPLE.parent)
    pipeline = find_pipeline(None)
    assert pipeline is not None
    assert pipeline.name == "support-mail"


def test_another_kafka_never_gets_the_credentials_of_the_folders_pipeline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pipeline.yaml that nobody named is left out; one that is named is meant."""
    (tmp_path / "pipeline.yaml").write_text("not a pipeline")
    monkeypatch.chdir(tmp_path)
    assert find_pipeline(None, "elsewhere:9092") is None
    with pytest.raises(PipelineFileError):
        find_pipeline(None)
    with pytest.raises(PipelineFileError):
        find_pipeline(Path("pipeline.yaml"), "elsewhere:9092")
