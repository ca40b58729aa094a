"""Slow, obvious twins of the native kernels: they are the specification."""
