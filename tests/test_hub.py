"""Projectors from the Hugging Face hub, through a stand-in for it."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from literal.projector import PublishedProjector
from torch import Tensor

import stand_in
from adpt.errors import UserError, WeightsError
from adpt.evaluate import evaluate
from adpt.projector import FeatureProjector
from adpt.results import read_records
from adpt.weights import (
    find_projector,
    load_matching_projector,
    load_projector,
    projector_metadata,
    save_projector,
)
from adpt.weights.hub import AUTHORS, FOLDERS, HubName, parse, upload
from runs import evaluation, run_task
from small import SmallBackbone

WIDTHS = (112, 320)
"""Of the small backbone's last levels, which the published 16 heads divide."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stand_in.Hub]:
    """The authors' repository with small weights, and this process set to use it."""
    with stand_in.running() as hub:
        files = {
            f"{folder}/checkpoints_pro_{variant}.pth": published(seed)
            for seed, variant in enumerate(("angle", "norm"))
            for folder in ("clip-large", "dino-base")
        }
        hub.commit(AUTHORS, files | {"README.md": b"Weights"})
        stand_in.use(hub.url, tmp_path / "hf", monkeypatch)
        yield hub


def state(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(PublishedProjector(WIDTHS, num_heads=16, num_references=3).state_dict())


def published(seed: int) -> bytes:
    return saved({"projectors": state(seed), "img_auc": 0.9, "pix_auc": 0.9, "pix_pro": 0.8})


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def own(folder: Path) -> bytes:
    torch.manual_seed(7)
    projector = FeatureProjector(WIDTHS, num_heads=4, num_references=3)
    save_projector(projector, folder / "own.safetensors", {"backbone": "efficientnet_lite0"})
    return (folder / "own.safetensors").read_bytes()


def cached(folder: Path) -> list[Path]:
    """The files that lie in the hub's cache or beside it, other than its own notes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    notes = {"refs", ".locks", ".no_exist"}
    return [f for f in files if f.name != "CACHEDIR.TAG" and not notes & set(f.parts)]


# ---- Names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:adpretrain/clip_l", HubName(AUTHORS, "clip-large/checkpoints_pro_angle.pth")),
        ("hub:adpretrain/imagebind/norm", HubName(AUTHORS, "imagebind/checkpoints_pro_norm.pth")),
        ("hub:adpretrain/clip_b@v1", HubName(AUTHORS, "clip-base/checkpoints_pro_angle.pth", "v1")),
        ("hub:me/my-projector", HubName("me/my-projector", "projector.safetensors")),
        ("hub:me/all@refs/pr/3", HubName("me/all", "projector.safetensors", "refs/pr/3")),
        ("hub:me/all/a/b.safetensors@v2", HubName("me/all", "a/b.safetensors", "v2")),
    ],
)
def test_name_says_repository_file_and_revision(text: str, expected: HubName) -> None:
    assert parse(text) == expected


def test_file_of_the_authors_tells_its_backbone() -> None:
    for backbone in FOLDERS:
        name = parse(f"hub:adpretrain/{backbone}")
        assert name.backbone == backbone
        assert parse(f"hub:{name.repo}/{name.file}") == name
        assert parse(f"hub:me/copy/{name.file}").backbone is None


@pytest.mark.parametrize(
    "text",
    [
        "hub:",
        "hub:adpretrain",
        "hub:adpretrain/resnet50",
        "hub:adpretrain/clip_l/both",
        "hub:adpretrain/clip_l/norm/more",
        "hub:me/repo/weights.bin",
        "hub:me/repo/../../secret.pth",
        "hub:me//x.pth",
        "hub:me/two parts",
        "hub:me/repo@",
    ],
)
def test_other_names_are_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(WeightsError, match=r"hub:adpretrain/<backbone>\[/<variant>\]") as raised:
        parse(text)
    assert text in str(raised.value)
    assert "dinov2_b, dinov2_l, clip_b, clip_l, imagebind" in str(raised.value)


# ---- Downloads ------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "seed"), [("", 0), ("/angle", 0), ("/norm", 1)])
def test_published_weights_are_the_same_as_from_the_file(
    tmp_path: Path, hub: stand_in.Hub, variant: str, seed: int
) -> None:
    by_hand = tmp_path / "by_hand.pth"
    by_hand.write_bytes(published(seed))
    expected = load_projector(by_hand).state_dict()
    found = load_projector(f"hub:adpretrain/clip_l{variant}").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_provenance_and_protocol_of_published_weights(tmp_path: Path, hub: stand_in.Hub) -> None:
    by_hand = tmp_path / "by_hand.pth"
    by_hand.write_bytes(published(0))
    found = find_projector("hub:adpretrain/clip_l")
    commit = next(iter(hub.repos[AUTHORS]))
    file = "clip-large/checkpoints_pro_angle.pth"
    assert found.name == "hub:adpretrain/clip_l"
    assert found.protocol == "paper"
    assert found.authors
    assert found.sha256 == find_projector(by_hand).sha256
    assert found.source == {"repo": AUTHORS, "file": file, "commit": commit, "sha256": found.sha256}
    assert found.path.suffix == ".safetensors"
    assert found.metadata["backbone"] == "clip_l"
    assert found.metadata["origin"] == f"hub:{AUTHORS}/{file}@{commit}"
    assert found.metadata["origin_sha256"] == found.sha256
    assert "MVTec" in found.metadata["selection"]
    assert found.sets == ["realiad"]
    assert find_projector(by_hand).protocol == "paper"
    assert find_projector(by_hand).sets == ["realiad"]
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(found.path.read_bytes())
    assert find_projector(copied).protocol == "paper"
    assert find_projector(copied).sets == ["realiad"]


def test_content_is_downloaded_and_converted_once(hub: stand_in.Hub) -> None:
    first = find_projector("hub:adpretrain/clip_l")
    written = first.path.stat().st_mtime_ns
    assert hub.downloads() == 1
    assert find_projector("hub:adpretrain/clip_l/angle").path == first.path
    assert find_projector(f"hub:{AUTHORS}/{first.source['file']}").path == first.path
    assert hub.downloads() == 1
    assert first.path.stat().st_mtime_ns == written


def test_new_commit_is_noticed_and_an_old_one_can_be_named(hub: stand_in.Hub) -> None:
    old = find_projector("hub:adpretrain/clip_l")
    new = hub.commit(AUTHORS, {"clip-large/checkpoints_pro_angle.pth": published(5)})
    assert find_projector("hub:adpretrain/clip_l").source["commit"] == new
    assert find_projector("hub:adpretrain/clip_l").sha256 != old.sha256
    again = find_projector(f"hub:adpretrain/clip_l@{old.source['commit']}")
    assert again.sha256 == old.sha256


def test_own_projector_on_the_hub(tmp_path: Path, hub: stand_in.Hub) -> None:
    content = own(tmp_path)
    commit = hub.commit("me/mine", {"projector.safetensors": content, "b/2.safetensors": content})
    found = find_projector("hub:me/mine")
    assert (found.protocol, found.source["commit"]) == ("clean", commit)
    assert found.path.read_bytes() == content
    assert (
        projector_metadata("hub:me/mine/b/2.safetensors@main")["backbone"] == "efficientnet_lite0"
    )
    assert load_projector("hub:me/mine").channels == WIDTHS


def test_backbone_of_published_weights_is_checked(hub: stand_in.Hub) -> None:
    backbone = SmallBackbone(levels=(3, 4))
    with pytest.raises(WeightsError, match=r"hub:adpretrain/clip_l was trained on .*'clip_l'"):
        load_matching_projector("hub:adpretrain/clip_l", backbone, torch.device("cpu"))
    hub.commit("me/copy", {"copy.pth": published(0)})
    copy = load_matching_projector("hub:me/copy/copy.pth", backbone, torch.device("cpu"))
    assert copy is not None


def test_wrong_checksum_is_refused_and_the_file_removed(tmp_path: Path, hub: stand_in.Hub) -> None:
    hub.corrupted = True
    with pytest.raises(WeightsError, match=r"came with SHA-256 .* hub states .* removed"):
        find_projector("hub:adpretrain/clip_l")
    assert cached(tmp_path / "hf") == []
    hub.corrupted = False
    assert find_projector("hub:adpretrain/clip_l").protocol == "paper"
    assert hub.downloads() == 2


def test_file_that_was_damaged_in_the_cache_is_refused(tmp_path: Path, hub: stand_in.Hub) -> None:
    find_projector("hub:adpretrain/clip_l")
    (blob,) = (path for path in cached(tmp_path / "hf") if path.parent.name == "blobs")
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="Start again to download it anew"):
        find_projector("hub:adpretrain/clip_l")
    find_projector("hub:adpretrain/clip_l")
    assert hub.downloads() == 2


def test_interrupted_download_is_resumed(hub: stand_in.Hub) -> None:
    hub.broken = 1
    found = find_projector("hub:adpretrain/clip_l")
    assert (hub.downloads(), hub.resumed) == (2, 1)
    assert found.sha256 == stand_in.sha256(published(0))


def test_nothing_of_a_download_that_broke_off_is_used(tmp_path: Path, hub: stand_in.Hub) -> None:
    hub.broken, hub.refuses_ranges = 1, True
    with pytest.raises(WeightsError, match=r"broke off.*Start again, or bring http.*angle\.pth"):
        find_projector("hub:adpretrain/clip_l")
    assert cached(tmp_path / "hf") == []
    assert find_projector("hub:adpretrain/clip_l").sha256 == stand_in.sha256(published(0))


# ---- Without a connection -------------------------------------------------------------------


def offline(how: str, hub: stand_in.Hub, tmp_path: Path, patch: pytest.MonkeyPatch) -> str:
    """Cut the connection, and give a piece of the reason that a message must name."""
    if how == "HF_HUB_OFFLINE":
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        return "offline mode is enabled"
    with stand_in.running() as closed:
        url = closed.url
    stand_in.use(url, tmp_path / "hf", patch)
    return "refused"


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "closed port"])
def test_without_connection_the_message_says_what_to_bring(
    tmp_path: Path, hub: stand_in.Hub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    reason = offline(how, hub, tmp_path, monkeypatch)
    with pytest.raises(WeightsError) as raised:
        find_projector("hub:adpretrain/dinov2_b/norm")
    message = str(raised.value)
    assert reason in message
    assert f"{AUTHORS}/resolve/main/dino-base/checkpoints_pro_norm.pth" in message
    assert "projector=<path>/checkpoints_pro_norm.pth" in message
    assert "\n" not in message


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "closed port"])
def test_without_connection_the_cache_serves(
    tmp_path: Path, hub: stand_in.Hub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    before = find_projector("hub:adpretrain/clip_l")
    offline(how, hub, tmp_path, monkeypatch)
    assert find_projector("hub:adpretrain/clip_l") == before
    (blob,) = (path for path in cached(tmp_path / "hf") if path.parent.name == "blobs")
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="the hub states"):
        find_projector("hub:adpretrain/clip_l")


# ---- Refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hub:adpretrain/imagebind", "It has clip-large/checkpoints_pro_angle.pth, dino-base/"),
        (f"hub:{AUTHORS}/clip-large/best.pth", "It has clip-large/checkpoints_pro_angle.pth, clip"),
        ("hub:adpretrain/clip_l@v9", "no revision 'v9'"),
        ("hub:me/two--parts", "me/two--parts is no name of a repository"),
        ("hub:nobody/nothing", "There is no repository nobody/nothing"),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(
    hub: stand_in.Hub, name: str, said: str
) -> None:
    with pytest.raises(WeightsError) as raised:
        find_projector(name)
    assert said in str(raised.value)
    assert "README" not in str(raised.value)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["of torch", "plain"])
def test_file_that_would_run_code_is_refused(
    tmp_path: Path, hub: stand_in.Hub, zipped: bool
) -> None:
    content = {"projectors": state(0), "img_auc": Harmful(tmp_path / "harmed")}
    harmful = saved(content) if zipped else pickle.dumps(content, protocol=2)
    hub.commit(AUTHORS, {"clip-large/checkpoints_pro_angle.pth": harmful})
    with pytest.raises(WeightsError, match="is refused"):
        find_projector("hub:adpretrain/clip_l")
    assert not (tmp_path / "harmed").exists()
    assert not list((tmp_path / "hf").rglob("*.safetensors"))


def test_file_without_stated_checksum_is_refused(
    hub: stand_in.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "LARGE", (".safetensors",))
    with pytest.raises(WeightsError, match="states no SHA-256"):
        find_projector("hub:adpretrain/clip_l")


def test_upload_without_token_says_how_to_log_in(
    tmp_path: Path, hub: stand_in.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    with pytest.raises(UserError, match=r"me/mine could not be uploaded.*hf auth login"):
        upload([tmp_path / "README.md"], "me/mine", private=True, message="First")


# ---- The whole evaluation -------------------------------------------------------------------


def test_evaluation_with_a_projector_of_the_hub(
    tmp_path: Path, hub: stand_in.Hub, mvtec_root: Path
) -> None:
    commit = hub.commit(AUTHORS, {"small/checkpoints_pro_norm.pth": published(3)})
    name = f"hub:{AUTHORS}/small/checkpoints_pro_norm.pth@main"
    chosen = ["data=mvtec", f"data.root={mvtec_root}", "data.classes=[bottle]"]
    chosen += ["method=feature_norm", f"projector={name}"]
    run_task(evaluate, evaluation(tmp_path / "out", *chosen, "backbone.levels=[3,4]"))
    records = read_records(tmp_path / "out" / "results.jsonl")
    assert [record.features for record in records] == ["own", "residual", "pretrained"]
    assert {record.protocol for record in records} == {"paper"}
    record = records[-1]
    digest = stand_in.sha256(published(3))
    assert (record.projector, record.projector_sha256) == (name, digest)
    assert record.provenance["projector_source"] == {
        "repo": AUTHORS,
        "file": "small/checkpoints_pro_norm.pth",
        "commit": commit,
        "sha256": digest,
    }
    assert commit in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
