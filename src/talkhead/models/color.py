"""Colours held to a reference: mean and spread of every Lab channel, on the frames' own device.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9), which does this on the CPU
with scikit-image; Lab is CIE 1976 of sRGB under D65, 2 degrees, with the constants used there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)  # D65
KNEE = 0.008856  # of luminance, below which Lab is linear
SLOPE, LIFT = 7.787, 16 / 116
FLAT = 1e-3  # deviation of a channel that does not vary: what is left is rounding
PIECE = 2**20  # pixels worked on at a time; about 170 MB


@dataclass(frozen=True, slots=True, eq=False)
class ColorStats:
    """Mean and population standard deviation of L, a and b."""

    mean: Tensor  # f32 (3,)
    std: Tensor  # f32 (3,)


def color_stats(picture: Tensor) -> ColorStats:
    """Return the statistics of one picture, f32 (3, h, w) in 0..1."""
    lab = _lab(picture.float()[None])[0]
    return ColorStats(lab.mean((1, 2)), lab.std((1, 2), correction=0))


def match_color(frames: Tensor, reference: ColorStats, strength: float) -> Tensor:
    """Return frames f32 (n, 3, h, w) in 0..1, each with the mean and spread of the reference.

    `strength` blends from the frames as they are, 0, to the matched ones, 1. A channel that does
    not vary takes the reference's mean.
    """
    if strength == 0:
        return frames
    matched = torch.empty_like(frames)
    piece = max(1, PIECE // (frames.shape[2] * frames.shape[3]))
    for first in range(0, len(frames), piece):
        given = frames[first : first + piece]
        wanted = _rgb(_matched(_lab(given), reference))
        matched[first : first + piece] = given * (1 - strength) + wanted * strength
    return matched


def _matched(lab: Tensor, reference: ColorStats) -> Tensor:
    mean = lab.mean((2, 3), keepdim=True)  # (n, 3, 1, 1)
    std = lab.std((2, 3), correction=0, keepdim=True)
    wanted_mean, wanted_std = (
        value.to(lab.device).view(1, 3, 1, 1) for value in (reference.mean, reference.std)
    )
    gain = torch.where(std > FLAT, wanted_std / std, 0.0)
    return (lab - mean) * gain + wanted_mean


def _lab(rgb: Tensor) -> Tensor:
    """Return Lab (n, 3, h, w) of sRGB in 0..1."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mixed(linear, _matrix(rgb.device)) / _white(rgb.device)
    bent = torch.where(xyz > KNEE, xyz.clamp_min(0) ** (1 / 3), SLOPE * xyz + LIFT)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _rgb(lab: Tensor) -> Tensor:
    """Return sRGB (n, 3, h, w), cut to 0..1, of Lab."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    bent = torch.stack([y + a / 500, y, (y - b / 200).clamp_min(0)], 1)
    xyz = torch.where(bent > KNEE ** (1 / 3), bent**3, (bent - LIFT) / SLOPE) * _white(lab.device)
    linear = _mixed(xyz, torch.linalg.inv(_matrix(torch.device("cpu"))).to(lab.device))
    curved = 1.055 * linear.clamp_min(0) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, linear * 12.92).clamp(0, 1)


def _mixed(channels: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("oc,nchw->nohw", matrix.to(channels.dtype), channels)


def _matrix(device: torch.device) -> Tensor:
    return torch.tensor(XYZ_FROM_RGB, dtype=torch.float64, device=device)


def _white(device: torch.device) -> Tensor:
    return torch.tensor(WHITE, device=device).view(1, 3, 1, 1)
