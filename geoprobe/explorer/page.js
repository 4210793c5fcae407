"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const CIVIDIS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
const SCALE = [...CIVIDIS].reverse().map((colour, i) => [i / (CIVIDIS.length - 1), `rgb(${colour})`]);
const LONGEST_KM = 10000;
const KEYS = { dataset: "Data set", probe: "Probe", prompt: "Prompt", cv: "Cross-validation" };
const state = { metric: Object.keys(data.metrics)[0], row: 0, cluster: "all" };
for (const row of data.rows) {
  for (const [name, values] of Object.entries(row.cells)) {
    row.cells[name] = Object.fromEntries(data.columns.map((column, i) => [column, values[i]]));
  }
}
for (const view of data.views) view.models = view.models.map((number) => data.rows[number]);
// software or a policy can forbid WebGL; the same points as SVG are slow, and right
const POINTS = document.createElement("canvas").getContext("webgl") ? "scattergl" : "scatter";
const narrow = () => window.innerWidth < 800;
// Plotly reads some tags in its texts
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function make(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function decode(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function number(value, metric = "r2") {
  if (value === null || value === undefined) return "–";
  const digits = data.metrics[metric]?.digits ?? 0;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en", options).replace(/^-(0\.0+|0)$/, "$1").replace("-", "−");
}

function kilometres(aLat, aLon, bLat, bLon) {
  const rad = Math.PI / 180;
  const sin = (angle) => Math.sin((angle * rad) / 2) ** 2;
  const h = sin(bLat - aLat) + Math.cos(aLat * rad) * Math.cos(bLat * rad) * sin(bLon - aLon);
  return 2 * 6371.0088 * Math.asin(Math.min(1, Math.sqrt(h)));
}

function addSelect(name, label, values, chosen, changed) {
  const select = make("select", null, { id: `choose-${name}` });
  for (const [value, text] of values) select.append(make("option", text, { value }));
  select.value = chosen;
  select.addEventListener("change", () => changed(select.value));
  const around = make("label", `${label} `);
  around.append(select);
  element("controls").append(around);
}

function setView(wanted, changed) {
  const matches = (view, keys) => keys.every((key) => view[key] === wanted[key]);
  const keys = Object.keys(KEYS);
  // what was changed holds; of the rest as much as there is
  const orders = [keys, ["dataset", changed], [changed]];
  state.view = orders.map((own) => data.views.find((view) => matches(view, own))).find(Boolean) || data.views[0];
  for (const key of keys) element(`choose-${key}`).value = state.view[key];
  state.images = data.images[state.view.dataset];
  state.row = Math.min(state.row, state.view.models.length - 1);
  if (!state.images.clusters[state.cluster]) state.cluster = state.images.order[0];
  drawTable();
  choose(state.row, state.cluster);
}

function drawTable() {
  const { view, images, metric } = state;
  const clusters = images.order;
  const values = view.models.flatMap((model) => clusters.map((name) => model.cells[name]?.[metric] ?? null));
  const known = values.filter((value) => value !== null);
  const { label, lower } = data.metrics[metric];
  const low = lower ? Math.min(...known) : 0;
  const high = Math.max(...known, low + 1e-9);
  const table = make("table", null, { "aria-label": `${label} of models in clusters` });
  const head = table.createTHead().insertRow();
  head.append(make("th", "Model", { scope: "col" }));
  for (const name of clusters) {
    const cell = make("th", images.clusters[name].name, { scope: "col" });
    cell.append(make("small", `${images.clusters[name].images.toLocaleString("en")} images`));
    head.append(cell);
  }
  const body = table.createTBody();
  view.models.forEach((model, row) => {
    const line = body.insertRow();
    line.append(make("th", model.label, { scope: "row" }));
    clusters.forEach((name, column) => {
      const cell = model.cells[name];
      const value = cell?.[metric] ?? null;
      const why = cell?.reason ? `, ${cell.reason}` : "";
      const button = make("button", number(value, metric), {
        type: "button", tabindex: "-1", "data-row": row, "data-column": column, "data-cluster": name,
        "aria-label": `${model.label}, ${images.clusters[name].name}: ${label} ${number(value, metric)}${why}`,
      });
      if (value !== null) {
        const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
        const at = (lower ? 1 - share : share) * (CIVIDIS.length - 1);
        const from = Math.min(Math.floor(at), CIVIDIS.length - 2);
        const colour = CIVIDIS[from].map((part, i) => Math.round(part + (CIVIDIS[from + 1][i] - part) * (at - from)));
        button.style.background = `rgb(${colour})`;
        button.style.color = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 115 ? "#000" : "#fff";
      }
      button.addEventListener("click", () => choose(row, name));
      line.insertCell().append(button);
    });
  });
  table.addEventListener("keydown", move);
  element("scores").replaceChildren(table);
  const dark = number(lower ? high : low, metric);
  const bright = number(lower ? low : high, metric);
  element("scale").textContent = known.length
    ? `${label}, from ${dark}${Math.min(...known) < low ? " or less" : ""} (dark) to ${bright} (bright). `
      + "Arrow keys move between cells, Enter chooses one."
    : "Nothing could be scored here.";
}

function move(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const { row, column } = event.target.dataset;
  if (!step || row === undefined) return;
  const next = document.querySelector(`[data-row="${+row + step[0]}"][data-column="${+column + step[1]}"]`);
  event.preventDefault();
  if (!next) return;
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function choose(row, cluster) {
  const start = performance.now();
  Object.assign(state, { row, cluster });
  for (const button of document.querySelectorAll("#scores button")) {
    const chosen = +button.dataset.row === row && button.dataset.cluster === cluster;
    button.setAttribute("aria-pressed", chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  const model = state.view.models[row];
  const cell = model.cells[cluster];
  const also = state.metric === "r2" || state.metric === "median_km" ? ""
    : `${data.metrics[state.metric].label} ${number(cell?.[state.metric], state.metric)}, `;
  element("chosen").textContent = `${model.label}: ${state.images.clusters[cluster].name}`;
  element("score").textContent = !cell ? "Not fitted." : cell.reason && cell.r2 === null ? `No score: ${cell.reason}.`
    : `${also}R² ${number(cell.r2)} (95 % interval ${number(cell.low)} to ${number(cell.high)}), median error `
      + `${number(cell.median_km, "median_km")} km, ${cell.images.toLocaleString("en")} images, `
      + `layer by fold: ${cell.layers} (choice: ${data.choice}), target: ${data.target}.`;
  drawCurve(model, cluster);
  const numbers = model.maps[cluster];
  state.map = data.maps[numbers] ?? null;
  state.leftOut = numbers === -1;
  readMap();
  drawMap().then(() => {
    document.body.dataset.drawn = `${row}/${cluster}`;
    document.body.dataset.ms = Math.round(performance.now() - start);
  });
}

function layoutOf(x, y, more = {}) {
  const font = { size: 12, family: "system-ui, sans-serif", color: "#1b1f24" };
  return {
    autosize: true, font, margin: { l: 52, r: 12, t: 28, b: 44 }, showlegend: false, dragmode: narrow() ? false : "zoom",
    xaxis: { title: { text: x }, zeroline: false, ...more.x }, yaxis: { title: { text: y }, zeroline: false, ...more.y },
  };
}
// named one by one: some of Plotly's own lead to its servers
const BUTTONS = [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: BUTTONS };

function drawCurve(model, cluster) {
  const name = state.metric === "median_km" ? "median_km" : "r2";
  const curves = model.curves[cluster] || [];
  const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
  const traces = curves.flatMap((curve, i) => {
    const colour = colours[i % colours.length];
    const line = {
      x: curve.layer, y: curve[name], mode: "lines+markers", name: escaped(curve.tower), line: { color: colour },
      hovertemplate: "layer %{x}: %{y}<extra></extra>",
    };
    const known = curve.layer.map((_, k) => k).filter((k) => curve.low[k] !== null && curve.high[k] !== null);
    if (name !== "r2" || !known.length) return [line];
    const back = [...known].reverse();
    return [{
      x: [...known, ...back].map((k) => curve.layer[k]),
      y: [...known.map((k) => curve.high[k]), ...back.map((k) => curve.low[k])],
      fill: "toself", fillcolor: `${colour}33`, line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false,
    }, line];
  });
  const whole = curves.every((curve) => curve.layer.length < 12) ? { dtick: 1 } : {};
  const { label } = data.metrics[name];
  const layout = layoutOf("Layer", label, { x: whole });
  layout.showlegend = curves.length > 1;
  layout.legend = { orientation: "h", y: 1.1 };
  Plotly.react("curve", traces, layout, CONFIG);
  element("curve-words").textContent = curves.length
    ? `${label} by layer${name === "r2" ? ", with the 95 % interval by resampling geographic units" : ""}.`
    : "No layer was fitted here.";
  const table = make("table");
  const head = table.createTHead().insertRow();
  for (const words of ["Tower", "Layer", label]) head.append(make("th", words, { scope: "col" }));
  const body = table.createTBody();
  for (const curve of curves) {
    curve.layer.forEach((layer, k) => {
      const line = body.insertRow();
      const interval = name === "r2" ? ` (${number(curve.low[k])} to ${number(curve.high[k])})` : "";
      for (const text of [curve.tower, layer, number(curve[name][k], name) + interval]) line.insertCell().textContent = text;
    });
  }
  element("curve-values").replaceChildren(table);
  element("curve-details").hidden = !curves.length;
}

function readMap() {
  state.shown = [];
  element("drawn").value = state.map?.cells ? "cells" : "points";
  element("drawn-label").hidden = !state.map?.cells;
  if (!state.map) return;
  const points = decode(state.images.clusters[state.cluster].points, Uint32Array);
  const at = decode(state.map.at, Float32Array);
  state.images.read ??= decode(state.images.truth, Float32Array);
  const truth = state.images.read;
  points.forEach((image, i) => {
    if (!Number.isFinite(at[2 * i])) return;
    const [aLat, aLon, lat, lon] = [truth[2 * image], truth[2 * image + 1], at[2 * i], at[2 * i + 1]];
    state.shown.push({ image, aLat, aLon, lat, lon, km: kilometres(aLat, aLon, lat, lon) });
  });
  state.shown.sort((a, b) => b.km - a.km); // the small errors are drawn last, on top
}

// Longitude and latitude of the middle, median error in km and images of each cell.
function readCells(packed) {
  const [cell, km, images] = [decode(packed.cell, Uint16Array), decode(packed.km, Uint16Array), decode(packed.images, Uint32Array)];
  const across = 360 / data.cellDegrees;
  const middle = (count, from) => (count + 0.5) * data.cellDegrees + from;
  return Array.from(cell, (number, i) => ({
    lon: middle(number % across, -180), lat: middle(Math.floor(number / across), -90), km: km[i], images: images[i],
  }));
}

function drawMap() {
  const cells = element("drawn").value === "cells" && state.map?.cells ? readCells(state.map.cells) : null;
  const { shown, map } = state;
  const coasts = { x: [], y: [] };
  for (const line of data.coastlines) {
    for (const [lon, lat] of line) { coasts.x.push(lon); coasts.y.push(lat); }
    coasts.x.push(null); coasts.y.push(null);
  }
  const bar = { title: { text: "Error (km)", side: "top" }, orientation: "h", thickness: 10, len: 0.8, y: -0.1, yanchor: "top",
    tickformat: ",d", dtick: narrow() ? 5000 : 2000 };
  const colours = { colorscale: SCALE, cmin: 0, cmax: LONGEST_KM, colorbar: bar };
  const main = cells ? {
    type: POINTS, mode: "markers", x: cells.map((c) => c.lon), y: cells.map((c) => c.lat),
    text: cells.map((c) => `median error ${number(c.km, "median_km")} km, ${c.images.toLocaleString("en")} images`),
    hoverinfo: "text", marker: { ...colours, color: cells.map((c) => c.km), symbol: "square", size: narrow() ? 4 : 7 },
  } : {
    type: POINTS, mode: "markers", x: shown.map((p) => p.aLon), y: shown.map((p) => p.aLat), hoverinfo: "none",
    marker: { ...colours, color: shown.map((p) => p.km), size: shown.length > 3000 ? 4 : 6 },
  };
  const layout = layoutOf("", "", {
    x: { range: [-180, 180], dtick: 60, ticksuffix: "°" },
    y: { range: [-90, 90], tickvals: [-60, -30, 0, 30, 60], ticktext: ["−60°", "−30°", "0°", "30°", "60°"] },
  });
  layout.hovermode = "closest";
  layout.uirevision = `${state.view.dataset}`;
  const traces = [
    { type: POINTS, mode: "lines", ...coasts, line: { color: "#8a8f96", width: 1 }, hoverinfo: "skip" },
    main,
  ];
  layout.shapes = [];
  const step = element("step");
  element("step-label").hidden = Boolean(cells) || !shown.length;
  step.max = Math.max(0, shown.length - 1);
  step.value = 0;
  element("point").replaceChildren();
  const all = state.images.clusters[state.cluster].images;
  const some = map && state.images.clusters[state.cluster].drawn < all;
  element("map-words").textContent = state.leftOut
    ? `This map was left out to keep the page within ${data.limits.megabytes} MB (explorer.page_megabytes).`
    : !map ? "Nothing could be fitted here: no predictions."
    : cells ? `Median error of all ${all.toLocaleString("en")} images in cells of ${data.cellDegrees}° (more than `
      + `${data.limits.asked.toLocaleString("en")} images are not drawn one by one), held out, model ${map.model}.`
    : `${shown.length.toLocaleString("en")} images${some ? ` drawn at random of ${all.toLocaleString("en")}` : ""} `
      + `where they were taken, coloured by the error of their held-out prediction, model ${map.model}. `
      + "Point at one, tap it, or use the slider: a line leads to the prediction.";
  return Plotly.react("map", traces, layout, CONFIG).then((plot) => {
    plot.removeAllListeners("plotly_hover");
    plot.removeAllListeners("plotly_click");
    const pick = (event) => { if (event.points[0].curveNumber === 1 && !cells) showPoint(event.points[0].pointIndex); };
    plot.on("plotly_hover", pick);
    plot.on("plotly_click", pick);
  });
}

function showPoint(index) {
  const point = state.shown[index];
  if (!point) return;
  element("step").value = state.shown.length - 1 - index;
  // the shorter way round: over the antimeridian the line leaves at one side and comes in at the other
  const turn = point.lon - point.aLon > 180 ? -360 : point.lon - point.aLon < -180 ? 360 : 0;
  const lines = [[point.aLon, point.lon + turn], ...(turn ? [[point.aLon - turn, point.lon]] : [])];
  const line = { color: "#c0392b", width: 2 };
  const sign = (x, y, type, [x0, x1, y0, y1]) => (
    { type, x0, x1, y0, y1, xanchor: x, yanchor: y, xsizemode: "pixel", ysizemode: "pixel", line });
  // shapes lie above the points, and leave these as they are drawn
  Plotly.relayout("map", { shapes: [
    ...lines.map(([x0, x1]) => ({ type: "line", x0, x1, y0: point.aLat, y1: point.lat, line })),
    sign(point.aLon, point.aLat, "circle", [-5, 5, -5, 5]),
    sign(point.lon, point.lat, "line", [-4, 4, -4, 4]),
    sign(point.lon, point.lat, "line", [-4, 4, 4, -4]),
  ] });
  const picture = state.images.thumbnails[point.image];
  state.images.numbers ??= decode(state.images.rows, Uint32Array);
  const name = state.images.ids ? state.images.ids[point.image] : `image ${state.images.numbers[point.image] + 1}`;
  const degrees = (value) => value.toFixed(2).replace("-", "−");
  const credit = picture ? [picture.authors, picture.licences].filter(Boolean).join(", ") : "";
  const words = make("p", `${name}: error ${number(point.km, "median_km")} km. Taken at ${degrees(point.aLat)}°, `
    + `${degrees(point.aLon)}°, predicted at ${degrees(point.lat)}°, ${degrees(point.lon)}°.${credit ? ` (${credit})` : ""}`);
  const parts = [words];
  if (picture) parts.unshift(make("img", null, { src: `data:image/jpeg;base64,${picture.jpeg}`, alt: `Image ${name}` }));
  element("point").replaceChildren(...parts);
  element("step").setAttribute("aria-valuetext", words.textContent);
}

function drawFooter() {
  for (const [name, images] of Object.entries(data.images)) {
    const { attribution, licence, source } = images.about;
    element("footer").append(make("p", `Images of ${name}: ${attribution || source || "source unknown"}; licence: `
      + `${licence || "not stated"}.`));
  }
  const { megabytes, points, asked, leftOut, thumbnails, of } = data.limits;
  const less = [];
  if (thumbnails < of) less.push(`${thumbnails.toLocaleString("en")} thumbnails of ${of.toLocaleString("en")}`);
  if (points < asked) less.push(`at most ${points.toLocaleString("en")} images on a map in place of ${asked.toLocaleString("en")}`);
  if (leftOut) less.push(`no ${leftOut}`);
  if (less.length) element("footer").append(make("p", `To keep to its size (${megabytes} MB) this page has ${less.join("; ")}.`));
  element("footer").append(make("p", `Made by geoprobe ${data.made.geoprobe}, ${data.made.created}.`));
  element("footer").append(make("p", "Coastlines: GSHHG (LGPL). Charts: Plotly.js (MIT)."));
  element("footer").append(make("p", "Privacy: this file asks for nothing from the network and stores nothing. It holds "
    + (data.pictures ? "thumbnails, names and " : "no pictures and no names, but ")
    + "the places of the images that it shows: pass it on only where these may be known."));
}

for (const [key, label] of Object.entries(KEYS)) {
  const values = [...new Set(data.views.map((view) => view[key]))].map((value) => [value, value]);
  addSelect(key, label, values, data.views[0][key], (value) => setView({ ...state.view, [key]: value }, key));
}
addSelect("metric", "Metric", Object.entries(data.metrics).map(([name, { label }]) => [name, label]), state.metric, (value) => {
  state.metric = value;
  drawTable();
  choose(state.row, state.cluster);
});
element("controls").addEventListener("submit", (event) => event.preventDefault());
element("drawn").addEventListener("change", drawMap);
element("step").addEventListener("input", (event) => showPoint(state.shown.length - 1 - event.target.value));
drawFooter();
setView(data.views[0], "dataset");
