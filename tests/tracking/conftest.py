"""W&B offline, in folders of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from wandb_files import without_account


@pytest.fixture
def no_account(tmp_path: Path) -> Iterator[None]:
    """No account and no way to one, as on a machine that never ran `wandb login`."""
    with without_account(tmp_path):
        yield
