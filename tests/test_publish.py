"""Own weights on the hub: the model card, and the way there and back through a stand-in."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import stand_in
from adpt.errors import UserError
from adpt.evaluation.preparing import saw_images
from adpt.projector import FeatureProjector
from adpt.publish import publish
from adpt.results import append_records
from adpt.results.card import records_of
from adpt.running.whole_files import sha256
from adpt.weights import find_projector, load_projector, save_projector
from adpt.weights.hub import AUTHORS
from recorded import a_record, three
from runs import composed, run_task

WIDTHS = (40, 112)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[stand_in.Hub]:
    with stand_in.running() as hub:
        stand_in.use(hub.url, tmp_path / "hf", monkeypatch)
        yield hub


@pytest.fixture
def projector(tmp_path: Path) -> Path:
    """A projector file as pretraining leaves it."""
    torch.manual_seed(0)
    path = tmp_path / "run" / "projector.safetensors"
    root = "/secret/place/own"
    data = {"_target_": "adpt.data.Folder", "root": root, "batch_size": 6, "classes": ["key"]}
    metadata = {
        "backbone": "efficientnet_lite0",
        "levels": "[2, 3]",
        "epoch": "3",
        "selection": "the third epoch",
        "images": json.dumps([f"{root}/key/train/good", f"{root}/key/test/bent"]),
        "config": json.dumps({"data": data, "model": {"angle_loss": {}, "norm_loss": None}}),
    }
    save_projector(FeatureProjector(WIDTHS, num_heads=4, num_references=3), path, metadata)
    return path


@pytest.fixture
def results(tmp_path: Path, projector: Path) -> Path:
    """Two seeds of PatchCore with the projector, and a result of another projector."""
    digest = sha256(projector)
    for seed, shift in ((0, 0.0), (1, 0.02)):
        values = (0.7 + shift, 0.75, 0.9 + shift)
        own, residual, pretrained = three(values, method="patchcore", backbone="efficientnet_lite0")
        records = [own, residual, replaced(pretrained, digest)]
        append_records(tmp_path / "results.jsonl", [seeded(r, seed) for r in records])
    other = a_record("pretrained", 0.111, method="cflow", backbone="efficientnet_lite0")
    append_records(tmp_path / "results.jsonl", [other])
    return tmp_path


def replaced(record, digest):
    return type(record)(**{**vars(record), "projector_sha256": digest})


def seeded(record, seed):
    return type(record)(**{**vars(record), "seed": seed})


def publishing(folder: Path, projector: Path, results: Path, *overrides: str):
    chosen = [f"projector={projector}", f"results={results}", f"folder={folder}"]
    chosen += ["repo=me/mine", "license=cc-by-nc-4.0", "metrics=[image_auroc]"]
    return composed("publish", *chosen, *overrides)


def test_dry_run_writes_card_and_projector(
    tmp_path: Path, hub: stand_in.Hub, projector: Path, results: Path
) -> None:
    folder = tmp_path / "published"
    run_task(publish, publishing(folder, projector, results, "dry_run=true"))
    assert hub.requests == []
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "projector.safetensors"]
    published = find_projector(folder / "projector.safetensors")
    back, ours = load_projector(published.path).state_dict(), load_projector(projector).state_dict()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    _, header, card = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "cc-by-nc-4.0",
        "library_name": "adpt",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["anomaly-detection", "industrial-inspection", "adpretrain"],
    }
    # 71 ± 1.4 and 91 ± 1.4 are the means over both seeds; the other projector's 11.1 is left out.
    assert "71.0 ± 1.4 | 75.0 | **91.0 ± 1.4** | +20.0" in card
    assert "11.1" not in card
    assert "clean: nothing chosen on test data" in card
    assert 'load_projector("hub:me/mine")' in card
    assert "projector=hub:me/mine" in card
    assert sha256(projector) in card
    assert f"SHA-256 of projector.safetensors: `{published.sha256}`" in card
    assert "arxiv.org/abs/2511.05245" in card
    training = card[card.index("## Training") :]
    assert "- Data: Folder\n- Classes: key\n- Epochs: 3\n- Chosen: the third epoch\n" in training
    assert "- Images a step: 6\n" in training
    assert "- Losses: angle loss\n" in training
    assert "secret" not in card
    assert str(tmp_path) not in card


def test_published_projector_is_read_back(
    tmp_path: Path, hub: stand_in.Hub, projector: Path, results: Path
) -> None:
    run_task(publish, publishing(tmp_path / "published", projector, results))
    commit, files = hub.files("me/mine", "main") or ("", {})
    assert sorted(files) == [".gitattributes", "README.md", "projector.safetensors"]
    found = find_projector("hub:me/mine")
    published = sha256(tmp_path / "published" / "projector.safetensors")
    assert (found.sha256, found.source["commit"]) == (published, commit)
    assert found.metadata["epoch"] == "3"
    back, ours = load_projector("hub:me/mine").state_dict(), load_projector(projector).state_dict()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_nothing_that_is_uploaded_names_places_or_people(
    tmp_path: Path, hub: stand_in.Hub, results: Path, projector: Path
) -> None:
    digest = sha256(projector)
    metadata = dict(find_projector(projector).metadata)
    config = json.loads(metadata["config"])
    config |= {
        "data_dir": "/home/alice/acme",
        "output_dir": "/home/alice/acme/out",
        "run_name": "alice",
        "logger": {"wandb": {"entity": "alice", "save_dir": "~/acme"}},
        "backbone": {"weights": "/home/alice/acme/weights/net.pth", "name": "timm/net.a1"},
        "masks": ["../acme/masks", "C:\\Users\\alice\\masks", "~alice/masks", "/mnt/acme/m.png"],
    }
    config["data"]["root"] = "/home/alice/acme/own"
    metadata["config"] = json.dumps(config)
    save_projector(load_projector(projector), projector, metadata)
    records = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
    for record in records:
        if record["projector_sha256"] == digest:
            record["projector_sha256"] = sha256(projector)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (results / "results.jsonl").write_text(text)
    run_task(publish, publishing(tmp_path / "published", projector, results))
    _, files = hub.files("me/mine", "main") or ("", {})
    assert len(files) == 3
    for content in files.values():
        for word in ("alice", "acme", "secret", "/home", "/mnt", str(tmp_path), "Users"):
            assert word.encode() not in content, word
    found = find_projector("hub:me/mine").metadata
    told = json.loads(found["config"])
    assert told["data"]["root"] == "own"
    assert told["backbone"] == {"weights": "weights/net.pth", "name": "timm/net.a1"}
    assert told["masks"] == ["masks", "masks", "masks", "m.png"]
    # Images that it has seen are known again, where they lie.
    good = SimpleNamespace(split="test", image=Path("/secret/place/own/key/train/good/000.png"))
    data = SimpleNamespace(set_name="own", samples=[good])
    assert saw_images(find_projector("hub:me/mine"), data)
    good.image = Path("/secret/place/other/000.png")
    assert not saw_images(find_projector("hub:me/mine"), data)


def test_published_again_it_is_a_new_commit(
    tmp_path: Path, hub: stand_in.Hub, projector: Path, results: Path
) -> None:
    run_task(publish, publishing(tmp_path / "published", projector, results))
    first = find_projector("hub:me/mine").source["commit"]
    changed = publishing(tmp_path / "published", projector, results, "license=mit")
    run_task(publish, changed)
    assert find_projector("hub:me/mine").source["commit"] != first
    assert b"license: mit" in (hub.files("me/mine", "main") or ("", {}))[1]["README.md"]


def test_authors_weights_are_not_published_again(
    tmp_path: Path, hub: stand_in.Hub, projector: Path, results: Path
) -> None:
    published = {"origin": f"hub:{AUTHORS}/clip-large/x.pth", "protocol": "paper"}
    save_projector(load_projector(projector), tmp_path / "converted.safetensors", published)
    with pytest.raises(UserError, match="of the authors' publication"):
        run_task(publish, publishing(tmp_path / "p", tmp_path / "converted.safetensors", results))
    assert hub.requests == []


def test_results_of_other_projectors_are_refused(tmp_path: Path, projector: Path) -> None:
    records = [a_record("own"), a_record("pretrained")]
    with pytest.raises(UserError, match="they are of projectors abababab"):
        records_of(records, sha256(projector), "cd" * 32)
    with pytest.raises(UserError, match="they are of none"):
        records_of([a_record("own")], sha256(projector), "cd" * 32)


def test_results_of_the_same_tensors_with_other_notes_beside_them_count(projector: Path) -> None:
    of_the_same = replaced(a_record("pretrained"), "ef" * 32)
    of_the_same.decides["projector"] = "cd" * 32
    records = [of_the_same, replaced(a_record("pretrained"), "aa" * 32)]
    assert records_of(records, sha256(projector), "cd" * 32) == [of_the_same]


@pytest.mark.parametrize("repo", ["mine", "me/mine/more", "me/", "me mine/x"])
def test_repository_without_owner_is_refused(
    tmp_path: Path, projector: Path, results: Path, repo: str
) -> None:
    with pytest.raises(UserError, match="repo=<owner>/<name>"):
        run_task(publish, publishing(tmp_path / "p", projector, results, f"repo='{repo}'"))
    assert not (tmp_path / "p").exists()
