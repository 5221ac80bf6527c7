"""A reference model that an oracle runs elsewhere: what `compare` needs of it, asked over HTTPS.

Owns the questions to `/v1/reference` of `oracle.py`, the waiting where it says to come again, and the check of what
comes back. Pictures are prepared and outputs decoded here, by the model.json that the oracle shows; tensors travel.
Guarantees: every answer comes of one and the same model, by the sha256 of its file; what is malformed, too long or not
there is an error that names the host and what to do.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from edgeapp.errors import CompareError, EdgeAppError, ModelError
from edgeapp.manifest import Manifest, Sha256
from edgeapp.reader import Length, Range, read_json
from edgeapp.types import Detection
from edgeapp.vision.boxes import STRETCHED
from edgeapp.vision.decode import build_decoder
from edgeapp.vision.preprocess import Preprocessor
from edgeapp.vision.tensor import TensorSpec

_PATH = "/v1/reference"
_PORT = 443
_LIMIT_S = 60.0  # of each read and write
_PATIENCE_S = 120.0  # for one question that it puts off
_MOST_PAUSE_S = 10.0
_LATER = frozenset({429, 503})
_DESCRIPTION_BYTES = 64 * 1024
_SHOWN = 200
_CURES = {
    401: "show a token of its --token-file with --token-file",
    404: "an oracle of this version of edgeapp is needed",
    429: "give its --rate more a second",
    503: "try again when it is less busy, or give it more --waiting",
}
Array = npt.NDArray[Any]
Dimension = Annotated[int, Range(1, 1 << 20, "values")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where an oracle is, and with what to show oneself there."""

    host: str
    port: int
    path: str
    token: str
    context: ssl.SSLContext


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Which model answers."""

    name: str
    version: int
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedTensor:
    """A tensor as the oracle describes it."""

    name: str
    shape: Annotated[tuple[Dimension, ...], Length(1, 8, "dimensions")]
    dtype: Literal["float32", "int8", "uint8"]
    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What the oracle says of its model; `manifest` is its model.json."""

    v: Literal[1]
    model: Identity
    runs_on: str
    manifest: str
    input: DescribedTensor
    outputs: Annotated[tuple[DescribedTensor, ...], Length(1, 64, "tensors")]


def read_origin(
    address: str,
    *,
    token_file: Path | None = None,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> Origin:
    """Where an oracle is, from https://HOST[:PORT][/PATH].

    Raises:
        CompareError: the address is none, or a file cannot be used.
    """
    parts = urlsplit(address)
    with contextlib.suppress(ValueError):
        if parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and not parts.query:
            port = parts.port or _PORT
            try:
                context = ssl.create_default_context(cafile=ca_file)
                if cert_file is not None:
                    context.load_cert_chain(cert_file, key_file, password=lambda: "")
                token = token_file.read_text().strip() if token_file is not None else ""
            except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError
                raise CompareError(
                    f"--reference: expected files for TLS and token that can be used: {error}"
                ) from error
            return Origin(
                host=parts.hostname, port=port, path=parts.path.rstrip("/") + _PATH, token=token, context=context
            )
    raise CompareError(f"--reference: expected a model folder or https://HOST[:PORT], found {address}")


class FarModel:
    """As `Model`, but run by the oracle, a question for each input."""

    def __init__(self, origin: Origin) -> None:
        """Ask what model it is.

        Raises:
            CompareError: the oracle is not reached, refuses, or describes none that can be compared.
        """
        self._origin = origin
        content = self._ask("GET", None, _DESCRIPTION_BYTES)
        try:
            found = read_json(Description, content, f"{origin.host}: reference")
            self.manifest = read_json(Manifest, found.manifest, f"{origin.host}: model.json")
            self.input, *outputs = (_spec(one) for one in (found.input, *found.outputs))
            self._preprocessor = Preprocessor(self.manifest.input, self.input)
            self._decoder = build_decoder(self.manifest, {spec.name: spec for spec in outputs})
        except CompareError:
            raise
        except EdgeAppError as error:
            raise CompareError(str(error)) from error
        if found.model.sha256 != self.manifest.model.sha256:
            self._complain(f"expected the sha256 of its model.json, {self.manifest.model.sha256}", found.model.sha256)
        self.min_score, self.runs_on = self.manifest.defaults.min_score, found.runs_on

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The output tensors that the decoder reads, by role."""
        return self._decoder.tensors

    def preprocess(self, picture: npt.NDArray[np.uint8]) -> Array:
        """The input tensor of a picture, made here."""
        values = np.empty(self.input.shape, self.input.dtype)
        self._preprocessor.fit(picture)
        self._preprocessor.fill(picture, values)
        return values

    def run(self, values: Array) -> tuple[dict[str, Array], float]:
        """The raw outputs by role, and how long it took to have them, ms.

        Raises:
            CompareError: there are none.
        """
        began_s = time.monotonic()
        body = np.ascontiguousarray(values, _wire(self.input)).tobytes()
        most = 4096 + sum(2 * _size(spec) for spec in self.outputs.values())  # base64 takes a third more
        answer = self._read(self._ask("POST", body, most))
        return answer, 1e3 * (time.monotonic() - began_s)

    def decode(self, outputs: Mapping[str, Array]) -> tuple[Detection, ...]:
        """As `Model.decode`."""
        return self._decoder.decode(outputs, STRETCHED)

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, content: bytes) -> dict[str, Array]:
        try:
            answer = json.loads(content)
            sha256, given = answer["model"]["sha256"], dict(answer["outputs"])
            found = {role: base64.b64decode(text, validate=True) for role, text in given.items()}
        except (ValueError, TypeError, KeyError) as error:
            self._complain("expected the outputs of a model", f"{type(error).__name__}: {error}")
        if sha256 != self.manifest.model.sha256:
            self._complain(f"expected all answers of the model {self.manifest.model.sha256}", f"one of {sha256}")
        expected = {role: _size(spec) for role, spec in self.outputs.items()}
        if {role: len(each) for role, each in found.items()} != expected:
            self._complain(f"expected outputs of {expected} bytes", str({role: len(found[role]) for role in found}))
        return {
            role: np.frombuffer(found[role], _wire(spec)).reshape(spec.shape).astype(spec.dtype)
            for role, spec in self.outputs.items()
        }

    def _ask(self, method: str, body: bytes | None, max_bytes: int) -> bytes:
        """The answer's body, after as many pauses as the oracle asks for."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            status, headers, content = self._exchange(method, body, max_bytes)
            if status == http.client.OK:
                return content
            pause_s = _pause_s(headers.get("Retry-After", ""))
            if status not in _LATER or time.monotonic() + pause_s > deadline_s:
                cure = _CURES.get(status, "see its log")
                self._complain(f"expected status 200 ({cure})", f"{status}: {_reason(content)}")
            time.sleep(pause_s)

    def _exchange(self, method: str, body: bytes | None, max_bytes: int) -> tuple[int, http.client.HTTPMessage, bytes]:
        origin = self._origin
        headers = {"Content-Type": "application/octet-stream", "Accept-Encoding": "identity", "User-Agent": "edgeapp"}
        if origin.token:
            headers["Authorization"] = f"Bearer {origin.token}"
        connection = http.client.HTTPSConnection(origin.host, origin.port, timeout=_LIMIT_S, context=origin.context)
        try:
            connection.request(method, origin.path, body, headers)
            response = connection.getresponse()
            content = response.read(max_bytes + 1)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._complain("expected an answer", str(error) or type(error).__name__, error)
        finally:
            connection.close()
        if len(content) > max_bytes:
            self._complain(f"expected an answer of at most {max_bytes} bytes", "more")
        return response.status, response.headers, content

    def _complain(self, expected: str, found: str, cause: Exception | None = None) -> NoReturn:
        where = f"https://{self._origin.host}:{self._origin.port}{self._origin.path}"
        raise CompareError(f"{where}: {expected}, found {found[:_SHOWN]}") from cause


def _spec(found: DescribedTensor) -> TensorSpec:
    if found.dtype != "float32" and not (math.isfinite(found.scale) and found.scale > 0):
        raise ModelError(f"{found.name}: expected a scale above 0, found {found.scale}")
    return TensorSpec(found.name, found.shape, found.dtype, found.scale, found.zero_point)


def _wire(spec: TensorSpec) -> np.dtype[Any]:
    """Little-endian, as it travels."""
    return np.dtype(spec.dtype).newbyteorder("<")


def _size(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def _pause_s(retry_after: str) -> float:
    return min(float(retry_after), _MOST_PAUSE_S) if retry_after.isdigit() else 1.0


def _reason(content: bytes) -> str:
    """The oracle's sentence, or what came in its place."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        fields = json.loads(content)
        return f"{fields['error']}: {fields['text']}"
    return repr(content[:_SHOWN])
