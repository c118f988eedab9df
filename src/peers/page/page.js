// Shows who is connected, and what was measured. Texts are set as texts, never as HTML: senders choose their names.
"use strict";

const LOOK_EVERY = 400; // ms between two looks at the pictures
const CHART_EVERY = 5000; // ms between two readings of the history
const MOST_ROWS = 500; // of the table of miners: more can be found by the filter
const DAY = 86400;
const RANGES = [["1 h", 3600], ["24 h", DAY], ["7 d", 7 * DAY], ["30 d", 30 * DAY], ["1 y", 365 * DAY]];

const by = (id) => document.getElementById(id);

/** The last answer of each path as a text, so that only what has changed is drawn again. */
const answers = new Map();

/** What the chart shows: `source` and `id` are empty for the total of all. */
const wanted = { source: "", id: "", seconds: RANGES[0][1] };

let chart = null;
let reading = 0;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(cells, onClick) {
  const made = element("tr");
  for (const cell of cells) {
    const isNumber = Array.isArray(cell);
    made.append(element("td", isNumber ? cell[0] : cell, isNumber ? "number" : ""));
  }
  if (onClick) {
    const first = made.firstChild;
    const button = element("button", first.textContent || "(no name)");
    button.type = "button";
    button.title = "Show its history";
    button.addEventListener("click", onClick);
    first.replaceChildren(button);
  }
  return made;
}

function fill(id, rows, whenEmpty) {
  by(id).replaceChildren(...(rows.length ? rows : [row([whenEmpty])]));
}

function hashrate(rate) {
  if (rate === null || rate === undefined) return "";
  const units = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s", "ZH/s"];
  let unit = 0;
  while (Math.abs(rate) >= 1000 && unit < units.length - 1) {
    rate /= 1000;
    unit += 1;
  }
  return rate.toPrecision(4).replace(/\.?0+$/, "") + " " + units[unit];
}

const whole = (number) => (number === null || number === undefined ? "" : number.toLocaleString("en"));
const when = (unix) => (unix ? new Date(unix * 1000).toLocaleString() : "");

/** The text of an answer, or null with the status of one that failed. */
async function get(path) {
  const answer = await fetch(path, { cache: "no-cache" });
  const text = await answer.text();
  return { status: answer.status, text, body: JSON.parse(text) };
}

/** Calls `show` with an answer that is not the one before. */
async function look(path, show) {
  const { status, text, body } = await get(path);
  if (answers.get(path) !== text) {
    answers.set(path, text);
    show(body, status);
  }
}

function choose(source, id, name) {
  wanted.source = source;
  wanted.id = id;
  const value = JSON.stringify([source, id]);
  const select = by("subject");
  if (![...select.options].some((option) => option.value === value)) {
    const option = element("option", name);
    option.value = value;
    select.append(option);
  }
  select.value = value;
  draw();
}

function showSources({ sources }) {
  fill("sources", sources.map((one) => row([one.source, [one.age_seconds.toFixed(0) + " s ago"], one.is_stale ? "silent" : "fresh"])),
    "No source yet");
  const select = by("subject");
  const known = new Set([...select.options].map((option) => option.value));
  for (const { source } of sources) {
    const value = JSON.stringify([source, ""]);
    if (known.has(value)) continue;
    const option = element("option", source);
    option.value = value;
    select.append(option);
  }
  const stale = sources.filter((one) => one.is_stale).map((one) => one.source);
  const health = by("health");
  health.className = stale.length || !sources.length ? "unwell" : "well";
  health.textContent = !sources.length ? "No picture yet"
    : stale.length ? "Silent: " + stale.join(", ") : "All " + sources.length + " sources are fresh";
}

function showMiners({ miners }) {
  const filter = by("filter").value.toLowerCase();
  const found = miners.filter((one) => (one.name + " " + one.source).toLowerCase().includes(filter));
  by("shown").textContent = Math.min(found.length, MOST_ROWS) + " of " + miners.length;
  fill("miners", found.slice(0, MOST_ROWS).map((one) => row(
    [one.name, [one.id], one.source, [hashrate(one.hashrate)], [hashrate(one.measured_hashrate)], [whole(one.shares_submitted)], when(one.connected_at)],
    () => choose(one.source, one.id, one.name + " (" + one.id + ", " + one.source + ")"))), "No miner");
}

function showConnections(all) {
  fill("connections", Array.isArray(all) ? all.map((one) => row(
    [one.id, one.connection_type, one.source, one.channels.join(", "), [hashrate(one.hashrate)], [hashrate(one.measured_hashrate)],
      [whole(one.shares_submitted)], [whole(one.quotes_created)]],
    () => choose(one.source, one.id, one.connection_type + " " + one.id + " (" + one.source + ")"))) : [], "No connection");
}

function showServices(all) {
  fill("services", Array.isArray(all) ? all.map((one) => row([one.service_type, one.address, one.source])) : [], "No service");
}

function showBalances({ balances }) {
  fill("balances", (balances || []).map((one) => row([one.source, [whole(one.balance)], when(one.timestamp)])), "No balance");
}

function showQuotes({ quotes }) {
  fill("quotes", (quotes || []).slice(0, 100).map((one) => row([when(one.timestamp), one.source, [one.downstream_id], [whole(one.amount)]])),
    "No quote");
}

/** The columns of the chart: times, lowest, highest and mean measured rate, mean declared rate. A gap is null. */
function columns(points) {
  const of = (kind, name) => points.map((point) => (point[kind] ? point[kind][name] : null));
  return [points.map((point) => point.timestamp), of("measured", "lowest"), of("measured", "highest"), of("measured", "mean"),
    of("declared", "mean")];
}

function options(width) {
  const style = getComputedStyle(document.documentElement);
  const measured = style.getPropertyValue("--measured").trim();
  const declared = style.getPropertyValue("--declared").trim();
  const value = (_, rate) => hashrate(rate);
  const ink = getComputedStyle(document.body).color;
  const axis = { stroke: ink, grid: { stroke: style.getPropertyValue("--line").trim() } };
  const edge = { stroke: "transparent", width: 0, points: { show: false }, value };
  return {
    width, height: 300,
    scales: { y: { range: (_, low, high) => [Math.min(0, low || 0), (high || 1) * 1.05] } },
    axes: [axis, { ...axis, size: 90, values: (_, ticks) => ticks.map(hashrate) }],
    series: [{}, { ...edge, label: "lowest" }, { ...edge, label: "highest" },
      { label: "measured", stroke: measured, width: 2, value }, { label: "declared", stroke: declared, width: 2, dash: [6, 4], value }],
    bands: [{ series: [2, 1], fill: measured + "33" }],
  };
}

function summary({ step, points }) {
  const measured = points.filter((point) => point.measured).map((point) => point.measured);
  const declared = points.filter((point) => point.declared).length;
  if (!measured.length) return declared ? "Nothing was measured; declared in " + declared + " points of " + step + " s." : "Nothing is known of this time.";
  const mean = measured.reduce((sum, one) => sum + one.mean, 0) / measured.length;
  const lowest = Math.min(...measured.map((one) => one.lowest));
  const highest = Math.max(...measured.map((one) => one.highest));
  return measured.length + " points of " + step + " s, " + (points.length - measured.length) + " gaps. Measured: about " + hashrate(mean) +
    ", lowest " + hashrate(lowest) + ", highest " + hashrate(highest) + ". Declared in " + declared + ".";
}

async function draw() {
  const mine = ++reading;
  const to = Math.floor(Date.now() / 1000) + 1;
  const query = new URLSearchParams({ from: to - wanted.seconds, to });
  if (wanted.source) query.set("source", wanted.source);
  if (wanted.id !== "") query.set("id", wanted.id);
  try {
    const { status, body } = await get("api/history?" + query);
    // A later choice overtook this answer.
    if (mine !== reading) return;
    if (status !== 200) throw new Error(body.error);
    const data = columns(body.points);
    if (!chart) chart = new uPlot(options(by("chart").clientWidth || 800), data, by("chart"));
    else chart.setData(data);
    by("summary").textContent = summary(body);
  } catch (error) {
    if (mine === reading) by("summary").textContent = "The history can't be read: " + error.message;
  }
}

async function lookAround() {
  let pause = LOOK_EVERY;
  try {
    await Promise.all([look("api/miners", showMiners), look("api/connections", showConnections), look("api/services", showServices),
      look("api/sources", showSources)]);
  } catch {
    by("health").className = "unwell";
    by("health").textContent = "The server does not answer";
    answers.delete("api/sources");
    pause = 5 * LOOK_EVERY;
  }
  setTimeout(lookAround, pause);
}

async function lookBack() {
  await draw();
  const to = Math.floor(Date.now() / 1000) + 1;
  try {
    await look("api/balance", showBalances);
    showQuotes((await get("api/quotes?from=" + (to - DAY) + "&to=" + to)).body);
  } catch { /* The next look tells that the server does not answer. */ }
  setTimeout(lookBack, CHART_EVERY);
}

function begin() {
  const all = element("option", "all sources");
  all.value = JSON.stringify(["", ""]);
  by("subject").append(all);
  by("subject").addEventListener("change", (event) => {
    [wanted.source, wanted.id] = JSON.parse(event.target.value);
    draw();
  });
  for (const [name, seconds] of RANGES) {
    const button = element("button", name);
    button.type = "button";
    button.setAttribute("aria-pressed", seconds === wanted.seconds);
    button.addEventListener("click", () => {
      wanted.seconds = seconds;
      for (const other of by("ranges").children) other.setAttribute("aria-pressed", other === button);
      draw();
    });
    by("ranges").append(button);
  }
  by("filter").addEventListener("input", () => {
    const text = answers.get("api/miners");
    if (text) showMiners(JSON.parse(text));
  });
  addEventListener("resize", () => chart && chart.setSize({ width: by("chart").clientWidth, height: 300 }));
  lookAround();
  lookBack();
}

begin();
