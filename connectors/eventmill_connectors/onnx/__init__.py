"""Local models: artefacts on disk, how they are made, how they are checked, how they run. Needs the extra `onnx`."""
