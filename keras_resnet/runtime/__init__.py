"""Context managers that change how the layers of a plain Keras model compute.

The layers themselves do not change: a model that is saved inside such a block has plain Keras layers.
"""
