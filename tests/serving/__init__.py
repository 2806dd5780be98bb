"""A replacement for TF Serving, for tests on machines without `tensorflow_model_server`. It is not TF Serving.

The same as in TF Serving: TensorFlow's own C++ loader and sessions read and run the SavedModel, the official stubs
carry the requests, and versions, errors and JSON follow TF Serving's sources and documentation as far as the tests
check them.
Missing: batching of requests from several clients, monitoring, TLS, and the speed of TF Serving.

`process.serving` starts TF Serving if it is installed, otherwise the replacement, with the same flags. They are
listed by `python -m tests.serving --help`.
"""
