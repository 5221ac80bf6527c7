"""`edgeapp-workshop oracle serve`: the larger model for devices that ask, over TLS, for those who may."""

from __future__ import annotations

import argparse
import ssl
import sys
from pathlib import Path

from edgeapp.errors import OracleError
from edgeapp.escalation.answer import LEAST_SCORE
from edgeapp.system.processes import leave_no_core
from edgeapp.workshop.dialogue import add_common_options, say
from edgeapp.workshop.keys_command import Commands

_LEAST_TOKEN = 16


def add_command(commands: Commands) -> None:
    """Add `oracle` to the commands."""
    oracle = commands.add_parser("oracle", help="the larger model that devices ask")
    serve = oracle.add_subparsers(dest="oracle_command", required=True, metavar="COMMAND").add_parser(
        "serve", help="answer crops, and compare, over HTTPS until stopped"
    )
    serve.add_argument("model", type=Path, metavar="MODEL_FOLDER", help="the full-precision reference")
    serve.add_argument("--cert", type=Path, required=True, metavar="FILE", help="this server's certificate (PEM)")
    serve.add_argument("--key", type=Path, required=True, metavar="FILE", help="its key (PEM)")
    serve.add_argument("--token-file", type=Path, metavar="FILE", help="tokens that may ask, one a line")
    serve.add_argument("--client-ca", type=Path, metavar="FILE", help="only certificates of this authority may ask")
    serve.add_argument("--host", default="0.0.0.0", metavar="ADDRESS", help="to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=8443, metavar="N", help="(%(default)s)")
    serve.add_argument(
        "--metrics-port", type=int, default=0, metavar="N", help="Prometheus metrics for this machine; 0 for none"
    )
    serve.add_argument("--threads", type=int, default=2, metavar="N", help="of the model (%(default)s)")
    serve.add_argument("--batch", type=int, default=8, metavar="N", help="crops in a row (%(default)s)")
    serve.add_argument("--waiting", type=int, default=32, metavar="N", help="crops that wait at most (%(default)s)")
    serve.add_argument("--wait", type=float, default=2.0, metavar="SECONDS", help="how long at most (%(default)s)")
    serve.add_argument("--rate", type=float, default=10.0, metavar="N", help="a client a second (%(default)s)")
    serve.add_argument("--keep", type=Path, metavar="DIR", help="write crops and answers here; else nothing is kept")
    add_common_options(serve, _serve)


def _serve(chosen: argparse.Namespace) -> int:
    try:
        import uvicorn
        from prometheus_client import start_http_server

        from edgeapp.vision.model import Model
        from edgeapp.vision.model_folder import read_manifest
        from edgeapp.workshop.oracle import Limits, Oracle
    except ImportError as error:
        raise OracleError(
            f"expected the workshop's libraries, found no {error.name}: pip install 'edgeapp[workshop]'"
        ) from error
    leave_no_core()  # it would hold crops
    tokens = _read_tokens(chosen.token_file) if chosen.token_file else ()
    if not tokens and chosen.client_ca is None:
        raise OracleError("expected --token-file or --client-ca: who may ask, found neither")
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    shown = min(LEAST_SCORE, read_manifest(chosen.model).defaults.min_score)  # devices are told of what is unsure, too
    model = Model.load(chosen.model, threads=chosen.threads, min_score=shown)
    model.warm_up()
    limits = Limits(
        batch=chosen.batch,
        waiting=chosen.waiting,
        wait_s=chosen.wait,
        rate_per_s=chosen.rate,
        burst=max(1, round(2 * chosen.rate)),
    )
    oracle = Oracle(model, tokens=tokens, limits=limits, keep=chosen.keep)
    if chosen.metrics_port:
        start_http_server(chosen.metrics_port, addr="127.0.0.1", registry=oracle.metrics.registry)
    try:
        config = uvicorn.Config(
            oracle.app,
            host=chosen.host,
            port=chosen.port,
            ssl_certfile=str(chosen.cert),
            ssl_keyfile=str(chosen.key),
            ssl_ca_certs=str(chosen.client_ca) if chosen.client_ca else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if chosen.client_ca else ssl.CERT_NONE,
            access_log=False,
            log_level="warning",
            server_header=False,
            limit_concurrency=4 * chosen.waiting,
            timeout_graceful_shutdown=5,
        )
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise OracleError(f"certificates: expected PEM files that fit, found: {error}") from error
    kept = f"kept in {chosen.keep}" if chosen.keep else "nothing is kept"
    say(
        chosen,
        {"host": chosen.host, "port": chosen.port, "model": model.report.name, "keeps": chosen.keep is not None},
        f"{model.report.name} {model.report.version} answers on {chosen.host}:{chosen.port}; {kept}.",
    )
    sys.stdout.flush()
    uvicorn.Server(config).run()
    return 0


def _read_tokens(path: Path) -> tuple[str, ...]:
    tokens = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    if not tokens or any(len(token) < _LEAST_TOKEN for token in tokens):
        raise OracleError(f"{path}: expected tokens of {_LEAST_TOKEN} characters or more, one a line")
    return tokens
