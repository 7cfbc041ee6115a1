"""Tracking and segmentation in videos of several layers (`gendef.video.layer`).

A point belongs to the topmost layer at its position and is occluded where another layer covers it. Labels are
propagated in each layer separately; each pixel of a frame takes the label of the topmost layer. If an object consists
of several layers, one after the other in time, points and labels are handed over in the frames that both share.
"""

from typing import Any

import torch
from torch import Tensor

from gendef.errors import InputError
from gendef.geometry import invert_points
from gendef.video.label_transfer import canonical_labels, labels_for_size, resized_labels, segment
from gendef.video.layer import Layer, Layers, frame_count, owners, parts, shown_by
from gendef.video.point_tracks import Tracks, canonical_points, checked_frame, checked_points, local_area, shown_at

LABEL_SHARE, LAYER_SHARE = 0.7, 0.55
"""A label denotes a layer if at least the first share of the label lies in the layer, and at least the second share of
the layer has the label."""


def track_layers(
    layers: Layers,
    points: Any,
    frame: int | None = None,
    layer: int = 0,
    visibility: Tensor | None = None,
) -> Tracks:
    """Track points through a video of layers.

    Args:
        points: (N, 2), x then y in pixels, on a frame or on a layer's canonical image.
        frame: that frame; None means a canonical image.
        layer: number of the layer whose canonical image it is.
        visibility: (T, H, W) bool, where the layers explain the frames; None if unknown.

    Returns:
        Tracks with `layer`, and `canonical` in pixels of those layers' canonical images. A point is also invisible
        where another layer covers it, and outside the frames of its layer; there `residual` is the frame's longer side.

    Raises:
        InputError: the points cannot be used, or there is no such frame or layer.
    """
    count, size = frame_count(layers), layers[0].video.size
    if frame is None:
        canonical = checked_points(points, layers[layer].canonical_size, f"the canonical image of layer {layer}")
        which = torch.full((len(canonical),), layer)
        start = None
    else:
        start = checked_points(points, size, f"frame {checked_frame(frame, count)}")
        column, row = start.round().long().clamp(min=0).unbind(dim=1)
        which = owners(layers, frame)[row.clamp(max=size[0] - 1), column.clamp(max=size[1] - 1)]
        which = torch.where(which < 0, _any_layer(layers, frame), which)
        canonical = torch.zeros_like(start)
        for number in which.unique().tolist():
            chosen, part = which == number, layers[number]
            canonical[chosen] = _canonical_points(part, start[chosen], frame)
    positions = torch.zeros(len(canonical), count, 2)
    found = torch.zeros(len(canonical), count, dtype=torch.bool)
    residual = torch.zeros(len(canonical), count)
    for number in which.unique().tolist():
        chosen = which == number
        begin = None if frame is None or start is None else (frame, start[chosen])
        positions[chosen], found[chosen], residual[chosen] = _followed(layers, number, canonical[chosen], begin)
    if frame is not None and start is not None:
        positions[:, frame], residual[:, frame], found[:, frame] = start, 0, True
    if visibility is not None:
        found &= shown_at(visibility, positions)
    return Tracks(positions, found, residual, canonical, which)


def _canonical_points(layer: Layer[Any], points: Tensor, frame: int) -> Tensor:
    """Positions on a layer's canonical image of points (N, 2) of a frame of the clip, in pixels: (N, 2)."""
    return canonical_points(layer.video.deformation[frame - layer.start], points, layer.canonical_size)


def _carried(layer: Layer[Any], mask: Tensor, frame: int | None = None) -> Tensor:
    """Propagate labels on a layer's canonical image, or on a frame of the clip, to the layer's frames: (n, H, W)."""
    field = layer.video.deformation
    return segment(field, mask, layer.canonical_size, None if frame is None else frame - layer.start)


def _any_layer(layers: Layers, frame: int) -> int:
    """A layer that contains the frame, for positions that no layer covers."""
    have = [k for k, layer in enumerate(layers) if layer.start <= frame < layer.end]
    if not have:
        raise InputError(f"no layer contains frame {frame}")
    return have[0]


def _followed(
    layers: Layers, number: int, canonical: Tensor, begin: tuple[int, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (N, T, 2), visibility (N, T) and residuals (N, T) of points of a layer, continued in the other layers
    of its object."""
    name, length = layers[number].name, frame_count(layers)
    same = parts(layers, name)
    here = same.index(number)
    uncovered = torch.stack([shown_by(layers, owners(layers, t), name) for t in range(length)])
    count = len(canonical)
    positions = torch.zeros(count, length, 2)
    found = torch.zeros(count, length, dtype=torch.bool)
    residual = torch.full((count, length), float(max(layers[0].video.size)))
    covered = torch.zeros(length, dtype=torch.bool)

    def follow(k: int, places: Tensor, at: tuple[int, Tensor] | None, frames: range) -> tuple[Tensor, Tensor]:
        """Invert a layer for `frames`; returns positions and validity in the layer's own frames."""
        layer = layers[k]
        start = None if at is None else (at[0] - layer.start, at[1])
        inverse = invert_points(layer.video.deformation, places, layer.canonical_size, start=start)
        seen = inverse.valid & (local_area(layer.video.deformation, inverse.positions) > 0)
        if layer.video.visibility is not None:
            seen &= shown_at(layer.video.visibility, inverse.positions)
        covered[frames.start : frames.stop] = True
        local = slice(frames.start - layer.start, frames.stop - layer.start)
        positions[:, frames.start : frames.stop] = inverse.positions[:, local]
        found[:, frames.start : frames.stop] = seen[:, local]
        residual[:, frames.start : frames.stop] = inverse.residual[:, local]
        return inverse.positions, inverse.valid

    first = layers[number]
    ways = follow(number, canonical, begin, range(first.start, first.end))
    for later, order in ((True, same[here + 1 :]), (False, same[:here][::-1])):
        last, (places, closed) = number, ways
        sure = torch.ones(count, dtype=torch.bool)
        for k in order:
            one, two = layers[last], layers[k]
            both = range(max(one.start, two.start), min(one.end, two.end))
            if not both:
                break
            shared = slice(both.start - one.start, both.stop - one.start)
            shown = shown_at(uncovered[both.start : both.stop], places[:, shared])
            frame, known = _handover(closed[:, shared], shown, both)
            sure = sure & known
            goes_on = torch.stack([places[n, t - one.start] for n, t in enumerate(frame.tolist())])
            there = torch.zeros(count, 2)
            for t in frame.unique().tolist():
                there[frame == t] = _canonical_points(two, goes_on[frame == t], t)
            middle = (both.start + both.stop) // 2
            frames = range(middle, two.end) if later else range(two.start, middle)
            places, closed = follow(k, there, (middle, places[:, middle - one.start]), frames)
            found[:, frames.start : frames.stop] &= sure[:, None]
            last = k
    _hold(positions, covered)
    return positions, found & shown_at(uncovered, positions), residual


def _handover(closed: Tensor, shown: Tensor, both: range) -> tuple[Tensor, Tensor]:
    """The frame (N,) in which each point changes layers: of those that show it, the nearest to the middle; and whether
    any frame shows it (N,).

    In frames that occlude the point, both layers only extrapolate its position, and the two extrapolations may differ.

    Args:
        closed: (N, len(both)), frames in which the points are inside the picture.
        shown: (N, len(both)), frames in which no other layer covers them.
    """
    away = (torch.arange(len(both)) - (len(both) - 1) / 2).abs()
    score = away + len(both) * ((~closed).float() + (~shown).float())
    best = score.argmin(dim=1)
    return best + both.start, (closed & shown).any(dim=1)


def _hold(positions: Tensor, covered: Tensor) -> None:
    """Fill frames without a layer with the position in the nearest covered frame, in place."""
    frames = torch.arange(positions.shape[1])
    places = frames[covered]
    nearest = places[(frames[:, None] - places[None]).abs().argmin(dim=1)]
    positions.copy_(positions[:, nearest])


def segment_layers(layers: Layers, mask: Any, frame: int | None = None, layer: int = 0) -> Tensor:
    """Propagate a mask or label map to all frames of a video of layers.

    A label that denotes a layer (see `LABEL_SHARE`) is assigned to all visible pixels of that layer, including parts
    that the frame of the mask does not show, and to no others.

    Args:
        mask: (h, w), bool or integer labels, on a frame or on a layer's canonical image.
        frame: that frame; None means a canonical image.
        layer: number of the layer whose canonical image it is.

    Returns:
        (T, H, W), bool for a mask, otherwise labels in the integer type that was given.

    Raises:
        InputError: the mask cannot be used, or there is no such frame or layer.
    """
    count, size = frame_count(layers), layers[0].video.size
    owner = torch.stack([owners(layers, t) for t in range(count)])
    if frame is None:
        carried = _carried(layers[layer], mask)
        result = torch.zeros(count, *size, dtype=carried.dtype)
        _paint(layers, result, owner, layer, carried, layers[layer].name)
        return result
    labels = labels_for_size(mask, size, f"frame {checked_frame(frame, count)}")
    labels = resized_labels(labels, size)
    result = torch.zeros(count, *size, dtype=labels.dtype)
    here = owner[frame]
    names = {layers[k].name: k for k in here.unique().tolist() if k >= 0}
    whole = _whole_layers(labels, {name: shown_by(layers, here, name) for name in names})
    for name, number in names.items():
        mine = shown_by(layers, here, name)
        inside = labels * mine if labels.dtype != torch.bool else labels & mine
        for label in whole.values():
            inside = torch.where(inside == label, torch.zeros_like(inside), inside)
        if inside.any():
            _paint(layers, result, owner, number, _carried(layers[number], inside, frame), name)
        if name in whole:
            shown = torch.stack([shown_by(layers, in_frame, name) for in_frame in owner])
            result[shown & (result == 0)] = whole[name]
    result[frame] = labels
    return result


def canonical_labels_of_layers(layers: Layers, mask: Any, frame: int | None = None, layer: int = 0) -> list[Tensor]:
    """A mask or label map on each layer's canonical image, (Hc, Wc) each; arguments as for `segment_layers`."""
    if frame is None:
        labels = canonical_labels(layers[layer].video.deformation, mask, layers[layer].canonical_size)
        planes = [torch.zeros(part.canonical_size, dtype=labels.dtype) for part in layers]
        planes[layer] = labels
        return planes
    size, planes = layers[0].video.size, []
    checked_frame(frame, frame_count(layers))
    labels = resized_labels(labels_for_size(mask, size, f"frame {frame}"), size)
    owner = owners(layers, frame)
    for number, part in enumerate(layers):
        inside = torch.where(owner == number, labels, torch.zeros_like(labels))
        if inside.any():
            planes.append(canonical_labels(part.video.deformation, inside, part.canonical_size, frame - part.start))
        else:
            planes.append(torch.zeros(part.canonical_size, dtype=labels.dtype))
    return planes


def _whole_layers(labels: Tensor, shown: dict[str, Tensor]) -> dict[str, Any]:
    """Layers that a label denotes: name -> label."""
    whole = {}
    for name, mine in shown.items():
        if not mine.any():
            continue
        values, counts = labels[mine].unique(return_counts=True)
        label, most = values[counts.argmax()], int(counts.max())
        if bool(label) and most >= LAYER_SHARE * int(mine.sum()) and most >= LABEL_SHARE * int((labels == label).sum()):
            whole[name] = label
    return whole


def _share(mask: Tensor, shown: Tensor) -> float:
    """Visible share of a mask (H, W); 0 for an empty one."""
    return float((mask & shown).sum() / mask.sum().clamp(min=1))


def _paint(layers: Layers, result: Tensor, owner: Tensor, number: int, carried: Tensor, name: str) -> None:
    """Write labels of one layer (n, H, W) into the result, and hand them over to the other layers of the object."""
    same = parts(layers, name)
    here = same.index(number)
    _put(layers[number], result, owner == number, carried)
    for order in (same[here + 1 :], same[:here][::-1]):
        last, now = number, carried
        for k in order:
            one, two = layers[last], layers[k]
            both = range(max(one.start, two.start), min(one.end, two.end))
            if not both:
                break
            middle = (both.start + both.stop) // 2
            # Hand over in the frame that occludes least of it: occluded parts are extrapolated.
            shares = [_share(now[t - one.start].bool(), shown_by(layers, owner[t], name)) for t in both]
            _, _, frame = max((round(share, 2), -abs(t - middle), t) for t, share in zip(both, shares, strict=True))
            now = _carried(two, now[frame - one.start], frame)
            _put(two, result, owner == k, now)
            last = k


def _put(layer: Layer[Any], result: Tensor, shown: Tensor, carried: Tensor) -> None:
    """Write labels (n, H, W) into the frames (T, H, W) where the layer is visible (T, H, W)."""
    part = slice(layer.start, layer.end)
    result[part] = torch.where(shown[part], carried, result[part])
