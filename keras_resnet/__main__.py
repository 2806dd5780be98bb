"""`python -m keras_resnet` is the `keras-resnet` command."""

from keras_resnet.cli import main

if __name__ == "__main__":
    main()
