"use strict";
const find = (id) => document.getElementById(id);
const short = (number) => Number(number.toPrecision(4)).toString();
let latest = 0;

function tell(kind, verdict, scores = "") {
  find("verdict").className = `verdict ${kind}`;
  find("verdict").textContent = verdict;
  find("scores").textContent = scores;
}

function show(name, found) {
  const share = found.normalised === null ? ""
    : `; ${short(100 * found.normalised)} % of good pictures score higher`;
  tell(found.anomalous ? "anomalous" : "normal", found.anomalous ? "Anomalous" : "Normal",
    `${name}: score ${short(found.score)}, anomalous above ${short(found.threshold)}${share}`);
  find("heatmap").src = found.heatmap;
  find("heatmap").alt = `Scores over ${name}, ${found.regions.length} defect regions outlined`;
  find("heatmap").hidden = false;
  for (const { box: [left, top, right, bottom], ...region } of found.regions) {
    const row = find("regions").tBodies[0].insertRow();
    const area = region.area_mm2 === null ? "" : ` (${short(region.area_mm2)} mm²)`;
    for (const text of [`${Math.round(left)}, ${Math.round(top)}`,
      `${Math.round(right - left)} × ${Math.round(bottom - top)}`,
      `${Math.round(region.area)}${area}`, short(region.peak), short(region.mean)])
      row.insertCell().textContent = text;
  }
  find("regions").hidden = found.regions.length === 0;
}

async function send(file) {
  const number = ++latest, most = Number(find("form").dataset.megabytes);
  find("heatmap").hidden = find("regions").hidden = true;
  find("regions").tBodies[0].replaceChildren();
  if (file.size > most * 1e6) {
    tell("failed", `${file.name} takes more than ${most} MB.`);
    return;
  }
  tell("", `Inspecting ${file.name} …`);
  const headers = {
    "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream",
  };
  if (find("token")) headers.Authorization = `Bearer ${find("token").value}`;
  const query = new URLSearchParams({ heatmap: "jpg", name: file.name.slice(0, 255) });
  if (find("product")) query.set("product", find("product").value);
  let answer, found;
  try {
    answer = await fetch(`inspect?${query}`, { method: "POST", headers, body: file });
    found = await answer.json();
  } catch (error) {
    found = { error: `The server does not answer: ${error.message}` };
  }
  if (number !== latest) return; // Another picture was given meanwhile.
  if (found.error) tell("failed", found.error);
  else show(file.name, found);
}

find("picture").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // The same picture may be chosen again.
  if (file) send(file);
});
find("form").addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
