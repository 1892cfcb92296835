"""The golden model: integer numerics in NumPy, and the PyTorch side that trains and quantizes."""
