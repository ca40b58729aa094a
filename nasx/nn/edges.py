"""Cells whose nodes add up what their edges bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["sum_edges"]


def sum_edges(
    inputs: Sequence[Tensor],
    edges: Sequence[tuple[int, int]],
    nodes: int,
    run: Callable[[Sequence[int], Tensor | None], Sequence[Tensor | None]],
) -> list[Tensor | None]:
    """Compute a cell's nodes, one source after another, so that edges from one node may be computed together.

    Parameters
    ----------
    inputs : sequence of Tensor
        The first nodes.
    edges : sequence of (int, int)
        ``(node, source)``; a source has a lower number than its nodes.
    nodes : int
        How many there are beside the inputs.
    run : callable
        Given the numbers of the edges from one source, and its value or None, gives what each brings; None
        for nothing.

    Returns
    -------
    list of Tensor or None
        The values of all nodes; None where no edge brought anything.
    """
    values: list[Tensor | None] = [*inputs] + [None] * nodes
    for source in range(len(values) - 1):
        leaving = [edge for edge, (_, begin) in enumerate(edges) if begin == source]
        if not leaving:
            continue
        for edge, one in zip(leaving, run(leaving, values[source]), strict=True):
            if one is not None:
                node = edges[edge][0]
                before = values[node]
                values[node] = one if before is None else before + one
    return values
