"""Further images into what was learned from others, which are no longer at hand."""

import torch
from torch import Tensor

from adpt.methods.coreset import greedy_coreset
from adpt.methods.left_out import from_lever
from adpt.methods.nearest_patches import NearestPatches
from adpt.nearest import slices

_CHUNK_BYTES = 2**27


def recovered(mean: Tensor, basis: Tensor, whitening: Tensor) -> Tensor:
    """The features (n, C, positions) that a low-rank Gaussian of PaDiM was fitted on, rounded.

    With L the factor of their Gram matrix, L⁻¹X is the basis X was kept as (positions, n, C), and
    √f·L⁻ᵀ the whitening (positions, n, n), f = max(n − 1, 1).
    """
    freedom = max(basis.shape[1] - 1, 1)
    found = []
    for chunk in slices(len(mean), _CHUNK_BYTES // (16 * basis[0].numel())):
        inverse = whitening[chunk].double().mT / freedom**0.5
        rows = torch.linalg.solve_triangular(inverse, basis[chunk].double(), upper=False)
        found.append((rows + mean[chunk, None]).float())
    return torch.cat(found).permute(1, 2, 0)


def merged(
    mean: Tensor, whitening: Tensor, images: int, level: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A Gaussian of PaDiM, of full rank, with further images in it.

    Args:
        mean: (positions, C) of `images` images.
        whitening: (positions, C, C): the inverse of their covariances' factors.
        images: How many these are.
        level: (m, C, h, w) of the further ones.
        epsilon: Variance that was added to every direction.

    Returns:
        Mean and whitening of all, and (m, h, w) distances of the further images from the Gaussians
        of all others.
    """
    further, channels, height, width = level.shape
    count = images + further
    identity = torch.eye(channels, dtype=torch.float64, device=level.device)
    means, whitenings, distances = [], [], []
    by_position = level.flatten(2).permute(2, 0, 1)
    for chunk in slices(len(mean), _CHUNK_BYTES // (32 * channels * (channels + further))):
        new, old = by_position[chunk].double(), mean[chunk].double()
        factor = torch.linalg.solve_triangular(whitening[chunk].double(), identity, upper=False)
        scatter = max(images - 1, 1) * (factor @ factor.mT - epsilon * identity)
        step = new.mean(1) - old
        centred = new - new.mean(1, keepdim=True)
        between = images * further / count * step[:, :, None] * step[:, None]
        scatter = scatter + centred.mT @ centred + between
        middle = old + step * (further / count)
        factor = torch.linalg.cholesky(scatter / (count - 1) + epsilon * identity)
        means.append(middle.float())
        whitenings.append(torch.linalg.solve_triangular(factor, identity, upper=False).float())
        freedom = max(count - 2, 1)
        factor = torch.linalg.cholesky(scatter + freedom * epsilon * identity)
        away = (new - middle[:, None]).mT
        solved = torch.linalg.solve_triangular(factor, away, upper=False)
        distances.append(from_lever(solved.square().sum(1), count))
    found = torch.cat(distances).T.reshape(further, height, width).float()
    return torch.cat(means), torch.cat(whitenings), found


def grown_bank(
    bank: Tensor, embedded: Tensor, count: int, generator: torch.Generator, num_starts: int
) -> tuple[Tensor, Tensor]:
    """A coreset of a bank and the patches of further images.

    Args:
        bank: (M, D).
        embedded: (m, patches, D) of the further images.
        count: How many to pick.
        generator: Chooses the first.
        num_starts: As of `greedy_coreset`.

    Returns:
        The new bank, and (m, patches) squared distances of the further images' patches to the
        nearest of the former bank and of other images' patches in the new one.
    """
    points = torch.cat([bank, embedded.flatten(0, 1)])
    picks = greedy_coreset(points, min(count, len(points)), generator, num_starts)
    # Those of the former bank that are not picked stand for the patches that are left out.
    near = torch.cat([bank, points[picks[picks >= len(bank)]]])
    owners = (picks[picks >= len(bank)] - len(bank)).div(embedded.shape[1], rounding_mode="floor")
    search = NearestPatches(near)
    distances = []
    for number, patches in enumerate(embedded):
        own = torch.zeros(len(near), dtype=torch.bool, device=near.device)
        own[len(bank) :] = owners == number
        distances.append(search.find(patches, hidden=own)[0])
    return points[picks], torch.stack(distances)
