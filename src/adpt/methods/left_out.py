"""Images that were fitted on, as if each had not been there, without fitting again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from adpt.methods.nearest_patches import NearestPatches
from adpt.methods.stacked import Rows

_CHUNK_BYTES = 2**27


def left_out_patches(patches: Rows, images: int, bank: Tensor) -> Tensor | None:
    """Squared distances of each image's patches to a bank without that image.

    Each of its patches in the bank is replaced by a patch of another image: the nearest of those
    that it stands for, as a bank chosen without the image would have taken one of them.

    Args:
        patches: (images · patches of one, D), image by image, of all fitted on.
        images: How many, at least 2.
        bank: (M, D), rows of these.

    Returns:
        (images, patches of one); None if a row of the bank is none of theirs.
    """
    each = len(patches) // images
    places = [slice(number * each, (number + 1) * each) for number in range(images)]
    owners = _owners(patches, places, bank)
    if owners is None:
        return None
    search = NearestPatches(bank, like=patches)
    distances, nearest, stands_for = [], [], []
    for number, place in enumerate(places):
        image = patches[place]
        own = owners == number
        squares, others = search.find(image, hidden=own)
        if own.all():
            squares = torch.full_like(squares, torch.inf)
        closest = torch.full_like(squares, torch.inf)
        if own.any():
            closest, _ = NearestPatches(bank[own]).find(image)
        distances.append(squares)
        nearest.append(others)
        stands_for.append(squares < closest)
    found = torch.stack(distances)
    rows, members = _substitutes(found, torch.stack(nearest), torch.stack(stands_for), len(bank))
    for number, place in enumerate(places):
        chosen = members[owners[rows] == number]
        if len(chosen):
            further = NearestPatches(patches[chosen]).find(patches[place])[0]
            found[number] = found[number].minimum(further)
    return found


def _substitutes(
    distances: Tensor, nearest: Tensor, stands_for: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Rows of the bank, and for each the nearest patch of another image that it stands for."""
    members = stands_for.flatten().nonzero()[:, 0]
    rows, squares = nearest.flatten()[members], distances.flatten()[members]
    least = squares.new_full((size,), torch.inf).scatter_reduce(0, rows, squares, "amin")
    members, rows = members[squares == least[rows]], rows[squares == least[rows]]
    none = len(nearest.flatten())
    first = members.new_full((size,), none).scatter_reduce(0, rows, members, "amin")
    rows = (first < none).nonzero()[:, 0]
    return rows, first[rows]


def _owners(patches: Rows, places: Sequence[slice], bank: Tensor) -> Tensor | None:
    """(M,) which image each row of the bank comes from; the first of several."""
    rows = [row.tobytes() for row in bank.cpu().numpy()]
    found: dict[bytes, int] = dict.fromkeys(rows, -1)
    for number in reversed(range(len(places))):
        for row in patches[places[number]].cpu().numpy():
            if (key := row.tobytes()) in found:
                found[key] = number
    owners = torch.tensor([found[row] for row in rows], device=bank.device)
    return None if (owners < 0).any() else owners


def left_out_gaussians(level: Tensor, epsilon: float) -> Tensor:
    """Mahalanobis distances of each image's features to the Gaussians of the others.

    Args:
        level: (n, C, h, w) of all images fitted on, n at least 2.
        epsilon: Variance added to every direction.

    Returns:
        (n, h, w).
    """
    count, channels, height, width = level.shape
    bytes_each = 24 * count * (channels + min(count, channels))
    chunks = level.flatten(2).permute(2, 0, 1).split(max(1, _CHUNK_BYTES // bytes_each))
    distances = torch.cat([_without_each(chunk, epsilon) for chunk in chunks])
    return distances.T.reshape(count, height, width).float()


def _without_each(features: Tensor, epsilon: float) -> Tensor:
    """Distances (positions, n) of features (positions, n, C), in float64.

    Without image i the mean is farther from it by n/(n − 1), and the scatter S loses
    n/(n − 1)·cᵢcᵢᵀ, cᵢ being the image less the mean of all. By Sherman and Morrison the squared
    distance is (n/(n − 1))²·f·q / (1 − q·n/(n − 1)), q = cᵢᵀ(S + λI)⁻¹cᵢ, f = n − 2, λ = f·epsilon.

    With K the Gram matrix of all cᵢ, q = (n − 1)/n − λg, g being the i-th diagonal number of
    (K + λI)⁻¹ less what the constant vector has in it, which K maps to 0. Then the squared distance
    is 1/(epsilon·g) − f·n/(n − 1). The constant vector is given a large eigenvalue in place of λ,
    so that nothing cancels.
    """
    count, channels = features.shape[1:]
    centred = features.double()
    centred = centred - centred.mean(1, keepdim=True)
    freedom, more = max(count - 2, 1), count / (count - 1)
    ridge = freedom * epsilon
    identity = torch.eye(min(count, channels), dtype=torch.float64, device=features.device)
    if count > channels:
        factor = torch.linalg.cholesky(centred.mT @ centred + ridge * identity)
        solved = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
        return from_lever(solved.square().sum(1), count)
    gram = centred @ centred.mT
    large = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1
    factor = torch.linalg.cholesky(gram + ridge * identity + large / count)
    inverse: Tensor = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    rest = inverse - 1 / (count * (ridge + large[:, 0]))
    return (1 / (epsilon * rest) - freedom * more).clamp_min(0).sqrt()


def from_lever(lever: Tensor, count: int) -> Tensor:
    """Distances from q = cᵢᵀ(S + λI)⁻¹cᵢ, as `_without_each` has it, of `count` images in all."""
    freedom, more = max(count - 2, 1), count / (count - 1)
    squares: Tensor = more**2 * freedom * lever / (1 - more * lever)
    return squares.sqrt()
