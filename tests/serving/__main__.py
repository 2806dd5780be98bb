"""Runs the replacement with those flags of `tensorflow_model_server` that the tests need. It is not TF Serving."""

from __future__ import annotations

import argparse
import functools
import signal
import threading
from pathlib import Path

from tests.serving import over_grpc, over_rest
from tests.serving.versions import Models, read_config, single_model_config


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.serving", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of gRPC")
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--model_name")
    parser.add_argument("--model_base_path")
    parser.add_argument("--model_config_file", type=Path, help="replaces name and path; read again at each poll")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0, help="here also a fraction")
    options, _ = parser.parse_known_args()  # the replacement ignores the other flags of TF Serving
    if options.model_config_file:
        read = functools.partial(read_config, options.model_config_file)
    else:
        read = functools.partial(single_model_config, options.model_name, options.model_base_path)
    models, stop = Models(read()), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    servers = over_grpc.start(models, options.port), over_rest.start(models, options.rest_api_port)
    models.poll_until_stopped(read, options.file_system_poll_wait_seconds, stop)
    servers[0].stop(grace=1).wait()
    servers[1].shutdown()


if __name__ == "__main__":
    main()
