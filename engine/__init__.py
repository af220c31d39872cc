"""The engine of molmo_ros: exports a checkpoint to ONNX, packs it as a bundle, and runs it."""
