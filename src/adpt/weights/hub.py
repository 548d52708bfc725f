"""Projectors on the Hugging Face hub: their names, downloads that are verified, and uploads.

The hub is asked first, for the commit and the SHA-256 that a record keeps; its cache only where it
is not reached. Weights of backbones are known by their content instead, so that their cache is
asked first and works without the hub: `backbones/weights_file.py`.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from adpt.errors import UserError, WeightsError
from adpt.running.whole_files import sha256

log = logging.getLogger(__name__)

PREFIX = "hub:"
AUTHORS = "xcyao00/ADPretrain"
"""The repository of the authors' own weights."""

FOLDERS = {
    "dinov2_b": "dino-base",
    "dinov2_l": "dino-large",
    "clip_b": "clip-base",
    "clip_l": "clip-large",
    "imagebind": "imagebind",
}
"""Backbone to its folder in the authors' repository."""

VARIANTS = {"angle": "PatchCore", "norm": "FeatureNorm"}
"""The authors' two choices of epoch, each by the AUPRO of a method on MVTec AD's test set.

Both were trained with both losses. The authors evaluate PaDiM and PatchCore with "angle", the other
methods with "norm"; "angle" comes first here, as two of the three quick methods are those.
"""

OWN_FILE = "projector.safetensors"
SUFFIXES = (".safetensors", ".pth")
ACCEPTED = (
    f"Accepted are hub:adpretrain/<backbone>[/<variant>], with a backbone of {', '.join(FOLDERS)}"
    f" and a variant of {', '.join(VARIANTS)}, and hub:<owner>/<repository>[/<file>][@<revision>],"
    f" with a {' or '.join(SUFFIXES)} file, by default {OWN_FILE}."
)

_LISTED = 20
"""Files of a repository that a message names."""


@dataclass(frozen=True)
class HubName:
    """Which file of which repository is meant.

    Attributes:
        repo: Owner and repository.
        file: Path of the file in it.
        revision: Branch, tag or commit.
    """

    repo: str
    file: str
    revision: str = constants.DEFAULT_REVISION

    @property
    def backbone(self) -> str | None:
        """The backbone of a file of the authors; None where only the file itself can tell."""
        folder = PurePosixPath(self.file).parts[0]
        backbones = {folder: backbone for backbone, folder in FOLDERS.items()}
        return backbones.get(folder) if self.repo == AUTHORS else None

    @property
    def url(self) -> str:
        """Where a browser gets the file."""
        return hf_hub_url(self.repo, self.file, revision=self.revision)


@dataclass(frozen=True)
class HubFile:
    """A downloaded and verified file.

    Attributes:
        name: Which file it is.
        path: Where it lies, in the hub's cache.
        commit: The commit that it is of, 40 hex digits.
        sha256: Its SHA-256.
    """

    name: HubName
    path: Path
    commit: str
    sha256: str


def is_hub_name(text: str | Path) -> bool:
    """True if this is a name on the hub and no path."""
    return str(text).startswith(PREFIX)


def parse(text: str) -> HubName:
    """Read a name such as `hub:adpretrain/clip_l/norm` or `hub:owner/repository@v1`.

    Raises:
        WeightsError: It is no such name; the message says which are accepted.
    """
    match = re.fullmatch(r"hub:([\w.-]+)/([\w.-]+)(?:/([^@]+))?(?:@(.+))?", text)
    if not match:
        raise WeightsError(f"{text} is no name of a projector on the hub. {ACCEPTED}")
    owner, name, rest = match[1], match[2], match[3]
    revision = match[4] or constants.DEFAULT_REVISION
    if owner == "adpretrain":
        variant = rest or next(iter(VARIANTS))
        if name not in FOLDERS or variant not in VARIANTS:
            raise WeightsError(f"{text} is none of the authors' projectors. {ACCEPTED}")
        return HubName(AUTHORS, f"{FOLDERS[name]}/checkpoints_pro_{variant}.pth", revision)
    file = rest or OWN_FILE
    # The hub's client takes each part of the path as it is: none may lead out of its cache.
    if not file.endswith(SUFFIXES) or {"", ".", ".."} & set(file.split("/")):
        raise WeightsError(f"{text} names no projector file. {ACCEPTED}")
    return HubName(f"{owner}/{name}", file, revision)


def download(name: HubName) -> HubFile:
    """Download a file into the hub's cache and verify it; what is there already is only verified.

    `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are heeded. Without a connection the
    file comes from the cache.

    Raises:
        WeightsError: There is no such repository, revision or file; it can't be had without a
            connection; the download broke off; or the file is not what the hub states.
    """
    try:
        info = HfApi().model_info(
            name.repo,
            revision=name.revision,
            files_metadata=True,
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )
    except HFValidationError as error:
        raise WeightsError(f"{name.repo} is no name of a repository: {error}") from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"{name.repo} has no revision '{name.revision}' on the hub.") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"There is no repository {name.repo} on the hub, or it is closed to you: check the"
            " name, or log in with `hf auth login`."
        ) from error
    # The client passes on the errors of its HTTP library, which changed from version to version.
    except Exception as error:
        return _from_cache(name, error)
    file = _find(name, info)
    if file.lfs is None:
        raise WeightsError(
            f"The hub states no SHA-256 for {name.file} of {name.repo}, so that it can't be"
            f" verified. Download {name.url} if you trust it, and give its path."
        )
    try:
        path = Path(hf_hub_download(name.repo, name.file, revision=name.revision))
    except Exception as error:
        raise WeightsError(
            f"The download of {name.file} of {name.repo} broke off: {_first_line(error)}. Nothing"
            f" of it is used. Start again, or {_by_hand(name)}"
        ) from error
    return HubFile(name, path, info.sha or "", _verified(path, file.lfs.sha256, name))


def upload(files: Sequence[Path], repo: str, private: bool, message: str) -> str:
    """Put files into a repository on the hub in one commit; it is made where there is none.

    Args:
        files: They lie at the repository's root under their own names.
        repo: Owner and repository.
        private: Make a new repository visible to its owner alone.
        message: The commit's.

    Returns:
        The commit, 40 hex digits.

    Raises:
        UserError: The hub is not reached, or does not accept them.
    """
    api = HfApi()
    operations = [CommitOperationAdd(path.name, path) for path in files]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(repo, operations, commit_message=message)
    except Exception as error:
        raise UserError(
            f"{repo} could not be uploaded to the hub: {_first_line(error)}. A token that may"
            " write is needed: log in with `hf auth login`, or set HF_TOKEN."
        ) from error
    return commit.oid


def _find(name: HubName, info: ModelInfo) -> RepoSibling:
    files = {file.rfilename: file for file in info.siblings or []}
    if name.file in files:
        return files[name.file]
    there = [file for file in files if file.endswith(SUFFIXES)]
    beside = [file for file in there if Path(file).parent == Path(name.file).parent]
    shown = ", ".join((beside or there)[:_LISTED]) or "no projector at all"
    raise WeightsError(
        f"{name.repo} has no file {name.file} at revision {name.revision}. It has {shown}. Choose"
        f" one as hub:{name.repo}/<file>."
    )


def _from_cache(name: HubName, reason: Exception) -> HubFile:
    """The file as it was downloaded before."""
    try:
        path = hf_hub_download(name.repo, name.file, revision=name.revision, local_files_only=True)
    except OSError as error:
        raise WeightsError(
            f"{name.file} of {name.repo} is not in the cache, and the hub cannot be reached:"
            f" {_first_line(reason)}. Try again with a connection, or {_by_hand(name)}"
        ) from error
    log.warning("The hub cannot be reached; %s of %s comes from the cache", name.file, name.repo)
    link = Path(path)
    commit = link.parents[len(PurePosixPath(name.file).parts) - 1].name
    # Its cache names what it holds by the SHA-256 that the hub stated, where there are links.
    stated = link.resolve().name
    known = stated if re.fullmatch("[0-9a-f]{64}", stated) else None
    return HubFile(name, link, commit, _verified(link, known, name))


def _verified(path: Path, stated: str | None, name: HubName) -> str:
    """The file's SHA-256; a file of another one than stated is removed."""
    found = sha256(path)
    if stated is not None and found != stated:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"{name.file} of {name.repo} came with SHA-256 {found}, but the hub states {stated}."
            " The file was removed. Start again to download it anew; if this stays, don't use it."
        )
    return found


def _by_hand(name: HubName) -> str:
    return (
        f"bring {name.url} over by hand and give the file instead:"
        f" projector=<path>/{PurePosixPath(name.file).name}"
    )


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.rstrip(".")
