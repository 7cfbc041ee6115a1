"""Text-guided editing of the canonical image with diffusers: image-to-image with a Canny ControlNet."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gendef.errors import InputError, MissingDependencyError, ModelError
from gendef.media.images import resized, to_image_tensor, to_uint8
from gendef.runtime.optional_imports import import_cv2

DIFFUSION_MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CONTROLNET = "lllyasviel/sd-controlnet-canny"
MULTIPLE = 8
"""Sides of images that latent diffusion takes are multiples of this."""


def load_pipeline(model: str = DIFFUSION_MODEL, controlnet: str = CONTROLNET, device: str = "cpu") -> Any:
    """A ControlNet image-to-image pipeline, from folders or from the Hugging Face hub.

    Raises:
        MissingDependencyError: diffusers is not installed.
        ModelError: the model or the ControlNet cannot be loaded.
    """
    try:
        from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline
    except ImportError:
        raise MissingDependencyError("diffusers", "diffusion", "to edit by a prompt") from None
    dtype = torch.float16 if device.startswith("cuda") else torch.float32
    try:
        control = ControlNetModel.from_pretrained(controlnet)
        # The safety checker needs torchvision and replaces false positives by black images.
        pipeline = StableDiffusionControlNetImg2ImgPipeline.from_pretrained(
            model, controlnet=control, safety_checker=None, feature_extractor=None
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"cannot load {model} with {controlnet}: {str(error).splitlines()[0]}") from error
    pipeline.set_progress_bar_config(desc="denoising", leave=False)
    return pipeline.to(device, dtype)


def repaint(
    image: Any,
    prompt: str,
    pipeline: Any,
    *,
    strength: float = 0.7,
    steps: int = 30,
    guidance: float = 7.5,
    seed: int = 0,
    side: int = 512,
) -> Tensor:
    """Regenerate an image from a text prompt along its outlines.

    Args:
        image: any image.
        prompt: describes the result.
        pipeline: from `load_pipeline`.
        strength: share of the denoising schedule that is run, in (0, 1]; 1 ignores the image.
        steps: denoising steps for strength 1.
        guidance: how closely to follow the text.
        seed: of the noise.
        side: shorter side to paint at, the one the diffusion model was trained for.

    Returns:
        (3, h, w) in [-1, 1], h and w multiples of 8.

    Raises:
        InputError: a number is out of range, or the prompt is empty.
        MissingDependencyError: OpenCV, for the outlines, is not installed.
    """
    if not prompt.strip():
        raise InputError("the prompt is empty: describe the result, for instance 'starry night'")
    if not 0 < strength <= 1:
        raise InputError(f"strength must be above 0 and at most 1, got {strength}")
    if steps < 1 or int(steps * strength) < 1:
        raise InputError(f"{steps} steps at strength {strength} give no denoising step: raise one of them")
    if side < MULTIPLE:
        raise InputError(f"the side to paint at must be at least {MULTIPLE} pixels, got {side}")
    tensor = to_image_tensor(image)
    factor = side / min(tensor.shape[1:])
    height, width = (max(round(length * factor / MULTIPLE), 1) * MULTIPLE for length in tensor.shape[1:])
    picture = to_uint8(resized(tensor, (height, width)))
    painted = pipeline(
        prompt=prompt,
        image=Image.fromarray(picture),
        control_image=Image.fromarray(outlines(picture)),
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]
    return to_image_tensor(painted)


def outlines(picture: np.ndarray) -> np.ndarray:
    """White edges on black by Canny's method, as the Canny ControlNet was trained on, uint8 (H, W, 3).

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = import_cv2("diffusion", "to find outlines")
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 100, 200)
    return np.repeat(edges[..., None], 3, axis=2)
