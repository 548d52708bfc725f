"""The page's threshold slider: its script, run by Node on a small stand-in for a browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

import adpt
import drawn
from adpt.inspection.outputs import Outputs

BROWSER = """
const html = require("fs").readFileSync(0, "utf8");
const attributes = (tag) => Object.fromEntries(
  [...tag.matchAll(/([\\w-]+)="([^"]*)"/g)].map((found) => [found[1], found[2]]));
class Element {
  constructor(name, tag, text = "") {
    Object.assign(this, {
      tagName: name, given: attributes(tag), textContent: text, dataset: {}, style: {},
      listeners: {}, hidden: true, parts: {},
    });
    Object.assign(this, { min: this.given.min, max: this.given.max, value: this.given.value });
    for (const [key, value] of Object.entries(this.given))
      if (key.startsWith("data-")) this.dataset[key.slice(5)] = value;
  }
  setAttribute(key, value) { this.given[key] = String(value); }
  addEventListener(kind, call) { this.listeners[kind] = call; }
  querySelector(what) { return this.parts[what] ??= new Element("span", ""); }
  select() { this.selected = true; }
}
const all = [...html.matchAll(/<(line|figure|input|button|p|b|text|label)\\b([^>]*)>([^<]*)/g)].map(
  ([, name, tag, text]) => new Element(name, tag, text));
const find = (test) => all.find(test) ?? null;
global.document = {
  getElementById: (id) => find((one) => one.given.id === id),
  querySelectorAll: () => all.filter((one) => "score" in one.dataset),
  querySelector: (what) => {
    const [, name, attribute, value] = /^(\\w*)(?:\\.|\\[(\\w+)=)([\\w-]+)/.exec(what);
    return find((one) => (!name || one.tagName === name)
      && one.given[attribute ?? "class"] === value);
  },
  execCommand: (what) => { global.done = what; },
};
eval(/<script>([^]*)<\\/script>/.exec(html)[1]);
const slider = document.getElementById("threshold-0");
const state = () => ({
  kinds: all.filter((one) => one.tagName === "figure").map((one) => one.given.class),
  labels: all.filter((one) => one.tagName === "label").map((one) => one.textContent),
  verdict: document.querySelector(".verdict").textContent,
  chosen: document.getElementById("chosen-0").value,
  alarms: Number(document.getElementById("alarms-0").textContent),
  missed: Number(document.getElementById("missed-0").textContent),
  shown: !document.querySelector(".slider").hidden,
});
const states = [state()];
slider.value = slider.max; slider.listeners.input(); states.push(state());
slider.value = String(Number(slider.min) / 2); slider.listeners.input(); states.push(state());
document.getElementById("copy-0").listeners.click();
const button = document.getElementById("fitted-0");
button.listeners.click({ target: button }); states.push(state());
console.log(JSON.stringify({ states, done: global.done }));
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("slider")
    photos = drawn.draw_mvtec(folder / "photos") / "bottle"
    made = adpt.Inspector.fit(
        photos / "train" / "good",
        method="padim", image_size=48, backbone={"name": "efficientnet_lite0", "levels": [2, 3]},
        defects=photos / "test" / "scratch", device="cpu",
    )  # fmt: skip
    with Outputs(folder / "out", made, heatmaps="none") as outputs:
        for result in made.predict_many(photos / "test"):
            outputs.add(result)
    outputs.write_page("Parts")
    return (folder / "out" / "index.html").read_text(encoding="utf-8")


def test_the_page_runs_the_one_script_that_it_names(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'\">" in page


def test_moving_the_slider_changes_verdicts_and_counts(page: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    done = subprocess.run(
        ["node", "-e", BROWSER], input=page, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    as_run, highest, lowest, back = found["states"]
    count = len(as_run["kinds"])
    assert as_run["shown"]
    assert set(highest["kinds"]) == {"normal"}
    assert set(lowest["kinds"]) == {"anomalous"}
    assert lowest["verdict"].startswith(f"{count} of {count} images are anomalous")
    assert f"Anomalous ({count})" in lowest["labels"]
    assert "Normal (0)" in lowest["labels"]
    assert back == as_run
    assert found["done"] == "copy"
    # Of the fit's 6 good images and 3 known defects.
    assert (highest["alarms"], highest["missed"]) == (0, 3)
    assert (lowest["alarms"], lowest["missed"]) == (6, 0)
    assert "data-defects" in page
    assert re.fullmatch(r"threshold=[\d.]+", lowest["chosen"])
