"use strict";
(() => {
const { content, texts, made_at: madeAt } = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#1f5fa8", "#d9822b", "#2b8a5b", "#8e4fa8", "#b5432f", "#4b7f95", "#8a7a2b", "#5b6775"];
const DAY_MS = 86400000;
const narrow = () => window.innerWidth < 800;

// --- words and numbers -----------------------------------------------------------------------
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const whole = new Intl.NumberFormat(texts.locale, { maximumFractionDigits: 0 });
const money = new Intl.NumberFormat(texts.locale, { maximumFractionDigits: 2 });
const percents = new Intl.NumberFormat(texts.locale, { style: "percent", maximumFractionDigits: 1 });
const signed = new Intl.NumberFormat(texts.locale,
  { style: "percent", maximumFractionDigits: 1, signDisplay: "exceptZero" });
const gains = new Intl.NumberFormat(texts.locale,
  { maximumSignificantDigits: 3, signDisplay: "exceptZero" });
const known = (value) => value !== null && value !== undefined;
const percent = (value) => (known(value) ? percents.format(value) : "–");
const share = (part, of) => (of > 0 ? part / of : null);
const isoDay = (day) => new Date(day * DAY_MS).toISOString().slice(0, 10);
const dayOf = (iso) => Math.round(Date.parse(`${iso}T00:00:00Z`) / DAY_MS);
const shownDay = (day) => new Intl.DateTimeFormat(texts.locale,
  { timeZone: "UTC", day: "numeric", month: "short", year: "numeric" }).format(new Date(day * DAY_MS));
const column = (name) => texts.columns[name];

// Plotly reads some markup in its texts; names are no markup.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const shortEnd = (text, most) =>
  plain(text.length > most ? `…${text.slice(1 - most)}` : text);
const short = (text, most = 26) => plain(text.length > most ? `${text.slice(0, most - 1)}…` : text);

// --- elements: names only ever become text nodes ---------------------------------------------
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(known));
  return element;
}

function tableOf({ columns, rows }, whole_ = false) {
  const head = make("tr");
  const numeric = columns.map((_, index) =>
    rows.length > 0 && rows.every((row) => !known(row[index]) || isNumeric(row[index])));
  columns.forEach((name, index) =>
    head.append(make("th", { scope: "col", class: numeric[index] ? "number" : "text" }, name)));
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    row.forEach((cell, index) => line.append(cellOf(cell, numeric[index])));
    body.append(line);
  }
  const table = make("table", {}, make("thead", {}, head), body);
  return make("div", { class: whole_ ? "scroll whole" : "scroll", tabindex: "0", role: "region",
    "aria-label": columns.join(", ") }, table);
}

const isNumeric = (cell) => typeof cell === "number" || (typeof cell === "object" && cell.number);
function cellOf(cell, numeric) {
  if (!known(cell)) return make("td", { class: numeric ? "number" : "text" }, "–");
  if (typeof cell === "object") {
    return make("td", { class: cell.class ?? (numeric ? "number" : "text") }, cell.text);
  }
  const text = typeof cell === "number" ? money.format(cell) : String(cell);
  return make("td", { class: numeric ? "number" : "text" }, text);
}
const asPercent = (value) => ({ number: true, value, text: percent(value) });

// A spreadsheet takes cells that begin with these for formulas.
function csvCell(cell) {
  let text = !known(cell) ? "" : typeof cell === "object" ? String(cell.value ?? cell.text) : String(cell);
  if (typeof cell !== "number" && !(typeof cell === "object" && known(cell.value))
    && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

function download(name, { columns, rows }) {
  const lines = [columns, ...rows].map((row) => row.map(csvCell).join(","));
  const file = new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv;charset=utf-8" });
  const link = make("a", { href: URL.createObjectURL(file), download: `${name}.csv` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- charts ----------------------------------------------------------------------------------
function draw(place, traces, layout = {}, height = 340) {
  const chart = make("div", { class: "chart", role: "img", "aria-label": place.label });
  place.body.append(chart);
  const base = {
    height, separators: texts.separators, colorway: COLOURS, paper_bgcolor: "transparent",
    plot_bgcolor: "transparent", font: { family: "system-ui, sans-serif", size: 12, color: "#1d2733" },
    margin: { l: 50, r: 15, t: 10, b: 45 }, hoverlabel: { namelength: -1 },
    legend: { orientation: "h", y: -0.2 }, dragmode: false,
  };
  Plotly.newPlot(chart, traces, { ...base, ...layout },
    { responsive: true, displayModeBar: false, showLink: false });
}

// --- the filter ------------------------------------------------------------------------------
const cells = content.cells.rows.map((row) =>
  Object.fromEntries(content.cells.columns.map((name, index) => [name, row[index]])));
const steps = content.steps.rows.map((row) =>
  Object.fromEntries(content.steps.columns.map((name, index) => [name, row[index]])));
const days = [...new Set([...cells, ...steps].map((one) => one.day))].sort((a, b) => a - b);
const span = { first: days[0] ?? 0, last: days[days.length - 1] ?? 0 };
const form = document.getElementById("filters");

function options(select, names) {
  select.append(make("option", { value: "" }, texts.everything));
  names.forEach((name, index) => select.append(make("option", { value: String(index + 1) }, name)));
}
const unique = (rows, name) => [...new Set(rows.map((one) => one[name]).filter((one) => one))].sort();
const choices = {
  segment: unique(cells, "segment"),
  campaign: unique(cells, "campaign"),
  channel: [...new Set([...unique(cells, "channel"), ...unique(steps, "channel")])].sort(),
};
for (const [name, names] of Object.entries(choices)) options(form.elements[name], names);
for (const name of ["since", "until"]) {
  const input = form.elements[name];
  if (days.length) Object.assign(input, { min: isoDay(span.first), max: isoDay(span.last) });
}

function currentFilter() {
  const chosen = (name) => {
    const index = Number(form.elements[name].value);
    return index ? choices[name][index - 1] : null;
  };
  const date = (name, otherwise) => {
    const day = dayOf(form.elements[name].value);
    return Number.isNaN(day) ? otherwise : day;
  };
  const filter = { since: date("since", span.first), until: date("until", span.last),
    segment: chosen("segment"), campaign: chosen("campaign"), channel: chosen("channel") };
  filter.active = ["segment", "campaign", "channel"].filter((name) => filter[name] !== null);
  if (filter.since > span.first) filter.active.push("since");
  if (filter.until < span.last) filter.active.push("until");
  return filter;
}

const ofMessages = (filter, since = filter.since, until = filter.until) => cells.filter((one) =>
  one.day >= since && one.day <= until && one.segment === (filter.segment ?? "")
  && (filter.campaign === null || one.campaign === filter.campaign)
  && (filter.channel === null || one.channel === filter.channel));
const ofSteps = (filter, since = filter.since, until = filter.until) => steps.filter((one) =>
  one.day >= since && one.day <= until
  && (filter.channel === null || one.channel === filter.channel));
const sum = (rows, name) => rows.reduce((total, one) => total + one[name], 0);
function grouped(rows, key) {
  const groups = new Map();
  for (const one of rows) {
    const name = key(one);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return groups;
}

// --- figures: each draws into a place and returns its table ----------------------------------
const KPIS = {
  decided: { of: (m) => sum(m, "decided"), text: whole },
  seen: { of: (m) => sum(m, "seen"), text: whole },
  click_rate: { of: (m) => share(sum(m, "clicked"), sum(m, "seen")), text: percents },
  converted: { of: (m) => sum(m, "converted"), text: whole },
  convert_rate: { of: (m) => share(sum(m, "converted"), sum(m, "decided")), text: percents },
  worth: { of: (m) => sum(m, "worth"), text: money },
  cost: { of: (m) => sum(m, "cost"), text: money },
  goal: { of: (_, s) => sum(s.filter((one) => one.step === content.goal), "visits"), text: whole },
};

function kpis(place, filter) {
  const length = Math.min(28, Math.floor((filter.until - filter.since + 1) / 2));
  const middle = filter.until - length;
  const list = make("dl", { class: "kpis" });
  const rows = [];
  for (const [name, kpi] of Object.entries(KPIS)) {
    if (name === "goal" && content.goal === null) continue;
    const value = kpi.of(ofMessages(filter), ofSteps(filter));
    const late = kpi.of(ofMessages(filter, middle + 1), ofSteps(filter, middle + 1));
    const early = kpi.of(ofMessages(filter, middle - length + 1, middle),
      ofSteps(filter, middle - length + 1, middle));
    const change = length > 0 && early > 0 && known(late) ? late / early - 1 : null;
    const label = fill(texts.kpi[name], { goal: content.goal ?? "" });
    const words = change === null ? (length > 0 ? texts.none_before : texts.no_change)
      : fill(texts.change, { change: signed.format(change), days: length });
    const good = name === "cost" ? -change : change;
    const colour = change === null || name === "cost" || change === 0 ? ""
      : good > 0 ? " up" : " down";
    list.append(make("div", {}, make("dt", {}, label),
      make("dd", {}, known(value) ? kpi.text.format(value) : "–"),
      make("dd", { class: `change${colour}` }, words)));
    rows.push([label, value, known(change) ? asPercent(change) : null]);
  }
  place.body.append(list);
  return { columns: [column("what"), column("observed"), "±"], rows };
}

const DIMENSIONS = ["campaign", "offer", "channel", "segment"];
const state = { by: "campaign" };

function campaigns(place, filter) {
  const select = make("select", { "aria-label": texts.by });
  for (const name of DIMENSIONS) {
    const option = make("option", { value: name }, column(name));
    option.selected = name === state.by;
    select.append(option);
  }
  select.addEventListener("change", () => { state.by = select.value; render("campaigns", true); });
  place.tools.prepend(make("label", {}, texts.by, select));
  const by = state.by;
  const rows = by === "segment"
    ? cells.filter((one) => one.segment !== "" && one.day >= filter.since && one.day <= filter.until
      && (filter.segment === null || one.segment === filter.segment)
      && (filter.campaign === null || one.campaign === filter.campaign)
      && (filter.channel === null || one.channel === filter.channel))
    : ofMessages(filter);
  const key = (one) => (by === "offer" ? JSON.stringify([one.campaign, one.offer]) : one[by]);
  const name = (one) => (by === "offer" ? `${one.campaign} / ${one.offer}` : one[by]);
  const figures = new Map(content.statistics[`${by}s`].map((one) => [key(one), one]));
  const isFiltered = filter.active.length > 0;
  const interval = (of, rate) => {
    const found = figures.get(of)?.[rate];
    return isFiltered || !found || found.share === null ? null
      : { text: `${percent(found.low)} – ${percent(found.high)}`, class: "tight" };
  };
  const table = [...grouped(rows, key)].map(([of, group]) => [
    name(group[0]), sum(group, "decided"), sum(group, "held"), sum(group, "seen"),
    sum(group, "clicked"), asPercent(share(sum(group, "clicked"), sum(group, "seen"))),
    interval(of, "click_rate"), sum(group, "converted"),
    asPercent(share(sum(group, "converted"), sum(group, "decided"))),
    interval(of, "conversion_rate"), sum(group, "worth"), sum(group, "revenue"), sum(group, "cost"),
  ]).sort((a, b) => b[1] - a[1]);
  if (isFiltered) place.note(texts.no_interval);
  const found = {
    columns: [by, "decided", "held", "seen", "clicked", "click_rate", "interval", "converted",
      "convert_rate", "interval", "worth", "revenue", "cost"].map(column),
    rows: table,
  };
  if (table.length) place.body.append(tableOf(found));
  return found;
}

function lift(place) {
  const scope = (one) => [one.campaign, one.offer, one.channel].filter(known).join(" / ")
    || fill(texts.everything_of, { name: one.holdout });
  const order = ["works", "harms", "not known yet", "not comparable", "too few customers"];
  const arms = (one) => JSON.stringify([one.holdout, one.treated, one.held]);
  const every = content.statistics.lifts;
  const lifts = every
    .filter((one, index) => !every.slice(index + 1).some((finer) => arms(finer) === arms(one)))
    .sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict)
      || (b.conversion?.low ?? -9) - (a.conversion?.low ?? -9));
  const shown = lifts.filter((one) => known(one.conversion?.low)).slice(0, 15).reverse();
  if (shown.length) {
    const points = (value) => value * 100;
    draw(place, [{
      type: "scatter", mode: "markers", x: shown.map((one) => points(one.conversion.value)),
      y: shown.map((_, index) => index), marker: { size: 9, color: shown.map((one) =>
        one.conversion.low > 0 ? "#14713d" : one.conversion.high < 0 ? "#a8321f" : "#5b6775") },
      error_x: { type: "data", symmetric: false, color: "#7b8794",
        array: shown.map((one) => points(one.conversion.high - one.conversion.value)),
        arrayminus: shown.map((one) => points(one.conversion.value - one.conversion.low)) },
      hovertext: shown.map((one) => plain(scope(one))), hoverinfo: "text+x",
    }], {
      margin: { l: narrow() ? 135 : 250, r: 20, t: 10, b: 45 },
      xaxis: { title: { text: texts.points }, zeroline: true, zerolinecolor: "#1d2733" },
      yaxis: { tickvals: shown.map((_, index) => index), automargin: false, zeroline: false,
        ticktext: shown.map((one) => shortEnd(scope(one), narrow() ? 18 : 34)) },
    }, 90 + shown.length * 26);
  }
  for (const [name, reason] of Object.entries(content.statistics.without_lift)) {
    place.note(fill(texts.no_lift, { name, reason: texts.reasons[reason] ?? reason }));
  }
  const campaigns = every.filter((one) => known(one.campaign) && !known(one.offer) && !known(one.channel));
  for (const name of new Set(campaigns.map((one) => one.campaign))) {
    const own = campaigns.filter((one) => one.campaign === name)
      .sort((a, b) => b.held.customers - a.held.customers);
    if (own.every((one) => one.verdict === "too few customers")) {
      const few = { treated: own[0].treated.customers, held: own[0].held.customers };
      place.note(fill(texts.no_lift, { name, reason: fill(texts.too_few, few) }));
    }
  }
  const rows = lifts.map((one) => [
    scope(one), texts.against[one.against], one.treated.customers, asPercent(one.treated.share),
    one.held.customers, asPercent(one.held.share),
    one.conversion ? asPercent(one.conversion.value) : null,
    known(one.conversion?.low)
      ? { text: `${percent(one.conversion.low)} – ${percent(one.conversion.high)}`, class: "tight" } : null,
    one.extra_conversions ? Math.round(one.extra_conversions.value) : null,
    { text: texts.verdicts[one.verdict],
      class: one.verdict === "works" ? "works" : one.verdict === "harms" ? "harms" : "text" },
  ]);
  return { columns: ["what", "against", "customers", "convert_rate", "held_customers",
    "convert_rate", "lift", "interval", "extra", "verdict"].map(column), rows };
}

function attribution(place) {
  if (content.goal === null) return place.empty(texts.no_goal);
  const shown = (name) => (name === content.no_touch ? texts.no_touch : name);
  const names = [...new Set(content.attribution.flatMap((one) => one.rows.map((row) => row[0])))].sort();
  if (!names.length) return place.empty(texts.nothing);
  const traces = content.attribution.map((one) => {
    const shares = new Map(one.rows.map((row) => [row[0], row[2]]));
    return { type: "bar", orientation: "h", name: texts.models[one.model],
      y: names.map((name) => short(shown(name), 18)), x: names.map((name) => shares.get(name) ?? 0),
      hovertemplate: "%{y}: %{x:.1%}" };
  });
  draw(place, traces, { barmode: "group", xaxis: { tickformat: ".0%" },
    yaxis: { type: "category", automargin: true, autorange: "reversed" },
    legend: { orientation: "h", y: -0.12, traceorder: "normal" } }, 130 + names.length * 66);
  const measured = content.statistics.lifts
    .filter((one) => names.includes(one.channel) && known(one.extra_conversions?.low))
    .map((one) => [one.channel, [one.campaign, one.offer].filter(known).join(" / ") || one.holdout,
      one.treated.customers, one.held.customers, Math.round(one.extra_conversions.value),
      { text: `${whole.format(one.extra_conversions.low)} – ${whole.format(one.extra_conversions.high)}`,
        class: "tight" }]);
  place.body.append(make("h3", {}, texts.measured));
  if (measured.length) {
    place.body.append(tableOf({ rows: measured, columns: ["channel", "what", "customers",
      "held_customers", "extra", "interval"].map(column) }));
  } else place.body.append(make("p", { class: "meaning" }, texts.not_measured));
  return { columns: ["model", "channel", "conversions", "share", "low", "high"].map(column),
    rows: content.attribution.flatMap((one) => one.rows.map((row) =>
      [texts.models[one.model], shown(row[0]), row[1], asPercent(row[2]), row[3], row[4]])) };
}

function funnel(place) {
  const journey = content.journey;
  if (!journey) return place.empty(texts.no_plan);
  const { funnel: reached, cases, drop_offs: dropOffs } = journey.conformance;
  const labels = [texts.beginning, ...reached.map((one) => one.step)];
  const values = [cases, ...reached.map((one) => one.cases)];
  const left = new Map(dropOffs.map((one) => [one.after ?? texts.beginning, one.cases]));
  draw(place, [{ type: "funnel", y: labels.map((one) => short(one, 20)), x: values,
    textinfo: "value+percent initial", marker: { color: COLOURS[0] },
    connector: { fillcolor: "#e3eaf3" } }],
  { margin: { l: narrow() ? 110 : 150, r: 15, t: 10, b: 20 } }, 90 + labels.length * 46);
  return { columns: ["step", "cases", "share", "left"].map(column), rows: labels.map((name, index) =>
    [name, values[index], asPercent(share(values[index], cases)), left.get(name) ?? 0]) };
}

function sankey(place) {
  const links = content.journey ? plannedLinks() : discoveredLinks();
  if (!links.length) return place.empty(texts.nothing);
  const names = [...new Set(links.flatMap((one) => [one.from, one.to]))];
  const label = (name) => JSON.parse(name)[1];
  const end = (name) => JSON.parse(name)[0] === "end";
  const colours = names.map((name) => !end(name) ? COLOURS[0]
    : label(name) === texts.ends.converted ? "#2b8a5b"
      : label(name) === texts.ends.dropped ? "#b5432f" : "#9aa5b1");
  const tint = (colour) => `${colour}55`;
  draw(place, [{
    type: "sankey", arrangement: "snap",
    node: { label: names.map((name) => short(label(name), 20)), color: colours, pad: 14, thickness: 14,
      hovertemplate: "%{label}: %{value}<extra></extra>" },
    link: { source: links.map((one) => names.indexOf(one.from)),
      target: links.map((one) => names.indexOf(one.to)), value: links.map((one) => one.cases),
      color: links.map((one) => tint(colours[names.indexOf(one.to)])),
      hovertemplate: "%{source.label} → %{target.label}: %{value}<extra></extra>" },
  }], { margin: { l: 10, r: 10, t: 10, b: 10 }, font: { size: narrow() ? 10 : 12 } },
  narrow() ? 420 : 480);
  return { columns: ["from", "to", "cases"].map(column),
    rows: links.map((one) => [label(one.from), label(one.to), one.cases]) };
}
const step = (depth, name) => JSON.stringify([depth, name]);
const ending = (name) => JSON.stringify(["end", texts.ends[name]]);

function plannedLinks() {
  return content.journey.details.flows.map((one) => ({
    from: step("step", one.after ?? texts.beginning),
    to: one.to === null ? ending(one.end) : step("step", one.to), cases: one.cases }));
}

function discoveredLinks() {
  const sums = new Map();
  const add = (from, to, cases) => {
    if (!cases) return;
    const key = JSON.stringify([from, to]);
    sums.set(key, (sums.get(key) ?? 0) + cases);
  };
  const least = content.paths.journeys / 100, rare = new Set();
  for (const one of content.paths.tree) {
    const depth = one.path.length;
    if (!depth || rare.has(JSON.stringify(one.path.slice(0, -1)))) {
      if (depth) rare.add(JSON.stringify(one.path));
      continue;
    }
    const here = step(depth, one.path[depth - 1]);
    const before = depth === 1 ? step(0, texts.beginning) : step(depth - 1, one.path[depth - 2]);
    if (one.cases < least) {
      rare.add(JSON.stringify(one.path));
      add(before, ending("cut"), one.cases);
      continue;
    }
    add(before, here, one.cases);
    for (const end of Object.keys(texts.ends)) add(here, ending(end), one[end]);
  }
  return [...sums].map(([key, cases]) => ({ from: JSON.parse(key)[0], to: JSON.parse(key)[1], cases }));
}

function tree(place) {
  const nodes = content.paths.tree.filter((one) => one.path.length);
  if (!nodes.length) return place.empty(texts.nothing);
  const id = (path) => JSON.stringify(path);
  draw(place, [{
    type: "icicle", ids: ["[]", ...nodes.map((one) => plain(id(one.path)))],
    labels: [texts.all_visits, ...nodes.map((one) => short(one.path[one.path.length - 1], narrow() ? 14 : 24))],
    parents: ["", ...nodes.map((one) => plain(id(one.path.slice(0, -1))))],
    values: [content.paths.journeys, ...nodes.map((one) => one.cases)], branchvalues: "total",
    customdata: [[1, share(content.paths.converted, content.paths.journeys)],
      ...nodes.map((one) => [one.share, share(one.converted, one.cases)])],
    hovertemplate: "%{label}: %{value} (%{customdata[0]:.1%})<extra></extra>",
    tiling: { orientation: "h" }, maxdepth: narrow() ? 3 : 6,
    root: { color: "#d9dfe6" }, pathbar: { visible: true },
  }], { margin: { l: 5, r: 5, t: 25, b: 5 }, uniformtext: { minsize: 9, mode: "hide" } }, 460);
  return { columns: ["path", "journeys", "share"].map(column), rows: nodes.map((one) =>
    [one.path.join(" > "), one.cases, asPercent(one.share)]) };
}

function heat(place, filter) {
  if (content.goal === null) return place.empty(texts.no_goal);
  const rows = ofSteps(filter).filter((one) => one.step !== content.goal);
  if (!rows.length) return place.empty(texts.nothing);
  const channels = unique(rows, "channel");
  const byStep = [...grouped(rows, (one) => one.step)]
    .sort((a, b) => sum(a[1], "visits") - sum(b[1], "visits")).slice(-20);
  const cell = (group, channel) => {
    const there = group.filter((one) => one.channel === channel);
    return { visits: sum(there, "visits"), reached: sum(there, "reached") };
  };
  const grid = byStep.map(([, group]) => channels.map((channel) => cell(group, channel)));
  const most = Math.max(...grid.flat().map((one) => share(one.reached, one.visits) ?? 0));
  draw(place, [{
    type: "heatmap", x: channels.map((one) => short(one, 16)), y: byStep.map(([name]) => short(name, 20)),
    z: grid.map((line) => line.map((one) => share(one.reached, one.visits))),
    text: grid.map((line) => line.map((one) => (one.visits ? percent(one.reached / one.visits) : ""))),
    texttemplate: "%{text}", customdata: grid.map((line) => line.map((one) => one.visits)),
    hovertemplate: "%{y}, %{x}: %{text} / %{customdata}<extra></extra>",
    colorscale: [[0, "#f3f6fb"], [1, "#1f5fa8"]], zmin: 0,
    colorbar: { tickformat: most < 0.05 ? ".1%" : ".0%", thickness: 12 },
  }], { margin: { l: 60, r: 10, t: 10, b: 40 },
    xaxis: { type: "category" }, yaxis: { type: "category", automargin: true } }, 90 + byStep.length * 26);
  return { columns: ["step", "channel", "visits", "reached", "share"].map(column),
    rows: byStep.reverse().flatMap(([name], line) => channels.map((channel, index) => {
      const one = grid[grid.length - 1 - line][index];
      return [name, channel, one.visits, one.reached, asPercent(share(one.reached, one.visits))];
    })) };
}

function plan(place) {
  const journey = content.journey;
  if (!journey) return place.empty(texts.no_plan);
  const found = journey.conformance;
  place.body.append(make("p", {}, fill(texts.followed_share,
    { share: percent(found.fits_share), cases: whole.format(found.cases) })));
  const compared = journey.details.followed_plan;
  if (compared?.with_it.converted && compared.without_it.converted) {
    place.body.append(make("p", {}, fill(texts.compared, {
      with: percent(compared.with_it.converted.share),
      without: percent(compared.without_it.converted.share) })));
  }
  const rows = found.variants.slice(0, 200).map((one) => [one.path.join(" > ") || texts.no_step, one.cases,
    asPercent(share(one.cases, found.cases)), one.fits ? texts.yes : texts.no]);
  const table = { columns: ["path", "cases", "share", "followed"].map(column), rows };
  place.body.append(tableOf({ ...table, rows: rows.slice(0, 10) }, true));
  return table;
}

function curve(place) {
  const details = content.journey?.details;
  const all = details ? details.time_to_convert : content.time_to_goal;
  if (!all.points.length) return place.empty(content.goal === null && !details ? texts.no_goal : texts.nothing);
  const last = all.points[all.points.length - 1].at_ms;
  const unit = last > 3 * DAY_MS ? "days" : last > DAY_MS / 8 ? "hours" : "minutes";
  const inUnits = (one) => one.at_ms / { days: DAY_MS, hours: DAY_MS / 24, minutes: DAY_MS / 1440 }[unit];
  const inDays = (one) => one.at_ms / DAY_MS;
  const line = (points, name, colour, width) => ({
    type: "scatter", mode: "lines", name: short(name), line: { shape: "hv", color: colour, width },
    x: [0, ...points.map(inUnits)], y: [0, ...points.map((one) => one.converted.share)],
    hovertemplate: "%{x:.2f}: %{y:.1%}" });
  const banded = all.points.filter((one) => known(one.converted.low));
  const band = (bound, more) => ({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
    line: { shape: "hv", width: 0 }, x: banded.map(inUnits),
    y: banded.map((one) => one.converted[bound]), ...more });
  const traces = [band("low", {}), band("high", { fill: "tonexty", fillcolor: "#1f5fa822" }),
    line(all.points, texts.everything, COLOURS[0], 3)];
  (details?.by_channel ?? []).slice(0, 6).forEach((one, index) =>
    traces.push(line(one.curve.points, one.channel, COLOURS[index + 1], 1.5)));
  const top = Math.max(...all.points.map((one) => one.converted.high ?? one.converted.share));
  draw(place, traces, { yaxis: { tickformat: top < 0.1 ? ".1%" : ".0%", rangemode: "tozero",
    title: { text: texts.share_reached } }, xaxis: { title: { text: texts.time_axis[unit] } },
    legend: { orientation: "h", y: -0.25, traceorder: "normal" } });
  const rows = [[texts.everything, all], ...(details?.by_channel ?? []).map((one) => [one.channel, one.curve])]
    .flatMap(([name, of]) => of.points.map((one) => [name, inDays(one), asPercent(one.converted.share),
      known(one.converted.low) ? asPercent(one.converted.low) : null,
      known(one.converted.high) ? asPercent(one.converted.high) : null]));
  return { columns: ["channel", "days", "share", "low", "high"].map(column), rows };
}

function recommendations(place) {
  const path = content.recommended_journey;
  if (path.length) {
    place.body.append(make("h3", {}, texts.recommended_journey), make("ol", {}, ...path.map((one) =>
      make("li", {}, make("strong", {}, one.step), `: ${one.words}`))));
    if (content.recommended_shape) place.body.append(make("p", {}, content.recommended_shape));
  }
  const options = content.compared_options.map((one) => [one.place, one.option, one.customers,
    { number: true, value: one.gain, text: gains.format(one.gain) },
    { text: `${gains.format(one.low)} – ${gains.format(one.high)}`, class: "tight" },
    texts.grades[one.grade]]);
  if (options.length) {
    place.body.append(make("details", {}, make("summary", {}, texts.compared_options),
      tableOf({ rows: options, columns: ["step", "option", "customers_with", "worth_more", "interval",
        "evidence"].map(column) })));
  }
  if (!content.recommendations.length) {
    if (path.length) place.body.append(make("p", { class: "empty" }, texts.no_recommendation));
    else return place.empty(texts.no_recommendation);
  }
  const list = (title, items) => (items.length
    ? make("div", {}, make("strong", {}, title), make("ul", {}, ...items.map((one) => make("li", {}, one))))
    : null);
  for (const one of content.recommendations) {
    place.body.append(make("article", { class: "card" }, make("h3", {}, one.title),
      make("span", { class: "grade" }, one.grade),
      list(texts.pros, one.pros), list(texts.cons, one.cons),
      one.draft ? make("details", {}, make("summary", {}, texts.draft), make("pre", {}, one.draft)) : null));
  }
  return { columns: [column("what"), column("verdict"), texts.pros, texts.cons],
    rows: content.recommendations.map((one) =>
      [one.title, one.grade, one.pros.join("; "), one.cons.join("; ")]) };
}

function course(place, filter) {
  const found = content.course;
  if (!found) return place.empty(texts.nothing);
  const inView = (day) => day >= filter.since && day <= filter.until;
  const ofDay = (rows) => {
    const totals = new Map();
    for (const one of rows) totals.set(one.day, (totals.get(one.day) ?? 0) + one.events);
    return Array.from({ length: Math.max(filter.until - filter.since + 1, 0) }, (_, index) =>
      [filter.since + index, totals.get(filter.since + index) ?? 0]);
  };
  const rows = ofSteps(filter);
  const wanted = [["all events", texts.all_events, rows]];
  if (content.goal !== null) {
    wanted.push([content.goal, content.goal, rows.filter((one) => one.step === content.goal)]);
  }
  const table = [], traces = [];
  wanted.forEach(([what, label, of], index) => {
    const axes = { xaxis: "x", yaxis: index ? "y2" : "y" };
    const history = ofDay(of);
    traces.push({ type: "scatter", mode: "lines", name: short(label), line: { color: COLOURS[index], width: 1.5 },
      x: history.map(([day]) => isoDay(day)), y: history.map((one) => one[1]), ...axes });
    history.forEach(([day, value]) => table.push([isoDay(day), label, value, null, null]));
    const ahead = found.forecasts.find((one) => one.what === what && one.channel === filter.channel)
      ?? (filter.channel === null ? found.forecasts.find((one) => one.what === what) : undefined);
    if (!ahead || filter.until < span.last) return;
    const future = ahead.forecast.days;
    const bound = (name, more) => ({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
      line: { width: 0 }, x: future.map((one) => isoDay(one.day)),
      y: future.map((one) => one[name]), ...axes, ...more });
    traces.push(bound("low", {}), bound("high", { fill: "tonexty", fillcolor: `${COLOURS[index]}33` }), {
      type: "scatter", mode: "lines", name: `${short(label)}, ${texts.forecast}`,
      line: { color: COLOURS[index], dash: "dot", width: 2 },
      x: future.map((one) => isoDay(one.day)), y: future.map((one) => one.expected), ...axes });
    future.forEach((one) => table.push([isoDay(one.day), `${label}, ${texts.forecast}`, one.expected,
      one.low, one.high]));
    const test = ahead.forecast.back_test;
    place.foot.push(`${label}: ${fill(texts.back_test, { error: money.format(test.error),
      naive: money.format(test.naive_error), covered: percent(test.covered) })}`);
  });
  const seen = found.incidents.map((one, index) => ({ ...one, number: index + 1, words: content.incidents[index] }))
    .filter((one) => one.last_day >= filter.since && one.first_day <= filter.until);
  const two = wanted.length > 1;
  draw(place, traces, {
    xaxis: { type: "date", tickformat: content.language === "es" ? "%d/%m/%y" : "%Y-%m-%d",
      nticks: narrow() ? 4 : 10 },
    yaxis: { rangemode: "tozero", domain: two ? [0.42, 1] : [0, 1], title: { text: texts.all_events } },
    ...(two ? { yaxis2: { rangemode: "tozero", domain: [0, 0.34], anchor: "x", title: { text: short(content.goal, 14) } } } : {}),
    shapes: seen.map((one) => ({ type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, line: { width: 0 },
      x0: isoDay(Math.max(one.first_day, filter.since)),
      x1: isoDay(Math.min(one.last_day + 1, filter.until + 1)), fillcolor: "#b5432f", opacity: 0.14,
      layer: "below" })),
    annotations: seen.map((one) => ({ text: String(one.number), xref: "x", yref: "paper", y: 1.03,
      x: isoDay(Math.round((Math.max(one.first_day, filter.since) + Math.min(one.last_day, filter.until)) / 2)),
      showarrow: false, font: { color: "#a8321f", size: 14 } })),
    margin: { l: 55, r: 15, t: 25, b: 30 }, legend: { orientation: "h", y: -0.06, traceorder: "normal" },
  }, 470);
  const list = make("ol", { class: "incidents" });
  for (const one of seen) list.append(make("li", { value: String(one.number) }, one.words));
  place.body.append(seen.length ? list : make("p", {}, texts.no_incident));
  if (!found.forecasts.length) place.foot.push(texts.no_forecast);
  return { columns: ["day", "kind", "observed", "low", "high"].map(column), rows: table };
}

// Which filters a figure follows; the others are named where they are set.
const FIGURES = {
  kpis: { draw: kpis, follows: ["since", "until", "segment", "campaign", "channel"], wide: true },
  course: { draw: course, follows: ["since", "until", "channel"], wide: true },
  campaigns: { draw: campaigns, follows: ["since", "until", "segment", "campaign", "channel"], wide: true, shown: true },
  lift: { draw: lift, follows: [], wide: true },
  recommendations: { draw: recommendations, follows: [], wide: true },
  attribution: { draw: attribution, follows: [], wide: true },
  heat: { draw: heat, follows: ["since", "until", "channel"] },
  funnel: { draw: funnel, follows: [] },
  curve: { draw: curve, follows: [], wide: true },
  sankey: { draw: sankey, follows: [], wide: true },
  plan: { draw: plan, follows: [], wide: true },
  tree: { draw: tree, follows: [], wide: true },
};

function render(name, keepFocus = false) {
  const figure = FIGURES[name], said = texts.figures[name], filter = currentFilter();
  const section = document.getElementById(name);
  section.querySelectorAll(".chart").forEach((one) => Plotly.purge(one));
  const body = make("div"), notes = make("div"), tools = make("div", { class: "tools" });
  section.replaceChildren(make("h2", { id: `${name}-title` }, said.title),
    make("p", { class: "meaning" }, said.meaning), notes, body, tools);
  let isEmpty = false;
  const place = {
    body, tools, label: said.title, foot: [],
    note: (text) => notes.append(make("p", { class: "note" }, text)),
    empty: (text) => { isEmpty = true; body.append(make("p", { class: "empty" }, text)); return { columns: [], rows: [] }; },
  };
  const ignored = filter.active.filter((one) => !figure.follows.includes(one));
  if (ignored.length) {
    const names = [...new Set(ignored.map((one) => texts.kinds[one]))].join(", ");
    place.note(fill(texts.ignores, { names }));
  }
  const table = figure.draw(place, filter);
  place.foot.forEach((text) => body.append(make("p", { class: "meaning" }, text)));
  if (!table.rows.length && !isEmpty) body.append(make("p", { class: "empty" }, texts.nothing));
  if (table.rows.length) {
    const button = make("button", { type: "button" }, texts.csv);
    button.addEventListener("click", () => download(name, table));
    tools.append(button);
    if (!figure.shown && name !== "kpis") {
      const more = make("details", {}, make("summary", {}, texts.as_table));
      more.addEventListener("toggle", () => {
        if (more.open && more.children.length === 1) more.append(tableOf(table));
      });
      section.append(more);
    }
  }
  if (keepFocus) section.querySelector("select")?.focus();
}

function begin() {
  const main = document.getElementById("main"), contents = document.getElementById("contents");
  for (const [name, figure] of Object.entries(FIGURES)) {
    main.append(make("section", { id: name, class: figure.wide ? "wide" : "", "aria-labelledby": `${name}-title` }));
    contents.append(make("a", { href: `#${name}` }, texts.figures[name].title));
  }
  const support = content.statistics.support;
  document.getElementById("period").textContent = days.length
    ? fill(texts.period, { from: shownDay(span.first), to: shownDay(span.last) }) : texts.nothing;
  document.getElementById("support").textContent = fill(texts.support,
    Object.fromEntries(Object.entries(support).map(([name, value]) => [name, whole.format(value ?? 0)])));
  document.getElementById("made").textContent = fill(texts.made, { at: madeAt });
  const renderAll = () => Object.keys(FIGURES).forEach((name) => render(name));
  const refill = () => {
    if (!days.length) return;
    form.elements.since.value = isoDay(span.first);
    form.elements.until.value = isoDay(span.last);
  };
  form.addEventListener("change", renderAll);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { refill(); renderAll(); }));
  refill();
  renderAll();
  let wasNarrow = narrow();
  window.addEventListener("resize", () => {
    if (narrow() !== wasNarrow) { wasNarrow = narrow(); renderAll(); }
  });
  document.documentElement.dataset.ready = "yes";
}
begin();
})();
