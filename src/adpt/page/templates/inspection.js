"use strict";
// Verdicts and counts at another threshold; without the slider the page shows those of the run.
(() => {
  const slider = document.getElementById("threshold");
  if (!slider) return;
  const chosen = document.getElementById("chosen");
  const verdict = document.querySelector(".verdict");
  const line = document.querySelector("line.threshold");
  const name = document.querySelector("text.threshold");
  const scored = [...document.querySelectorAll("[data-score]")];
  const [low, high] = [Number(slider.min), Number(slider.max)];

  function show(threshold) {
    const counts = { anomalous: 0, normal: 0 };
    for (const one of scored) {
      const kind = Number(one.dataset.score) > threshold ? "anomalous" : "normal";
      one.setAttribute("class", kind);
      if (one.tagName.toLowerCase() === "line") counts[kind] += 1;
      else rate(one, threshold);
    }
    for (const [kind, count] of Object.entries(counts)) {
      const label = document.querySelector(`label[for=show-${kind}]`);
      label.textContent = label.textContent.replace(/\(\d+\)/, `(${count})`);
    }
    verdict.textContent = verdict.textContent.replace(/^\s*\d+/, String(counts.anomalous));
    const x = high > low ? ((threshold - low) / (high - low)) * 1000 : 0;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    name.setAttribute("x", x);
    name.setAttribute("text-anchor", x > 500 ? "end" : "start");
    name.textContent = `threshold ${Number(threshold.toPrecision(5))}`;
    chosen.value = `threshold=${threshold}`;
  }

  function rate(figure, threshold) {
    const share = figure.querySelector(".share");
    if (!share || threshold <= 0) return;
    const times = Number(figure.dataset.score) / threshold;
    share.textContent = `${times.toFixed(2)} × the threshold`;
    figure.querySelector(".bar i").style.width = `${Math.max(0, Math.min(100, 50 * times))}%`;
  }

  // Rounded as it is copied, so that what is seen is what the number gives.
  slider.addEventListener("input", () => {
    const value = Number(slider.value);
    show(value >= high ? high : Number(value.toPrecision(6)));
  });
  document.getElementById("copy").addEventListener("click", () => {
    chosen.select();
    document.execCommand("copy");
  });
  document.getElementById("fitted").addEventListener("click", (event) => {
    slider.value = event.target.dataset.threshold;
    show(Number(event.target.dataset.threshold));
  });
  document.querySelector(".slider").hidden = false;
})();
