"""The motion prior: a distribution over the motions of any image, learned from real videos."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from gendef.animation.key_fields import KeyFields, PointConstraint, bilinear_weights, spline_weights
from gendef.errors import ConfigError, InputError, ModelError
from gendef.geometry import resize_field, warp
from gendef.networks.efficientnet_lite0 import EfficientNetFeatures, load_efficientnet_lite0
from gendef.networks.motion_prior import (
    IMAGE_SIDE,
    ImageDescription,
    MotionBasis,
    MotionFlow,
    MotionPriorConfig,
    MovingMap,
    integrate,
)
from gendef.runtime.atomic_file import replacing

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "motion.safetensors", "motion.json"
STEPS = 40
"""Euler steps of a sample."""
LONGEST = 4.0
"""Deviations that a state may have."""
FASTEST = 2.5
"""Deviations that its logarithm of the speed may have."""
TURN_FRAMES = 8.0
"""Frames in which a motion that continues another gives up the part of its speed that the prior cannot express."""


class MotionPrior(nn.Module):
    """Motions of an image, as fields at key times around it.

    ```python
    prior = MotionPrior.from_pretrained("sky")
    motion = prior.sample(image, seed=3)       # image (3, H, W) in [-1, 1]
    fields = motion.at(range(-32, 32))         # (64, 16, 16, 2)
    ```

    Attributes:
        config: sizes and labels.
        label: the domain that is sampled by default, one of `config.labels`.
        info: plain values about the training: sources, held-out loss, measures.
    """

    def __init__(self, config: MotionPriorConfig, label: str | None = None, info: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config, self.info = config, info or {}
        self.label = config.labels[0] if label is None else label
        self.label_number(self.label)
        self.motion_basis = MotionBasis(config)
        self.describe = ImageDescription(config)
        self.moving_map = MovingMap(config)
        self.flow = MotionFlow(config)
        self._features: list[EfficientNetFeatures] = []  # no submodule: its weights come with another package

    @property
    def key_times(self) -> Tensor:
        """(K,), frames from the reference image; 0 is one of them."""
        return torch.tensor(self.config.key_times)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the key fields."""
        return self.config.grid, self.config.grid

    @property
    def fps(self) -> float:
        """Frames a second that the key times count."""
        return self.config.fps

    @property
    def basis(self) -> Tensor:
        """(D, K * h * w * 2), orthonormal directions of motion."""
        return self.motion_basis.directions

    @property
    def mean(self) -> Tensor:
        """(K * h * w * 2,), mean motion of speed 1."""
        return self.motion_basis.mean

    @property
    def whitening(self) -> Tensor:
        """(D,), standard deviation of the data along each direction."""
        return self.motion_basis.deviations

    def label_number(self, label: str | None) -> int:
        """Index of a label, the prior's own if None.

        Raises:
            InputError: there is no such label.
        """
        name = self.label if label is None else label
        if name not in self.config.labels:
            raise InputError(f"this motion prior has no label {name!r}; it has {', '.join(self.config.labels)}")
        return self.config.labels.index(name)

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 3, H, W) in [-1, 1], at strides 4, 8, 16 and 32 of 128x128 pixels.

        Raises:
            MissingDependencyError: the weights of EfficientNet-Lite0 are not installed.
        """
        if not self._features:
            self._features.append(load_efficientnet_lite0(extra="fit", purpose="for the motion of a picture"))
        resized = F.interpolate(images, (IMAGE_SIDE, IMAGE_SIDE), mode="bilinear", align_corners=False, antialias=True)
        return self._features[0].to(images.device)(resized)

    @torch.no_grad()
    def sample(
        self,
        image: Tensor,
        seed: int,
        *,
        steps: int = STEPS,
        strength: float = 1.0,
        constraints: Sequence[PointConstraint] = (),
        after: KeyFields | None = None,
        before: KeyFields | None = None,
        label: str | None = None,
    ) -> KeyFields:
        """A motion of `image`.

        Args:
            image: (3, H, W) in [-1, 1], any size and shape.
            seed: of the motion; the same seed gives the same motion.
            steps: Euler steps.
            strength: factor on all offsets; constraints hold after it.
            constraints: displacements wanted at points. The basis is linear, so that they are linear equations for the
                coefficients; the solution nearest to the sample in the whitened norm is taken.
            after: continue this motion: `image` is its last frame, and the speed at time 0 is its speed there.
            before: as `after`, for its first frame.
            label: domain; default the prior's own.

        Raises:
            InputError: an unknown label, a constraint at time 0 or outside the key times, both `after` and `before`,
                or an image that is not (3, H, W).
        """
        if image.ndim != 3 or image.shape[0] != 3:
            raise InputError(f"an image must have shape (3, H, W), got {tuple(image.shape)}")
        if after is not None and before is not None:
            raise InputError("a motion continues another at its end or at its start, not both: leave out one of them")
        index = self.label_number(label)
        number = torch.tensor([index])
        features = self.features(image[None].float())
        moving = self.moving_map(features, number).sigmoid()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, 1 + self.config.components, generator=generator)
        state = integrate(self.flow, noise, self.describe(features, moving), number, steps)
        # Of what the model has not seen it may make a coefficient many deviations long, which would tear the image.
        state = state.clamp(-LONGEST, LONGEST)
        state[:, 0].clamp_(-FASTEST, FASTEST)
        factor = self.config.speeds[index] if self.config.speeds else 1.0
        fields = self.motion_basis.decode(state)[0] * (strength * factor)
        other, direction = (before, -1) if after is None else (after, 1)
        velocity = None if other is None else _material_velocity(other, direction)
        if constraints or velocity is not None:
            rows, values = self._equations(constraints, velocity)
            fields = self._solved(fields, rows, values, exact=bool(constraints))
        if velocity is not None:
            fields = self._turned(fields, velocity, direction)
        return KeyFields(self.key_times, fields, moving[0])

    def sample_range(self, image: Tensor, seed: int, first: float, last: float, **options: Any) -> KeyFields:
        """A motion over at least the times `first` to `last`: one window, continued at both ends as often as needed.

        Args:
            first, last: frames from the reference image, first <= 0 <= last.
            options: of `sample`; constraints act on the first window.

        Raises:
            InputError: as `sample`, or the times do not enclose 0.
        """
        if not first <= 0 <= last:
            raise InputError(f"the times must enclose 0, the image itself, got {first:g} to {last:g}")
        motion = self.sample(image, seed, **options)
        going_on: dict[str, Any] = {key: value for key, value in options.items() if key != "constraints"}
        number = 0
        for at_end in (True, False):
            while motion.times[-1] < last if at_end else motion.times[0] > first:
                number += 1
                outer = -1 if at_end else 0
                field = resize_field(motion.fields[outer][None], image.shape[1:])
                frame = warp(image[None].float(), field[None])[0, 0]
                edge: dict[str, Any] = {"after" if at_end else "before": motion, **going_on}
                part = self.sample(frame, (seed + 7919 * number) % 2**63, **edge)
                motion = motion.joined(part, at_end=at_end)
        return motion

    def _equations(self, constraints: Sequence[PointConstraint], velocity: Tensor | None) -> tuple[Tensor, Tensor]:
        """Linear equations for the flat key fields: rows (N, P) and values (N,)."""
        keys, side, rows, values = self.key_times, self.config.grid, [], []
        for constraint in constraints:
            if constraint.time == 0:
                raise InputError("a displacement at time 0 is always 0: ask for it at another time")
            in_time = spline_weights(keys, [constraint.time])[0]
            # What was at q is at q + d: there the field leads back by d.
            in_space = bilinear_weights(constraint.x + constraint.dx, constraint.y + constraint.dy, side)
            both = (in_time[:, None] * in_space[None]).flatten()
            for axis, value in enumerate((constraint.dx, constraint.dy)):
                row = torch.zeros(len(both), 2)
                row[:, axis] = both
                rows.append(row.flatten())
                values.append(torch.tensor([-value]))
        if velocity is not None:
            # Cells of 4x4 averaged: the basis can follow these, and `_turned` does the rest.
            in_time = spline_weights(keys, [0.0], derivative=1)[0]
            cells = max(side // 4, 1)
            blocks = torch.arange(side * side).reshape(1, 1, side, side)
            for block in F.unfold(blocks.float(), cells, stride=cells)[0].T.long():
                for axis in range(2):
                    row = torch.zeros(len(keys), side * side, 2)
                    row[:, block, axis] = in_time[:, None] / len(block)
                    rows.append(row.flatten())
                    values.append(velocity.reshape(-1, 2)[block, axis].mean()[None])
        return torch.stack(rows), torch.cat(values)

    def _solved(self, fields: Tensor, rows: Tensor, values: Tensor, *, exact: bool) -> Tensor:
        """The fields nearest to `fields` in the whitened norm for which rows . fields = values.

        Args:
            exact: nearly exactly; otherwise equations that ask for unlikely motion are softened.
        """
        basis = self.basis * self.whitening[:, None]
        matrix = rows @ basis.T
        gap = (values - rows @ fields.flatten()).double()
        gram = (matrix @ matrix.T).double()
        gram.diagonal().add_(gram.diagonal().mean() * (1e-6 if exact else 1e-3))
        change = matrix.T.double() @ torch.linalg.solve(gram, gap)
        return fields + (change.float() @ basis).reshape(fields.shape)

    def _turned(self, fields: Tensor, velocity: Tensor, direction: int) -> Tensor:
        """`fields` with exactly the given velocity at time 0, the difference given up within some frames."""
        own = torch.einsum("k,khwc->hwc", spline_weights(self.key_times, [0.0], derivative=1)[0], fields)
        times = (self.key_times * direction).clamp(min=0)
        course = times * torch.exp(-times / TURN_FRAMES) * direction
        return fields + course[:, None, None, None] * (velocity - own)

    def save(self, folder: str | Path, *, half: bool = True) -> None:
        """Write `motion.safetensors` and `motion.json`.

        Args:
            half: store weights as float16.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        if half:
            state = {name: value.half() for name, value in state.items()}
        with replacing(folder / WEIGHTS) as temporary:
            temporary.write_bytes(serialize(state))
        config = {
            "format": "gendef-motion-prior",
            "version": FORMAT_VERSION,
            "label": self.label,
            "prior": self.config.to_dict(),
            "info": self.info,
        }
        with replacing(folder / CONFIG) as temporary:
            temporary.write_text(json.dumps(config, indent=1))

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "MotionPrior":
        """A motion prior by the name of a built-in domain (sky, water, driving), or from its folder.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        folder, label = find_motion_prior(name)
        try:
            config = json.loads((folder / CONFIG).read_text())
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder / CONFIG} cannot be read: {error}") from error
        if not isinstance(config, dict) or config.get("format") != "gendef-motion-prior":
            raise ModelError(f"{folder / CONFIG} does not describe a motion prior")
        if config.get("version") != FORMAT_VERSION:
            raise ModelError(
                f"{folder} has motion format {config.get('version')}, this gendef reads {FORMAT_VERSION}: update gendef"
            )
        try:
            sizes = MotionPriorConfig.from_dict(config.get("prior", {}))
            prior = cls(sizes, label or config.get("label"), config.get("info"))
        except (ConfigError, InputError) as error:
            raise ModelError(f"{folder / CONFIG}: {error}") from error
        prior.load_state_dict(_read_state(folder / WEIGHTS, prior))
        return prior.eval().requires_grad_(False)


def builtin_motion_priors() -> dict[str, Path]:
    """The built-in motion priors: the name of each domain, and the folder of the prior that knows it."""
    root = resources.files("gendef") / "models"
    found: dict[str, Path] = {}
    for entry in sorted(root.iterdir(), key=lambda entry: entry.name) if root.is_dir() else []:
        if (entry / CONFIG).is_file():
            labels = json.loads((entry / CONFIG).read_text())["prior"]["labels"]
            found |= {name: Path(str(entry)) for name in labels}
    return found


def find_motion_prior(name: str | Path) -> tuple[Path, str | None]:
    """The folder of a motion prior and, where a built-in domain is named, its label.

    Raises:
        ModelError: it holds no motion prior.
    """
    if (Path(name) / CONFIG).is_file():
        return Path(name), None
    builtin = builtin_motion_priors()
    if str(name) in builtin:
        return builtin[str(name)], str(name)
    raise ModelError(
        f"there is no motion prior {str(name)!r}: give a folder that holds {CONFIG}, or one of {', '.join(builtin)}"
    )


def _read_state(path: Path, prior: MotionPrior) -> dict[str, Tensor]:
    expected = {name: tuple(value.shape) for name, value in prior.state_dict().items()}
    state = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in sorted(set(file.keys()) ^ set(expected)):
                what = "lacks" if name in expected else "holds an unknown"
                raise ModelError(f"{path} {what} {name!r}: weights and {CONFIG} do not belong together")
            for name, shape in expected.items():
                value = file.get_tensor(name).float()
                if tuple(value.shape) != shape:
                    raise ModelError(f"{path}: {name} has shape {tuple(value.shape)}, {CONFIG} asks for {shape}")
                if not torch.isfinite(value).all():
                    raise ModelError(f"{path}: {name} holds values that are not finite")
                state[name] = value
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    return state


def _material_velocity(motion: KeyFields, direction: int) -> Tensor:
    """Velocity (h, w, 2) at the end (or start) of a motion, as fields whose reference is that frame would have it.

    With F the field there and G the field of the motion that follows, F(p + G_t(p)) + G_t(p) must go on as F does:
    (1 + grad F) dG/dt = dF/dt.
    """
    outer = -1 if direction > 0 else 0
    field, change = motion.fields[outer], motion.velocity(float(motion.times[outer]))
    height, width = field.shape[:2]
    along_y, along_x = torch.gradient(field, dim=(0, 1))
    # Derivatives of normalised offsets by normalised coordinates: a cell is 2 / width wide.
    jacobian = torch.stack((along_x * width / 2, along_y * height / 2), dim=-1) + torch.eye(2)
    # Where the field nearly folds the inverse is endless; the velocity as it is serves there.
    determinant = torch.linalg.det(jacobian)
    safe = torch.where((determinant > 0.2)[..., None, None], jacobian, torch.eye(2))
    return torch.linalg.solve(safe, change[..., None])[..., 0]
