"""Measurements of `gendef bench`: the phases of sampling, with and without the fast forms of the kernels."""
