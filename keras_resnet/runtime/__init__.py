"""How a plain Keras model computes for a while: what is saved stays a model of plain Keras layers.

Everything here is a context manager that changes how layers compute inside the block, and not what they are.
"""
