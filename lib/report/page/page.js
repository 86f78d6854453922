/* The page of a comparison. Everything it shows is in #data, JSON of schema 1 as snapdiff(1) documents
 * it, which nothing here changes: rows come sorted and judged.
 *
 * Invariant: what a file holds reaches the document as text nodes only, through name(), which makes
 * visible what would be invisible or reorder a line. No request leaves the page. */
(() => {
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const last = data.snapshots.length - 1;
const byId = (id) => document.getElementById(id);

/* ---- Text ---- */

/* Control characters, marks of writing direction, characters without width. */
const unseen =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const name = (text) =>
  text.replace(unseen, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

const units = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
function size(bytes) {
  let value = Math.abs(bytes), unit = 0;
  while (value >= (unit === 0 ? 1000 : 999.95) && unit + 1 < units.length) {
    value /= 1000;
    unit++;
  }
  return (bytes < 0 ? "−" : "") + (unit === 0 ? value : value.toFixed(1)) + " " + units[unit];
}
const plus = (text, value) => (value > 0 ? "+" : "") + text;
const signedSize = (bytes) => plus(size(bytes), bytes);
const number = (n) => (n < 0 ? "−" : "") + String(Math.abs(n)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const signedNumber = (n) => plus(number(n), n);
const percent = (ppm) => (ppm > 0 && ppm < 5000 ? "<1" : Math.round(ppm / 10000)) + "%";
const plural = (n, word) => number(n) + " " + word + (n === 1 ? "" : "s");
const baseName = (path) => path.slice(path.lastIndexOf("/") + 1) || path;
const rise = (series) => series[last] - series[0];

/* el("p", {class: "x", onclick: f}, "text", node, null): attributes and listeners, then children. */
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const chip = (text, tone) => el("span", {class: "chip" + (tone ? " tone" : "")}, text);

/* A name in which what is searched for is marked. */
function nameNode(text, kind) {
  const shown = name(text), node = el("span", {class: "name" + (kind ? " " + kind : ""), dir: "ltr"});
  const lower = shown.toLowerCase();
  let at = 0;
  if (query && lower.length === shown.length)
    for (let hit; (hit = lower.indexOf(query, at)) >= 0; at = hit + query.length)
      node.append(shown.slice(at, hit), el("mark", null, shown.slice(hit, hit + query.length)));
  node.append(shown.slice(at));
  return node;
}

function stepName(i) {
  const s = data.snapshots[i];
  return s.label || (s.step !== null ? "step " + s.step : "#" + (i + 1));
}

/* ---- What is searched for ---- */

let query = "";
const onQuery = []; /* called with no arguments when the query changes */

/* ---- Tooltip ---- */

const tip = el("div", {class: "tip", role: "tooltip", hidden: true});
function showTip(x, y, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), page = document.documentElement;
  const left = Math.min(x + 14, page.clientWidth - box.width - 8);
  const above = y + 18 + box.height > page.clientHeight;
  tip.style.left = Math.max(8, left) + scrollX + "px";
  tip.style.top = Math.max(4, above ? y - box.height - 12 : y + 18) + scrollY + "px";
}
const hideTip = () => { tip.hidden = true; };

/* A tooltip for the mouse and for the keyboard's focus. */
function withTip(node, content) {
  node.addEventListener("pointermove", (e) => showTip(e.clientX, e.clientY, ...content()));
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("blur", hideTip);
  node.addEventListener("focus", () => {
    if (!node.matches(":focus-visible")) return;
    const box = node.getBoundingClientRect();
    showTip(box.left, box.bottom - 10, ...content());
  });
  return node;
}
const tipTable = (rows) => el("table", null, el("tbody", null,
  rows.map(([key, value]) => el("tr", null, el("td", null, key), el("td", null, value)))));

/* Buttons of which one is pressed; calls back with its key. */
function choice(label, options, chosen, act) {
  const buttons = options.map(([key, text]) => el("button", {type: "button",
    "aria-pressed": String(key === chosen), onclick: (e) => {
      for (const b of buttons) b.setAttribute("aria-pressed", String(b === e.currentTarget));
      act(key);
    }}, text));
  return el("span", {class: "choice", role: "group", "aria-label": label}, buttons);
}

/* Calls back with the width of a node whenever it changes, and when asked to. */
function sized(node, draw) {
  let width = 0;
  const again = () => { if (node.clientWidth > 0) draw(node.clientWidth); };
  new ResizeObserver(() => {
    if (node.clientWidth === width) return;
    width = node.clientWidth;
    again();
  }).observe(node);
  return again;
}

/* ---- The verdict ---- */

const verdictWord = {"leak": "LEAK", "growth": "GROWTH", "no-growth": "NO GROWTH"};

function verdictLine() {
  const f = data.finding, suspects = data.suspects.length > 0;
  const known = f.references ? suspects : f.blamed_sites > 0;
  const growth = known ? f.blamed_growth_bytes : f.total_growth_bytes;
  const word = el("b", null, verdictWord[data.verdict] || name(data.verdict));
  if (data.verdict === "no-growth")
    return el("h1", {class: "verdict-line"}, word, el("span", {class: "amount"}, signedSize(f.total_growth_bytes)),
      el("span", {class: "rest"}, "in use, over " + plural(last + 1, "snapshot")));
  const rest = [known ? percent(f.share_ppm) + " of all growth" : "spread over many sites",
    last > 1 ? name(f.trend) + " over " + plural(last + 1, "snapshot") : "between 2 snapshots"];
  return el("h1", {class: "verdict-line"}, word,
    el("span", {class: "amount"}, signedSize(last > 1 ? Math.trunc(growth / last) : growth)),
    el("span", {class: "rest"}, (last > 1 ? "per snapshot, " : "") + rest.join(", ")));
}

/* A C++ function without its arguments and those of templates; whatever else reads as it is. */
function brief(text) {
  const anonymous = "(anonymous namespace)";
  let out = "", angle = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (text.startsWith(anonymous, i)) {
      if (angle === 0) out += anonymous;
      i += anonymous.length - 1;
    } else if (/operator$/.test(text.slice(Math.max(0, i - 8), i)) && /[^\w\s]/.test(c)) {
      const symbol = /^(\(\)|[^\w\s(]+)/.exec(text.slice(i));
      if (angle === 0) out += symbol ? symbol[0] : c;
      i += symbol ? symbol[0].length - 1 : 0;
    } else if (c === "{" && text.indexOf("}", i) > 0) {
      const end = text.indexOf("}", i);
      if (angle === 0) out += text.slice(i, end + 1);
      i = end;
    } else if (c === "<" && /\w/.test(text[i - 1] || "")) {
      if (angle++ === 0) out += "<…>";
    } else if (c === ">" && angle > 0 && text[i - 1] !== "-") {
      angle--;
    } else if (c === "(" && angle === 0 && i > 0) {
      /* A local function stands behind the arguments of the one it is in. */
      let depth = 0, end = i;
      do depth += text[end] === "(" ? 1 : text[end] === ")" ? -1 : 0; while (depth > 0 && ++end < text.length);
      i = end;
      if (text.startsWith("::", end + 1)) out += "()";
      else break;
    } else if (angle === 0) {
      out += c;
    }
  }
  return angle === 0 && out.trim() !== "" ? out : text;
}

/* The innermost frame that is no allocator's. */
/* Who asked for memory: the innermost line of a managed runtime, whatever libraries it went on through. */
const caller = (stack) => stack.find((f) => f.managed && f.function) || stack.find((f) => !f.allocator && f.function) || stack[0];
function frameText(f) {
  return f.function || (baseName(f.module) || "unknown code") + "+0x" + f.offset.toString(16);
}
function placeText(f) {
  if (f.file) return baseName(f.file) + (f.line ? ":" + f.line : "");
  return f.function && f.module ? baseName(f.module) : "";
}
function frameNode(f) {
  return [nameNode(brief(frameText(f)), "mono"),
    placeText(f) && el("span", {class: "place mono"}, nameNode(placeText(f)))];
}
const hookPlace = (h) => h.file ? baseName(h.file) + (h.line ? ":" + h.line : "") : "";
const typeName = (text) => text || "(unknown type)";

function chainLine(s) {
  const grown = s.chain.findIndex((c) => c.suspect);
  return s.chain.slice(0, grown < 0 ? s.chain.length : grown + 1).map((c) => c.edge).join("");
}

function culprit(s) {
  const facts = [];
  const fact = (key, ...value) => facts.push(el("dt", null, key), el("dd", null, ...value));
  const grew = last > 1 ? Math.round(s.growth_count / last) : s.growth_count;
  if (s.holder)
    fact("held by", el("span", {class: "clamp"}, nameNode(s.holder, "mono")),
      el("span", {class: "place mono"}, [s.root_kind, s.root_module && baseName(s.root_module), s.thread]
        .filter(Boolean).map(name).join(" · ")));
  if (s.hook)
    fact("callback", nameNode(s.hook.callback, "mono"), " ", nameNode(hookPlace(s.hook), "mono"),
      " ", chip(signedNumber(rise(s.hook.counts)) + " registered"));
  const path = chainLine(s);
  if (path && path !== s.holder && s.chain.length > 1)
    fact("through", el("span", {class: "clamp"}, nameNode(path, "mono")));
  const from = caller(s.site);
  if (from) fact("allocated in", el("span", {class: "clamp", title: name(from.function)}, frameNode(from).map((n) => [n, " "])));
  if (s.usual) fact("usual", el("span", {class: "clamp", title: name(s.usual)}, name(s.usual)));
  return el("div", {class: "culprit"},
    el("p", {class: "eyebrow"}, data.suspects.length > 1 ? "First of " + plural(data.suspects.length, "suspect") : "The suspect"),
    el("h2", {id: "culprit"}, nameNode(typeName(s.type)), " ",
      grew !== 0 && el("span", {class: "by"}, signedNumber(grew) + (last > 1 ? " per snapshot" : ""))),
    el("dl", {class: "facts"}, facts),
    s.advice && el("p", {class: "advice"}, el("span", null, name(s.advice))),
    el("p", {class: "more"},
      el("button", {type: "button", class: "primary", onclick: () => openSuspect(0, true)}, "Show the chain"),
      el("span", {class: "chips"}, chip(name(s.class), true), chip(signedSize(s.growth_bytes) + " in all"),
        chip("retains " + size(s.retained_bytes)), s.doubtful && chip("doubtful"))));
}

/* Without a suspect: what grew most and is no leak. */
function calm() {
  const top = data.not_leaks[0];
  return el("div", {class: "culprit"},
    el("p", {class: "eyebrow"}, top ? "Not a leak" : "Nothing to suspect"),
    el("h2", {id: "culprit"}, top ? name(top.class) + " " : "No row grew beyond the noise",
      top && el("span", {class: "by"}, size(top.bytes))),
    el("p", null, top ? name(top.explanation)
      : "Growth up to " + size(data.finding.threshold_bytes) + " is taken for noise."),
    data.not_leaks.slice(1, 4).map((n) => el("p", {class: "foot-line"}, chip(name(n.class)), " " + name(n.explanation))));
}

/* Growth without references: the site to blame. */
function blamedSite(site) {
  const from = caller(site.stack);
  return el("div", {class: "culprit"},
    el("p", {class: "eyebrow"}, "What grew most"),
    el("h2", {id: "culprit"}, nameNode(site.label), " ",
      el("span", {class: "by"}, signedSize(site.growth_bytes))),
    el("dl", {class: "facts"}, from ? [el("dt", null, "allocated in"), el("dd", null, frameNode(from))] : []));
}

/* ---- Growth over the snapshots ---- */

const domains = ["host", "python", "device", "pinned", "managed"];

function allSeries() {
  const list = [];
  data.suspects.slice(0, 3).forEach((s, i) => list.push({title: (i + 1) + " " + typeName(s.type),
    values: s.bytes, color: "--series-" + (i + 1), area: i === 0, on: true}));
  const used = domains.filter((k) => data.snapshots.some((s) => s.totals[k].bytes > 0));
  const sum = data.snapshots.map((s) => domains.reduce((all, k) => all + s.totals[k].bytes, 0));
  list.push({title: "in use", values: sum, color: "--series-use", on: true});
  if (used.length > 1)
    for (const k of used)
      list.push({title: k, values: data.snapshots.map((s) => s.totals[k].bytes), color: "--series-" + k, on: false});
  const process = (key, title) => {
    const values = data.snapshots.map((s) => s.process[key]);
    if (values.some((v) => v > 0)) list.push({title, values, color: "--series-rss", dashed: true, on: false});
  };
  process("rss_bytes", "RSS");
  process("malloc_free_bytes", "held free by malloc");
  /* RSS is shown from the start unless it would flatten all else. */
  const span = (s) => Math.max(...s.values.map((v) => Math.abs(v - s.values[0])));
  const rest = Math.max(...list.filter((s) => s.on).map(span));
  for (const s of list)
    if (s.title === "RSS") s.on = data.verdict === "no-growth" || span(s) <= 4 * rest;
  return list;
}

function growthChart() {
  const series = allSeries();
  let mode = "growth", at = -1;
  const plot = el("div", {class: "plot"}), legend = el("div", {class: "legend"});
  const value = (s, i) => s.values[i] - (mode === "growth" ? s.values[0] : 0);
  const steps = data.snapshots.map((s) => s.step);
  const byStep = last > 0 && steps.every((s, i) => s !== null && (i === 0 || s > steps[i - 1]));
  const where = (i) => (byStep ? steps[i] : i);
  let x, picture, marker;

  function point(i) {
    at = i;
    marker.replaceChildren();
    if (i < 0) return hideTip();
    const shown = series.filter((s) => s.on).sort((a, b) => value(b, i) - value(a, i));
    marker.append(svg("line", {class: "rule", x1: x(where(i)), x2: x(where(i)), y1: 8, y2: picture.clientHeight - 24}));
    const box = picture.getBoundingClientRect();
    showTip(box.left + x(where(i)), box.top + 30, el("b", null, name(stepName(i))),
      tipTable(shown.map((s) => [name(s.title), mode === "growth" ? signedSize(value(s, i)) : size(value(s, i))])));
  }
  const draw = sized(plot, (width) => {
    const height = Math.max(plot.clientHeight, 150), left = 62, right = 14, top = 8, bottom = 24;
    const shown = series.filter((s) => s.on);
    const all = shown.flatMap((s) => s.values.map((_, i) => value(s, i)));
    x = d3.scaleLinear().domain([where(0), where(last)]).range([left, width - right]);
    const low = Math.min(0, ...all), high = Math.max(0, ...all, low + 1);
    const y = d3.scaleLinear().domain([low, high]).nice(4).range([height - bottom, top]);
    const line = d3.line().x((_, i) => x(where(i))).y((v) => y(v));
    const area = d3.area().x((_, i) => x(where(i))).y1((v) => y(v)).y0(y(0));
    picture = svg("svg", {role: "img", tabindex: 0, "aria-label": chartText(), viewBox: `0 0 ${width} ${height}`,
      onkeydown: (e) => {
        const move = {ArrowLeft: -1, ArrowRight: 1}[e.key];
        if (move) { point(Math.max(0, Math.min(last, (at < 0 ? last + 1 : at) + move))); e.preventDefault(); }
        if (e.key === "Escape") point(-1);
      },
      onblur: () => point(-1), onpointerleave: () => point(-1),
      onpointermove: (e) => {
        const px = e.clientX - picture.getBoundingClientRect().left;
        let best = 0;
        for (let i = 1; i <= last; i++)
          if (Math.abs(x(where(i)) - px) < Math.abs(x(where(best)) - px)) best = i;
        point(best);
      }});
    for (const tick of y.ticks(4))
      picture.append(svg("line", {class: tick === 0 ? "zero" : "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick)}),
        svg("text", {class: "axis", x: left - 8, y: y(tick) + 4, "text-anchor": "end"}, size(Math.round(tick))));
    const room = Math.max(1, Math.floor((width - left) / 84)), every = Math.ceil((last + 1) / room);
    for (let i = 0; i <= last; i++)
      if (i === last || i % every === 0 && last - i >= every) {
        const text = name(stepName(i));
        picture.append(svg("text", {class: "axis", x: x(where(i)), y: height - 6,
          "text-anchor": i === 0 ? "start" : i === last ? "end" : "middle"},
          text.length > 12 ? text.slice(0, 11) + "…" : text));
      }
    for (const s of [...shown].reverse()) {
      const points = s.values.map((_, i) => value(s, i)), color = `var(${s.color})`;
      if (s.area) picture.append(svg("path", {d: area(points), fill: color, "fill-opacity": .14}));
      picture.append(svg("path", {d: line(points), fill: "none", stroke: color, "stroke-width": s.area ? 2.5 : 1.75,
        "stroke-linejoin": "round", "stroke-dasharray": s.dashed ? "5 4" : null}));
      if (last < 30)
        points.forEach((v, i) => picture.append(svg("circle", {cx: x(where(i)), cy: y(v), r: s.area ? 3 : 2.25, fill: color})));
    }
    marker = svg("g");
    picture.append(marker);
    plot.replaceChildren(picture);
  });
  const chartText = () => "Growth over the snapshots: " + series.filter((s) => s.on)
    .map((s) => name(s.title) + " " + signedSize(rise(s.values))).join(", ") + ". Arrow keys go through the snapshots.";
  for (const s of series) {
    const key = el("i");
    key.style.setProperty("--color", `var(${s.color})`);
    legend.append(el("button", {type: "button", "aria-pressed": String(s.on), onclick: (e) => {
      s.on = !s.on;
      e.currentTarget.setAttribute("aria-pressed", String(s.on));
      draw();
    }}, key, el("span", null, name(s.title)), el("em", null, signedSize(rise(s.values)))));
  }
  return el("div", {class: "card chart"},
    el("div", {class: "panel-head"}, el("h2", null, "Growth over snapshots"),
      choice("Scale", [["growth", "growth"], ["all", "in use"]], mode, (key) => { mode = key; draw(); })),
    plot, legend);
}

function spark(values, kind) {
  const width = 96, height = 26, low = Math.min(...values), high = Math.max(...values);
  const x = (i) => last > 0 ? 2 + i * (width - 4) / last : width / 2;
  const y = (v) => high > low ? height - 3 - (v - low) * (height - 6) / (high - low) : height - 3;
  const line = d3.line().x((_, i) => x(i)).y(y), area = d3.area().x((_, i) => x(i)).y1(y).y0(height);
  return svg("svg", {class: "spark " + (kind || (rise(values) > 0 ? "up" : rise(values) < 0 ? "down" : "")), viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"},
    svg("path", {class: "fill", d: area(values)}), svg("path", {d: line(values)}),
    svg("circle", {cx: x(last), cy: y(values[last]), r: 2.5}));
}

/* ---- Sections ---- */

const sections = []; /* {id, title, count, node} in the order of the page */
function section(id, title, count, note, ...content) {
  const node = el("section", {class: "card", id, "aria-labelledby": id + "-title"},
    el("div", {class: "panel-head"}, el("h2", {id: id + "-title", tabindex: -1}, title),
      note && el("span", {class: "note"}, note)), content);
  sections.push({id, title, count, node});
  return node;
}

/* ---- Suspects ---- */

const suspectCards = []; /* {card, head, body, text} */

/* The middle of a long chain can wait. */
function chainList(chain) {
  const list = el("ol", {class: "chain"});
  const item = (c, i) => el("li", {class: c.suspect ? "grew" : null, title: c.suspect ? "this is what grew" : null},
    el("span", null, nameNode(c.edge || (i === 0 ? "(root)" : ""), "mono edge"), c.edge ? " " : "",
      nameNode(typeName(c.node), "mono node"), c.label ? " " + c.label : "", c.count > 1 ? " ×" + number(c.count) : "", c.list ? " (a list)" : ""),
    el("span", {class: "size"}, size(c.bytes)));
  const show = (all) => {
    list.replaceChildren();
    chain.forEach((c, i) => {
      const far = !all && chain.length > 14 && i >= 6 && i + 6 < chain.length && !c.suspect;
      if (!far) list.append(item(c, i));
      else if (i === 6)
        list.append(el("li", null, el("button", {type: "button", class: "link", onclick: () => show(true)},
          "show " + plural(chain.length - 12, "more step"))));
    });
  };
  show(false);
  return list;
}

function stackList(stack) {
  const list = el("ol", {class: "stack"});
  const show = (all) => {
    const called = stack.filter((f) => !f.allocator), managed = called.some((f) => f.managed);
    const shown = all ? stack : called.filter((f, i) => i === 0 || !managed || f.managed).slice(0, 12);
    list.replaceChildren(...shown.map((f) => el("li", {title: name(f.function + "\n" + (f.file || f.module))}, frameNode(f))));
    if (shown.length < stack.length)
      list.append(el("li", null, el("button", {type: "button", class: "link", onclick: () => show(true)},
        "show all " + plural(stack.length, "frame"))));
  };
  show(stack.every((f) => f.allocator));
  return list;
}

function seriesTable(row) {
  return el("div", {class: "scroll"}, el("table", {class: "rows"},
    el("thead", null, el("tr", null, el("th", null, "snapshot"), data.snapshots.map((_, i) => el("th", {class: "num"}, name(stepName(i)))))),
    el("tbody", null,
      el("tr", null, el("td", null, "bytes"), row.bytes.map((v) => el("td", {class: "num"}, size(v)))),
      el("tr", null, el("td", null, "count"), row.counts.map((v) => el("td", {class: "num"}, number(v)))))));
}

function suspectBody(s) {
  const figure = (value, title) => el("div", null, el("b", null, value), el("span", null, title));
  return [
    el("div", {class: "numbers"}, figure(signedSize(s.growth_bytes), "growth"), figure(signedNumber(s.growth_count), "more of them"),
      figure(percent(s.share_ppm), "of all growth"), figure(size(s.retained_bytes), "retained"),
      s.exclusive_bytes > 0 && figure(size(s.exclusive_bytes), "held by nothing else"),
      figure(name(s.trend), "trend"), figure(name(s.match), "matched by"), figure(name(s.domain), "domain")),
    el("div", {class: "two"},
      s.chain.length > 0 && el("div", null, el("h3", null, s.chain.length > 1 || s.holder ? "Retained through" : "What grew"), chainList(s.chain),
        s.doubtful && el("p", {class: "empty"}, "Doubtful: only a stack, a register or a reference of low confidence holds it.")),
      s.site.length > 0 && el("div", null, el("h3", null, "Allocated by"), stackList(s.site))),
    s.hook && el("p", {class: "foot-line"}, "Callback ", nameNode(s.hook.callback, "mono"), " ", nameNode(hookPlace(s.hook), "mono"), " in ",
      nameNode(s.hook.registry, "mono"), ", " + s.hook.counts.map(number).join(" → ") + " registered."),
    s.usual && el("p", {class: "foot-line"}, "Usual: ", name(s.usual), "."),
    s.advice && el("p", {class: "advice"}, el("span", null, name(s.advice))),
    el("h3", {class: "said"}, "Numbers"), seriesTable(s)];
}

function suspectCard(s, i) {
  const body = el("div", {class: "suspect-body", id: "suspect-body-" + (i + 1), hidden: true});
  const title = el("span", {class: "suspect-name"}), holder = el("span", {class: "suspect-holder"});
  const head = el("button", {type: "button", class: "suspect-head", "aria-expanded": "false", "aria-controls": body.id,
    onclick: () => openSuspect(i, head.getAttribute("aria-expanded") !== "true")},
    el("span", {class: "rank"}, s.rank), el("span", null, title, holder), spark(s.bytes),
    el("span", {class: "suspect-growth"}, signedSize(s.growth_bytes), el("small", null, percent(s.share_ppm) + ", " + name(s.trend))),
    el("span", {class: "turn", "aria-hidden": "true"}, "▸"));
  const card = el("div", {class: "suspect", id: "suspect-" + s.rank}, head, body);
  const site = caller(s.site);
  const draw = () => {
    title.replaceChildren(nameNode(typeName(s.type)), " ", chip(name(s.class)), " ", s.domain !== "host" ? chip(name(s.domain)) : "");
    holder.replaceChildren(...(s.holder ? ["held by ", nameNode(s.holder, "mono")]
      : site ? ["allocated in ", nameNode(brief(frameText(site)), "mono")] : []));
    if (!body.hidden) body.replaceChildren(...suspectBody(s).filter(Boolean));
  };
  draw();
  const words = [s.type, s.class, s.domain, s.holder, s.advice, s.hook ? s.hook.callback + " " + s.hook.registry + " " + s.hook.file : ""]
    .concat(s.chain.map((c) => c.edge + " " + c.node), s.site.map((f) => f.function + " " + f.file));
  suspectCards.push({card, head, body, draw, words: words.map(name).join("\n").toLowerCase()});
  return card;
}

function openSuspect(i, open, stay) {
  const {card, head, body, draw} = suspectCards[i];
  head.setAttribute("aria-expanded", String(open));
  card.classList.toggle("open", open);
  body.hidden = !open;
  if (open) draw();
  if (open && !stay) {
    head.focus({preventScroll: true});
    card.scrollIntoView({block: "nearest"});
    if (card.getBoundingClientRect().top < 60 || card.getBoundingClientRect().bottom > innerHeight)
      card.scrollIntoView({block: "start"});
  }
}

function suspectSection() {
  const none = el("p", {class: "empty", hidden: data.suspects.length > 0}, data.verdict === "no-growth"
    ? "Nothing is suspect." : "Growth is spread over many sites: none stands out.");
  const list = el("div", null, data.suspects.map(suspectCard), none);
  onQuery.push(() => {
    let shown = 0;
    for (const c of suspectCards) {
      c.card.hidden = query !== "" && !c.words.includes(query);
      shown += !c.card.hidden;
      c.draw();
    }
    none.hidden = shown > 0;
    if (query) none.textContent = "No suspect fits the search.";
  });
  const cut = data.n_suspects > data.suspects.length;
  return section("suspects", "Suspects", data.n_suspects, data.suspects.length > 0
    ? "What grew, the culprit first, and the chain of references that keeps it alive"
      + (cut ? `. The first ${number(data.suspects.length)} of ${number(data.n_suspects)}` : "") : null, list);
}

/* ---- Cells: what the map and the flame graph draw ---- */

function cell(box, kind, label, content, act) {
  const node = withTip(el("button", {type: "button", class: "cell" + kind, "aria-label": label, onclick: act}), content);
  node.style.left = box.x0 + "px";
  node.style.top = box.y0 + "px";
  node.style.width = Math.max(1, box.x1 - box.x0) + "px";
  node.style.height = Math.max(1, box.y1 - box.y0) + "px";
  return node;
}

/* The way from the whole to what is zoomed into, each a button. */
function crumbs(node, title, go) {
  const way = node.ancestors().reverse();
  return way.map((n, i) => [i > 0 ? "›" : "", i === way.length - 1
    ? el("b", {class: "name"}, name(title(n))) : el("button", {type: "button", class: "link name", onclick: () => go(n)}, name(title(n)))]).flat();
}
const hits = (text) => query !== "" && name(text).toLowerCase().includes(query);

/* ---- Treemap ---- */

/* Growth of a type as a part of what there is of it now. Types made of a site have its line in chains,
 * and not in the table. */
const partOf = (row) => row.bytes[last] > 0 ? Math.max(0, Math.min(1, rise(row.bytes) / row.bytes[last])) : 0;
const newPart = new Map(data.types.map((t) => [t.type, partOf(t)]));
for (const s of [...data.suspects].reverse()) newPart.set(s.type, partOf(s));
const newPartOf = (type) => type === undefined ? undefined
  : newPart.get(type) ?? newPart.get(type.replace(/^(allocated in .*):\d+$/, "$1"));

function retainedTree() {
  const root = {title: "the whole heap", bytes: data.retained.reachable_bytes, children: [], own: 0, note: ""};
  const way = [root];
  for (const r of data.retained.dominators) {
    way.length = Math.min(way.length, r.depth + 1);
    const node = {title: (r.depth === 0 && r.root ? r.root + "  " : r.edge ? r.edge + "  " : "") + typeName(r.node), type: r.node,
      label: r.label, bytes: r.retained_bytes, own: r.bytes, alike: r.alike, count: r.retained_count, children: []};
    way[way.length - 1].children.push(node);
    way.push(node);
  }
  const rest = root.bytes - root.children.reduce((sum, c) => sum + c.bytes, 0);
  if (rest > root.bytes / 2) {
    root.title = "retained by one";
    root.note = " of " + size(root.bytes) + "; the rest is held by many together, or small";
    root.bytes -= rest;
  } else if (rest > 0) root.children.push({title: "held by many together, or small", bytes: rest, children: []});
  return root;
}

function typeTree(of) {
  const root = {title: "all types", bytes: 0, children: []};
  for (const domain of domains) {
    const children = data.types.filter((t) => t.domain === domain && of(t) > 0)
      .map((t) => ({title: typeName(t.type), type: t.type, bytes: of(t), count: t.counts[last], children: []}));
    const bytes = children.reduce((sum, c) => sum + c.bytes, 0);
    if (bytes > 0) root.children.push({title: domain, bytes, children});
    root.bytes += bytes;
  }
  return root.children.length === 1 ? {...root.children[0], title: "all types"} : root;
}

function mapSection() {
  const kinds = [["types", "types", () => typeTree((t) => t.bytes[last])], ["grown", "growth of types", () => typeTree((t) => rise(t.bytes))]];
  if (data.retained && data.retained.dominators.length > 0) kinds.unshift(["retained", "retained by", retainedTree]);
  let tree, focus;
  const map = el("div", {class: "map", role: "group", "aria-label": "Treemap of memory"}), way = el("div", {class: "crumbs"});
  const root = (n) => n.data.title;

  function zoom(node, by) {
    focus = node;
    draw();
    if (by) (map.querySelector(".cell") || map).focus();
  }
  function text(n) {
    const t = n.data, part = newPartOf(t.type);
    return [el("b", null, name(t.title)), t.label ? el("span", null, name(t.label)) : "", tipTable([
      [t.own !== undefined ? "retains" : "bytes", size(t.bytes)], t.own > 0 && ["itself", size(t.own)], t.alike > 1 && ["alike", "×" + number(t.alike)],
      t.count > 0 && [t.own !== undefined ? "nodes" : "count", number(t.count)], part !== undefined && ["of its type is new", percent(part * 1e6)]].filter(Boolean))];
  }
  const draw = sized(map, (width) => {
    const height = map.clientHeight;
    const top = d3.hierarchy(focus.data, (n) => n.children)
      .sum((n) => Math.max(0, n.bytes - n.children.reduce((sum, c) => sum + c.bytes, 0)));
    d3.treemap().size([width, height]).paddingTop((n) => n.depth > 0 && n.children ? 17 : 0)
      .paddingInner(1).paddingLeft((n) => n.depth > 0 ? 2 : 0).paddingRight((n) => n.depth > 0 ? 2 : 0)
      .paddingBottom((n) => n.depth > 0 ? 2 : 0).round(true)(top);
    /* The way up goes through the nodes of the whole tree. */
    const real = new Map(focus.descendants().map((n) => [n.data, n]));
    const cells = [];
    for (const n of top.descendants().slice(top.children ? 1 : 0)) {
      if (n.x1 - n.x0 < 3 || n.y1 - n.y0 < 3) continue;
      const target = real.get(n.data), part = newPartOf(n.data.type) || 0;
      const node = cell(n, query === "" ? "" : hits(n.data.title) ? " hit" : " dim",
        name(n.data.title) + ", " + size(n.data.bytes), () => text(n),
        (e) => zoom(target.children && target !== focus ? target : target.parent || target, e.detail === 0));
      if (part > 0) node.style.background = `color-mix(in oklab, var(--hot) ${Math.round(part * 100)}%, var(--cell))`;
      if (n.x1 - n.x0 > 34 && n.y1 - n.y0 > 14) {
        node.append(el("span", {class: "name"}, name(brief(n.data.title))));
        if (!n.children && n.y1 - n.y0 > 32) node.append(el("small", null, size(n.data.bytes)));
      }
      cells.push(node);
    }
    map.replaceChildren(...cells);
    way.replaceChildren(...crumbs(focus, root, zoom), el("span", {class: "empty"}, size(focus.data.bytes) + (focus.data.note || "")));
  });
  const use = (key) => {
    tree = d3.hierarchy(kinds.find((k) => k[0] === key)[2](), (n) => n.children);
    focus = tree;
    draw();
  };
  use(kinds[0][0]);
  onQuery.push(draw);
  const node = section("memory", "Memory", null, kinds[0][0] === "retained"
    ? "Who retains what in the last snapshot: a box holds what would go with it" : "What there is in the last snapshot",
    way, map, el("p", {class: "foot"}, el("span", {class: "scale"}, "nothing of its type is new", el("i"), "all of it is"),
      "Click a box to go in, the path above to go out."));
  node.querySelector(".panel-head").append(choice("Area", kinds, kinds[0][0], use));
  return node;
}

/* ---- Flame graph ---- */

function flameTree(of) {
  const root = {title: "all", value: 0, children: new Map(), place: "", blamed: false};
  for (const s of data.sites) {
    const value = of(s);
    if (value <= 0) continue;
    let at = root;
    root.value += value;
    const frames = s.stack.filter((f) => !f.allocator).reverse();
    if (frames.length === 0) frames.push({function: s.label, file: "", line: 0, module: "", offset: 0});
    for (const f of frames) {
      const title = frameText(f), place = placeText(f), key = title + "\n" + place;
      if (!at.children.has(key)) at.children.set(key, {title, place, module: f.module, has_line: f.line > 0, value: 0, children: new Map(), blamed: false});
      at = at.children.get(key);
      at.value += value;
      at.blamed = at.blamed || s.blamed;
    }
  }
  return root;
}

/* Runs of frames with a single caller and the same bytes are one row until they are opened. */
const RUN = 7, KEPT = 3;
function foldFlame(node, opened) {
  const run = [node];
  for (let n = node; n.children.size === 1; ) {
    n = n.children.values().next().value;
    if (n.value !== node.value) break;
    run.push(n);
  }
  const inner = run[run.length - 1];
  const tail = () => ({...inner, list: [...inner.children.values()].map((c) => foldFlame(c, opened)).sort((a, b) => b.value - a.value)});
  if (run.length <= RUN || opened.has(node)) return run.slice(0, -1).reduceRight((below, n) => ({...n, list: [below]}), tail());
  /* The innermost lines that are known say most: they stay, and what is between them is folded. */
  const hidden = run.slice(1, -1), kept = new Set(hidden.filter((n) => n.has_line).slice(-KEPT)), rows = [];
  for (const n of hidden) {
    const above = rows[rows.length - 1];
    if (kept.has(n) || !above || !above.frames)
      rows.push(kept.has(n) ? {...n} : {folded: node, frames: [n], value: node.value, place: "", blamed: node.blamed});
    else above.frames.push(n);
  }
  for (const r of rows)
    if (r.frames) r.title = "… " + plural(r.frames.length, "frame");
  return {...node, list: [rows.reduceRight((below, r) => ({...r, list: [below]}), tail())]};
}

function hue(text) {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (h * 31 + text.charCodeAt(i)) >>> 0;
  return h;
}

function flameSection() {
  const kinds = [["growth", "growth", (s) => s.growth_bytes], ["new", "new blocks", (s) => s.new_bytes], ["all", "in use", (s) => s.bytes[last]]];
  let of = kinds[0][2], raw, tree, focus;
  const opened = new Set();
  const flame = el("div", {class: "flame", role: "group", "aria-label": "Flame graph of allocation stacks"}), way = el("div", {class: "crumbs"});
  const inner = el("div");
  inner.style.position = "relative";
  flame.append(inner);

  function build() {
    tree = d3.hierarchy(foldFlame(raw, opened), (n) => n.list);
    tree.each((n) => { n.value = n.data.value; });
    focus = tree;
  }
  function zoom(node, by) {
    if (node.data.folded) {
      const keep = focus.ancestors().length - 1;
      opened.add(node.data.folded);
      build();
      if (keep > 0) focus = tree;
    } else {
      focus = node;
    }
    draw();
    if (by) (inner.querySelector(".cell") || flame).focus();
  }
  function text(n) {
    const t = n.data, part = raw.value > 0 ? t.value / raw.value : 0;
    return [el("b", null, name(t.title)), t.place ? el("span", {class: "mono"}, name(t.place)) : "",
      t.frames ? el("span", {class: "mono"}, t.frames.slice(0, 12).map((f) => name(f.title)).join(" › ") + (t.frames.length > 12 ? " › …" : "")) : "",
      tipTable([["bytes", size(t.value)], ["of all", percent(Math.round(part * 1e6))]])];
  }
  const draw = sized(flame, () => {
    const width = inner.clientWidth, row = 21, cells = [];
    /* Callers stand above what is zoomed into, over the whole width. */
    const chain = focus.ancestors().reverse();
    let depth = chain.length;
    const put = (n, x0, x1, y) => {
      if (x1 - x0 < 1.5) return;
      const t = n.data, h = hue(t.module || t.title);
      const node = cell({x0, x1, y0: y * row, y1: y * row + row}, " frame" + (t.folded ? " folded" : "")
        + (query === "" ? "" : hits(t.title + " " + t.place) || t.frames && t.frames.some((f) => hits(f.title)) ? " hit" : " dim"),
        name(t.title) + ", " + size(t.value), () => text(n), (e) => zoom(n, e.detail === 0));
      node.style.background = n === tree ? "var(--cell)" : t.blamed
        ? `hsl(${8 + h % 14} 88% var(--flame))` : `hsl(${34 + h % 26} ${40 + h % 15}% var(--flame))`;
      if (n === tree) node.style.color = "var(--cell-text)";
      if (x1 - x0 > 24) node.append(el("span", {class: "name"}, name(brief(t.title)) + (t.place && x1 - x0 > 240 ? "  " + name(t.place) : "")));
      cells.push(node);
      depth = Math.max(depth, y + 1);
      let x = x0;
      if (y >= chain.length - 1)
        for (const c of n.children || []) {
          const w = (x1 - x0) * c.value / n.value;
          if (cells.length < 4000) put(c, x, x + w, y + 1);
          x += w;
        }
    };
    chain.forEach((n, i) => put(n, 0, width, i));
    inner.style.height = depth * row + "px";
    inner.replaceChildren(...cells);
    way.replaceChildren(...(raw.value > 0 ? [...crumbs(focus, (n) => n.data.title, (n) => zoom(n)), el("span", {class: "empty"}, size(focus.value))]
      : [el("span", {class: "empty"}, "No site grew.")]));
  });
  const use = (key) => {
    of = kinds.find((k) => k[0] === key)[2];
    raw = flameTree(of);
    opened.clear();
    build();
    draw();
  };
  use("growth");
  onQuery.push(draw);
  const cut = data.n_sites > data.sites.length;
  const node = section("flame", "Stacks", null, "Where what grew was allocated, a flame graph: callers above, red where a suspect's site is blamed"
    + (cut ? `. The ${number(data.sites.length)} sites that grew most of ${number(data.n_sites)}` : ""), way, flame,
    el("p", {class: "foot"}, "Click a frame to zoom, a row of frames in italics to open it. Sites that shrank are left out."));
  node.querySelector(".panel-head").append(choice("Width", kinds, "growth", use));
  return node;
}

/* ---- Tables ---- */

const PAGE = 25, QUIET = 5;

/* What did not change at all is on the page, but not in the way: few such rows are shown at first.
 * columns: {title, value(row): to sort by, show(row), num, wide, first: the row opens there} */
function table(what, columns, rows, total, words, detail) {
  const changeOf = (r) => r.growth_bytes !== undefined ? r.growth_bytes : rise(r.counts);
  const changed = rows.filter((r) => changeOf(r) !== 0).length;
  const firstOnes = () => query !== "" ? PAGE : Math.max(QUIET, Math.min(PAGE, changed));
  let sorted = null, up = false, most = firstOnes();
  const open = new Set();
  const lower = rows.map((r) => words(r).map(name).join("\n").toLowerCase());
  const body = el("tbody"), foot = el("p", {class: "foot", role: "status"});
  const heads = columns.map((c) => el("th", {scope: "col", class: (c.num ? "num " : "") + (c.wide ? "wide" : "")},
    el("button", {type: "button", title: "Sort by " + c.title, onclick: () => {
      up = sorted === c ? !up : !c.num;
      sorted = c;
      most = Math.max(most, PAGE);
      draw();
    }}, c.title)));
  function rowOf(r) {
    const growth = changeOf(r);
    const tr = el("tr", {class: (growth > 0 ? "plus" : growth < 0 ? "minus" : "") + (r.blamed ? " blamed" : "")});
    const toggle = () => { open.has(r) ? open.delete(r) : open.add(r); draw(); };
    for (const c of columns) {
      const shown = c.show(r);
      tr.append(el("td", {class: [c.num && "num", c.wide && "wide", c.delta && "delta", c.first && "wide-name"].filter(Boolean).join(" ") || null},
        c.first && detail ? el("button", {type: "button", class: "open-row", "aria-expanded": String(open.has(r)), onclick: (e) => {
          const n = [...body.querySelectorAll(".open-row")].indexOf(e.currentTarget);
          toggle();
          body.querySelectorAll(".open-row")[n].focus();
        }}, el("span", {class: "turn", "aria-hidden": "true"}, "▸"), shown) : shown));
    }
    return open.has(r) ? [tr, el("tr", {class: "detail"}, el("td", {colspan: columns.length}, detail(r)))] : [tr];
  }
  function draw() {
    let shown = rows.filter((_, i) => query === "" || lower[i].includes(query));
    if (sorted)
      shown = shown.map((r, i) => [sorted.value(r), i, r]).sort((a, b) => {
        const order = a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
        return (up ? order : -order) || a[1] - b[1];
      }).map((e) => e[2]);
    heads.forEach((h, i) => {
      if (columns[i] === sorted) h.setAttribute("aria-sort", up ? "ascending" : "descending");
      else h.removeAttribute("aria-sort");
    });
    body.replaceChildren(...shown.slice(0, most).flatMap(rowOf));
    foot.replaceChildren(shown.length === 0 ? (query ? "No row fits the search." : "None.")
      : `${number(Math.min(most, shown.length))} of ${plural(shown.length, what)}` + (query ? " that fit the search" : ""));
    if (shown.length > most)
      foot.append(el("button", {type: "button", class: "soft", onclick: () => { most += 200; draw(); }}, "Show more"),
        query === "" && most < PAGE ? (changed > 0 ? "The rest did not change. " : "None changed. ") : "");
    if (total > rows.length)
      foot.append(`This page holds the first ${number(rows.length)} of ${number(total)}; snapdiff --json --top all lists all.`);
  }
  draw();
  onQuery.push(() => { most = firstOnes(); draw(); });
  return el("div", null, el("div", {class: "scroll"}, el("table", {class: "rows"}, el("thead", null, el("tr", null, heads)), body)), foot);
}

const shareOf = (r) => {
  const bar = el("i");
  bar.style.width = Math.min(100, r.share_ppm / 10000) + "%";
  return [el("span", {class: "share", "aria-hidden": "true"}, bar), percent(r.share_ppm)];
};
const growthColumns = [
  {title: "growth", num: true, delta: true, value: (r) => r.growth_bytes, show: (r) => signedSize(r.growth_bytes)},
  {title: "count", num: true, wide: true, value: (r) => r.growth_count, show: (r) => signedNumber(r.growth_count)},
  {title: "share", num: true, wide: true, value: (r) => r.share_ppm, show: shareOf},
  {title: "in use", num: true, value: (r) => r.bytes[last], show: (r) => size(r.bytes[last])},
  {title: "trend", wide: true, value: (r) => r.trend, show: (r) => name(r.trend)},
  {title: "domain", wide: true, value: (r) => r.domain, show: (r) => name(r.domain)},
];
const sparkColumn = {title: "shape", num: false, wide: true, value: (r) => r.growth_bytes, show: (r) => spark(r.bytes)};

const siteNode = (s) => el("span", {title: name(s.label)}, nameNode(brief(s.label.replace(/^allocated in /, "")), "mono"));

function tableSections() {
  const nodes = [];
  if (data.hooks.length > 0)
    nodes.push(section("hooks", "Hooks", data.n_hooks, "Registered callbacks: one more each time is a leak of what it holds", table("hook", [
      {title: "callback", first: true, value: (h) => h.callback, show: (h) => el("span", {title: name(h.callback)}, nameNode(brief(h.callback), "mono"))},
      {title: "defined at", wide: true, value: (h) => h.file, show: (h) => nameNode(hookPlace(h), "mono")},
      {title: "registered in", value: (h) => h.registry, show: (h) => nameNode(h.registry, "mono")},
      {title: "change", num: true, delta: true, value: (h) => rise(h.counts), show: (h) => signedNumber(rise(h.counts))},
      {title: "now", num: true, value: (h) => h.counts[last], show: (h) => number(h.counts[last])},
      {title: "retains", num: true, wide: true, value: (h) => h.retained_bytes, show: (h) => h.retained_bytes > 0 ? size(h.retained_bytes) : "–"},
    ], data.hooks, data.n_hooks, (h) => [h.callback, h.registry, h.file],
    (h) => el("p", null, "Registered: " + h.counts.map((c, i) => name(stepName(i)) + " " + number(c)).join(", ")))));
  nodes.push(section("types", "Types", data.n_types, null, table("type", [
    {title: "type", first: true, value: (t) => t.type, show: (t) => el("span", {class: "clamp", title: name(t.type)}, nameNode(typeName(t.type), "mono"))}, sparkColumn, ...growthColumns,
  ], data.types, data.n_types, (t) => [t.type, t.domain, t.trend], seriesTable)));
  nodes.push(section("sites", "Sites", data.n_sites, "Stacks that allocate", table("site", [
    {title: "site", first: true, value: (s) => s.label, show: (s) => siteNode(s)}, sparkColumn, ...growthColumns,
  ], data.sites, data.n_sites, (s) => [s.label, s.domain, s.trend].concat(s.stack.map((f) => f.function + " " + f.file)),
  (s) => [stackList(s.stack), el("p", {class: "foot"}, plural(s.new_count, "new block") + ", " + size(s.new_bytes)), seriesTable(s)])));
  if (data.mapped)
    nodes.push(section("mapped", "Mappings", data.mapped.length, "Memory the program maps itself, blocks in it or not", table("mapping", [
      {title: "site", first: true, value: (s) => s.label, show: (s) => siteNode(s)}, ...growthColumns.slice(0, 5),
    ], data.mapped, data.mapped.length, (s) => [s.label], (s) => [stackList(s.stack), seriesTable(s)])));
  nodes.push(section("modules", "Modules", data.n_modules, "By the module of the first frame that is no allocator's", table("module", [
    {title: "module", first: true, value: (m) => m.module, show: (m) => nameNode(m.module || "(no module)", "mono")}, sparkColumn, ...growthColumns,
  ], data.modules, data.n_modules, (m) => [m.module, m.domain], seriesTable)));
  return nodes;
}

/* What the drivers have given; of series the first and the last. */
function deviceSection() {
  const rows = [["live", "live_bytes"], ["cached", "cached_bytes"], ["held for graphs", "graph_bytes"], ["the driver says", "reported_bytes"],
    ["contexts, code, untracked", "residual_bytes"]];
  return section("devices", "Devices", data.devices.length, "Memory of each device that this process has", data.devices.map((d) =>
    el("div", {class: "scroll"}, el("table", {class: "rows"},
      el("thead", null, el("tr", null, el("th", {scope: "col"}, "device " + d.device, " ", nameNode(d.name, "mono")),
        data.snapshots.map((_, i) => el("th", {scope: "col", class: "num"}, name(stepName(i)))), el("th", {scope: "col", class: "num"}, "growth"))),
      el("tbody", null, rows.filter(([, key]) => d[key].some((v) => v !== 0)).map(([title, key]) =>
        el("tr", {class: rise(d[key]) > 0 ? "plus" : null}, el("td", null, title), d[key].map((v) => el("td", {class: "num"}, size(v))),
          el("td", {class: "num delta"}, signedSize(rise(d[key]))))))))));
}

function noteSections() {
  const nodes = [];
  if (data.not_leaks.length > 0)
    nodes.push(section("not-leaks", "Not leaks", data.not_leaks.length, "Growth that only looks like one, and why",
      el("ul", {class: "notes"}, data.not_leaks.map((n) => el("li", null, el("span", null, chip(name(n.class)), " ", el("b", null, size(n.bytes))),
        el("span", null, name(n.explanation)))))));
  if (data.limits.length > 0)
    nodes.push(section("limits", "Limits", data.limits.length, "What these files cannot tell",
      el("ul", {class: "notes plain"}, data.limits.map((l) => el("li", null, name(l))))));
  return nodes;
}

function snapshotSection() {
  const time = (ns) => ns > 0 ? new Date(ns / 1e6).toISOString().slice(0, 19).replace("T", " ") + "Z" : "–";
  const known = (v, show) => v > 0 ? show(v) : "–";
  const rows = data.snapshots.map((s, i) => {
    const v = i > 0 ? data.intervals[i - 1] : null, all = domains.reduce((sum, k) => sum + s.totals[k].bytes, 0);
    const facts = [s.rank !== null && "rank " + s.rank, !s.complete && "incomplete"].filter(Boolean).join(", ");
    return el("tr", null, el("td", {class: "num"}, i + 1), el("td", null, nameNode(stepName(i)), facts && " ", facts && chip(facts)),
      el("td", {class: "wide", title: name(s.file)}, nameNode(baseName(s.file), "mono")), el("td", {class: "wide"}, time(s.time_ns)),
      el("td", {class: "num"}, size(all)), el("td", {class: "num"}, known(s.process.rss_bytes, size)),
      el("td", {class: "num wide"}, known(s.process.malloc_free_bytes, size)),
      el("td", {class: "num"}, v ? number(v.new_count) + ", " + size(v.new_bytes) : ""),
      el("td", {class: "num"}, v ? number(v.freed_count) + ", " + size(v.freed_bytes) : ""),
      el("td", {class: "num wide"}, v ? number(v.surviving_count) + ", " + size(v.surviving_bytes) : ""),
      el("td", {class: "wide"}, v ? name(v.match) + (v.surviving_count + v.freed_count ? " " + Math.floor(v.match_ppm / 10000) + "%" : "") : ""));
  });
  const heads = [["#", "num"], ["snapshot"], ["file", "wide"], ["taken", "wide"], ["in use", "num"], ["RSS", "num"], ["free in malloc", "num wide"],
    ["new", "num"], ["freed", "num"], ["surviving", "num wide"], ["match", "wide"]];
  return section("snapshots", "Snapshots", last + 1, "Blocks are told new, freed or surviving against the snapshot before", el("div", {class: "scroll"},
    el("table", {class: "rows"}, el("thead", null, el("tr", null, heads.map(([title, kind]) => el("th", {scope: "col", class: kind}, title)))),
      el("tbody", null, rows))));
}

/* ---- The frame: bar, navigation, keys ---- */

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "☀ Light" : "☾ Dark";
}
/* A page opened from a file may have no storage. */
const store = (act) => { try { return act(localStorage); } catch { return null; } };

function toggleTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  store((s) => s.setItem("heapsnap-theme", theme));
  setTheme(theme);
}

function startTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)"), kept = store((s) => s.getItem("heapsnap-theme"));
  const follow = () => setTheme(system.matches ? "dark" : "light");
  if (kept === "dark" || kept === "light") setTheme(kept);
  else {
    follow();
    system.addEventListener("change", () => { if (!store((s) => s.getItem("heapsnap-theme"))) follow(); });
  }
  byId("theme").addEventListener("click", toggleTheme);
}

function copyText() {
  const text = byId("plain").textContent;
  const done = () => { byId("copy").textContent = "Copied"; setTimeout(() => { byId("copy").textContent = "Copy as text"; }, 1500); };
  const byHand = () => {
    const area = el("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    if (document.execCommand("copy")) done();
    area.remove();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand);
  else byHand();
}

function navigation() {
  const links = sections.map((s) => el("a", {href: "#" + s.id}, s.title, s.count !== null ? " " : "",
    s.count !== null ? el("span", null, number(s.count)) : ""));
  const input = el("input", {type: "search", id: "search", placeholder: "Search all", "aria-label": "Search types, sites, hooks and suspects",
    autocomplete: "off", spellcheck: "false"});
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      query = input.value.trim().toLowerCase();
      for (const f of onQuery) f();
    }, 80);
  });
  const watch = () => {
    let current = 0;
    sections.forEach((s, i) => { if (s.node.getBoundingClientRect().top < 140) current = i; });
    if (innerHeight + scrollY >= document.documentElement.scrollHeight - 4 && scrollY > 0) current = sections.length - 1;
    links.forEach((l, i) => { i === current ? l.setAttribute("aria-current", "true") : l.removeAttribute("aria-current"); });
  };
  addEventListener("scroll", watch, {passive: true});
  requestAnimationFrame(watch);
  return el("nav", {class: "nav", "aria-label": "Sections"}, el("ul", null, links.map((l) => el("li", null, l))),
    el("div", {class: "search"}, input, el("kbd", {"aria-hidden": "true"}, "/")));
}

const shortcuts = [["/", "search"], ["Esc", "clear the search"], ["j / k", "next, previous suspect"], ["Enter", "open or close what has the focus"],
  ["e", "open or close all suspects"], ["1 – 9", "go to a section"], ["t", "light or dark"], ["?", "this list"]];
function helpDialog() {
  const dialog = el("dialog", {"aria-labelledby": "help-title"}, el("h2", {id: "help-title"}, "Keyboard shortcuts"),
    el("dl", null, shortcuts.map(([key, what]) => [el("dt", null, el("kbd", null, key)), el("dd", null, what)])),
    el("form", {method: "dialog"}, el("button", {class: "primary"}, "Close")));
  dialog.querySelector("button").addEventListener("click", (e) => { e.preventDefault(); dialog.close(); });
  byId("help").addEventListener("click", () => dialog.showModal());
  return dialog;
}

function moveSuspect(by) {
  const shown = suspectCards.filter((c) => !c.card.hidden);
  if (shown.length === 0) return;
  const at = shown.findIndex((c) => c.card.contains(document.activeElement));
  const next = shown[Math.max(0, Math.min(shown.length - 1, at < 0 ? 0 : at + by))];
  next.head.focus({preventScroll: true});
  next.card.scrollIntoView({block: "center"});
}

function onKey(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
  const input = byId("search");
  if (e.key === "Escape" && document.activeElement === input) {
    input.value = "";
    input.dispatchEvent(new Event("input"));
    input.blur();
    return;
  }
  if (/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  const digit = /^[1-9]$/.test(e.key) ? sections[Number(e.key) - 1] : null;
  if (e.key === "/") input.focus();
  else if (e.key === "t") toggleTheme();
  else if (e.key === "?") byId("help").click();
  else if (e.key === "j") moveSuspect(1);
  else if (e.key === "k") moveSuspect(-1);
  else if (e.key === "e") {
    const open = suspectCards.some((c) => c.body.hidden);
    suspectCards.forEach((c, i) => openSuspect(i, open, true));
  } else if (digit) {
    digit.node.scrollIntoView();
    byId(digit.id + "-title").focus({preventScroll: true});
  } else return;
  e.preventDefault();
}

function fromAddress() {
  const match = /^#suspect-(\d+)$/.exec(location.hash);
  if (match && suspectCards[match[1] - 1]) openSuspect(match[1] - 1, true);
}

function start() {
  startTheme();
  const command = data.snapshots[last].command, first = data.snapshots[0], pid = first.pid;
  byId("about").append(nameNode(command ? command.split(" ").map(baseName).join(" ") : baseName(first.file), "mono"), pid ? " · pid " + pid : "",
    " · " + plural(last + 1, "snapshot"));
  byId("copy").addEventListener("click", copyText);
  document.title = (verdictWord[data.verdict] || "") + (data.suspects[0] ? " " + name(typeName(data.suspects[0].type)) : "")
    + " – heapsnap";
  const blamed = data.sites.find((s) => s.blamed);
  const hero = el("div", {class: "hero"}, el("div", {class: "card verdict " + (verdictWord[data.verdict] ? data.verdict : "")}, verdictLine(),
    data.suspects.length > 0 ? culprit(data.suspects[0]) : data.verdict !== "no-growth" && blamed ? blamedSite(blamed) : calm()), growthChart());
  const parts = [suspectSection(), mapSection(), flameSection(), ...(data.devices ? [deviceSection()] : []), ...tableSections(), ...noteSections(), snapshotSection()];
  byId("main").append(hero, navigation(), ...parts,
    el("p", {class: "end"}, "Made by heapsnap. Charts: D3, © Mike Bostock, BSD 3-clause licence, in the source of this page. Nothing was loaded from elsewhere."));
  document.body.append(tip, helpDialog());
  byId("bar").hidden = false;
  document.documentElement.classList.add("ready");
  document.addEventListener("keydown", onKey);
  addEventListener("scroll", hideTip, {passive: true});
  addEventListener("hashchange", fromAddress);
  if (suspectCards.length > 0 && !location.hash) openSuspect(0, true, true);
  fromAddress();
}

start();
})();
