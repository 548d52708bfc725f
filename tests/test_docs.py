"""Every command, program and link of the README and of docs/ is tried.

A command is composed exactly as it stands, and run with only that replaced which cannot be had
here: backbones by a small one, data sets by drawn ones, sizes by tiny ones. What is not run
stands in `NOT_RUN`, with the reason.
"""

import importlib
import inspect
import io
import json
import pkgutil
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from PIL import Image

import adpt
import drawn
from adpt.backbones import build_backbone
from adpt.cli.command_line import GROUPS, hydras_words
from adpt.evaluate import evaluate
from adpt.projector import FeatureProjector
from adpt.weights import save_projector
from runs import CONF, TINY, TINY_EVALUATION, TINY_TRAINING, command, composed, run_task
from small import SMALL, WIDTHS

ROOT = CONF.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [
    *PAGES,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CHANGELOG.md")),
    *sorted((ROOT / "experiments").rglob("*.md")),
]

NOT_RUN = {
    r"pip install .*": "takes packages from the network; tests/test_wheel.py installs the wheel",
    r"make \S+": "takes minutes, and `make test` would run this very test; the target must exist",
    r"torchrun .*": "several processes; tests/test_cluster.py starts them so",
    r"sbatch .*": "needs a scheduler",
    r"wandb .*": "needs an account; tests/tracking has the runs",
    r"python -m adpt\.predict .*watch=.*": "has no end; tests/test_predict_line.py has it",
    r"python -m adpt\.serve .*": "has no end; tests/serving has it",
    r"curl .*": "asks a server; tests/serving asks the same",
    r"python experiments/.*": "takes hours; what came out stands beside it",
}
"""Commands that are not run, and why."""

OF_PLUGINS = r"hydra/(launcher|sweeper)=.*|hydra\.(launcher|sweeper)\..*|\+hparams_search=optuna"
"""Words that only Hydra's plugins know, which are extras."""

LEFT_OUT = {
    r"strategy=ddp\w*|trainer\.(devices|num_nodes|strategy)=.*": (
        "processes of its own; tests/test_command_line.py has them"
    ),
    OF_PLUGINS: "extras; the job itself is run",
    r"\+hparams_search=.*": "needs Real-IAD's classes; tests/tracking has a search",
}
"""Words of a command that it is run without, and why."""

PROGRAMS = r"(?:[A-Z_]+=\S+ )*(?:python|pip|make|torchrun|sbatch|wandb|adpt-\w+|find|git|srun)\b"
PLACEHOLDER = "PLACEHOLDER"
"""Stands for what a command leaves to its reader, such as <file>."""
PHOTOS = 6


# ---- Reading pages ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fence:
    """A fenced block: its page, language, and lines."""

    page: Path
    language: str
    text: str


def fences(page: Path) -> list[Fence]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Fence(page, language, text) for language, text in found]


def commands_in(fence: Fence) -> list[str]:
    """The commands of a block: one a line, unless a backslash goes on with it."""
    lines = fence.text.replace("\\\n", " ").splitlines()
    lines = [line.partition("  #")[0].strip() for line in lines]
    return [line for line in lines if line and not line.startswith("#")]


def is_shell(fence: Fence) -> bool:
    if fence.language in ("bash", "sh"):
        return True
    return not fence.language and bool(re.search(rf"^{PROGRAMS}", fence.text, re.MULTILINE))


def title(path: Path) -> str:
    return str(path.relative_to(ROOT))


SHELL = [
    (title(page), line)
    for page in PAGES
    for fence in fences(page)
    if is_shell(fence)
    for line in commands_in(fence)
]
ENTRIES = sorted({line for _, line in SHELL if re.search(r"python -m adpt\.|^adpt-", line)})


@dataclass(frozen=True)
class Entry:
    """`python -m adpt.<module> <words>`, and what is piped into it."""

    module: str
    words: tuple[str, ...]
    before: str = ""

    @property
    def overrides(self) -> list[str]:
        """The words that are Hydra's overrides."""
        flags = {"-m", "--multirun", "--help", "--cfg", "job", "--config-dir"}
        place = self.words.index("--config-dir") + 1 if "--config-dir" in self.words else -1
        words = [w for i, w in enumerate(self.words) if w not in flags and i != place]
        return hydras_words(words) if self.module == "evaluate" else words


def entry_of(line: str) -> Entry:
    before, _, after = line.rpartition(" | ")
    words = shlex.split(re.sub(r"<[\w ]+>", PLACEHOLDER, after))
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[0].startswith("adpt-"):
        return Entry(words[0].removeprefix("adpt-"), tuple(words[1:]), before)
    assert words[:2] == ["python", "-m"], line
    return Entry(words[2].removeprefix("adpt."), tuple(words[3:]), before)


# ---- Composing ---------------------------------------------------------------------------------


def jobs(words: list[str]) -> list[list[str]]:
    """Jobs of a sweep, among which is every value that a word has; one where there is no sweep."""
    values = []
    for word, parsed in zip(words, OverridesParser.create().parse_overrides(words), strict=True):
        name = word.partition("=")[0]
        sweep = parsed.is_sweep_override() and parsed.is_choice_sweep()
        values.append([f"{name}={v}" for v in parsed.sweep_string_iterator()] if sweep else [word])
    count = max(map(len, values), default=1)
    return [[of[number % len(of)] for of in values] for number in range(count)]


def without(words: list[str], patterns: Iterable[str]) -> list[str]:
    return [w for w in words if not any(re.fullmatch(pattern, w) for pattern in patterns)]


def compose_as_shown(module: str, words: list[str], *, own_conf: Path | None = None) -> None:
    """Compose the config of a command's jobs; launchers and sweepers are extras, left out."""
    search = [f"hydra.searchpath=[file://{own_conf}]"] if own_conf else []
    for job in jobs(without(words, [OF_PLUGINS])):
        composed(module, *job, *search)


# ---- A place with everything that the pages name ------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, data sets, a projector and results, where the pages have them."""
    folder = tmp_path_factory.mktemp("place")
    sets = folder / "data"
    drawn.draw_mvtec(sets / "mvtec", ("bottle",))
    drawn.draw_mvtec_ad2(sets / "mvtec_ad2", ("can",))
    drawn.draw_mvtec_loco(sets / "mvtec_loco", ("pushpins",))
    drawn.draw_visa(sets / "visa", ("candle",))
    drawn.draw_folder(sets / "parts", ("key",))
    drawn.draw_realiad(sets / "realiad", ("audiojack", "pcb", "zipper"), views=1)
    for number in range(PHOTOS):
        drawn.save(drawn.picture("bottle", number)[0], folder / f"photos/good/{number:03d}.png")
        bad = drawn.picture("bottle", 50 + number, defect=number % 2 == 1)[0]
        drawn.save(bad, folder / f"photos/new/{number:03d}.png")
        later = drawn.picture("bottle", 20 + number)[0]
        drawn.save(later, folder / f"photos/newly_good/{number:03d}.png")
        defect = drawn.picture("bottle", 50 + number, defect=True)[0]
        drawn.save(defect, folder / f"photos/bad/{number:03d}.png")
    for number in range(5):
        good = drawn.picture("board", number)[0]
        drawn.save(good, sets / f"line3/board/good/{number}.png")
    bad, mask = drawn.picture("board", 9, defect=True)
    drawn.save(bad, sets / "line3/board/bad/9.png")
    drawn.save(mask, sets / "line3/board/bad_masks/9.png")

    for number in (0, 4):
        normal = sets / f"mvtec/bottle/train/good/{number:03d}.png"
        copy = folder / f"lists/8shot/mvtec/bottle/train/good/{number:03d}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(normal, copy)
    aligned = folder / "lists/aligned/references/mvtec/bottle.json"
    aligned.parent.mkdir(parents=True)
    start = "/theirs/mvtec/bottle"
    aligned.write_text(json.dumps({f"{start}/test/good/000.png": [f"{start}/train/good/001.png"]}))
    drawn.save(drawn.picture("board", 1)[0], folder / "dtd/images/woven/0.png")
    drawn.save(np.full((48, 48), 255, np.uint8), folder / "fg_mask/bottle/000.png")

    torch.manual_seed(0)
    every = build_backbone(SMALL).channels
    for name, widths in (("mine", WIDTHS), (f"projectors/{SMALL}", WIDTHS), ("all", every)):
        path = folder / f"outputs/{name}/projector.safetensors"
        path.parent.mkdir(parents=True)
        projector = FeatureProjector(widths, num_heads=4, num_references=8)
        save_projector(projector, path, {"backbone": SMALL})
    write_own_files(folder)
    inspector = adpt.Inspector.fit(folder / "photos/good", image_size=48, device="cpu")
    inspector.save(folder / "bottle.adpt.safetensors")
    for product in ("bottle", "cap"):
        inspector.save(folder / f"models/{product}.adpt.safetensors")
        drawn.save(drawn.picture("bottle", 60)[0], folder / f"camera/{product}/0.png")
    scored = folder / "outputs/scores"
    words = [f"data.root={sets}/mvtec", f"projector={folder}/outputs/mine/projector.safetensors"]
    shown = [*TINY_EVALUATION, *words, "method=feature_norm", "cache=null", "heatmaps=0"]
    run_task(evaluate, composed("evaluate", *shown, f"output_dir={scored}", "run_name=tiny"))
    for name in ("table1", "seeds"):
        shutil.copytree(scored, folder / "outputs" / name)
    shutil.copy(scored / "results.jsonl", folder / "outputs/mine/results.jsonl")
    return folder


def write_own_files(folder: Path) -> None:
    """What the pages give as files: a block that names its path in a comment at its top."""
    for fence in (fence for page in PAGES for fence in fences(page)):
        named = re.match(r"(?:# @package \S+\n)?# (\S+\.(?:py|yaml))\n", fence.text)
        if not named:
            assert fence.language != "yaml", f"{fence.page}: a YAML block names its path"
            continue
        path = folder / named[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(fence.text.replace(": /data", f": {folder}/data") + "\n")


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("ADPT_DATA", str(place / "data"))
    monkeypatch.syspath_prepend(str(place))
    return place


# ---- Running -----------------------------------------------------------------------------------

TINY_OF = {
    "train": TINY_TRAINING,
    "evaluate": TINY_EVALUATION,
    # Of a network that ends early, a graph is soon exported.
    "predict": [TINY[0], "backbone.levels=[0,1]", TINY[2], "device=cpu", "heatmap_size=48"],
    "doctor": ["published=false"],
    "report": [],
    "publish": [],
}
OWN_BACKBONES = ("squares",)


def key(word: str) -> str:
    return re.split(r"[=@]", word.lstrip("+~"))[0]


def runnable(entry: Entry, place: Path, out: Path) -> list[str]:
    """The command's words, with what cannot be had here replaced."""
    words = jobs(without(entry.overrides, LEFT_OUT))[0]
    tiny = list(TINY_OF[entry.module])
    if any(word == f"backbone={name}" for name in OWN_BACKBONES for word in words):
        tiny = [word for word in tiny if not word.startswith("backbone")]
    if "+experiment=own_products" in words:
        # Its projector has neither heads nor references.
        tiny = [word for word in tiny if not word.startswith("model.projector")]
    if any(word.startswith("data@train_data=") for word in words):
        tiny += [w.replace("data.", "train_data.") for w in TINY if w.startswith("data.")]
    words = [w.replace("=/data", f"={place}/data") for w in words]
    words = [w for w in words if not w.startswith(("backbone.name=", "backbone.weights="))]
    # Pictures are brought to 48 pixels here.
    words = [re.sub(r"^windows\.size=.*", "windows.size=32", w) for w in words]
    mine = place / "outputs/mine/projector.safetensors"
    words = [re.sub(rf"^projector=(hub:|{PLACEHOLDER}).*", f"projector={mine}", w) for w in words]
    replaced = {key(word) for word in tiny}
    words = [word for word in words if key(word) not in replaced]
    words = [word for word in words if word != "logger=wandb"]
    if entry.module == "train":
        tiny.append("logger=csv")
    if entry.module in ("train", "evaluate"):
        tiny += ["run_name=tiny", f"output_dir={out}"]
        words = [word for word in words if not word.startswith(("hydra.", "output_dir="))]
    if entry.module == "predict":
        tiny.append(f"output_dir={out}")
    return [*words, *tiny]


def shrink(config: DictConfig) -> None:
    """Make methods that train small: one epoch, narrow."""
    small = {
        "epochs": 1, "hidden_dim": 32, "feedforward_dim": 32, "embedding_dim": 32,
        "num_layers": 1, "num_heads": 4, "ascent_steps": 5, "num_blocks": 1,
    }  # fmt: skip
    for method in (config.get("method") or {}).values():
        for name in small.keys() & (method or {}).keys():
            method[name] = small[name]
    if "centre_images" in (config.get("model") or {}):
        config.model.centre_images = 2
        config.references.shots = [1, 2]
    if "checks" in config:
        config.checks = 1


@pytest.mark.parametrize("line", ENTRIES)
def test_a_command_runs(
    line: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(re.fullmatch(pattern, line) for pattern in NOT_RUN):
        return
    entry = entry_of(line)
    own_conf = here / "conf" if "--config-dir" in entry.words else None
    compose_as_shown(entry.module, entry.overrides, own_conf=own_conf)
    if {"--help", "--cfg"} & set(entry.words):
        done = command(entry.module, *entry.words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 500
        return
    if entry.before:
        fed = subprocess.run(shlex.split(entry.before), capture_output=True, text=True, check=True)
        assert fed.stdout, "what is piped into the command must be something"
        monkeypatch.setattr(sys, "stdin", io.StringIO(fed.stdout))
    words = runnable(entry, here, tmp_path / "out")
    search = [f"hydra.searchpath=[file://{own_conf}]"] if own_conf else []
    config = composed(entry.module, *words, *search)
    shrink(config)
    module = importlib.import_module(f"adpt.{entry.module}")
    try:
        run_task(getattr(module, entry.module), config)
    except SystemExit as left:
        # There are anomalous ones among the new photographs.
        if (entry.module, left.code) != ("predict", 2):
            raise
    check_outcome(entry, config)


def check_outcome(entry: Entry, config: DictConfig) -> None:
    """The files that the pages promise are there."""
    promised = {
        "train": ["projector.safetensors", "checkpoints/last.ckpt", "metrics.csv"],
        "evaluate": ["results.jsonl", "results.csv", "report.html"],
        "report": ["report.md", "results.csv", "tables.tex", "report.html"],
        "publish": ["README.md", "projector.safetensors"],
        "doctor": [],
        "predict": ["scores.csv", "scores.jsonl", "index.html"] if config.get("images") else [],
    }
    folder = {"report": "output", "publish": "folder"}.get(entry.module, "output_dir")
    for name in promised[entry.module]:
        assert (Path(config[folder]) / name).is_file(), name
    if entry.module == "predict" and config.fit:
        assert Path(config.inspector).is_file()
    if config.get("export"):
        assert Path(config.export).stat().st_size > 1000


def test_no_command_is_skipped_silently() -> None:
    for page, line in SHELL:
        known = line in ENTRIES or any(re.fullmatch(pattern, line) for pattern in NOT_RUN)
        assert known, f"{page}: `{line}` is neither run nor named in NOT_RUN with a reason"


def test_a_block_of_commands_is_found_whatever_stands_first() -> None:
    for page in PAGES:
        for fence in fences(page):
            if is_shell(fence) or fence.language in ("python", "yaml"):
                continue
            assert not fence.language, f"{page}: no test knows what `{fence.language}` is"
            assert not re.search(rf"^\s*(\$ )?{PROGRAMS}", fence.text, re.MULTILINE), fence.text


def test_make_targets_and_extras_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.split()[1] for _, line in SHELL if line.startswith("make ")]
    assert named
    assert set(named) <= targets
    for _, line in SHELL:
        for extras in re.findall(r"^pip install .*\[(.+)\]", line):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), line


# ---- Options in tables ------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A table, and the module of the last command before it."""

    page: Path
    header: list[str]
    rows: list[list[str]]
    module: str


def tables(page: Path) -> list[Table]:
    found, module, block = [], "", []
    for line in [*page.read_text().splitlines(), ""]:
        if match := re.search(r"python -m adpt\.(\w+)", line):
            module = match[1]
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            block.append([cell.strip() for cell in cells])
        elif block:
            found.append(Table(page, block[0], block[2:], module))
            block = []
    return found


TABLES = [table for page in PAGES for table in tables(page)]
OPTIONS = sorted(
    {
        (table.module, span, title(table.page))
        for table in TABLES
        for place, name in enumerate(table.header)
        if name in ("add", "word", "words")
        for row in table.rows
        for span in re.findall(r"`([^`]+)`", row[place])
        if "=" in span
    }
)


@pytest.mark.parametrize(("module", "span", "page"), OPTIONS)
def test_an_option_in_a_table_is_one_of_its_command(module: str, span: str, page: str) -> None:
    words = [word for word in shlex.split(span) if word != "-m"]
    words = hydras_words(words) if module == "evaluate" else words
    compose_as_shown(module, words)


def test_names_in_tables_are_choices_of_their_group() -> None:
    checked = 0
    for table in TABLES:
        for place, name in enumerate(table.header):
            if match := re.fullmatch(r"`(\w+)=`", name):
                for row in table.rows:
                    for choice in re.findall(r"`(\w+)`", row[place]):
                        group = GROUPS.get(match[1], match[1])
                        assert (CONF / group / f"{choice}.yaml").is_file(), choice
                        checked += 1
        if table.header == ["group", "choices"]:
            for group, choices in table.rows:
                folder = CONF / group.strip("`")
                for choice in re.findall(r"`(\w+)`", choices):
                    assert (folder / f"{choice}.yaml").is_file(), (group, choice)
                    checked += 1
    assert checked > 20


# ---- Programs ----------------------------------------------------------------------------------

PROGRAMS_SHOWN = [
    (title(page), number, fence.text)
    for page in PAGES
    for number, fence in enumerate(fences(page))
    if fence.language == "python"
]
NEEDS_EXTRA = {
    "anomalib": "an extra; tests/test_anomalib.py has the adapter, experiments/anomalib a script",
    "onnxruntime": "an extra; tests/inspection/test_onnx.py runs it on a graph",
}
"""Packages whose programs are only checked for their syntax, and why."""


def replaced(program: str, place: Path) -> str:
    program = re.sub(r'"hub:[^"]*"', f'"{place}/outputs/all/projector.safetensors"', program)
    return re.sub(r'"(clip_[bl]|dinov2_[bl])"', f'"{SMALL}"', program)


@pytest.mark.parametrize(("page", "number", "program"), PROGRAMS_SHOWN)
def test_a_program_runs(page: str, number: int, program: str, here: Path) -> None:
    code = compile(replaced(program, here), f"{page} {number}", "exec")
    if any(re.search(rf"^(from|import) {name}", program, re.MULTILINE) for name in NEEDS_EXTRA):
        return
    levels = [torch.rand(2, width, 8, 8) for width in (5, 6, 7)]
    given: dict[str, Any] = {
        "images": torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        "normal_images": torch.rand(3, 3, 64, 64),
        "features_of_normal_images": levels,
        "features": levels,
        "masks": np.arange(2 * 224 * 224).reshape(2, 224, 224) % 2,
    }
    exec(code, given)  # noqa: S102


def test_files_of_ones_own_are_whole(place: Path) -> None:
    """What developing.md gives as files is what its command names."""
    assert {path.name for path in place.glob("*.py")} == {"mine.py"}
    shown = sorted(str(path.relative_to(place)) for path in (place / "conf").rglob("*.yaml"))
    assert "conf/backbone/squares.yaml" in shown
    for name in shown:
        assert OmegaConf.load(place / name), name


# ---- Public names ------------------------------------------------------------------------------

PUBLIC = [
    "adpt.Inspector", "adpt.Inspector.fit", "adpt.Inspector.load", "adpt.Inspector.save",
    "adpt.Inspector.predict", "adpt.Inspector.predict_many", "adpt.Inspection",
    "adpt.losses.AngleContrastiveLoss", "adpt.losses.AngleContrastiveLoss.forward",
    "adpt.losses.NormContrastiveLoss", "adpt.losses.NormContrastiveLoss.forward",
    "adpt.projector.FeatureProjector", "adpt.projector.FeatureProjector.forward",
    "adpt.residual.residual_features", "adpt.residual.reference_scale",
    "adpt.weights.load_projector", "adpt.weights.save_projector", "adpt.weights.find_projector",
    "adpt.backbones.build_backbone", "adpt.backbones.Backbone", "adpt.backbones.Backbone.levels",
    "adpt.backbones.imagebind.to_timm", "adpt.metrics.anomaly_metrics", "adpt.methods.Method.fit",
    "adpt.methods.Method.score", "adpt.methods.Scores", "adpt.methods.FeatureNorm",
    "adpt.methods.PaDiM", "adpt.methods.PatchCore", "adpt.methods.CFlow", "adpt.methods.Glass",
    "adpt.methods.UniAD", "adpt.data.AnomalyDataModule", "adpt.data.Sample",
]  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name: str) -> None:
    found: Any = pkgutil.resolve_name(name)
    text = found.__doc__ or ""
    assert len(text.splitlines()[0]) > 10
    told = inspect.cleandoc(text)
    # Of a class that is nothing but its fields, these are the arguments.
    section = re.search(r"(?:Args|Attributes):\n(.*?)(\n\n|\Z)", told, re.DOTALL)
    for parameter in inspect.signature(found).parameters.values():
        if parameter.name not in ("self", "model") and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            assert section, f"{name} does not describe its arguments"
            assert re.search(rf"^ +{parameter.name}:", section[1], re.MULTILINE), parameter.name


# ---- Links -------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", LINKED, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{title(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{title(page)} links to {link}"


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in text, f"README.md does not link to {page.name}"


def test_the_picture_is_made_of_the_demos_panels(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "docs/example.py"))
    for number, product in enumerate(script["PRODUCTS"]):
        folder = tmp_path / "heatmaps/procedural_downstream" / product / "feature_norm"
        for name, grey in (
            ("best_crack_000", 0),
            ("crack_001", 50 * (number + 1)),
            ("dent_000", 0),
        ):
            drawn.save(np.full((40, 80, 3), grey, np.uint8), folder / f"{name}.png")
    script["main"](tmp_path, tmp_path / "example.png")
    with Image.open(tmp_path / "example.png") as picture:
        assert picture.size == (60, 90)
        shades = [picture.convert("L").getpixel((30, top)) for top in (15, 45, 75)]
    assert shades == [50, 100, 150]


def test_the_picture_is_small_and_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+\.png)\)", (ROOT / "README.md").read_text())
    assert pictures
    assert all((ROOT / picture).stat().st_size < 300_000 for picture in pictures)
