"""The larger side of escalation: an HTTP service that runs the full-precision reference, on crops and for `compare`.

Owns the limits and the answers; the server around it is uvicorn's. A question is a crop, answered with detections, or
an input tensor, answered with the raw outputs (`reference_link.py` asks so). One thread runs the model, on up to
`batch` questions in a row: the graphs have room for one picture, so a batch spares the handing over between threads,
not arithmetic. Guarantees: what was asked lives in memory until it is answered, and a crop is kept only where a folder
is named; what cannot be answered in time or would be too much is refused, with a status, a code and a sentence; no
question waits for the model longer than the waiting time; every answer names the model that gave it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeapp.errors import CaptureError, ModelError
from edgeapp.manifest import manifest_json
from edgeapp.system.files import write_durably
from edgeapp.types import Detection
from edgeapp.vision.formats import Picture, jpeg_size
from edgeapp.vision.model import Model
from edgeapp.vision.tensor import TensorSpec

T = TypeVar("T")
MAX_BODY_BYTES = 64 * 1024
_MAX_SIDE_PX = 2048  # a small file can hold a huge picture
_MAX_FOUND = 100  # what a device reads
_BODY_S, _TENSOR_S = 5.0, 30.0
_MAX_TENSORS = 4  # input tensors in memory at once; one of 640 x 640 takes 5 MB
_MAX_CLIENTS = 10_000
_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one oracle takes on. `rate_per_s` and `burst` are of each client."""

    batch: int = 8
    waiting: int = 32
    wait_s: float = 2.0
    rate_per_s: float = 10.0
    burst: int = 20


class RefusedError(Exception):
    """Why a request is not answered, for the client to read."""

    def __init__(self, status: int, code: str, text: str, retry_s: int | None = None) -> None:
        super().__init__(text)
        self.status, self.code, self.retry_s = status, code, retry_s

    def response(self) -> Response:
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        return JSONResponse({"error": self.code, "text": str(self)}, self.status, headers)


class Rates:
    """A token bucket for each client. One thread owns it."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when

    def take(self, client: str, now_s: float) -> None:
        """One request of a client.

        Raises:
            RefusedError: 429: it asks too often.
        """
        left, then_s = self._left.pop(client, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - then_s) * self._rate_per_s)
        is_allowed = left >= 1
        self._left[client] = (left - is_allowed, now_s)
        if len(self._left) > _MAX_CLIENTS:
            self._left.popitem(last=False)
        if not is_allowed:
            text = f"expected at most {self._rate_per_s:g} requests a second, found more"
            raise RefusedError(429, "E_RATE", text, max(1, round((1 - left) / self._rate_per_s)))


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Model], Any]
    due_s: float
    result: Future[Any]


class Metrics:
    """What Prometheus is told. Nothing of it says what was in a crop."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "edgeapp_oracle_requests", "Answered requests by status", ["status"], registry=self.registry
        )
        self.latency_s = Histogram(
            "edgeapp_oracle_latency_seconds",
            "From the whole body to the answer",
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self.batch = Histogram(
            "edgeapp_oracle_batch_size", "Questions in a row", buckets=(1, 2, 4, 8, 16, 32), registry=self.registry
        )
        self.waiting = Gauge("edgeapp_oracle_waiting", "Questions that wait", registry=self.registry)


class Batcher:
    """The model and its thread."""

    def __init__(self, model: Model, limits: Limits, metrics: Metrics) -> None:
        self.model, self._limits, self._metrics = model, limits, metrics
        self._jobs: queue.Queue[_Job | None] = queue.Queue(limits.waiting)
        self._thread = threading.Thread(target=self._run, name="oracle", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[Model], T]) -> Future[T]:
        """Have something done with the model, in its thread.

        Raises:
            RefusedError: 503: too many wait.
        """
        result: Future[T] = Future()
        try:
            self._jobs.put_nowait(_Job(work, time.monotonic() + self._limits.wait_s, result))
        except queue.Full:
            waiting = self._limits.waiting
            raise RefusedError(503, "E_BUSY", f"expected at most {waiting} waiting questions, found more", 1) from None
        self._metrics.waiting.set(self._jobs.qsize())
        return result

    def close(self) -> None:
        """Answer what waits, then free the model."""
        self._jobs.put(None)
        self._thread.join()
        self.model.close()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, is_last = [first], False
            while len(batch) < self._limits.batch and not is_last:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                is_last = job is None
                batch += [] if job is None else [job]
            self._metrics.batch.observe(len(batch))
            self._metrics.waiting.set(self._jobs.qsize())
            for job in batch:
                self._answer(job)
            if is_last:
                return

    def _answer(self, job: _Job) -> None:
        if not job.result.set_running_or_notify_cancel():  # its client has gone
            return
        if time.monotonic() > job.due_s:
            text = f"expected to be answered within {self._limits.wait_s:g} s, found that it waited longer"
            job.result.set_exception(RefusedError(503, "E_LATE", text, 1))
            return
        try:
            job.result.set_result(job.work(self.model))
        except (ModelError, CaptureError) as error:
            job.result.set_exception(RefusedError(500, error.code, str(error)))


class Oracle:
    """The application: `app` is what a server serves."""

    def __init__(
        self,
        model: Model,
        *,
        tokens: tuple[str, ...] = (),
        limits: Limits = Limits(),
        keep: Path | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `tokens` whoever reaches the server may ask: it has checked their certificates. `now_s` is for tests.

        Crops and their answers are written to `keep`, where that is given.
        """
        self.metrics = Metrics()
        self._batcher = Batcher(model, limits, self.metrics)
        self._rates = Rates(limits.rate_per_s, limits.burst)
        self._tokens, self._keep, self._now_s = tokens, keep, now_s
        report = model.report
        self._model = {"name": report.name, "version": report.version, "sha256": report.sha256}
        self._description = {
            "v": 1,
            "model": self._model,
            "runs_on": f"{report.delegate}, {report.runtime}",
            "manifest": manifest_json(model.manifest),
            "input": _described(model.input),
            "outputs": [_described(spec) for spec in model.outputs.values()],
        }
        self._tensors = 0
        routes = [
            Route("/v1/reference", self._guarded(self._describe), methods=["GET"]),
            Route("/v1/reference", self._guarded(self._run), methods=["POST"]),
            Route("/v1/ask", self._guarded(self._ask), methods=["POST"]),
            Route("/v1/health", self._guarded(self._health), methods=["GET"]),
        ]
        self.app = Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self._batcher.close)

    def _guarded(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                self._admit(request)
                response: Response = await answer(request)
            except RefusedError as refused:
                response = refused.response()
            self.metrics.requests.labels(str(response.status_code)).inc()
            return response

        return endpoint

    def _admit(self, request: Request) -> None:
        """Who may ask, and how often."""
        shown = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self._tokens and not any(secrets.compare_digest(shown, token.encode()) for token in self._tokens):
            raise RefusedError(401, "E_TOKEN", "expected a known token, found another or none")
        address = request.client.host if request.client else ""
        self._rates.take(f"{address} {hashlib.sha256(shown).hexdigest()}", self._now_s())

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"v": 1, "model": self._model})

    async def _ask(self, request: Request) -> Response:
        jpeg = await _body(request, MAX_BODY_BYTES, _BODY_S)
        began_s = time.monotonic()
        picture = await asyncio.to_thread(_decode, jpeg)
        detections = await asyncio.wrap_future(self._batcher.put(lambda model: model.predict(picture)[0]))
        answer = {"v": 1, "model": self._model, "detections": [self._found(one) for one in detections[:_MAX_FOUND]]}
        self.metrics.latency_s.observe(time.monotonic() - began_s)
        if self._keep is not None:
            await asyncio.to_thread(_keep, self._keep, jpeg, answer)
        return JSONResponse(answer)

    async def _describe(self, request: Request) -> Response:
        return JSONResponse(self._description)

    async def _run(self, request: Request) -> Response:
        """The raw outputs for an input tensor."""
        if self._tensors >= _MAX_TENSORS:
            raise RefusedError(503, "E_BUSY", f"expected at most {_MAX_TENSORS} input tensors at once, found more", 1)
        self._tensors += 1
        try:
            spec = self._batcher.model.input
            body = await _body(request, math.prod(spec.shape) * np.dtype(spec.dtype).itemsize, _TENSOR_S)
            began_s = time.monotonic()
            values = _tensor(body, spec)
            outputs = await asyncio.wrap_future(self._batcher.put(lambda model: _outputs(model, values)))
        finally:
            self._tensors -= 1
        self.metrics.latency_s.observe(time.monotonic() - began_s)
        return JSONResponse({"v": 1, "model": self._model, "outputs": outputs})

    def _found(self, detection: Detection) -> dict[str, Any]:
        box = detection.box
        return {
            "class_name": self._batcher.model.manifest.classes[detection.class_index],
            "score": round(detection.score, 4),
            "box": [round(each, 4) for each in (box.x_min, box.y_min, box.x_max, box.y_max)],
        }


async def _body(request: Request, max_bytes: int, limit_s: float) -> bytes:
    """The whole body, bounded in size and time."""
    content = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            async for chunk in request.stream():
                content += chunk
                if len(content) > max_bytes:
                    raise RefusedError(413, "E_TOO_BIG", f"expected at most {max_bytes} bytes, found more")
    except TimeoutError:
        raise RefusedError(408, "E_SLOW", f"expected the whole body within {limit_s:g} s, found less") from None
    return bytes(content)


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "shape": spec.shape,
        "dtype": spec.dtype,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }


def _tensor(body: bytes, spec: TensorSpec) -> npt.NDArray[Any]:
    """The input tensor whose numbers, little-endian, are `body`."""
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    expected = math.prod(spec.shape) * dtype.itemsize
    if len(body) != expected:
        raise RefusedError(400, "E_TENSOR", f"expected the {expected} bytes of {spec}, found {len(body)}")
    values = np.frombuffer(body, dtype).reshape(spec.shape).astype(spec.dtype)
    if not np.isfinite(values).all():
        raise RefusedError(400, "E_TENSOR", f"expected numbers for {spec}, found some that are none")
    return values


def _outputs(model: Model, values: npt.NDArray[Any]) -> dict[str, str]:
    """The bytes of each output, little-endian, by role, as base64."""
    found, _ = model.run(values)
    return {
        role: base64.b64encode(np.ascontiguousarray(each, each.dtype.newbyteorder("<")).tobytes()).decode()
        for role, each in found.items()
    }


def _decode(jpeg: bytes) -> Picture:
    try:
        width, height = jpeg_size(jpeg)
    except CaptureError as error:
        raise RefusedError(400, "E_CROP", str(error)) from error
    if max(width, height) > _MAX_SIDE_PX:
        raise RefusedError(400, "E_CROP", f"expected at most {_MAX_SIDE_PX} pixels a side, found {width} x {height}")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
    if picture is None:
        raise RefusedError(400, "E_CROP", f"expected a JPEG, found {len(jpeg)} bytes that cannot be decoded")
    return np.asarray(picture, np.uint8)


def _keep(folder: Path, jpeg: bytes, answer: dict[str, Any]) -> None:
    name = f"{time.time_ns()}-{secrets.token_hex(4)}"
    write_durably(folder / f"{name}.jpg", jpeg, 0o600)
    write_durably(folder / f"{name}.json", json.dumps(answer).encode(), 0o600)
