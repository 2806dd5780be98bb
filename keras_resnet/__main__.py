"""`python -m keras_resnet` is the `keras-resnet` command."""

from keras_resnet.cli import main

main()
