"""The local models and vector stores of a pipeline."""

from collections.abc import Collection

from eventmill.config.model import PipelineFile
from eventmill.config.problems import listed, suggestion
from eventmill.config.reading import Reading
from eventmill_schemas.pipeline import Device, LocalModel, VectorIndex, VectorStore


def load_models(model: PipelineFile, reading: Reading) -> dict[str, LocalModel]:
    """Return the local models by name; notes what is wrong with them. Their folders are not looked at."""
    for name, entry in model.models.items():
        if entry.require_gpu is not None and entry.device == "cpu":
            reading.wrong(
                ("models", name, "require_gpu"),
                "`require_gpu` is for models on a GPU, and this one computes on the CPU",
                "Take it away, or say `device: cuda`",
            )
    return {
        name: LocalModel(
            name=name,
            path=str((reading.folder / entry.onnx).resolve()),
            device=Device(entry.device),
            threads=entry.threads,
            require_gpu=entry.require_gpu is not False,
            price_per_hour=entry.price_per_hour,
        )
        for name, entry in model.models.items()
    }


def load_stores(model: PipelineFile, models: Collection[str], reading: Reading) -> dict[str, VectorStore]:
    """Return the stores by name; notes what is wrong with them. `models`: the names of all local models of the file."""
    for name, entry in model.stores.items():
        check_model(entry.model, models, ("stores", name, "model"), reading)
    if model.stores and "postgres" not in (reading.document.data or {}):
        reading.wrong_key(
            ("stores",), "stores are kept in Postgres, and the pipeline has none", "Give its address: `postgres: ...`"
        )
    return {
        name: VectorStore(name, entry.model, VectorIndex(entry.index), entry.table)
        for name, entry in model.stores.items()
    }


def check_model(name: str, models: Collection[str], at: tuple[str | int, ...], reading: Reading) -> None:
    """Note a model that is not declared."""
    if name not in models:
        remedy = suggestion(name, models) or listed("There are", models) or "Declare it under `models`"
        reading.wrong(at, f"there is no model `{name}`", remedy)
