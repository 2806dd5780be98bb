"""A stand-in for TF Serving, for machines without `tensorflow_model_server`. It is not TF Serving.

What it has in common with it: TensorFlow's own C++ loader and sessions read and run the SavedModel, the official stubs
carry the requests, and versions, errors and JSON follow TF Serving's sources and documentation as far as the tests go.
What it has not: batching of requests from several clients, monitoring, TLS, and its speed.

`process` starts the one or the other, whichever there is, with the same flags; `python -m tests.serving --help`.
"""
