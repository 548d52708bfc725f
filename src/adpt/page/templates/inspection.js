"use strict";
// Verdicts and counts at another threshold; without sliders the page shows those of the run.
(() => {
  const part = (name, group) => document.getElementById(`${name}-${group}`);
  const verdict = document.querySelector(".verdict");
  const scored = [...document.querySelectorAll("[data-score]")];
  const counts = [];

  function sliding(group) {
    const slider = part("threshold", group);
    const line = part("line", group);
    const name = part("name", group);
    const chosen = part("chosen", group);
    const known = part("known", group);
    const own = scored.filter((one) => one.dataset.group === String(group));
    const lines = own.filter((one) => one.tagName.toLowerCase() === "line");
    const figures = own.filter((one) => one.tagName.toLowerCase() !== "line");
    const [good, defects] = known
      ? [JSON.parse(known.dataset.good), JSON.parse(known.dataset.defects)] : [[], []];
    const [low, high] = [Number(slider.min), Number(slider.max)];

    function show(threshold) {
      const above = (score) => Number(score) > threshold;
      for (const one of own)
        one.setAttribute("class", above(one.dataset.score) ? "anomalous" : "normal");
      for (const one of figures) rate(one, threshold);
      const anomalous = lines.filter((one) => above(one.dataset.score)).length;
      counts[group] = { anomalous, normal: lines.length - anomalous };
      const x = high > low ? ((threshold - low) / (high - low)) * 1000 : 0;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      name.setAttribute("x", x);
      name.setAttribute("text-anchor", x > 500 ? "end" : "start");
      name.textContent = `threshold ${Number(threshold.toPrecision(5))}`;
      chosen.value = `threshold=${threshold}`;
      if (known) part("alarms", group).textContent = good.filter(above).length;
      if (defects.length)
        part("missed", group).textContent = defects.length - defects.filter(above).length;
    }

    function move(threshold) {
      show(threshold);
      begin(part("verdict", group), counts[group].anomalous);
      const sum = (kind) => counts.reduce((total, one) => total + (one ? one[kind] : 0), 0);
      begin(verdict, sum("anomalous"));
      for (const kind of ["anomalous", "normal"]) {
        const label = document.getElementById(`count-${kind}`);
        label.textContent = label.textContent.replace(/\(\d+\)/, `(${sum(kind)})`);
      }
    }

    show(Number(part("fitted", group).dataset.threshold));
    // Rounded as it is copied, so that what is seen is what the number gives.
    slider.addEventListener("input", () => {
      const value = Number(slider.value);
      move(value >= high ? high : Number(value.toPrecision(6)));
    });
    part("copy", group).addEventListener("click", () => {
      chosen.select();
      document.execCommand("copy");
    });
    part("fitted", group).addEventListener("click", (event) => {
      slider.value = event.target.dataset.threshold;
      move(Number(event.target.dataset.threshold));
    });
    part("slider", group).hidden = false;
  }

  function begin(sentence, count) {
    if (sentence) sentence.textContent = sentence.textContent.replace(/^\s*\d+/, String(count));
  }

  function rate(figure, threshold) {
    const share = figure.querySelector(".share");
    if (!share || threshold <= 0) return;
    const times = Number(figure.dataset.score) / threshold;
    share.textContent = `${times.toFixed(2)} × the threshold`;
    figure.querySelector(".bar i").style.width = `${Math.max(0, Math.min(100, 50 * times))}%`;
  }

  // A product of images that cannot be read has none.
  const groups = new Set(scored.map((one) => one.dataset.group));
  for (const group of groups) sliding(Number(group));
})();
