"""After Effects keyframe data: text that is pasted onto a layer.

Pixels count from the top left corner of the frame, which is (0, 0), y downwards.
"""

from collections.abc import Sequence

from torch import Tensor

from gendef.errors import InputError

HEADER = "Adobe After Effects 8.0 Keyframe Data"
CORNER_PARAMETERS = ("0001", "0002", "0004", "0003")
"""Parameters of the effect Corner Pin for top left, top right, bottom right and bottom left."""


def position_keyframes(track: Tensor, visible: Tensor, size: tuple[int, int], fps: float) -> str:
    """One point's track as keyframes of a layer's position.

    Args:
        track: (T, 2), x then y in pixels, the centre of the top left pixel at (0, 0).
        visible: (T,) bool; frames in which the point is hidden have no key.
        size: height and width of the frames.
    """
    rows = _rows(track, visible, third=True)
    return _document(size, fps, ["Transform\tPosition", "\tFrame\tX pixels\tY pixels\tZ pixels", *rows])


def corner_pin_keyframes(tracks: Tensor, size: tuple[int, int], fps: float) -> str:
    """Four tracked corners as keyframes of the effect Corner Pin.

    Args:
        tracks: (4, T, 2), top left, top right, bottom right, bottom left.

    Raises:
        InputError: there are not four corners.
    """
    if tracks.shape[0] != 4:
        raise InputError(f"a corner pin needs 4 points, got {tracks.shape[0]}")
    body = []
    for parameter, track in zip(CORNER_PARAMETERS, tracks, strict=True):
        body += [
            f"Effects\tADBE Corner Pin #1\tADBE Corner Pin-{parameter}",
            "\tFrame\tX pixels\tY pixels",
            *_rows(track),
        ]
        body.append("")
    return _document(size, fps, body)


def _rows(track: Tensor, visible: Tensor | None = None, third: bool = False) -> list[str]:
    rows = []
    for frame, (x, y) in enumerate(track.tolist()):
        if visible is None or bool(visible[frame]):
            rows.append(f"\t{frame}\t{x + 0.5:.4f}\t{y + 0.5:.4f}" + ("\t0" if third else ""))
    return rows


def _document(size: tuple[int, int], fps: float, body: Sequence[str]) -> str:
    height, width = size
    head = [
        HEADER,
        "",
        f"\tUnits Per Second\t{fps:g}",
        f"\tSource Width\t{width}",
        f"\tSource Height\t{height}",
        "\tSource Pixel Aspect Ratio\t1",
        "\tComp Pixel Aspect Ratio\t1",
        "",
    ]
    return "\r\n".join([*head, *body, "", "End of Keyframe Data", ""])
