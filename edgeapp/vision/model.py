"""A loaded model: a picture in, detections out.

Owns the way through one frame (preprocess, invoke, decode) and the check, at loading, that the file keeps its
manifest's promises; the steps themselves are in preprocess.py, tflite.py and decode.py. After `load` a model has
nothing left to look up or to allocate but the runtime's own outputs. One thread uses a model at a time; another model
may be loaded meanwhile.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeapp.errors import EdgeAppError, ModelError
from edgeapp.types import ModelReport
from edgeapp.vision import tflite
from edgeapp.vision.advice import advice
from edgeapp.vision.boxes import STRETCHED
from edgeapp.vision.decode import Decoder, build_decoder
from edgeapp.vision.model_folder import open_model_folder
from edgeapp.vision.preprocess import Preprocessor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from edgeapp.config import Delegate
    from edgeapp.manifest import Manifest
    from edgeapp.types import Detection
    from edgeapp.vision.tensor import TensorSpec


class Model:
    """One model, built and checked. Make it with `Model.load`.

    `report` says what runs on what, and what a person should know of it.
    """

    def __init__(self, manifest: Manifest, runtime: tflite.Runtime, min_score: float | None = None) -> None:
        """Join a manifest with the runtime of its file.

        Raises:
            ModelError: the file is not what the manifest says.
            ManifestError: the manifest contradicts itself.
        """
        self.manifest = manifest
        self.min_score = manifest.defaults.min_score if min_score is None else min_score
        self._runtime = runtime
        self._input = _only_input(runtime)
        self._preprocessor = Preprocessor(manifest.input, self._input)
        self._decoder: Decoder = build_decoder(manifest, runtime.outputs, min_score)
        self.report = ModelReport(
            name=manifest.name,
            version=manifest.version,
            sha256=manifest.model.sha256,
            quantization=manifest.quantization,
            classes=manifest.classes,
            runtime=runtime.name,
            threads=runtime.threads,
            delegate=runtime.delegate,
            advice=advice(
                runtime.delegate,
                runtime.weights,
                is_delegate_wanted=runtime.is_delegate_wanted,
                userland_bits=struct.calcsize("P") * 8,
            ),
            expected_confidence=manifest.expected_confidence,
            escalate_below=manifest.escalate_below,
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        delegate: Delegate = "auto",
        threads: int = 1,
        min_score: float | None = None,
        fell_back: str = "",
    ) -> Model:
        """Verify the model folder, build its interpreter and check the contract.

        `min_score` replaces the manifest's own. `fell_back` is why a delegate library is not to be touched.

        Raises:
            ManifestError: the folder or its model.json cannot be used.
            ModelError: the runtime refuses the file, or it is not what the manifest says.
        """
        manifest, path = open_model_folder(folder)
        runtime = tflite.Runtime(path, delegate=delegate, threads=threads, fell_back=fell_back)
        try:
            return cls(manifest, runtime, min_score)
        except EdgeAppError as error:
            runtime.close()
            raise type(error)(f"{folder}: {error}") from error

    def predict(self, picture: npt.NDArray[np.uint8]) -> tuple[tuple[Detection, ...], float]:
        """The detections in `picture` (uint8 [height, width, 3], BGR), best first, and how long invoke took in ms.

        Raises:
            ModelError: the runtime failed, or an output is not finite or no score.
            CaptureError: `picture` has another shape or type.
        """
        detections, (_, invoke_ms, _) = self.predict_in_stages(picture)
        return detections, invoke_ms

    def predict_in_stages(
        self, picture: npt.NDArray[np.uint8]
    ) -> tuple[tuple[Detection, ...], tuple[float, float, float]]:
        """As `predict`, with how long preprocess, invoke and postprocess took, in ms."""
        started_ns = time.perf_counter_ns()
        placement = self._preprocessor.fit(picture)  # raises before the tensor is lent
        self._preprocessor.fill(picture, self._runtime.lend_input(self._input))
        filled_ns = time.perf_counter_ns()
        outputs, invoke_ms = self._invoke()
        detections = self._decoder.decode(outputs, placement)
        rest_ms = (time.perf_counter_ns() - filled_ns) / 1e6 - invoke_ms
        return detections, ((filled_ns - started_ns) / 1e6, invoke_ms, rest_ms)

    def preprocess(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """The input tensor of a picture, a new array.

        Raises:
            CaptureError: `picture` has another shape or type.
        """
        values = np.empty(self._input.shape, self._input.dtype)
        self._preprocessor.fit(picture)
        self._preprocessor.fill(picture, values)
        return values

    def run(self, values: npt.NDArray[Any]) -> tuple[dict[str, npt.NDArray[Any]], float]:
        """The raw outputs, by the decoder's roles, of an input tensor that is preprocessed already; and ms of invoke.

        Raises:
            ModelError: the tensor does not fit, or the runtime failed.
        """
        self._runtime.set_input(self._input, values)
        return self._invoke()

    def _invoke(self) -> tuple[dict[str, npt.NDArray[Any]], float]:
        started_ns = time.perf_counter_ns()
        self._runtime.invoke()
        invoke_ms = (time.perf_counter_ns() - started_ns) / 1e6
        return {role: self._runtime.output(spec) for role, spec in self._decoder.tensors.items()}, invoke_ms

    def decode(self, outputs: Mapping[str, npt.NDArray[Any]]) -> tuple[Detection, ...]:
        """The detections that raw outputs (by role) mean, in shares of the input.

        Raises:
            ModelError: an output is not finite, or is no score.
        """
        return self._decoder.decode(outputs, STRETCHED)

    @property
    def input(self) -> TensorSpec:
        """The input tensor."""
        return self._input

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The output tensors that the decoder reads, by role."""
        return self._decoder.tensors

    def warm_up(self) -> None:
        """Run the whole way on a grey picture, so that the first real frame is as fast as the next.

        Raises:
            ModelError: as `predict` does; a model that fails here fails on every frame.
        """
        self.predict(self.grey_picture())

    def grey_picture(self) -> npt.NDArray[np.uint8]:
        """A picture of the input's size: uint8 [height, width, 3]."""
        return np.full((self.manifest.input.height, self.manifest.input.width, 3), 128, np.uint8)

    def close(self) -> None:
        """Free the runtime's memory. Nothing else may be called afterwards."""
        self._runtime.close()


def _only_input(runtime: tflite.Runtime) -> TensorSpec:
    if len(runtime.inputs) != 1:
        raise ModelError(f"expected a model with one input, found {len(runtime.inputs)}: {sorted(runtime.inputs)}")
    return next(iter(runtime.inputs.values()))
