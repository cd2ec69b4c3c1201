"use strict";
// Shows the readings of a live page. What peers say is set as text (textContent), never as markup.

const KEPT = 300, CURVE = 60;
const PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 132: "SCTP"};
const byId = (id) => document.getElementById(id);
const svg = (name, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const element = (name, text, attributes) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
};

let meanings = {}, chosen = null, latest = null, allowsChanges = false, plots = null;
// All by the number of the interface, because its name may change, and become that of another one.
const history = new Map();   // {times, and the rates by name}
const curves = new Map();    // by connection: its windows and round trips of the last minute

const number = (n) => Math.round(n).toLocaleString("en");
const short = (n) => {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]])
    if (n >= size) return (n / size).toFixed(n >= 9.95 * size ? 0 : 1) + " " + unit;
  return n >= 9.95 || n === 0 ? String(Math.round(n)) : n.toFixed(1);
};
const octets = (n) => short(n) + (n >= 1000 ? "B" : " B");
const end = (e) => (e.host.includes(":") ? "[" + e.host + "]" : e.host || "*") + (e.port ? ":" + e.port : "");
const pair = (connection) => end(connection.host) + " " + end(connection.peer);
const clock = new Intl.DateTimeFormat([], {timeStyle: "medium"});
const milliseconds = (s) => s === null ? "" : (s * 1000).toFixed(s < 0.01 ? 2 : 0) + " ms";

function meaning(part, name) {
  for (const each of part === "tables" ? [part] : [part, part.split(" ")[0], "middleware", "each"])
    if (meanings[each] && meanings[each][name]) return meanings[each][name];
  return "";
}

// Tables

function fill(id, columns, rows, none) {
  const table = byId(id).querySelector("table");
  if (!table.tHead) {
    const row = table.createTHead().insertRow();
    for (const [title, kind] of columns) row.append(element("th", title, {scope: "col", class: kind || ""}));
    table.createTBody();
  }
  const body = table.tBodies[0];
  while (body.rows.length > Math.max(rows.length, 1)) body.deleteRow(-1);
  while (body.rows.length < Math.max(rows.length, 1)) body.insertRow();
  if (!rows.length) {
    body.rows[0].replaceChildren(element("td", none, {class: "none", colspan: columns.length}));
    return;
  }
  rows.forEach((cells, at) => {
    const row = body.rows[at];
    row.className = cells.kind || "";
    while (row.cells.length > columns.length) row.deleteCell(-1);
    while (row.cells.length < columns.length) row.insertCell();
    columns.forEach(([, kind], column) => {
      const cell = row.cells[column], value = cells[column];
      cell.className = kind || "";
      cell.removeAttribute("colspan");
      if (value instanceof Node) cell.replaceChildren(value);
      else if (cell.textContent !== value || cell.firstElementChild) cell.textContent = value;
    });
  });
}

function curve(values, now) {
  const most = Math.max(...values, 1e-9), wide = 90, high = 20;
  const points = values.map((v, at) => `${(wide * (at + CURVE - values.length)) / (CURVE - 1)},${high + 1 - (high * v) / most}`);
  const made = svg("svg", {class: "curve", viewBox: "0 0 90 22", "aria-hidden": "true"});
  made.append(svg("polyline", {points: points.join(" ")}));
  const both = element("span", "", {class: "course"});
  both.append(made, element("span", now));
  return both;
}

// The picture of the stack

function drawStack(stack) {
  const picture = byId("stack"), levels = [];
  for (const layer of stack) (levels[layer.level] = levels[layer.level] || []).push(layer);
  levels.reverse();
  const step = 66, high = 34, wide = 400;
  picture.setAttribute("viewBox", `0 0 ${wide} ${Math.max(1, levels.length) * step - step + high + 8}`);
  const parts = [], said = [];
  levels.forEach((layers, at) => {
    const y = 4 + at * step, room = wide / layers.length;
    layers.forEach((layer, column) => {
      const x = column * room + 4, width = room - 8, isDevice = layer.part === null;
      parts.push(svg("rect", {x, y, width, height: high, rx: 6, class: isDevice ? "device" : ""}));
      const several = layers.length > 1, middle = x + width / 2;
      parts.push(svg("text", {x: middle, y: y + (several ? 15 : 21), class: "title" + (isDevice ? " device" : "")}, layer.title));
      const rates = layer.up === null ? "" : `↑ ${short(layer.up)}  ↓ ${short(layer.down)}`;
      if (several) parts.push(svg("text", {x: middle, y: y + 29, class: "rate low"}, rates));
      said.push(layer.title + (rates ? ": " + rates : ""));
      if (at + 1 < levels.length) {
        const below = y + high, bottom = below + step - high;
        for (const [kind, dx, from, to] of [["up", -9, bottom, below], ["down", 9, below, bottom]]) {
          const tip = to < from ? 7 : -7;
          parts.push(svg("line", {x1: middle + dx, y1: from, x2: middle + dx, y2: to + tip, class: kind}));
          parts.push(svg("polygon", {points: `${middle + dx},${to} ${middle + dx - 4},${to + tip} ${middle + dx + 4},${to + tip}`, class: kind}));
        }
      }
      if (rates && !several) parts.push(svg("text", {x: middle + 24, y: y + high + 20, class: "rate"}, rates));
      if (layer.drops > 0) {
        // The text touches its layer, so that it is not taken for one of the layer below. At the last of several, it
        // would end behind the edge of the picture.
        const isRight = several && column + 1 < layers.length;
        const place = isRight ? {x: middle + 18, "text-anchor": "start"} : {x: middle - (several ? 18 : 24), "text-anchor": "end"};
        parts.push(svg("text", {...place, y: y + high + 14, class: "rate drops"}, `drops ${short(layer.drops)}`));
      }
    });
  });
  picture.replaceChildren(...parts);
  picture.setAttribute("aria-label", "The layers that a packet passes, from the top: " + said.join("; "));
}

// Plots

function color(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function makePlots() {
  const axis = () => ({stroke: color("--dim"), grid: {stroke: color("--edge"), width: 1}, ticks: {stroke: color("--edge")}});
  const make = (id, title, names, show) => {
    const place = byId(id);
    place.replaceChildren();
    return new uPlot({
      title, width: place.clientWidth || 600, height: 200, cursor: {drag: {x: false, y: false}},
      scales: {x: {time: true}, y: {range: (u, least, most) => [0, Math.max(most || 0, 1) * 1.1]}},
      axes: [{...axis(), space: 90, values: (u, ticks) => ticks.map((t) => clock.format(t * 1000))}, {...axis(), size: 62, values: (u, ticks) => ticks.map(show)}],
      series: [{label: "at", value: (u, t) => t ? clock.format(t * 1000) : ""}, ...names.map(([label, stroke]) => ({label, stroke: color(stroke), width: 1.5, value: (u, v) => v === null || v === undefined ? "" : show(v)}))],
    }, [[], ...names.map(() => [])], place);
  };
  plots = {
    packets: make("packets", "packets a second", [["up", "--up"], ["down", "--down"]], short),
    octets: make("octets", "octets a second", [["up", "--up"], ["down", "--down"]], octets),
    drops: make("drops", "dropped packets a second", [["drops", "--drop"]], short),
  };
}

function drawPlots() {
  const kept = history.get(chosen);
  if (!kept) return;
  if (!plots) makePlots();
  plots.packets.setData([kept.times, kept.inPackets, kept.outPackets]);
  plots.octets.setData([kept.times, kept.inOctets, kept.outOctets]);
  plots.drops.setData([kept.times, kept.drops]);
  // The legend has the values under the cursor, or else the latest ones.
  for (const plot of Object.values(plots)) if (plot.cursor.left < 0) plot.setLegend({idx: kept.times.length - 1});
  fitPlots();
}

function fitPlots() {
  for (const [id, plot] of Object.entries(plots || {})) {
    const place = byId(id), high = (part) => place.querySelector(part).offsetHeight;
    const width = place.clientWidth, height = place.clientHeight - high(".u-title") - high(".u-legend");
    if (plot.width !== width || plot.height !== height) plot.setSize({width, height});
  }
}

function remember(reading) {
  for (const each of reading.interfaces) {
    let kept = history.get(each.number);
    if (!kept) history.set(each.number, kept = {times: [], inPackets: [], outPackets: [], inOctets: [], outOctets: [], drops: []});
    if (kept.times.length && kept.times[kept.times.length - 1] >= reading.time) continue;
    kept.times.push(reading.time);
    for (const [name, rate] of Object.entries(each.rates)) kept[name].push(rate);
    for (const values of Object.values(kept)) if (values.length > KEPT) values.splice(0, values.length - KEPT);
    const before = curves.get(each.number) || new Map(), now = new Map();
    for (const c of each.connections ? each.connections.shown : []) {
      const past = before.get(pair(c)) || {windows: [], peers: [], trips: []};
      now.set(pair(c), past);
      past.windows.push(c.congestionWindow || 0);
      past.peers.push(c.sendWindow || 0);
      past.trips.push(c.roundTrip || 0);
      for (const values of Object.values(past)) if (values.length > CURVE) values.shift();
    }
    curves.set(each.number, now);
  }
}

// One reading

function show() {
  const now = latest.interfaces.find((each) => each.number === chosen) || latest.interfaces[0];
  if (!now) return;
  chosen = now.number;
  const nav = byId("interfaces");
  while (nav.children.length > latest.interfaces.length) nav.lastElementChild.remove();
  latest.interfaces.forEach((each, at) => {
    if (at === nav.children.length) {
      const made = element("button", "", {type: "button"});
      made.addEventListener("click", () => { chosen = latest.interfaces[at].number; editing = false; show(); });
      nav.append(made);
    }
    const button = nav.children[at];
    if (button.textContent !== each.name) button.textContent = each.name;
    button.setAttribute("aria-pressed", String(each.number === chosen));
  });
  document.title = now.name + " - txtuntap";
  byId("error").hidden = !now.error;
  byId("error").textContent = now.error ? `This interface cannot be read. ${now.error}` : "";
  drawStack(now.stack);

  byId("flows").hidden = now.captures === null;
  fill("flows", [["protocol"], ["above"], ["below"], ["up", "number"], ["down", "number"], ["octets up", "number"], ["octets down", "number"]],
    now.flows.map((f) => [PROTOCOLS[f.protocol] || String(f.protocol), end(f.host), end(f.peer), octets(f.rates.inOctets) + "/s",
      octets(f.rates.outOctets) + "/s", octets(f.inOctets), octets(f.outOctets)]), "no packets yet");

  byId("connections").hidden = now.connections === null;
  if (now.connections) {
    const listening = now.connections.listening.map((p) => [p.state, end(p.host), `${number(p.connections)} ${p.connections === 1 ? "connection" : "connections"}`, "", "", "", "", ""]);
    fill("connections", [["state"], ["here"], ["peer"], ["congestion window"], ["peer's window"], ["round trip"],
      ["received / sent", "number"], ["sent again, lost, waiting to be sent"]],
      [...listening, ...now.connections.shown.map((c) => {
        const past = curves.get(now.number)?.get(pair(c)) || {windows: [], peers: [], trips: []};
        return [c.state, end(c.host), end(c.peer), curve(past.windows, c.congestionWindow === null ? "" : octets(c.congestionWindow)),
          curve(past.peers, octets(c.sendWindow)), curve(past.trips, milliseconds(c.roundTrip)), `${octets(c.octetsIn)} / ${octets(c.octetsOut)}`,
          `${octets(c.octetsAgain)}, ${octets(c.lost)}, ${octets(c.toSend)}`];
      })], "no connections");
    left("connections", now.connections.left);
  }

  byId("peers").hidden = now.peers === null;
  if (now.peers) {
    fill("peers", [["public key", "key"], ["endpoint"], ["allowed"], ["handshake"], ["from it", "number"], ["to it", "number"], ["received", "number"], ["sent", "number"]],
      now.peers.shown.map((p) => [p.publicKey, p.endpoint || "unknown", p.allowed.join(", "),
        p.latestHandshake ? `${number(latest.time - p.latestHandshake)} s ago` : "never",
        octets(p.rates.received) + "/s", octets(p.rates.sent) + "/s", octets(p.received), octets(p.sent)]), "no peers");
    left("peers", now.peers.left);
  }

  byId("stations").hidden = now.stations === null;
  if (now.stations) {
    fill("stations", [["address"], ["VLAN", "number"], ["port"], ["heard", "number"]],
      now.stations.shown.map((s) => [s.address, String(s.vlan), s.port, `${number(s.age)} s ago`]), "no stations yet");
    left("stations", now.stations.left);
  }

  byId("tunnel").hidden = now.tunnel === null;
  if (now.tunnel) {
    const rates = now.tunnel.rates;
    const peer = !now.tunnel.isUp ? "No peer is connected." : now.tunnel.peer ? `The peer is ${end(now.tunnel.peer)}.` : "The peer is connected by a UNIX socket.";
    byId("tunnel-state").textContent = `${peer} From it: ${octets(rates.inOctets)}/s, ${short(rates.inPackets)} packets a second. ` +
      `To it: ${octets(rates.outOctets)}/s, ${short(rates.outPackets)} packets a second.`;
  }

  fill("counters", [["part"], ["counter"], ["count", "number"], ["a second", "number"], ["what is counted", "text"]],
    [...now.counters, ...latest.counters].filter((c) => c.value).map((c) => Object.assign([c.part, c.name, number(c.value), c.rate ? short(c.rate) : "", meaning(c.part, c.name)],
      {kind: c.isDrop ? "drop" : ""})), "nothing yet");

  const tables = [...now.tables, ...latest.tables].sort((a, b) => b.size / b.bound - a.size / a.bound || a.name.localeCompare(b.name));
  fill("tables", [["table"], ["entries", "text"], ["size", "number"], ["bound", "number"], [""], ["when it is full", "text"]],
    tables.map((t) => [t.name, meaning("tables", t.name), number(t.size), number(t.bound) + (t.unit === "entries" ? "" : " " + t.unit),
      element("progress", "", {max: t.bound, value: t.size, "aria-label": `${t.name}: ${t.size} of ${t.bound}`}), t.policy]), "no tables");

  showFaults(now);
  showCaptures(now);
  // The plots are last, because their height follows that of the boxes beside them.
  drawPlots();
}

function left(id, count) {
  byId(id).querySelector(".left").textContent = count ? `${number(count)} more are not shown.` : "";
}

// Changes

async function change(path, asked, answer) {
  answer.className = "";
  try {
    const got = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(asked)});
    if (got.ok) return await got.json();
    answer.className = "wrong";
    answer.textContent = (await got.text()).trim();
  } catch {
    answer.className = "wrong";
    answer.textContent = "The service does not answer.";
  }
  return null;
}

let editing = false;

function showFaults(now) {
  byId("impairment").hidden = now.impairment === null;
  if (now.impairment === null) return;
  for (const way of ["up", "down"]) {
    const input = byId("impair-" + way);
    input.readOnly = !allowsChanges;
    if (!editing && document.activeElement !== input) input.value = now.impairment[way];
  }
  byId("impair").querySelector("button").hidden = !allowsChanges;
}

byId("impair").addEventListener("input", () => { editing = true; });
byId("impair").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = byId("impair-answer");
  const made = await change("impairment", {interface: chosen, up: byId("impair-up").value, down: byId("impair-down").value}, answer);
  if (!made) return;
  editing = false;
  byId("impair-up").value = made.up;
  byId("impair-down").value = made.down;
  answer.textContent = "Applied.";
});

let listed = "";

function showCaptures(now) {
  byId("captures").hidden = now.captures === null || !allowsChanges;
  if (now.captures === null) return;
  // The list is made anew only if a capture has begun, ended or gone, so that its buttons keep the focus.
  const key = chosen + JSON.stringify(now.captures.map((c) => [c.number, c.isRunning]));
  const list = byId("capture-list");
  if (key !== listed) {
    listed = key;
    // The focus is kept in the place of a button that goes, so that the keyboard goes on from there.
    const hadFocus = [...list.children].findIndex((item) => item.contains(document.activeElement));
    list.replaceChildren(...now.captures.map((c) => {
      const item = element("li");
      const button = (text, what) => {
        const made = element("button", text, {type: "button", "aria-label": `${text} capture ${c.number}`});
        made.addEventListener("click", async () => {
          const answer = byId("capture-answer");
          if (!await change("captures", {do: what, number: c.number}, answer)) return;
          answer.textContent = what === "stop" ? `Capture ${c.number} has ended.` : `Capture ${c.number} is deleted.`;
        });
        return made;
      };
      const link = element("a", "download", {href: `captures/${c.number}.pcapng`, download: "", "aria-label": `download capture ${c.number}`});
      item.append(element("span", "", {class: "size"}), ...(c.isRunning ? [button("stop", "stop")] : []), link, button("delete", "delete"));
      return item;
    }));
    if (hadFocus >= 0) (list.children[Math.min(hadFocus, list.children.length - 1)]?.querySelector("a") || byId("capture")).focus();
  }
  now.captures.forEach((c, at) => {
    const state = c.isRunning ? "running" : "ended", lost = c.dropped ? `, ${number(c.dropped)} had no room` : "";
    list.children[at].querySelector(".size").textContent = `capture ${c.number}, ${state}: ${number(c.packets)} packets, ${octets(c.octets)}${lost}`;
  });
}

byId("capture").addEventListener("click", async () => {
  const answer = byId("capture-answer"), made = await change("captures", {do: "start", interface: chosen}, answer);
  if (made) answer.textContent = `Capture ${made.number} has begun.`;
});

// Start

const RETRY = 3000;

function status(text, isLost) {
  byId("status").className = isLost ? "lost" : "";
  byId("status").textContent = text;
}

function receive(reading) {
  latest = reading;
  status("live, " + clock.format(latest.time * 1000), false);
  remember(latest);
  show();
}

function watch() {
  const events = new EventSource("events");
  events.addEventListener("reading", (event) => receive(JSON.parse(event.data)));
  events.addEventListener("error", async () => {
    if (events.readyState !== EventSource.CLOSED) {
      status("no answer from the service, trying again", true);
      return;
    }
    // The service has refused: others watch already, or it was started again and has another token.
    setTimeout(watch, RETRY);
    try {
      const got = await fetch("latest.json");
      if (got.ok) receive(await got.json());
      else status((await got.text()).trim(), true);
    } catch {
      status("no answer from the service, trying again", true);
    }
  });
}

async function begin() {
  meanings = await (await fetch("meanings.json")).json();
  const past = await (await fetch("history.json")).json();
  allowsChanges = past.allowsChanges;
  for (const [name, rates] of Object.entries(past.interfaces)) {
    const count = rates.drops.length;
    history.set(past.numbers[name], {times: past.times.slice(-count), ...rates});
  }
  watch();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { plots = null; if (latest) drawPlots(); });
addEventListener("resize", fitPlots);
begin().catch(() => { status("no answer from the service", true); setTimeout(() => location.reload(), 5000); });
