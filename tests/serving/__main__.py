"""Serves with the flags of `tensorflow_model_server`, as far as the tests need them. A stand-in, not TF Serving."""

from __future__ import annotations

import argparse
import functools
import signal
import threading
from pathlib import Path

from tests.serving import over_grpc, over_rest
from tests.serving.versions import Models, config_from, config_of


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.serving", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="of gRPC")
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--model_name")
    parser.add_argument("--model_base_path")
    parser.add_argument("--model_config_file", type=Path, help="in place of name and path; read anew at each poll")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0, help="here a fraction will do")
    asked, _ = parser.parse_known_args()  # what else TF Serving is told, a stand-in does without
    if asked.model_config_file:
        read = functools.partial(config_from, asked.model_config_file)
    else:
        read = functools.partial(config_of, asked.model_name, asked.model_base_path)
    models, stop = Models(read()), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    servers = over_grpc.start(models, asked.port), over_rest.start(models, asked.rest_api_port)
    models.keep_up(read, asked.file_system_poll_wait_seconds, stop)
    servers[0].stop(grace=1).wait()
    servers[1].shutdown()


if __name__ == "__main__":
    main()
