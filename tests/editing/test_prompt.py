"""The pipeline here is real and tiny, with random weights: it paints noise, in the way of the large ones."""

import json

import numpy as np
import pytest
import torch

from gendef.editing.prompt import load_pipeline, outlines, repaint
from gendef.errors import InputError, ModelError

pytest.importorskip("diffusers", reason="diffusers (extra diffusion) is not installed")
pytest.importorskip("transformers", reason="transformers (extra diffusion) is not installed")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a tiny Stable Diffusion model and of its ControlNet."""
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    root = tmp_path_factory.mktemp("diffusion")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    words = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (root / "vocab.json").write_text(json.dumps(words))
    (root / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(root / "vocab.json"), str(root / "merges.txt"), model_max_length=20)
    torch.manual_seed(0)
    blocks = {
        "sample_size": 8,
        "in_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    unet = UNet2DConditionModel(out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **blocks)
    del blocks["sample_size"]
    control = ControlNetModel(conditioning_embedding_out_channels=(4, 4, 8, 8), **blocks)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=20,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
        )
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(root / "model")
    control.save_pretrained(root / "control")
    return str(root / "model"), str(root / "control")


@pytest.fixture(scope="module")
def pipeline(folders):
    loaded = load_pipeline(*folders)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.slow
def test_a_prompt_repaints_the_image(pipeline):
    image = torch.rand(3, 24, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = {"steps": 2, "side": 32, "strength": 1.0}
    painted = repaint(image, "starry night", pipeline, **options)
    assert painted.shape == (3, 32, 48) and torch.isfinite(painted).all()
    assert torch.equal(painted, repaint(image, "starry night", pipeline, **options))
    assert not torch.equal(painted, repaint(image, "starry night", pipeline, seed=1, **options))
    assert not torch.equal(painted, repaint(image, "a green hill", pipeline, **options))
    # The image matters as well: another one gives other outlines and another start.
    assert not torch.equal(painted, repaint(-image, "starry night", pipeline, **{**options, "strength": 0.5}))


@pytest.mark.slow
def test_the_command_loads_the_folders(folders, tmp_path):
    from gendef import CanonicalVideo
    from gendef.cli import edit

    CanonicalVideo(torch.rand(3, 16, 16) * 2 - 1, torch.zeros(2, 16, 16, 2)).save(tmp_path / "clip")
    model, control = folders
    arguments = ["--prompt", "starry night", "--diffusion-model", model, "--controlnet", control, "--device", "cpu"]
    assert edit.main([str(tmp_path / "clip"), *arguments, "--steps", "2", "--side", "32", "--out", str(tmp_path)]) == 0
    assert CanonicalVideo.load(tmp_path / "clip").canonical.shape == (3, 32, 32)


def test_wrong_numbers_are_named(pipeline):
    image = torch.zeros(3, 16, 16)
    for options, words in (
        ({"prompt": " "}, "prompt is empty"),
        ({"strength": 0.0}, "strength must be above 0"),
        ({"steps": 1, "strength": 0.5}, "1 steps at strength 0.5"),
        ({"side": 4}, "at least 8 pixels, got 4"),
    ):
        with pytest.raises(InputError, match=words):
            repaint(image, pipeline=pipeline, **{"prompt": "a", **options})


def test_a_missing_model_is_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="cannot load"):
        load_pipeline(str(tmp_path / "none"), str(tmp_path / "none"))


def test_outlines_are_white_on_black():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:, 8:] = 255
    drawn = outlines(picture)
    assert drawn.shape == picture.shape and set(np.unique(drawn)) == {0, 255}
    assert (drawn[:, 7:9].max(axis=(1, 2)) == 255).all() and drawn[:, :6].max() == 0
