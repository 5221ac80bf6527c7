"use strict";
const $ = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const DIGITS = 4, REACH_PX = 26, LOUPE = 3, LOUPE_PX = 116, STEP = 0.01, SMOOTHING = 0.35, GOOD = 0.97, NO_ANSWER_MS = 10000;
const HINTS = {
  line: "Drag the ends. A way over the line along the arrow is “forward”.",
  zone: "Drag the corners; drag the small circles for more corners.",
  mask: "What it covers becomes black for everything that looks, once it is saved.",
};

// ---- what the page knows -------------------------------------------------------------------------------------------
let number = 0, isOver = false, isOpen = false;
let facts = null;            // what came with the newest picture
let rules = null;            // classes and heights that are followed
let shapes = [];             // {kind, name, points}
let base = "", stored = "";  // the file's version, and what it says
let chosen = null, corner = 0, drag = null;
let focusNow = 0, focusBest = 0;

async function ask(path, body) {
  const wanted = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "X-Edgeapp-Aim": "1" },
  };
  return fetch(path, { cache: "no-store", credentials: "same-origin", ...wanted });
}
async function textOf(answer) {
  try { return (await answer.json()).text; } catch { return `the device answered with ${answer.status}`; }
}
function tell(id, text) { $(id).textContent = text; $(id).hidden = !text; }
const sleep = ms => new Promise(done => setTimeout(done, ms));

// ---- the door ------------------------------------------------------------------------------------------------------
$("enter").addEventListener("submit", async event => {
  event.preventDefault();
  if (!$("code").value.trim()) return;
  $("open").disabled = true;
  try {
    const answer = await ask("/code", { code: $("code").value });
    if (answer.ok) return await enter();
    const text = await textOf(answer);
    if (answer.status === 410) end(text); else tell("door-trouble", text);
    $("code").select();
  } catch { tell("door-trouble", "the device does not answer"); }
  finally { $("open").disabled = false; }
});
async function enter() {
  isOpen = true;
  sessionStorage.setItem("entered", "yes");
  $("door").hidden = true; $("room").hidden = false;
  await load();
  watch();
}
function end(text) {
  isOver = true;
  $("door").hidden = $("room").hidden = true; $("over").hidden = false;
  $("picture").width = 0;
  $("over-text").textContent = text;
}
$("done").addEventListener("click", async () => {
  if (isChanged() && !confirm("What you drew is not saved. End all the same?")) return;
  try { await ask("/done", {}); } catch { /* it has ended already */ }
  end("You have ended it.");
});
window.addEventListener("beforeunload", event => { if (isChanged() && !isOver) event.preventDefault(); });

// ---- the picture ---------------------------------------------------------------------------------------------------
async function watch() {
  let heard = Date.now();
  while (!isOver) {
    if (document.hidden) { await sleep(300); heard = Date.now(); continue; }
    try {
      const answer = await ask(`/look?after=${number}`);
      if (answer.status === 410 || answer.status === 403) return end(await textOf(answer));
      const bytes = await answer.arrayBuffer(), length = new DataView(bytes).getUint32(0);
      facts = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
      await show(bytes.slice(4 + length));
      heard = Date.now();
    } catch (error) {
      if (Date.now() - heard > NO_ANSWER_MS) return end("The device does not answer: its time is over, or the network is gone.");
      tell("trouble", "the device does not answer …");
      await sleep(1000);
    }
  }
}
async function draw(jpeg) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })).catch(() => null);
  if (!bitmap) return;  // the next one comes soon
  const picture = $("picture");
  picture.width = bitmap.width; picture.height = bitmap.height;
  picture.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}
async function show(jpeg) {
  const look = facts.look, isNew = facts.number !== number;
  number = facts.number;
  if (jpeg.byteLength && isNew) {
    await draw(jpeg);
    $("stage").style.aspectRatio = `${look.size[0]} / ${look.size[1]}`;
    judgeFocus(look.focus);
  }
  $("nothing").hidden = $("picture").width > 0;
  $("device").textContent = facts.device;
  $("left").textContent = `${Math.floor(facts.left_s / 60)}:${String(facts.left_s % 60).padStart(2, "0")}`;
  if (look.light) $("light").textContent =
    `${look.light.text} (mean ${Math.round(look.light.mean)} of 255, black ${round(look.light.black_pct)} %, white ${round(look.light.white_pct)} %)`;
  const camera = look.camera === "running" ? "" : `, camera: ${look.camera}`;
  $("fps").textContent = `${look.fps.toFixed(1)} a second of ${look.source_fps.toFixed(1)}${camera}`;
  $("heat").textContent = heat();
  $("model").textContent = look.model ? look.model + (look.invoke_ms === null ? "" : `, ${look.invoke_ms.toFixed(0)} ms`) : "none";
  if (jpeg.byteLength && isNew) $("seen").textContent = seen(look.detections);
  tell("trouble", [look.error, look.model_error].filter(Boolean).join("\n"));
  if (!drag) render();
  else if (!$("loupe").hidden) magnify(chosen.points[drag.index], $("overlay").getBoundingClientRect());
}
const round = value => value < 10 ? value.toFixed(1) : Math.round(value);
function heat() {
  const parts = [facts.temp_c === null ? "no thermometer" : `${facts.temp_c.toFixed(0)} °C`];
  if (facts.is_throttled) parts.push("slowed down for heat");
  if (facts.is_under_voltage) parts.push("supply too weak");
  if (facts.is_service_live) parts.push("the service runs beside this");
  return parts.join(", ");
}
function isFollowed(each) {
  const height = 100 * (each.box[3] - each.box[1]);
  return !rules || ((!rules.classes.length || rules.classes.includes(each.name)) &&
    height >= rules.heights_pct[0] && height <= rules.heights_pct[1]);
}
function seen(detections) {
  const counts = new Map();
  for (const each of detections.filter(isFollowed)) counts.set(each.name, (counts.get(each.name) || 0) + 1);
  const ignored = detections.filter(each => !isFollowed(each)).length;
  const parts = [...counts].map(([name, count]) => `${count} ${name}`);
  if (ignored) parts.push(`${ignored} not followed (dashed)`);
  return parts.join(", ") || "nothing";
}
function judgeFocus(focus) {
  focusNow = focusNow ? focusNow + SMOOTHING * (focus - focusNow) : focus;
  focusBest = Math.max(focusBest, focusNow, 1e-9);
  const share = focusNow / focusBest, full = 92;
  $("bar-now").style.width = `${share * full}%`;
  $("bar-now").className = share >= GOOD ? "good" : "";
  $("bar-best").style.left = `${full}%`;
  $("bar").setAttribute("aria-valuenow", Math.round(100 * share));
  $("percent").textContent = `${Math.round(100 * share)} %`;
  $("focus-text").textContent = share >= GOOD ? "Focus: sharpest yet" : "Focus: turn back";
}
$("again").addEventListener("click", () => { focusNow = focusBest = 0; });

// ---- lines, zones, masks -------------------------------------------------------------------------------------------
async function load() {
  const answer = await ask("/shapes");
  if (!answer.ok) return tell("save-trouble", await textOf(answer));
  take(await answer.json());
}
function take(found) {
  shapes = [
    ...found.lines.map(each => ({ kind: "line", name: each.name, points: [each.start, each.end] })),
    ...found.zones.map(each => ({ kind: "zone", name: each.name, points: each.polygon })),
    ...found.masks.map(each => ({ kind: "mask", name: "", points: each })),
  ];
  rules = found; base = found.base; chosen = null; stored = JSON.stringify(drawn());
  if (!found.is_writable) tell("save-trouble", "This user may not write the configuration: start edgeapp aim as root to save.");
  render(); list();
}
function drawn() {
  const of = kind => shapes.filter(each => each.kind === kind);
  return {
    camera: { masks: of("mask").map(each => each.points) },
    counting: {
      lines: of("line").map(each => ({ name: each.name, start: each.points[0], end: each.points[1] })),
      zones: of("zone").map(each => ({ name: each.name, polygon: each.points })),
    },
  };
}
const isChanged = () => isOpen && stored !== "" && JSON.stringify(drawn()) !== stored;
const labelOf = each => each.kind === "mask" ? `mask ${shapes.filter(one => one.kind === "mask").indexOf(each) + 1}` : each.name;
const place = value => Number(Math.min(1, Math.max(0, value)).toFixed(DIGITS));

function add(kind) {
  const taken = new Set(shapes.map(each => each.name));
  let count = 1;
  while (taken.has(`${kind}-${count}`)) count += 1;
  const shift = 0.04 * (shapes.filter(each => each.kind === kind).length % 5);
  const box = (left, top, right, bottom) => [[left, top], [right, top], [right, bottom], [left, bottom]];
  const points = { line: [[.2, .5], [.8, .5]], zone: box(.35, .45, .65, .8), mask: box(.1, .1, .35, .35) }[kind];
  choose({ kind, name: kind === "mask" ? "" : `${kind}-${count}`, points: points.map(([x, y]) => [place(x + shift), place(y + shift)]) }, true);
}
function choose(shape, isNew) {
  if (isNew) shapes.push(shape);
  chosen = shape; corner = 0;
  render(); list();
}
for (const kind of ["line", "zone", "mask"]) $(`add-${kind}`).addEventListener("click", () => add(kind));
$("name").addEventListener("input", () => {
  $("name").value = chosen.name = $("name").value.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  render(); list();
});
$("swap").addEventListener("click", () => { chosen.points.reverse(); render(); list(); });
$("fewer").addEventListener("click", () => { chosen.points.splice(corner, 1); corner = 0; render(); list(); });
$("delete").addEventListener("click", () => { shapes = shapes.filter(each => each !== chosen); chosen = null; render(); list(); });
$("discard").addEventListener("click", async () => { tell("save-trouble", ""); tell("saved", ""); await load(); });
$("save").addEventListener("click", async () => {
  $("save").disabled = true;
  tell("save-trouble", ""); tell("saved", "saving …");
  try {
    const answer = await ask("/shapes", { base, ...drawn() });
    tell("saved", "");
    if (!answer.ok) return tell("save-trouble", await textOf(answer));
    const found = await answer.json();
    take(found);
    tell("saved", savedText(found.changed));
  } catch { tell("saved", ""); tell("save-trouble", "the device does not answer"); }
  finally { list(); $(isChanged() ? "save-trouble" : "saved").scrollIntoView({ block: "center" }); }
});
function savedText(changed) {
  const keys = changed.map(each => each.key).join(", ");
  if (!facts || !facts.is_service_live) return `Saved (${keys}). In force from the service's next start on.`;
  const verb = changed.some(each => each.effect === "restart") ? "restart" : "reload";
  return `Saved (${keys}). In force after: systemctl ${verb} edgeapp`;
}
function list() {
  $("chosen").hidden = !chosen;
  if (chosen) {
    $("name-label").hidden = chosen.kind === "mask";
    if ($("name").value !== chosen.name) $("name").value = chosen.name;
    $("hint").textContent = HINTS[chosen.kind];
    $("swap").hidden = chosen.kind !== "line";
    $("fewer").hidden = chosen.kind === "line";
    $("fewer").disabled = chosen.points.length <= 3;
  }
  $("list").replaceChildren(...shapes.map(each => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.className = each.kind;
    button.textContent = each.kind === "mask" ? labelOf(each) : `${each.kind} ${each.name}`;
    button.setAttribute("aria-pressed", String(each === chosen));
    button.addEventListener("click", () => choose(each === chosen ? null : each));
    item.append(button);
    return item;
  }));
  $("save").disabled = $("discard").disabled = !isChanged();
}

// ---- drawing -------------------------------------------------------------------------------------------------------
const isDrawing = () => !$("draw").hidden;
function part(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
function render() {
  const overlay = $("overlay"), width = overlay.clientWidth, height = overlay.clientHeight;
  if (!width || !height) return;
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.handle : undefined;
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const px = ([x, y]) => [x * width, y * height], parts = [];
  for (const each of facts ? facts.look.detections : []) {
    const [left, top] = px(each.box), [right, bottom] = px(each.box.slice(2)), isIn = isFollowed(each);
    parts.push(part("rect", { class: isIn ? "seen" : "seen ignored", x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) }));
    if (isIn) parts.push(part("text", { x: left + 3, y: Math.max(15, top - 5) }, `${each.name} ${Math.round(100 * each.score)}`));
  }
  for (const each of shapes) parts.push(...shapeParts(each, px));
  if (isDrawing() && chosen) parts.push(...handleParts(chosen, px));
  overlay.replaceChildren(...parts);
  if (focused !== undefined) overlay.querySelector(`[data-handle="${focused}"]`)?.focus();
}
function shapeParts(shape, px) {
  const points = shape.points.map(px), mark = shape === chosen && isDrawing() ? " chosen" : "";
  const parts = [part(shape.kind === "line" ? "polyline" : "polygon", { class: `${shape.kind} shape${mark}`, points: points.join(" ") })];
  if (isDrawing()) {
    const grip = part(shape.kind === "line" ? "polyline" : "polygon", { class: `${shape.kind} grip`, points: points.join(" ") });
    grip.addEventListener("pointerdown", event => { if (shape !== chosen) choose(shape); begin(event, { what: "all" }); });
    parts.push(grip);
  }
  const [a, b] = points;
  if (shape.kind === "line") parts.push(way(a, b));
  const middle = points.reduce((sum, each) => [sum[0] + each[0] / points.length, sum[1] + each[1] / points.length], [0, 0]);
  const at = shape.kind === "line" ? [Math.min(a[0], b[0]), Math.min(a[1], b[1]) - 12] : middle;
  const anchor = shape.kind === "line" ? "start" : "middle";
  parts.push(part("text", { x: at[0], y: Math.max(16, at[1]), "text-anchor": anchor }, labelOf(shape)));
  return parts;
}
function way(a, b) {  // the side to the right of who looks from the start to the end: where "forward" leads
  const dx = b[0] - a[0], dy = b[1] - a[1], length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length], [nx, ny] = [-uy, ux], middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const point = (along, across) => [middle[0] + ux * along + nx * across, middle[1] + uy * along + ny * across];
  const outline = [[-4, 3], [-4, 16], [-12, 16], [0, 32], [12, 16], [4, 16], [4, 3]];
  return part("polygon", { class: "way", points: outline.map(([along, across]) => point(along, across)).join(" ") });
}
function handleParts(shape, px) {
  const points = shape.points.map(px), parts = [];
  if (shape.kind !== "line") points.forEach((point, index) => {
    const next = points[(index + 1) % points.length], x = (point[0] + next[0]) / 2, y = (point[1] + next[1]) / 2;
    parts.push(part("circle", { class: "between", cx: x, cy: y, r: 6 }));
    const touch = part("circle", { class: "touch", cx: x, cy: y, r: REACH_PX * .7 });
    touch.addEventListener("pointerdown", event => {
      const [one, two] = [shape.points[index], shape.points[(index + 1) % shape.points.length]];
      shape.points.splice(index + 1, 0, [place((one[0] + two[0]) / 2), place((one[1] + two[1]) / 2)]);
      begin(event, { what: "corner", index: index + 1 });
    });
    parts.push(touch);
  });
  points.forEach(([x, y], index) => {
    parts.push(part("circle", { class: index === corner ? "handle current" : "handle", cx: x, cy: y, r: 10 }));
    const name = shape.kind === "line" ? ["start", "end"][index] : `corner ${index + 1}`;
    const touch = part("circle", { class: "touch", cx: x, cy: y, r: REACH_PX, tabindex: 0, role: "button", "data-handle": index, "aria-label": `${name} of ${labelOf(shape)}; arrow keys move it` });
    touch.addEventListener("pointerdown", event => begin(event, { what: "corner", index }));
    touch.addEventListener("keydown", event => {
      const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (!by) return;
      event.preventDefault();
      corner = index;
      shape.points[index] = [place(shape.points[index][0] + by[0]), place(shape.points[index][1] + by[1])];
      render(); list();
    });
    parts.push(touch);
  });
  return parts;
}
function begin(event, what) {
  event.preventDefault(); event.stopPropagation();
  if (what.what === "corner") corner = what.index;
  drag = { ...what, id: event.pointerId, x: event.clientX, y: event.clientY, points: chosen.points.map(each => [...each]) };
  $("overlay").setPointerCapture(event.pointerId);
  render(); list();
}
$("overlay").addEventListener("pointermove", event => {
  if (!drag || event.pointerId !== drag.id) return;
  const area = $("overlay").getBoundingClientRect();
  let dx = (event.clientX - drag.x) / area.width, dy = (event.clientY - drag.y) / area.height;
  if (drag.what === "corner") {
    const [x, y] = drag.points[drag.index];
    chosen.points[drag.index] = [place(x + dx), place(y + dy)];
    magnify(chosen.points[drag.index], area);
  } else {
    const inside = (by, axis) => Math.min(1 - Math.max(...drag.points.map(each => each[axis])), Math.max(-Math.min(...drag.points.map(each => each[axis])), by));
    dx = inside(dx, 0); dy = inside(dy, 1);
    chosen.points = drag.points.map(([x, y]) => [place(x + dx), place(y + dy)]);
  }
  render();
});
function magnify([x, y], area) {  // what the finger hides, on the other side of the picture
  const loupe = $("loupe").style, pen = $("loupe").firstElementChild.getContext("2d"), at = share => LOUPE_PX / 2 - share * LOUPE;
  pen.clearRect(0, 0, LOUPE_PX, LOUPE_PX);
  if ($("picture").width)
    pen.drawImage($("picture"), at(x * area.width), at(y * area.height), area.width * LOUPE, area.height * LOUPE);
  loupe.left = x < .5 ? "auto" : "4px";
  loupe.right = x < .5 ? "4px" : "auto";
  $("loupe").hidden = false;
}
for (const name of ["pointerup", "pointercancel"]) $("overlay").addEventListener(name, event => {
  if (!drag || event.pointerId !== drag.id) return;
  drag = null;
  $("loupe").hidden = true;
  render(); list();
});
$("overlay").addEventListener("pointerdown", () => { if (isDrawing() && chosen) choose(null); });
new ResizeObserver(render).observe($("overlay"));

function turnTo(name) {
  for (const each of ["look", "draw"]) {
    $(each).hidden = each !== name;
    $(`to-${each}`).setAttribute("aria-pressed", String(each === name));
  }
  $("overlay").classList.toggle("drawing", name === "draw");
  render();
}
$("to-look").addEventListener("click", () => turnTo("look"));
$("to-draw").addEventListener("click", () => turnTo("draw"));

// A page that was loaded anew still has its cookie.
if (sessionStorage.getItem("entered")) ask("/shapes").then(answer => { if (answer.ok) enter(); else sessionStorage.clear(); }, () => {});
