"""The models that compute in this process: embedding and OCR."""

import os

# ONNX Runtime reports its use to its maker, with an identifier of the machine, unless it is told not to before its
# first import. Nothing leaves this machine, so whatever computes here is imported after this line.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
