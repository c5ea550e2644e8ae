"use strict";
(() => {
const { content, texts, made_at: madeAt } = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#1f5fa8", "#d9822b", "#2b8a5b", "#8e4fa8", "#b5432f", "#4b7f95", "#8a7a2b", "#5b6775"];
const DAY_MS = 86400000;
const isNarrow = () => window.innerWidth < 800;

// --- words and numbers -----------------------------------------------------------------------
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
const wholeNumbers = new Intl.NumberFormat(texts.locale, { maximumFractionDigits: 0 });
const money = new Intl.NumberFormat(texts.locale, { maximumFractionDigits: 2 });
const percents = new Intl.NumberFormat(texts.locale, { style: "percent", maximumFractionDigits: 1 });
const signedPercents = new Intl.NumberFormat(texts.locale,
  { style: "percent", maximumFractionDigits: 1, signDisplay: "exceptZero" });
const gains = new Intl.NumberFormat(texts.locale,
  { maximumSignificantDigits: 3, signDisplay: "exceptZero" });
const isPresent = (value) => value !== null && value !== undefined;
const percent = (value) => (isPresent(value) ? percents.format(value) : "–");
const share = (part, whole) => (whole > 0 ? part / whole : null);
const isoDay = (day) => new Date(day * DAY_MS).toISOString().slice(0, 10);
const dayOf = (iso) => Math.round(Date.parse(`${iso}T00:00:00Z`) / DAY_MS);
const dayText = (day) => new Intl.DateTimeFormat(texts.locale,
  { timeZone: "UTC", day: "numeric", month: "short", year: "numeric" }).format(new Date(day * DAY_MS));
const column = (name) => texts.columns[name];

// Plotly interprets some markup in its texts, so names are escaped.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const shortenStart = (text, length) =>
  plain(text.length > length ? `…${text.slice(1 - length)}` : text);
const shorten = (text, length = 26) => plain(text.length > length ? `${text.slice(0, length - 1)}…` : text);

// --- elements: names only ever become text nodes ---------------------------------------------
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(isPresent));
  return element;
}

function tableOf({ columns, rows }, showAll = false) {
  const head = make("tr");
  const numeric = columns.map((_, index) =>
    rows.length > 0 && rows.every((row) => !isPresent(row[index]) || isNumeric(row[index])));
  columns.forEach((name, index) =>
    head.append(make("th", { scope: "col", class: numeric[index] ? "number" : "text" }, name)));
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    row.forEach((cell, index) => line.append(cellOf(cell, numeric[index])));
    body.append(line);
  }
  const table = make("table", {}, make("thead", {}, head), body);
  return make("div", { class: showAll ? "scroll whole" : "scroll", tabindex: "0", role: "region",
    "aria-label": columns.join(", ") }, table);
}

const isNumeric = (cell) => typeof cell === "number" || (typeof cell === "object" && cell.number);
function cellOf(cell, numeric) {
  if (!isPresent(cell)) return make("td", { class: numeric ? "number" : "text" }, "–");
  if (typeof cell === "object") {
    return make("td", { class: cell.class ?? (numeric ? "number" : "text") }, cell.text);
  }
  const text = typeof cell === "number" ? money.format(cell) : String(cell);
  return make("td", { class: numeric ? "number" : "text" }, text);
}
const asPercent = (value) => ({ number: true, value, text: percent(value) });

// Spreadsheets treat cells that begin with one of these characters as formulas.
function csvCell(cell) {
  let text = !isPresent(cell) ? "" : typeof cell === "object" ? String(cell.value ?? cell.text) : String(cell);
  if (typeof cell !== "number" && !(typeof cell === "object" && isPresent(cell.value))
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
function drawChart(place, traces, layout = {}, height = 340) {
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
const days = [...new Set([...cells, ...steps].map((entry) => entry.day))].sort((a, b) => a - b);
const span = { first: days[0] ?? 0, last: days[days.length - 1] ?? 0 };
const form = document.getElementById("filters");

function addOptions(select, names) {
  select.append(make("option", { value: "" }, texts.everything));
  names.forEach((name, index) => select.append(make("option", { value: String(index + 1) }, name)));
}
const unique = (rows, name) => [...new Set(rows.map((entry) => entry[name]).filter((entry) => entry))].sort();
const choices = {
  segment: unique(cells, "segment"),
  campaign: unique(cells, "campaign"),
  channel: [...new Set([...unique(cells, "channel"), ...unique(steps, "channel")])].sort(),
};
for (const [name, names] of Object.entries(choices)) addOptions(form.elements[name], names);
for (const name of ["since", "until"]) {
  const input = form.elements[name];
  if (days.length) Object.assign(input, { min: isoDay(span.first), max: isoDay(span.last) });
}

function currentFilter() {
  const selection = (name) => {
    const index = Number(form.elements[name].value);
    return index ? choices[name][index - 1] : null;
  };
  const date = (name, fallback) => {
    const day = dayOf(form.elements[name].value);
    return Number.isNaN(day) ? fallback : day;
  };
  const filter = { since: date("since", span.first), until: date("until", span.last),
    segment: selection("segment"), campaign: selection("campaign"), channel: selection("channel") };
  filter.active = ["segment", "campaign", "channel"].filter((name) => filter[name] !== null);
  if (filter.since > span.first) filter.active.push("since");
  if (filter.until < span.last) filter.active.push("until");
  return filter;
}

const messageRows = (filter, since = filter.since, until = filter.until) => cells.filter((entry) =>
  entry.day >= since && entry.day <= until && entry.segment === (filter.segment ?? "")
  && (filter.campaign === null || entry.campaign === filter.campaign)
  && (filter.channel === null || entry.channel === filter.channel));
const stepRows = (filter, since = filter.since, until = filter.until) => steps.filter((entry) =>
  entry.day >= since && entry.day <= until
  && (filter.channel === null || entry.channel === filter.channel));
const sum = (rows, name) => rows.reduce((total, entry) => total + entry[name], 0);
function groupBy(rows, key) {
  const groups = new Map();
  for (const entry of rows) {
    const name = key(entry);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(entry);
  }
  return groups;
}

// --- figures: each function draws into a place and returns its table -------------------------
const KPIS = {
  decided: { compute: (m) => sum(m, "decided"), text: wholeNumbers },
  seen: { compute: (m) => sum(m, "seen"), text: wholeNumbers },
  click_rate: { compute: (m) => share(sum(m, "clicked"), sum(m, "seen")), text: percents },
  converted: { compute: (m) => sum(m, "converted"), text: wholeNumbers },
  convert_rate: { compute: (m) => share(sum(m, "converted"), sum(m, "decided")), text: percents },
  worth: { compute: (m) => sum(m, "worth"), text: money },
  cost: { compute: (m) => sum(m, "cost"), text: money },
  goal: { compute: (_, s) => sum(s.filter((entry) => entry.step === content.goal), "visits"), text: wholeNumbers },
};

function drawKpis(place, filter) {
  const length = Math.min(28, Math.floor((filter.until - filter.since + 1) / 2));
  const middle = filter.until - length;
  const list = make("dl", { class: "kpis" });
  const rows = [];
  for (const [name, kpi] of Object.entries(KPIS)) {
    if (name === "goal" && content.goal === null) continue;
    const value = kpi.compute(messageRows(filter), stepRows(filter));
    const laterValue = kpi.compute(messageRows(filter, middle + 1), stepRows(filter, middle + 1));
    const earlierValue = kpi.compute(messageRows(filter, middle - length + 1, middle),
      stepRows(filter, middle - length + 1, middle));
    const change = length > 0 && earlierValue > 0 && isPresent(laterValue) ? laterValue / earlierValue - 1 : null;
    const label = fill(texts.kpi[name], { goal: content.goal ?? "" });
    const words = change === null ? (length > 0 ? texts.none_before : texts.no_change)
      : fill(texts.change, { change: signedPercents.format(change), days: length });
    const colour = change === null || name === "cost" || change === 0 ? ""
      : change > 0 ? " up" : " down";
    list.append(make("div", {}, make("dt", {}, label),
      make("dd", {}, isPresent(value) ? kpi.text.format(value) : "–"),
      make("dd", { class: `change${colour}` }, words)));
    rows.push([label, value, isPresent(change) ? asPercent(change) : null]);
  }
  place.body.append(list);
  return { columns: [column("what"), column("observed"), "±"], rows };
}

const DIMENSIONS = ["campaign", "offer", "channel", "segment"];
const state = { by: "campaign" };

function drawCampaigns(place, filter) {
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
    ? cells.filter((entry) => entry.segment !== "" && entry.day >= filter.since && entry.day <= filter.until
      && (filter.segment === null || entry.segment === filter.segment)
      && (filter.campaign === null || entry.campaign === filter.campaign)
      && (filter.channel === null || entry.channel === filter.channel))
    : messageRows(filter);
  const key = (entry) => (by === "offer" ? JSON.stringify([entry.campaign, entry.offer]) : entry[by]);
  const name = (entry) => (by === "offer" ? `${entry.campaign} / ${entry.offer}` : entry[by]);
  const figures = new Map(content.statistics[`${by}s`].map((entry) => [key(entry), entry]));
  const isFiltered = filter.active.length > 0;
  const interval = (groupKey, rate) => {
    const bounds = figures.get(groupKey)?.[rate];
    return isFiltered || !bounds || bounds.share === null ? null
      : { text: `${percent(bounds.low)} – ${percent(bounds.high)}`, class: "tight" };
  };
  const table = [...groupBy(rows, key)].map(([groupKey, group]) => [
    name(group[0]), sum(group, "decided"), sum(group, "held"), sum(group, "seen"),
    sum(group, "clicked"), asPercent(share(sum(group, "clicked"), sum(group, "seen"))),
    interval(groupKey, "click_rate"), sum(group, "converted"),
    asPercent(share(sum(group, "converted"), sum(group, "decided"))),
    interval(groupKey, "conversion_rate"), sum(group, "worth"), sum(group, "revenue"), sum(group, "cost"),
  ]).sort((a, b) => b[1] - a[1]);
  if (isFiltered) place.note(texts.no_interval);
  const result = {
    columns: [by, "decided", "held", "seen", "clicked", "click_rate", "interval", "converted",
      "convert_rate", "interval", "worth", "revenue", "cost"].map(column),
    rows: table,
  };
  if (table.length) place.body.append(tableOf(result));
  return result;
}

function drawLift(place) {
  const scope = (entry) => [entry.campaign, entry.offer, entry.channel].filter(isPresent).join(" / ")
    || fill(texts.everything_of, { name: entry.holdout });
  const order = ["works", "harms", "not known yet", "not comparable", "too few customers"];
  const arms = (entry) => JSON.stringify([entry.holdout, entry.treated, entry.held]);
  const allLifts = content.statistics.lifts;
  const lifts = allLifts
    .filter((entry, index) => !allLifts.slice(index + 1).some((finer) => arms(finer) === arms(entry)))
    .sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict)
      || (b.conversion?.low ?? -9) - (a.conversion?.low ?? -9));
  const measuredLifts = lifts.filter((entry) => isPresent(entry.conversion?.low)).slice(0, 15).reverse();
  if (measuredLifts.length) {
    const points = (value) => value * 100;
    drawChart(place, [{
      type: "scatter", mode: "markers", x: measuredLifts.map((entry) => points(entry.conversion.value)),
      y: measuredLifts.map((_, index) => index), marker: { size: 9, color: measuredLifts.map((entry) =>
        entry.conversion.low > 0 ? "#14713d" : entry.conversion.high < 0 ? "#a8321f" : "#5b6775") },
      error_x: { type: "data", symmetric: false, color: "#7b8794",
        array: measuredLifts.map((entry) => points(entry.conversion.high - entry.conversion.value)),
        arrayminus: measuredLifts.map((entry) => points(entry.conversion.value - entry.conversion.low)) },
      hovertext: measuredLifts.map((entry) => plain(scope(entry))), hoverinfo: "text+x",
    }], {
      margin: { l: isNarrow() ? 135 : 250, r: 20, t: 10, b: 45 },
      xaxis: { title: { text: texts.points }, zeroline: true, zerolinecolor: "#1d2733" },
      yaxis: { tickvals: measuredLifts.map((_, index) => index), automargin: false, zeroline: false,
        ticktext: measuredLifts.map((entry) => shortenStart(scope(entry), isNarrow() ? 18 : 34)) },
    }, 90 + measuredLifts.length * 26);
  }
  for (const [name, reason] of Object.entries(content.statistics.without_lift)) {
    place.note(fill(texts.no_lift, { name, reason: texts.reasons[reason] ?? reason }));
  }
  const campaigns = allLifts.filter((entry) =>
    isPresent(entry.campaign) && !isPresent(entry.offer) && !isPresent(entry.channel));
  for (const name of new Set(campaigns.map((entry) => entry.campaign))) {
    const own = campaigns.filter((entry) => entry.campaign === name)
      .sort((a, b) => b.held.customers - a.held.customers);
    if (own.every((entry) => entry.verdict === "too few customers")) {
      const few = { treated: own[0].treated.customers, held: own[0].held.customers };
      place.note(fill(texts.no_lift, { name, reason: fill(texts.too_few, few) }));
    }
  }
  const rows = lifts.map((entry) => [
    scope(entry), texts.against[entry.against], entry.treated.customers, asPercent(entry.treated.share),
    entry.held.customers, asPercent(entry.held.share),
    entry.conversion ? asPercent(entry.conversion.value) : null,
    isPresent(entry.conversion?.low)
      ? { text: `${percent(entry.conversion.low)} – ${percent(entry.conversion.high)}`, class: "tight" } : null,
    entry.extra_conversions ? Math.round(entry.extra_conversions.value) : null,
    { text: texts.verdicts[entry.verdict],
      class: entry.verdict === "works" ? "works" : entry.verdict === "harms" ? "harms" : "text" },
  ]);
  return { columns: ["what", "against", "customers", "convert_rate", "held_customers",
    "convert_rate", "lift", "interval", "extra", "verdict"].map(column), rows };
}

function drawAttribution(place) {
  if (content.goal === null) return place.empty(texts.no_goal);
  const labelOf = (name) => (name === content.no_touch ? texts.no_touch : name);
  const names = [...new Set(content.attribution.flatMap((entry) => entry.rows.map((row) => row[0])))].sort();
  if (!names.length) return place.empty(texts.nothing);
  const traces = content.attribution.map((entry) => {
    const shares = new Map(entry.rows.map((row) => [row[0], row[2]]));
    return { type: "bar", orientation: "h", name: texts.models[entry.model],
      y: names.map((name) => shorten(labelOf(name), 18)), x: names.map((name) => shares.get(name) ?? 0),
      hovertemplate: "%{y}: %{x:.1%}" };
  });
  drawChart(place, traces, { barmode: "group", xaxis: { tickformat: ".0%" },
    yaxis: { type: "category", automargin: true, autorange: "reversed" },
    legend: { orientation: "h", y: -0.12, traceorder: "normal" } }, 130 + names.length * 66);
  const measuredRows = content.statistics.lifts
    .filter((entry) => names.includes(entry.channel) && isPresent(entry.extra_conversions?.low))
    .map((entry) => [entry.channel, [entry.campaign, entry.offer].filter(isPresent).join(" / ") || entry.holdout,
      entry.treated.customers, entry.held.customers, Math.round(entry.extra_conversions.value),
      { text: [entry.extra_conversions.low, entry.extra_conversions.high].map(wholeNumbers.format).join(" – "),
        class: "tight" }]);
  place.body.append(make("h3", {}, texts.measured));
  if (measuredRows.length) {
    place.body.append(tableOf({ rows: measuredRows, columns: ["channel", "what", "customers",
      "held_customers", "extra", "interval"].map(column) }));
  } else place.body.append(make("p", { class: "meaning" }, texts.not_measured));
  return { columns: ["model", "channel", "conversions", "share", "low", "high"].map(column),
    rows: content.attribution.flatMap((entry) => entry.rows.map((row) =>
      [texts.models[entry.model], labelOf(row[0]), row[1], asPercent(row[2]), row[3], row[4]])) };
}

function drawFunnel(place) {
  const journey = content.journey;
  if (!journey) return place.empty(texts.no_plan);
  const { funnel: reachedSteps, cases, drop_offs: dropOffs } = journey.conformance;
  const labels = [texts.beginning, ...reachedSteps.map((entry) => entry.step)];
  const values = [cases, ...reachedSteps.map((entry) => entry.cases)];
  const dropOffsAfter = new Map(dropOffs.map((entry) => [entry.after ?? texts.beginning, entry.cases]));
  drawChart(place, [{ type: "funnel", y: labels.map((entry) => shorten(entry, 20)), x: values,
    textinfo: "value+percent initial", marker: { color: COLOURS[0] },
    connector: { fillcolor: "#e3eaf3" } }],
  { margin: { l: isNarrow() ? 110 : 150, r: 15, t: 10, b: 20 } }, 90 + labels.length * 46);
  return { columns: ["step", "cases", "share", "left"].map(column), rows: labels.map((name, index) =>
    [name, values[index], asPercent(share(values[index], cases)), dropOffsAfter.get(name) ?? 0]) };
}

function drawSankey(place) {
  const links = content.journey ? plannedLinks() : discoveredLinks();
  if (!links.length) return place.empty(texts.nothing);
  const names = [...new Set(links.flatMap((entry) => [entry.from, entry.to]))];
  const label = (name) => JSON.parse(name)[1];
  const isEnd = (name) => JSON.parse(name)[0] === "end";
  const colours = names.map((name) => !isEnd(name) ? COLOURS[0]
    : label(name) === texts.ends.converted ? "#2b8a5b"
      : label(name) === texts.ends.dropped ? "#b5432f" : "#9aa5b1");
  const tint = (colour) => `${colour}55`;
  drawChart(place, [{
    type: "sankey", arrangement: "snap",
    node: { label: names.map((name) => shorten(label(name), 20)), color: colours, pad: 14, thickness: 14,
      hovertemplate: "%{label}: %{value}<extra></extra>" },
    link: { source: links.map((entry) => names.indexOf(entry.from)),
      target: links.map((entry) => names.indexOf(entry.to)), value: links.map((entry) => entry.cases),
      color: links.map((entry) => tint(colours[names.indexOf(entry.to)])),
      hovertemplate: "%{source.label} → %{target.label}: %{value}<extra></extra>" },
  }], { margin: { l: 10, r: 10, t: 10, b: 10 }, font: { size: isNarrow() ? 10 : 12 } },
  isNarrow() ? 420 : 480);
  return { columns: ["from", "to", "cases"].map(column),
    rows: links.map((entry) => [label(entry.from), label(entry.to), entry.cases]) };
}
const step = (depth, name) => JSON.stringify([depth, name]);
const ending = (name) => JSON.stringify(["end", texts.ends[name]]);

function plannedLinks() {
  return content.journey.details.flows.map((entry) => ({
    from: step("step", entry.after ?? texts.beginning),
    to: entry.to === null ? ending(entry.end) : step("step", entry.to), cases: entry.cases }));
}

function discoveredLinks() {
  const sums = new Map();
  const add = (from, to, cases) => {
    if (!cases) return;
    const key = JSON.stringify([from, to]);
    sums.set(key, (sums.get(key) ?? 0) + cases);
  };
  const minimum = content.paths.journeys / 100, rarePaths = new Set();
  for (const entry of content.paths.tree) {
    const depth = entry.path.length;
    if (!depth || rarePaths.has(JSON.stringify(entry.path.slice(0, -1)))) {
      if (depth) rarePaths.add(JSON.stringify(entry.path));
      continue;
    }
    const node = step(depth, entry.path[depth - 1]);
    const parent = depth === 1 ? step(0, texts.beginning) : step(depth - 1, entry.path[depth - 2]);
    if (entry.cases < minimum) {
      rarePaths.add(JSON.stringify(entry.path));
      add(parent, ending("cut"), entry.cases);
      continue;
    }
    add(parent, node, entry.cases);
    for (const end of Object.keys(texts.ends)) add(node, ending(end), entry[end]);
  }
  return [...sums].map(([key, cases]) => ({ from: JSON.parse(key)[0], to: JSON.parse(key)[1], cases }));
}

function drawTree(place) {
  const nodes = content.paths.tree.filter((entry) => entry.path.length);
  if (!nodes.length) return place.empty(texts.nothing);
  const id = (path) => JSON.stringify(path);
  drawChart(place, [{
    type: "icicle", ids: ["[]", ...nodes.map((entry) => plain(id(entry.path)))],
    labels: [texts.all_visits,
      ...nodes.map((entry) => shorten(entry.path[entry.path.length - 1], isNarrow() ? 14 : 24))],
    parents: ["", ...nodes.map((entry) => plain(id(entry.path.slice(0, -1))))],
    values: [content.paths.journeys, ...nodes.map((entry) => entry.cases)], branchvalues: "total",
    customdata: [[1, share(content.paths.converted, content.paths.journeys)],
      ...nodes.map((entry) => [entry.share, share(entry.converted, entry.cases)])],
    hovertemplate: "%{label}: %{value} (%{customdata[0]:.1%})<extra></extra>",
    tiling: { orientation: "h" }, maxdepth: isNarrow() ? 3 : 6,
    root: { color: "#d9dfe6" }, pathbar: { visible: true },
  }], { margin: { l: 5, r: 5, t: 25, b: 5 }, uniformtext: { minsize: 9, mode: "hide" } }, 460);
  return { columns: ["path", "journeys", "share"].map(column), rows: nodes.map((entry) =>
    [entry.path.join(" > "), entry.cases, asPercent(entry.share)]) };
}

function drawHeat(place, filter) {
  if (content.goal === null) return place.empty(texts.no_goal);
  const rows = stepRows(filter).filter((entry) => entry.step !== content.goal);
  if (!rows.length) return place.empty(texts.nothing);
  const channels = unique(rows, "channel");
  const byStep = [...groupBy(rows, (entry) => entry.step)]
    .sort((a, b) => sum(a[1], "visits") - sum(b[1], "visits")).slice(-20);
  const cell = (group, channel) => {
    const rowsOfChannel = group.filter((entry) => entry.channel === channel);
    return { visits: sum(rowsOfChannel, "visits"), reached: sum(rowsOfChannel, "reached") };
  };
  const grid = byStep.map(([, group]) => channels.map((channel) => cell(group, channel)));
  const greatest = Math.max(...grid.flat().map((entry) => share(entry.reached, entry.visits) ?? 0));
  drawChart(place, [{
    type: "heatmap", x: channels.map((entry) => shorten(entry, 16)), y: byStep.map(([name]) => shorten(name, 20)),
    z: grid.map((line) => line.map((entry) => share(entry.reached, entry.visits))),
    text: grid.map((line) => line.map((entry) => (entry.visits ? percent(entry.reached / entry.visits) : ""))),
    texttemplate: "%{text}", customdata: grid.map((line) => line.map((entry) => entry.visits)),
    hovertemplate: "%{y}, %{x}: %{text} / %{customdata}<extra></extra>",
    colorscale: [[0, "#f3f6fb"], [1, "#1f5fa8"]], zmin: 0,
    colorbar: { tickformat: greatest < 0.05 ? ".1%" : ".0%", thickness: 12 },
  }], { margin: { l: 60, r: 10, t: 10, b: 40 },
    xaxis: { type: "category" }, yaxis: { type: "category", automargin: true } }, 90 + byStep.length * 26);
  return { columns: ["step", "channel", "visits", "reached", "share"].map(column),
    rows: byStep.reverse().flatMap(([name], line) => channels.map((channel, index) => {
      const entry = grid[grid.length - 1 - line][index];
      return [name, channel, entry.visits, entry.reached, asPercent(share(entry.reached, entry.visits))];
    })) };
}

function drawPlan(place) {
  const journey = content.journey;
  if (!journey) return place.empty(texts.no_plan);
  const conformance = journey.conformance;
  place.body.append(make("p", {}, fill(texts.followed_share,
    { share: percent(conformance.fits_share), cases: wholeNumbers.format(conformance.cases) })));
  const comparison = journey.details.followed_plan;
  if (comparison?.with_it.converted && comparison.without_it.converted) {
    place.body.append(make("p", {}, fill(texts.compared, {
      with: percent(comparison.with_it.converted.share),
      without: percent(comparison.without_it.converted.share) })));
  }
  const rows = conformance.variants.slice(0, 200).map((entry) => [entry.path.join(" > ") || texts.no_step, entry.cases,
    asPercent(share(entry.cases, conformance.cases)), entry.fits ? texts.yes : texts.no]);
  const table = { columns: ["path", "cases", "share", "followed"].map(column), rows };
  place.body.append(tableOf({ ...table, rows: rows.slice(0, 10) }, true));
  return table;
}

function drawCurve(place) {
  const details = content.journey?.details;
  const all = details ? details.time_to_convert : content.time_to_goal;
  if (!all.points.length) return place.empty(content.goal === null && !details ? texts.no_goal : texts.nothing);
  const last = all.points[all.points.length - 1].at_ms;
  const unit = last > 3 * DAY_MS ? "days" : last > DAY_MS / 8 ? "hours" : "minutes";
  const inUnits = (entry) => entry.at_ms / { days: DAY_MS, hours: DAY_MS / 24, minutes: DAY_MS / 1440 }[unit];
  const inDays = (entry) => entry.at_ms / DAY_MS;
  const line = (points, name, colour, width) => ({
    type: "scatter", mode: "lines", name: shorten(name), line: { shape: "hv", color: colour, width },
    x: [0, ...points.map(inUnits)], y: [0, ...points.map((entry) => entry.converted.share)],
    hovertemplate: "%{x:.2f}: %{y:.1%}" });
  const boundedPoints = all.points.filter((entry) => isPresent(entry.converted.low));
  const band = (bound, options) => ({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
    line: { shape: "hv", width: 0 }, x: boundedPoints.map(inUnits),
    y: boundedPoints.map((entry) => entry.converted[bound]), ...options });
  const traces = [band("low", {}), band("high", { fill: "tonexty", fillcolor: "#1f5fa822" }),
    line(all.points, texts.everything, COLOURS[0], 3)];
  (details?.by_channel ?? []).slice(0, 6).forEach((entry, index) =>
    traces.push(line(entry.curve.points, entry.channel, COLOURS[index + 1], 1.5)));
  const top = Math.max(...all.points.map((entry) => entry.converted.high ?? entry.converted.share));
  drawChart(place, traces, { yaxis: { tickformat: top < 0.1 ? ".1%" : ".0%", rangemode: "tozero",
    title: { text: texts.share_reached } }, xaxis: { title: { text: texts.time_axis[unit] } },
    legend: { orientation: "h", y: -0.25, traceorder: "normal" } });
  const rows = [[texts.everything, all], ...(details?.by_channel ?? []).map((entry) => [entry.channel, entry.curve])]
    .flatMap(([name, series]) => series.points.map((entry) => [name, inDays(entry), asPercent(entry.converted.share),
      isPresent(entry.converted.low) ? asPercent(entry.converted.low) : null,
      isPresent(entry.converted.high) ? asPercent(entry.converted.high) : null]));
  return { columns: ["channel", "days", "share", "low", "high"].map(column), rows };
}

function drawRecommendations(place) {
  const path = content.recommended_journey;
  if (path.length) {
    place.body.append(make("h3", {}, texts.recommended_journey), make("ol", {}, ...path.map((entry) =>
      make("li", {}, make("strong", {}, entry.step), `: ${entry.words}`))));
    if (content.recommended_shape) place.body.append(make("p", {}, content.recommended_shape));
  }
  const options = content.compared_options.map((entry) => [entry.place, entry.option, entry.customers,
    { number: true, value: entry.gain, text: gains.format(entry.gain) },
    { text: `${gains.format(entry.low)} – ${gains.format(entry.high)}`, class: "tight" },
    texts.grades[entry.grade]]);
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
    ? make("div", {}, make("strong", {}, title), make("ul", {}, ...items.map((entry) => make("li", {}, entry))))
    : null);
  for (const entry of content.recommendations) {
    place.body.append(make("article", { class: "card" }, make("h3", {}, entry.title),
      make("span", { class: "grade" }, entry.grade),
      list(texts.pros, entry.pros), list(texts.cons, entry.cons),
      entry.draft ? make("details", {}, make("summary", {}, texts.draft), make("pre", {}, entry.draft)) : null));
  }
  return { columns: [column("what"), column("verdict"), texts.pros, texts.cons],
    rows: content.recommendations.map((entry) =>
      [entry.title, entry.grade, entry.pros.join("; "), entry.cons.join("; ")]) };
}

function drawCourse(place, filter) {
  const overview = content.course;
  if (!overview) return place.empty(texts.nothing);
  const inView = (day) => day >= filter.since && day <= filter.until;
  const countByDay = (rows) => {
    const totals = new Map();
    for (const entry of rows) totals.set(entry.day, (totals.get(entry.day) ?? 0) + entry.events);
    return Array.from({ length: Math.max(filter.until - filter.since + 1, 0) }, (_, index) =>
      [filter.since + index, totals.get(filter.since + index) ?? 0]);
  };
  const rows = stepRows(filter);
  const series = [["all events", texts.all_events, rows]];
  if (content.goal !== null) {
    series.push([content.goal, content.goal, rows.filter((entry) => entry.step === content.goal)]);
  }
  const table = [], traces = [];
  series.forEach(([what, label, seriesRows], index) => {
    const axes = { xaxis: "x", yaxis: index ? "y2" : "y" };
    const history = countByDay(seriesRows);
    traces.push({ type: "scatter", mode: "lines", name: shorten(label), line: { color: COLOURS[index], width: 1.5 },
      x: history.map(([day]) => isoDay(day)), y: history.map((entry) => entry[1]), ...axes });
    history.forEach(([day, value]) => table.push([isoDay(day), label, value, null, null]));
    const prediction = overview.forecasts.find((entry) => entry.what === what && entry.channel === filter.channel)
      ?? (filter.channel === null ? overview.forecasts.find((entry) => entry.what === what) : undefined);
    if (!prediction || filter.until < span.last) return;
    const future = prediction.forecast.days;
    const bound = (name, options) => ({ type: "scatter", mode: "lines", showlegend: false, hoverinfo: "skip",
      line: { width: 0 }, x: future.map((entry) => isoDay(entry.day)),
      y: future.map((entry) => entry[name]), ...axes, ...options });
    traces.push(bound("low", {}), bound("high", { fill: "tonexty", fillcolor: `${COLOURS[index]}33` }), {
      type: "scatter", mode: "lines", name: `${shorten(label)}, ${texts.forecast}`,
      line: { color: COLOURS[index], dash: "dot", width: 2 },
      x: future.map((entry) => isoDay(entry.day)), y: future.map((entry) => entry.expected), ...axes });
    future.forEach((entry) => table.push([isoDay(entry.day), `${label}, ${texts.forecast}`, entry.expected,
      entry.low, entry.high]));
    const test = prediction.forecast.back_test;
    place.foot.push(`${label}: ${fill(texts.back_test, { error: money.format(test.error),
      naive: money.format(test.naive_error), covered: percent(test.covered) })}`);
  });
  const visibleIncidents = overview.incidents
    .map((entry, index) => ({ ...entry, number: index + 1, words: content.incidents[index] }))
    .filter((entry) => entry.last_day >= filter.since && entry.first_day <= filter.until);
  const hasGoal = series.length > 1;
  drawChart(place, traces, {
    xaxis: { type: "date", tickformat: content.language === "es" ? "%d/%m/%y" : "%Y-%m-%d",
      nticks: isNarrow() ? 4 : 10 },
    yaxis: { rangemode: "tozero", domain: hasGoal ? [0.42, 1] : [0, 1], title: { text: texts.all_events } },
    ...(hasGoal ? { yaxis2: { rangemode: "tozero", domain: [0, 0.34], anchor: "x", title: { text: shorten(content.goal, 14) } } } : {}),
    shapes: visibleIncidents.map((entry) => ({
      type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, line: { width: 0 },
      x0: isoDay(Math.max(entry.first_day, filter.since)),
      x1: isoDay(Math.min(entry.last_day + 1, filter.until + 1)), fillcolor: "#b5432f", opacity: 0.14,
      layer: "below" })),
    annotations: visibleIncidents.map((entry) => ({ text: String(entry.number), xref: "x", yref: "paper", y: 1.03,
      x: isoDay(Math.round((Math.max(entry.first_day, filter.since) + Math.min(entry.last_day, filter.until)) / 2)),
      showarrow: false, font: { color: "#a8321f", size: 14 } })),
    margin: { l: 55, r: 15, t: 25, b: 30 }, legend: { orientation: "h", y: -0.06, traceorder: "normal" },
  }, 470);
  const list = make("ol", { class: "incidents" });
  for (const entry of visibleIncidents) list.append(make("li", { value: String(entry.number) }, entry.words));
  place.body.append(visibleIncidents.length ? list : make("p", {}, texts.no_incident));
  if (!overview.forecasts.length) place.foot.push(texts.no_forecast);
  return { columns: ["day", "kind", "observed", "low", "high"].map(column), rows: table };
}

// `follows`: filters that apply to a figure; if other filters are set, a note of the figure names them.
// `hasTable`: the figure is a table already.
const FIGURES = {
  kpis: { draw: drawKpis, follows: ["since", "until", "segment", "campaign", "channel"], wide: true },
  course: { draw: drawCourse, follows: ["since", "until", "channel"], wide: true },
  campaigns: { draw: drawCampaigns, follows: ["since", "until", "segment", "campaign", "channel"], wide: true,
    hasTable: true },
  lift: { draw: drawLift, follows: [], wide: true },
  recommendations: { draw: drawRecommendations, follows: [], wide: true },
  attribution: { draw: drawAttribution, follows: [], wide: true },
  heat: { draw: drawHeat, follows: ["since", "until", "channel"] },
  funnel: { draw: drawFunnel, follows: [] },
  curve: { draw: drawCurve, follows: [], wide: true },
  sankey: { draw: drawSankey, follows: [], wide: true },
  plan: { draw: drawPlan, follows: [], wide: true },
  tree: { draw: drawTree, follows: [], wide: true },
};

function render(name, keepFocus = false) {
  const figure = FIGURES[name], words = texts.figures[name], filter = currentFilter();
  const section = document.getElementById(name);
  section.querySelectorAll(".chart").forEach((entry) => Plotly.purge(entry));
  const body = make("div"), notes = make("div"), tools = make("div", { class: "tools" });
  section.replaceChildren(make("h2", { id: `${name}-title` }, words.title),
    make("p", { class: "meaning" }, words.meaning), notes, body, tools);
  let isEmpty = false;
  const place = {
    body, tools, label: words.title, foot: [],
    note: (text) => notes.append(make("p", { class: "note" }, text)),
    empty: (text) => { isEmpty = true; body.append(make("p", { class: "empty" }, text)); return { columns: [], rows: [] }; },
  };
  const ignoredFilters = filter.active.filter((entry) => !figure.follows.includes(entry));
  if (ignoredFilters.length) {
    const names = [...new Set(ignoredFilters.map((entry) => texts.kinds[entry]))].join(", ");
    place.note(fill(texts.ignores, { names }));
  }
  const table = figure.draw(place, filter);
  place.foot.forEach((text) => body.append(make("p", { class: "meaning" }, text)));
  if (!table.rows.length && !isEmpty) body.append(make("p", { class: "empty" }, texts.nothing));
  if (table.rows.length) {
    const button = make("button", { type: "button" }, texts.csv);
    button.addEventListener("click", () => download(name, table));
    tools.append(button);
    if (!figure.hasTable && name !== "kpis") {
      const details = make("details", {}, make("summary", {}, texts.as_table));
      details.addEventListener("toggle", () => {
        if (details.open && details.children.length === 1) details.append(tableOf(table));
      });
      section.append(details);
    }
  }
  if (keepFocus) section.querySelector("select")?.focus();
}

function buildPage() {
  const main = document.getElementById("main"), contents = document.getElementById("contents");
  for (const [name, figure] of Object.entries(FIGURES)) {
    main.append(make("section", { id: name, class: figure.wide ? "wide" : "", "aria-labelledby": `${name}-title` }));
    contents.append(make("a", { href: `#${name}` }, texts.figures[name].title));
  }
  const support = content.statistics.support;
  document.getElementById("period").textContent = days.length
    ? fill(texts.period, { from: dayText(span.first), to: dayText(span.last) }) : texts.nothing;
  document.getElementById("support").textContent = fill(texts.support,
    Object.fromEntries(Object.entries(support).map(([name, value]) => [name, wholeNumbers.format(value ?? 0)])));
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
  let wasNarrow = isNarrow();
  window.addEventListener("resize", () => {
    if (isNarrow() !== wasNarrow) { wasNarrow = isNarrow(); renderAll(); }
  });
  document.documentElement.dataset.ready = "yes";
}
buildPage();
})();
