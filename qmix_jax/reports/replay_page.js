"use strict";
// One state, `now`, and one function that shows it, `draw`. Every control changes `now` and calls `draw`.
// What stands on the board is another script's, `board`: replay_grid.js or replay_frames.js.

const data = JSON.parse(document.getElementById("data").textContent);
const SPEEDS = [1, 2, 4, 8, 16, 32]; // steps per second
const now = { episode: 0, step: 0, playing: false, speed: 2, agent: null };

const find = (id) => document.getElementById(id);
const fixed = (number, digits) => number.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
const thousandth = (number, digits = 3) => (number === null ? "none" : fixed(number / 1000, digits));
const regret = (episode) => episode.best - episode.return;
const pathOf = (points) => "M" + points.map((point) => point.map((at) => at.toFixed(2)).join(" ")).join("L");
const color = (agent) => `var(--agent-${agent % 4})`; // agents have numbers, too

function make(parent, name, attributes = {}, text = "") {
  const svg = parent instanceof SVGElement || name === "svg";
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== "") element.textContent = text;
  parent.append(element);
  return element;
}

const AGENTS = [...Array(data.agents).keys()];
const action = (episode, step, agent) => episode.actions[data.agents * step + agent];

// --- The agents' cards -------------------------------------------------------------------------------------------

const cards = [];

function makeCards() {
  for (const agent of AGENTS) {
    const card = make(find("agents"), "article", { class: "agent-card", "aria-label": `Agent ${agent}` });
    const head = make(card, "button", { "aria-pressed": "false", title: board.choice });
    make(head, "span", { class: "badge", style: `background:${color(agent)}` }, String(agent));
    const parts = { card, head, at: make(head, "span"), did: make(head, "span", { class: "did" }), rows: [] };
    const actions = make(card, "div", { class: "actions" });
    for (const name of data.actions) {
      const row = { name: make(actions, "span", { class: "name" }, name), bar: make(actions, "span", { class: "bar" }) };
      row.fill = make(row.bar, "i", { style: `background:${color(agent)}` });
      row.number = make(actions, "span", { class: "number" });
      parts.rows.push(row);
    }
    if (data.episodes[0].weights) {
      const weight = make(card, "div", { class: "weight", title: "d Q_tot / d Q: how much this agent matters to the mixer now" });
      make(weight, "span", {}, "weight");
      parts.weightFill = make(make(weight, "span", { class: "bar" }), "i");
      parts.weight = make(weight, "b");
    }
    parts.sees = make(card, "p", { class: "sees" });
    head.addEventListener("click", () => chooseAgent(agent));
    cards.push(parts);
  }
}

function drawCards(episode) {
  const over = now.step === episode.length;
  const atStep = (list, width) => (list && !over ? list.slice(width * now.step, width * (now.step + 1)) : null);
  const weights = atStep(episode.weights, data.agents);
  for (const agent of AGENTS) {
    const { card, head, at, did, rows, sees, weight, weightFill } = cards[agent];
    card.classList.toggle("chosen", agent === now.agent);
    head.setAttribute("aria-pressed", String(agent === now.agent));
    at.textContent = board.place(episode, now.step, agent);
    const chosen = over ? null : action(episode, now.step, agent);
    did.textContent = over ? "episode over" : data.actions[chosen];
    const width = data.actions.length;
    const values = atStep(episode.q_values, data.agents * width)?.slice(width * agent, width * (agent + 1));
    drawActions(rows, values, chosen);
    if (weight) {
      weight.textContent = weights ? thousandth(weights[agent]) : "";
      weightFill.style.width = weights ? `${(100 * weights[agent]) / Math.max(...weights, 1)}%` : "0";
    }
    drawView(sees, board.sees(episode, now.step, agent));
  }
}

/** Bars tell actions of one agent apart: from the least value, which still shows, to the largest of those allowed. */
function drawActions(rows, values, chosen) {
  const allowed = (values ?? []).filter((value) => value !== null);
  const low = Math.min(...allowed);
  const range = Math.max(...allowed) - low;
  rows.forEach(({ name, bar, fill, number }, index) => {
    for (const part of [name, bar, number]) part.classList.toggle("chosen", index === chosen);
    const value = values?.[index] ?? null;
    number.textContent = value === null ? (values ? "-" : "") : thousandth(value);
    fill.style.width = value !== null ? `${4 + (range ? (96 * (value - low)) / range : 96)}%` : "0";
  });
}

function drawView(sees, things) {
  sees.replaceChildren();
  if (things.length === 0) return;
  make(sees, "b", {}, "sees ");
  sees.append(things.join(", "));
}

function chooseAgent(agent) {
  now.agent = now.agent === agent ? null : agent;
  draw();
}

// --- The team's values -------------------------------------------------------------------------------------------

const CURVES = [
  ["q_tot", "Q_tot", "var(--agent-0)", ""],
  ["to_come", "return to go", "var(--agent-2)", ""],
  ["state_value", "V(s)", "var(--soft)", "4 3"],
];
const chart = { width: 0, height: 112, left: 34, right: 6, top: 8, bottom: 18 }; // pixels; width follows the screen
const shownCurves = (episode) => (episode.q_tot ? CURVES.filter(([name]) => episode[name]) : []);

function makeTeam() {
  const curves = shownCurves(data.episodes[0]);
  find("chart-frame").hidden = curves.length === 0;
  for (const [, label, stroke, dashes] of curves) {
    const entry = make(find("legend"), "span");
    make(entry, "i", { style: `border-top-color:${stroke};border-top-style:${dashes ? "dashed" : "solid"}` });
    entry.append(label === "return to go" ? `${label}, discounted by ${data.gamma}` : label);
  }
  const scrubTo = (event) => {
    const box = find("chart").getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.width;
    const last = data.episodes[now.episode].length - 1;
    goTo(Math.round(((x - chart.left) / (chart.width - chart.left - chart.right)) * last));
  };
  find("chart").addEventListener("pointerdown", scrubTo);
  find("chart").addEventListener("pointermove", (event) => event.buttons && scrubTo(event));
}

function drawTeam(episode) {
  const soFar = now.step === episode.length ? episode.return : episode.so_far[now.step] / 1000;
  find("so-far").textContent = fixed(soFar, 3);
  find("best").textContent = episode.best === null ? "return so far" : `of ${fixed(episode.best, 3)} best possible`;
  find("progress").hidden = episode.best === null;
  if (episode.best) find("progress").value = Math.min(1, Math.max(0, soFar / episode.best));
  const values = find("values");
  values.replaceChildren();
  if (!episode.q_tot) values.append("Every agent learns by itself: there is no mixer, and no Q_tot.");
  for (const [name, label] of shownCurves(episode)) {
    const entry = make(values, "span", { "data-value": name });
    entry.append(`${label} `);
    make(entry, "b", {}, now.step < episode.length ? thousandth(episode[name][now.step]) : "over");
  }
  drawChart(episode);
}

function drawChart(episode) {
  chart.width = find("chart-frame").clientWidth;
  const { width, height, left, right, top, bottom } = chart;
  const svg = find("chart");
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const curves = shownCurves(episode);
  const known = curves.flatMap(([name]) => episode[name]).filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...known), Math.max(...known, 1)];
  const x = (step) => left + ((width - left - right) * step) / Math.max(1, episode.length - 1);
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);
  for (const value of new Set([low, 0, high])) {
    make(svg, "path", { d: `M${left} ${y(value)}H${width - right}`, stroke: "var(--line)" });
    make(svg, "text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, thousandth(value, 1));
  }
  for (const step of new Set([0, episode.length - 1])) {
    make(svg, "text", { x: x(step), y: height - 3, "text-anchor": step ? "end" : "start" }, `step ${step}`);
  }
  for (const [name, , stroke, dashes] of curves) {
    const points = episode[name].flatMap((value, step) => (value === null ? [] : [[x(step), y(value)]]));
    const line = { d: pathOf(points), stroke, fill: "none", "stroke-width": 2, "stroke-dasharray": dashes };
    if (points.length) make(svg, "path", line);
  }
  const at = x(Math.min(now.step, episode.length - 1));
  make(svg, "path", { d: `M${at} ${top}V${height - bottom}`, stroke: "var(--ink)" });
}

// --- Episodes and evaluation -------------------------------------------------------------------------------------

const knowsBest = data.episodes.every((episode) => episode.best !== null);

function makeList() {
  find("order").textContent = knowsBest ? "by regret, the best possible return minus the return" : "by return, the lowest first";
  data.episodes.forEach((episode, index) => {
    const item = make(find("list"), "li");
    const button = make(item, "button");
    make(button, "span", {}, `episode ${episode.number}`);
    make(button, "span", { class: episode.typical ? "tag" : "" }, episode.typical ? "typical" : "");
    const [name, value] = knowsBest ? ["regret", regret(episode)] : ["return", episode.return];
    make(button, "span", { class: "regret", title: name }, fixed(value, 3));
    const achieved = knowsBest ? `${fixed(episode.return, 3)} of ${fixed(episode.best, 3)}, ` : "";
    make(button, "span", { class: "detail" }, `${achieved}${episode.length} steps, ${episode.outcome}`);
    button.addEventListener("click", () => chooseEpisode(index));
  });
}

function makeTable() {
  find("scores").hidden = !data.table;
  if (!data.table) return;
  const { policies, figures } = data.table;
  const table = find("table");
  const head = make(make(table, "thead"), "tr");
  for (const name of ["", ...policies]) make(head, "th", name ? { scope: "col" } : {}, name.replaceAll("_", " "));
  const body = make(table, "tbody");
  for (const [key, label, cells] of figures) {
    const row = make(body, "tr", { "data-figure": key });
    make(row, "th", { scope: "row" }, label);
    for (const [value, interval] of cells) {
      const entry = make(row, "td", {}, value);
      if (interval) make(entry, "small", {}, interval);
    }
  }
}

function makeHead() {
  const { run, checkpoint, algorithm, environment, env_mode, episodes, seed } = data.about;
  const name = `${algorithm.toUpperCase()} of ${run} (${checkpoint})`;
  const shown = data.episodes.length === 1 ? "1 is" : `${data.episodes.length} are`;
  const starts = env_mode === null ? "" : `, ${env_mode} starts`;
  const text = `${name} on ${environment}${starts}; of ${episodes} episodes, seed ${seed}, ${shown} here`;
  find("about").textContent = text;
  document.title = `Replay: ${name}`;
}

// --- Moving ------------------------------------------------------------------------------------------------------

function draw() {
  const episode = data.episodes[now.episode];
  board.draw(episode);
  drawCards(episode);
  drawTeam(episode);
  const state = now.step < episode.length ? board.state(episode, now.step) : episode.outcome;
  const text = `Episode ${episode.number}: step ${now.step} of ${episode.length}${state && `, ${state}`}`;
  find("status").setAttribute("aria-live", now.playing ? "off" : "polite");
  find("status").textContent = text;
  const scrub = find("scrub");
  scrub.max = episode.length;
  scrub.value = now.step;
  scrub.setAttribute("aria-valuetext", text);
  find("play").classList.toggle("playing", now.playing);
  find("play").setAttribute("aria-label", now.playing ? "Pause" : "Play");
  find("speed").value = SPEEDS[now.speed];
  [...find("list").children].forEach((item, index) => item.setAttribute("aria-current", String(index === now.episode)));
}

function goTo(step) {
  now.step = Math.min(Math.max(step, 0), data.episodes[now.episode].length);
  draw();
}

function chooseEpisode(index) {
  if (index < 0 || index >= data.episodes.length) return;
  now.episode = index;
  goTo(0);
  const list = find("list"); // only the list scrolls, not the page
  const item = list.children[index];
  const [top, bottom] = [item.offsetTop - list.offsetTop, item.offsetTop - list.offsetTop + item.offsetHeight];
  if (top < list.scrollTop) list.scrollTop = top;
  if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
}

let timer = null;

function setPlaying(playing) {
  now.playing = playing;
  clearInterval(timer);
  if (playing) {
    if (now.step === data.episodes[now.episode].length) now.step = 0;
    timer = setInterval(tick, 1000 / SPEEDS[now.speed]);
  }
  draw();
}

function tick() {
  if (now.step >= data.episodes[now.episode].length) setPlaying(false);
  else goTo(now.step + 1);
}

function setSpeed(index) {
  now.speed = Math.min(Math.max(index, 0), SPEEDS.length - 1);
  setPlaying(now.playing); // the timer keeps the new time
}

function pauseAt(step) {
  if (now.playing) setPlaying(false);
  goTo(step);
}

const KEYS = {
  " ": () => setPlaying(!now.playing),
  ArrowLeft: () => pauseAt(now.step - 1),
  ArrowRight: () => pauseAt(now.step + 1),
  Home: () => pauseAt(0),
  End: () => pauseAt(Infinity),
  ArrowUp: () => chooseEpisode(now.episode - 1),
  ArrowDown: () => chooseEpisode(now.episode + 1),
  "+": () => setSpeed(now.speed + 1),
  "=": () => setSpeed(now.speed + 1), // + without shift
  "-": () => setSpeed(now.speed - 1),
};

function onKey(event) {
  const key = KEYS[event.key];
  // Where a control has the focus, its own keys are its own.
  const own = { BUTTON: [" "], SELECT: [" ", "ArrowUp", "ArrowDown"], INPUT: event.target.type === "checkbox" ? [" "] : [] };
  if (!key || event.ctrlKey || event.metaKey || event.altKey || own[event.target.tagName]?.includes(event.key)) return;
  event.preventDefault();
  key();
}

function makeControls() {
  for (const speed of SPEEDS) make(find("speed"), "option", { value: speed }, `${speed} / s`);
  find("first").addEventListener("click", KEYS.Home);
  find("back").addEventListener("click", KEYS.ArrowLeft);
  find("play").addEventListener("click", KEYS[" "]);
  find("forward").addEventListener("click", KEYS.ArrowRight);
  find("last").addEventListener("click", KEYS.End);
  find("scrub").addEventListener("input", (event) => pauseAt(Number(event.target.value)));
  find("speed").addEventListener("change", (event) => setSpeed(SPEEDS.indexOf(Number(event.target.value))));
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", draw);
}

function start() {
  makeHead();
  board.make();
  makeCards();
  makeTeam();
  makeList();
  makeTable();
  makeControls();
  draw();
}
