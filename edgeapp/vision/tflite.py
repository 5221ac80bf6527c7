"""The one place that knows a TFLite runtime: ai-edge-litert, or the older tflite-runtime where that is installed.

Owns the interpreter, the way from a delegate library that does not serve back to XNNPACK, and what is measured on the
interpreter: which operators its delegates took. Both runtimes come in only when a
`Runtime` is built, so importing this module costs nothing. Whatever they raise leaves here as a ModelError.

What a runtime may do to a broken model file is worse than raising (tflite-runtime crashes on one damaged file in
six): check the file's hash before it comes here, and try an unknown one in a process of its own. The line "Created
TensorFlow Lite XNNPACK delegate" on stderr cannot be turned off by API or environment, and proves nothing: the
delegate may have taken no operator at all. `Runtime.delegate` is counted.
"""

from __future__ import annotations

import ctypes
import importlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeapp.config import Delegate, DelegateLibrary
from edgeapp.errors import ModelError
from edgeapp.types import DelegateReport
from edgeapp.vision.runtimes import RUNTIMES, installed_version
from edgeapp.vision.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edgeapp.vision.advice import Weights

# What pybind11 and the Python layer above it raise; tflite-runtime under NumPy 2 fails with the last three.
_FOREIGN_ERRORS = (RuntimeError, ValueError, OSError, TypeError, MemoryError, AttributeError, ImportError, SystemError)
_LIBRARY_ERRORS = (OSError, AttributeError, ValueError, RuntimeError)
_DELEGATE_NODE = "DELEGATE"
_NAME_CHARACTERS = 64  # of a library, as the reports' schema allows
_REASON_CHARACTERS = 300
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


class Runtime:
    """A built interpreter with its tensors allocated. One thread uses it at a time.

    `name` is the runtime and its version, `inputs` and `outputs` are by tensor name, `delegate` is what the delegate
    took, `weights` what the weighted operators compute with.
    """

    def __init__(self, path: Path, *, delegate: Delegate = "auto", threads: int = 1, fell_back: str = "") -> None:
        """Load the model file.

        `auto` and `xnnpack` let the runtime apply its default delegate, which is XNNPACK; `none` keeps it away. A
        library comes before XNNPACK, which takes what is left. A library that is missing, refuses, fails or takes
        nothing is left out, and `delegate.fell_back` says why. So is one that the caller has found out about:
        `fell_back` gives the reason, and it is not touched at all.

        Raises:
            ModelError: there is no runtime, or it refuses the file.
        """
        self.path, self.threads = path, threads
        self.is_delegate_wanted = delegate != "none"
        module, self.name = import_runtime()
        library = delegate if isinstance(delegate, DelegateLibrary) else None
        by_library = 0
        self._interpreter: Any = None
        if library is not None and not fell_back:
            try:
                self._interpreter, by_library = _build_with_library(module, path, library, threads)
            except _LIBRARY_ERRORS as error:
                fell_back = f"{library.library}: {_one_line(error)}"
        try:
            if self._interpreter is None:
                self._interpreter = _build(module, path, delegate, threads)
            self._interpreter.allocate_tensors()
            self.inputs = _specs(self._interpreter.get_input_details())
            self.outputs = _specs(self._interpreter.get_output_details())
        except _FOREIGN_ERRORS as error:
            reason = f"{_one_line(error)}; delegate library {fell_back}" if fell_back else _one_line(error)
            raise ModelError(f"{path}: expected a model that {self.name} can run, found: {reason}") from error
        operators = operators_of(self._interpreter)
        report = replace(delegate_report(operators), by_library=by_library, fell_back=fell_back)
        if library is not None and by_library:
            report = replace(report, name=Path(library.library).name[:_NAME_CHARACTERS])
        self.delegate = report
        self.weights = weights_kind(operators)

    def set_input(self, spec: TensorSpec, values: npt.NDArray[Any]) -> None:
        """Copy `values` into an input tensor.

        Raises:
            ModelError: shape or type do not fit.
        """
        try:
            self._interpreter.set_tensor(spec.index, values)
        except _FOREIGN_ERRORS as error:
            raise ModelError(f"{self.path}: input {spec}: {_one_line(error)}") from error

    def lend_input(self, spec: TensorSpec) -> npt.NDArray[Any]:
        """An input tensor's own memory, to be filled in place. While the array or a view of it lives, `invoke` fails.

        Raises:
            ModelError: the runtime gives none.
        """
        try:
            values: npt.NDArray[Any] = self._interpreter.tensor(spec.index)()
        except _FOREIGN_ERRORS as error:
            raise ModelError(f"{self.path}: input {spec}: {_one_line(error)}") from error
        return values

    def invoke(self) -> None:
        """Run the model; lets go of the interpreter lock meanwhile.

        Raises:
            ModelError: an operator failed.
        """
        try:
            self._interpreter.invoke()
        except _FOREIGN_ERRORS as error:
            raise ModelError(f"{self.path}: invoke failed: {_one_line(error)}") from error

    def output(self, spec: TensorSpec) -> npt.NDArray[Any]:
        """A copy of an output tensor. A view would make the next invoke raise.

        Raises:
            ModelError: the runtime gives none.
        """
        try:
            values: npt.NDArray[Any] = self._interpreter.get_tensor(spec.index)
        except _FOREIGN_ERRORS as error:
            raise ModelError(f"{self.path}: output {spec}: {_one_line(error)}") from error
        return values

    def close(self) -> None:
        """Free the interpreter, and give its memory back to the system. Nothing else may be called afterwards."""
        self._interpreter = None
        _trim_heap()


def import_runtime() -> tuple[Any, str]:
    """The runtime's module, and its name with its version.

    Raises:
        ModelError: none is installed.
    """
    failures = []
    for module_name, distribution in RUNTIMES:
        try:
            return importlib.import_module(module_name), f"{distribution} {installed_version(distribution)}".rstrip()
        except (ImportError, OSError) as error:  # its library cannot be mapped
            failures.append(f"{distribution}: {error}")
    raise ModelError(f"expected ai-edge-litert or tflite-runtime to be installed, found neither: {'; '.join(failures)}")


def _build(module: Any, path: Path, delegate: Delegate, threads: int) -> Any:
    resolvers = module.OpResolverType
    resolver = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if delegate == "none" else resolvers.AUTO
    return module.Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=resolver)


def _build_with_library(module: Any, path: Path, library: DelegateLibrary, threads: int) -> tuple[Any, int]:
    """An interpreter whose graph a delegate library has changed, its tensors allocated; and the operators it took.

    XNNPACK comes with the allocation: what a delegate has taken before it is the library's.

    Raises:
        OSError, AttributeError, ValueError, RuntimeError: the library does not serve.
    """
    delegate = module.load_delegate(library.library, dict(library.options))
    interpreter = module.Interpreter(model_path=str(path), num_threads=threads, experimental_delegates=[delegate])
    report = delegate_report(operators_of(interpreter))
    if report.nodes and not report.delegated:
        raise ValueError(f"took none of the {report.nodes} operators")
    interpreter.allocate_tensors()
    return interpreter, report.delegated


def _specs(details: Sequence[Mapping[str, Any]]) -> dict[str, TensorSpec]:
    specs = {}
    for detail in details:
        parameters = detail["quantization_parameters"]
        scales, zero_points = parameters["scales"], parameters["zero_points"]
        is_per_tensor = len(scales) == 1  # activations always are
        specs[detail["name"]] = TensorSpec(
            name=detail["name"],
            shape=tuple(int(size) for size in detail["shape"]),
            dtype=np.dtype(detail["dtype"]).name,
            scale=float(scales[0]) if is_per_tensor else 0.0,
            zero_point=int(zero_points[0]) if is_per_tensor else 0,
            index=int(detail["index"]),
        )
    return specs


def operators_of(interpreter: Any) -> list[dict[str, Any]]:
    """The graph's operators, the delegate's own nodes included; none where this private interface has changed."""
    try:
        # By tensor, not by the operators' own operand_types: tflite-runtime does not tell those.
        kinds = {int(detail["index"]): np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
        return [
            {
                "index": int(operator["index"]),
                "name": str(operator["op_name"]),
                "inputs": [int(tensor) for tensor in operator["inputs"]],
                "outputs": [int(tensor) for tensor in operator["outputs"]],
                "operands": [kinds.get(int(tensor), "") for tensor in operator["inputs"]],
            }
            for operator in interpreter._get_ops_details()
        ]
    except (KeyError, *_FOREIGN_ERRORS):
        return []


def delegate_report(operators: Sequence[Mapping[str, Any]]) -> DelegateReport:
    """Which operators a delegate took, by walking back from each delegate node's outputs to its inputs.

    The interpreter keeps the operators that a delegate replaced beside the node that replaces them. Without any
    operators nothing is known: the name is `unknown` then.
    """
    if not operators:
        return DelegateReport(name="unknown", nodes=0, delegated=0, partitions=0)
    partitions = [operator for operator in operators if operator["name"] == _DELEGATE_NODE]
    nodes = [operator for operator in operators if operator["name"] != _DELEGATE_NODE]
    producers = {tensor: node for node in nodes for tensor in node["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        sources = set(partition["inputs"])
        pending = list(partition["outputs"])
        while pending:
            tensor = pending.pop()
            node = producers.get(tensor)
            if tensor in sources or node is None or node["index"] in taken:
                continue
            taken.add(node["index"])
            pending += node["inputs"]
    remaining = Counter(node["name"] for node in nodes if node["index"] not in taken)
    return DelegateReport(
        name="xnnpack" if partitions else "none",
        nodes=len(nodes),
        delegated=len(taken),
        partitions=len(partitions),
        remaining=dict(remaining.most_common()),
    )


def weights_kind(operators: Sequence[Mapping[str, Any]]) -> Weights:
    """What the convolutions and fully connected layers multiply: the types of their input and their weights.

    `uint8` is the per-tensor scheme of before 2019, `dynamic` means float activations and int8 weights.
    """
    pairs = {tuple(node["operands"][:2]) for node in operators if node["name"] in _WEIGHTED}
    if ("float32", "int8") in pairs:
        return "dynamic"
    kinds: tuple[Weights, ...] = ("uint8", "int8")
    for kind in kinds:
        if any(weights == kind for _, weights in pairs):
            return kind
    return "float" if pairs else "unknown"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__


def _trim_heap() -> None:
    # glibc keeps freed arenas; without this the process grows with every exchange of models.
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return  # another C library: nothing to do
