"""PatchCore scoring: 83 images of 256 patches against a bank of 5,350 × 1024.

faiss is compared with where the interpreter has it (`pip install faiss-cpu`), otherwise a loop over
the images.
"""

from collections.abc import Callable, Iterator

import torch
from literal.patchcore import nearest_squared_distances as literal_distances
from measuring import MB, Row, in_turns, peak_memory, threads
from torch import Tensor

from adpt.methods.nearest_patches import NearestPatches

try:
    import faiss
except ImportError:
    faiss = None

IMAGES, PATCHES, BANK, WIDTH = 83, 256, 5350, 1024
CHUNK = 8 * MB
TOLERANCE = 1e-4


def drawn(images: int = IMAGES, bank: int = BANK) -> tuple[Tensor, Tensor]:
    """Patches of test images (images · 256, 1024) and a bank."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(images * PATCHES, WIDTH, generator=generator)
    return queries, torch.randn(bank, WIDTH, generator=generator)


def ours(images: int) -> Callable[[], object]:
    """Score the patches; after a first time, so that torch has loaded what it needs."""
    queries, bank = drawn(images)
    NearestPatches(bank[:100]).find(queries[:PATCHES])[0]
    return lambda: NearestPatches(bank).find(queries)[0]


def by_image(queries: Tensor, bank: Tensor) -> Tensor:
    """Image by image, every distance formed."""
    images = queries.split(PATCHES)
    return torch.cat([torch.cdist(image, bank).amin(1).square() for image in images])


def flat_index(bank: Tensor) -> Callable[[Tensor], Tensor]:
    """Build faiss's flat index; give what searches it with two threads."""
    faiss.omp_set_num_threads(2)
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.numpy())
    return lambda queries: torch.from_numpy(index.search(queries.numpy(), 1)[0][:, 0])


def rows() -> Iterator[Row]:
    """Time, and memory that the number of images does not change."""
    queries, bank = drawn()
    search = flat_index(bank) if faiss else lambda asked: by_image(asked, bank)
    with threads(2):
        found = NearestPatches(bank).find(queries)[0]
        torch.testing.assert_close(found, search(queries), rtol=TOLERANCE, atol=0)
        few = queries[:100]
        torch.testing.assert_close(found[:100], literal_distances(few, bank), rtol=1e-6, atol=0)
        yield Row(
            "PatchCore scoring",
            f"{IMAGES} images of {PATCHES} patches against {BANK} × {WIDTH}",
            **in_turns(
                lambda: NearestPatches(bank).find(queries)[0], lambda: search(queries), runs=7
            ),
            other_name="faiss's flat index, built beforehand" if faiss else "a loop over images",
            goal=1.0 if faiss else None,
            note=f"within {TOLERANCE:g} relative; {'' if faiss else 'no faiss here; '}"
            "ours forms the nearest distance from the difference, exactly",
        )
    # The centred bank, a tile of similarities, its queries (centred, minus nearest), and what the
    # matrix product packs: 10 to 60 MB were seen, whatever the sizes.
    stated = (bank.nbytes + 2 * CHUNK) / MB + 72
    for images in (IMAGES, 4 * IMAGES):
        yield Row(
            "the same, memory",
            f"{images} images",
            peak_memory("parts.patchcore", "ours", images),
            unit="MB",
            goal=stated,
            kind="limit",
            note="a second bank, two tiles of 8 MB and 72 MB for the matrix product",
        )
