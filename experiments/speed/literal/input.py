"""The plain input pipeline: Pillow's picture, torchvision's transforms, view after view."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photometric(transforms) -> list:
    """Colour jitter with p 0.8, grayscale with p 0.2, blur with p 0.5, of `T` or of `v2`."""
    return [
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.RandomApply([transforms.GaussianBlur(kernel_size=9, sigma=(0.1, 2.0))], p=0.5),
    ]


def two_views(path: Path, seed: int, size: int = 224) -> Tensor:
    """Read an image and draw two views of it on pictures: (2, 3, size, size), normalised."""
    torch.manual_seed(seed)
    resize = T.Resize((size, size), T.InterpolationMode.BICUBIC)
    view = T.Compose([*photometric(T), T.ToTensor(), T.Normalize(MEAN, STD)])
    picture = resize(Image.open(path).convert("RGB"))
    return torch.stack([view(picture), view(picture)])


def resized(path: Path, size: int = 224) -> Tensor:
    """The picture without views, (3, size, size) uint8."""
    resize = T.Resize((size, size), T.InterpolationMode.BICUBIC)
    return T.functional.pil_to_tensor(resize(Image.open(path).convert("RGB")))


def seeded_views(image: Tensor, seed: int) -> Tensor:
    """Two views (2, 3, H, W) of (3, H, W) uint8, by torchvision's operations on such tensors."""
    view = v2.Compose(photometric(v2))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return torch.stack([view(image), view(image)])
