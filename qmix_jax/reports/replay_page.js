"use strict";
// One state, `now`, and one function that shows it, `draw`. Every control changes `now` and calls `draw`.

const data = JSON.parse(document.getElementById("data").textContent);
const SPEEDS = [1, 2, 4, 8, 16, 32]; // steps per second
const TRACKS = [-0.18, -0.06, 0.06, 0.18]; // paths of different agents lie side by side
const now = { episode: 0, step: 0, playing: false, speed: 2, agent: null };

const find = (id) => document.getElementById(id);
const fixed = (number, digits) => number.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
const thousandth = (number, digits = 3) => (number === null ? "none" : fixed(number / 1000, digits));
const digit = (text, at) => parseInt(text[at], 36);
const regret = (episode) => episode.best - episode.return;

function make(parent, name, attributes = {}, text = "") {
  const svg = parent instanceof SVGElement;
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== "") element.textContent = text;
  parent.append(element);
  return element;
}

// --- What the compact data say -----------------------------------------------------------------------------------

const NUM_AGENTS = data.episodes[0].foods.length / 2; // as many foods as agents
const AGENTS = [...Array(NUM_AGENTS).keys()];
const cell = (text, index) => [digit(text, 2 * index), digit(text, 2 * index + 1)];
const agentCell = (episode, step, agent) => cell(episode.agents, NUM_AGENTS * step + agent);
const foodCell = (episode, food) => cell(episode.foods, food);
const isPresent = (episode, step, food) => episode.present[NUM_AGENTS * step + food] === "1";
const action = (episode, step, agent) => digit(episode.actions, NUM_AGENTS * step + agent);
const foodsLeft = (episode, step) => AGENTS.filter((food) => isPresent(episode, step, food)).length;

/** What an agent sees: another agent's cell and number, and a list of foods, by their cells. */
function view(episode, step, agent) {
  const size = episode.seen.length / (NUM_AGENTS * (episode.length + 1));
  const numbers = [...episode.seen.slice((NUM_AGENTS * step + agent) * size)].slice(0, size).map((d) => parseInt(d, 36));
  const foods = [];
  for (let slot = 6; slot < 18; slot += 3) {
    if (!numbers[slot + 2]) continue;
    const at = [numbers[slot], numbers[slot + 1]];
    foods.push({ at, number: AGENTS.find((f) => isPresent(episode, step, f) && same(foodCell(episode, f), at)) });
  }
  const neighbour = [numbers[3], numbers[4]];
  // Two agents may share a cell: the first of the others that stands there is as good a name as any.
  const number = AGENTS.find((other) => other !== agent && same(agentCell(episode, step, other), neighbour));
  return { neighbour: { at: neighbour, number }, foods, last: size > 18 ? numbers[18] - 1 : null };
}

function same(one, other) { return one[0] === other[0] && one[1] === other[1]; }

// --- The board ---------------------------------------------------------------------------------------------------

const board = find("board");
const layers = {};

function makeBoard() {
  board.setAttribute("viewBox", `-1.6 -0.4 ${data.size + 2} ${data.size + 2}`);
  const lines = [];
  for (let k = 0; k <= data.size; k++) lines.push(`M${k} 0V${data.size}M0 ${k}H${data.size}`);
  make(board, "path", { class: "grid", d: lines.join("") });
  for (let k = 0; k < data.size; k += 2) {
    make(board, "text", { x: k + 0.5, y: data.size + 0.65 }, String(k));
    make(board, "text", { x: -0.65, y: k + 0.5 }, String(k));
  }
  make(board, "text", { class: "axis", x: data.size / 2, y: data.size + 1.3 }, "x");
  make(board, "text", { class: "axis", x: -1.35, y: data.size / 2 }, "y");
  for (const name of ["plan", "ahead", "path", "pairs", "sight", "objects"]) layers[name] = make(board, "g");
}

const middle = ([x, y], shift = 0) => [x + 0.5 + shift, y + 0.5 + shift];
const pathOf = (points) => "M" + points.map((point) => point.map((at) => at.toFixed(2)).join(" ")).join("L");
const color = (agent) => `var(--agent-${agent})`;

function drawBoard(episode) {
  for (const layer of Object.values(layers)) layer.replaceChildren();
  for (const agent of AGENTS) {
    const cells = [];
    for (let step = 0; step <= episode.length; step++) cells.push(middle(agentCell(episode, step, agent), TRACKS[agent]));
    drawWay(layers.path, "path", cells.slice(0, now.step + 1), agent);
    const [cx, cy] = cells[0];
    make(layers.path, "circle", { class: "start", cx, cy, r: 0.2, stroke: color(agent) });
    if (find("show-ahead").checked) drawWay(layers.ahead, "path ahead", cells.slice(now.step), agent);
    if (find("show-plan").checked) drawWay(layers.plan, "path plan", plannedWay(episode, agent), agent);
  }
  if (find("show-pairs").checked) {
    for (const [one, other] of data.pairs) {
      drawLine(layers.pairs, "pairs", agentCell(episode, now.step, one), agentCell(episode, now.step, other));
    }
  }
  const seen = now.agent === null ? null : view(episode, now.step, now.agent);
  if (seen) {
    const from = agentCell(episode, now.step, now.agent);
    for (const thing of [seen.neighbour, ...seen.foods]) drawLine(layers.sight, "sight", from, thing.at);
  }
  drawObjects(episode, seen);
}

/** From food to food, along x and then along y: one of many shortest ways. */
function plannedWay(episode, agent) {
  const way = [agentCell(episode, 0, agent)];
  for (const food of episode.routes[agent]) {
    const [x, y] = foodCell(episode, food);
    way.push([x, way[way.length - 1][1]], [x, y]);
  }
  return way.map((at) => middle(at, TRACKS[agent] + 0.06));
}

function drawWay(layer, kind, points, agent) {
  if (points.length > 1) make(layer, "path", { class: kind, d: pathOf(points), stroke: color(agent) });
}

function drawLine(layer, kind, from, to) {
  make(layer, "path", { class: kind, d: pathOf([middle(from), middle(to)]) });
}

function drawObjects(episode, seen) {
  for (const food of AGENTS) {
    const [x, y] = middle(foodCell(episode, food));
    const there = isPresent(episode, now.step, food);
    const unseen = seen && there && !seen.foods.some((known) => known.number === food);
    const kind = `food${there ? "" : " gone"}${unseen ? " unseen" : ""}`;
    make(layers.objects, "path", { class: kind, d: pathOf([[x, y - 0.58], [x + 0.58, y], [x, y + 0.58], [x - 0.58, y]]) + "Z" });
    make(layers.objects, "text", { class: `mark ${there ? "on-food" : "on-gone"}`, x, y }, String(food));
  }
  for (const agent of AGENTS) {
    const [cx, cy] = middle(agentCell(episode, now.step, agent));
    const kind = agent === now.agent ? "agent chosen" : "agent";
    const circle = make(layers.objects, "circle", { class: kind, cx, cy, r: 0.5, fill: color(agent) });
    circle.addEventListener("click", () => chooseAgent(agent));
    make(layers.objects, "text", { class: "mark on-agent", x: cx, y: cy }, String(agent));
  }
}

// --- The agents' cards -------------------------------------------------------------------------------------------

const cards = [];

function makeCards() {
  for (const agent of AGENTS) {
    const card = make(find("agents"), "article", { class: "agent-card", "aria-label": `Agent ${agent}` });
    const head = make(card, "button", { "aria-pressed": "false", title: "Show on the board what this agent sees" });
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
  const weights = atStep(episode.weights, NUM_AGENTS);
  for (const agent of AGENTS) {
    const { card, head, at, did, rows, sees, weight, weightFill } = cards[agent];
    card.classList.toggle("chosen", agent === now.agent);
    head.setAttribute("aria-pressed", String(agent === now.agent));
    at.textContent = `at (${agentCell(episode, now.step, agent).join(", ")})`;
    const chosen = over ? null : action(episode, now.step, agent);
    did.textContent = over ? "episode over" : data.actions[chosen];
    const width = data.actions.length;
    const values = atStep(episode.q_values, NUM_AGENTS * width)?.slice(width * agent, width * (agent + 1));
    drawActions(rows, values, chosen);
    if (weight) {
      weight.textContent = weights ? thousandth(weights[agent]) : "";
      weightFill.style.width = weights ? `${(100 * weights[agent]) / Math.max(...weights, 1)}%` : "0";
    }
    drawView(sees, view(episode, now.step, agent));
  }
}

/** Bars tell actions of one agent apart: from the least value, which still shows, to the largest. */
function drawActions(rows, values, chosen) {
  const low = values ? Math.min(...values) : 0;
  const range = values ? Math.max(...values) - low : 0;
  rows.forEach(({ name, bar, fill, number }, index) => {
    for (const part of [name, bar, number]) part.classList.toggle("chosen", index === chosen);
    number.textContent = values ? thousandth(values[index]) : "";
    fill.style.width = values ? `${4 + (range ? (96 * (values[index] - low)) / range : 96)}%` : "0";
  });
}

function drawView(sees, seen) {
  const { neighbour, foods, last } = seen;
  const things = [`agent ${neighbour.number} (${neighbour.at.join(", ")})`];
  for (const food of foods) things.push(`food ${food.number} (${food.at.join(", ")})`);
  if (foods.length === 0) things.push("no food");
  if (last !== null) things.push(lastActionText(last));
  sees.replaceChildren();
  make(sees, "b", {}, "sees ");
  sees.append(things.join(", "));
}

// A number from the number of actions on says that the action did not move the agent.
function lastActionText(last) {
  if (last < 0) return "no last action";
  const count = data.actions.length;
  return `last action ${data.actions[last % count]}${last < count ? "" : ", without moving"}`;
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
  find("best").textContent = `of ${fixed(episode.best, 3)} best possible`;
  find("progress").value = Math.min(1, Math.max(0, soFar / episode.best));
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

function makeList() {
  data.episodes.forEach((episode, index) => {
    const item = make(find("list"), "li");
    const button = make(item, "button");
    make(button, "span", {}, `episode ${episode.number}`);
    make(button, "span", { class: episode.typical ? "tag" : "" }, episode.typical ? "typical" : "");
    make(button, "span", { class: "regret", title: "regret" }, fixed(regret(episode), 3));
    const outcome = episode.solved ? "solved" : `${foodsLeft(episode, episode.length)} left`;
    const detail = `${fixed(episode.return, 3)} of ${fixed(episode.best, 3)}, ${episode.length} steps, ${outcome}`;
    make(button, "span", { class: "detail" }, detail);
    button.addEventListener("click", () => chooseEpisode(index));
  });
}

const ROWS = [
  ["mean_return", "return", 1, 3, ""],
  ["optimality", "optimality", 100, 1, " %"],
  ["regret", "regret", 1, 3, ""],
  ["solved", "success rate", 100, 1, " %"],
  ["mean_length", "length", 1, 1, ""],
  ["foods_collected", "foods", 1, 2, ""],
];

function makeTable() {
  const columns = { policy: data.about, ...data.about.baselines };
  const table = find("table");
  const head = make(make(table, "thead"), "tr");
  for (const name of ["", ...Object.keys(columns)]) make(head, "th", name ? { scope: "col" } : {}, name.replaceAll("_", " "));
  const body = make(table, "tbody");
  for (const [key, label, unit, digits, suffix] of ROWS.filter(([key]) => typeof data.about[key] === "number")) {
    const row = make(body, "tr", { "data-figure": key });
    make(row, "th", { scope: "row" }, label);
    for (const figures of Object.values(columns)) {
      const entry = make(row, "td", {}, fixed(unit * figures[key], digits) + suffix);
      const [low, high] = [figures[`${key}_low`], figures[`${key}_high`]];
      if (low !== null) make(entry, "small", {}, `${fixed(unit * low, digits)} to ${fixed(unit * high, digits)}`);
    }
  }
}

function makeHead() {
  const { run, checkpoint, algorithm, environment, env_mode, episodes, seed } = data.about;
  const name = `${algorithm.toUpperCase()} of ${run} (${checkpoint})`;
  const shown = data.episodes.length === 1 ? "1 is" : `${data.episodes.length} are`;
  const text = `${name} on ${environment}, ${env_mode} starts; of ${episodes} episodes, seed ${seed}, ${shown} here`;
  find("about").textContent = text;
  document.title = `Replay: ${name}`;
}

// --- Moving ------------------------------------------------------------------------------------------------------

function draw() {
  const episode = data.episodes[now.episode];
  drawBoard(episode);
  drawCards(episode);
  drawTeam(episode);
  const left = foodsLeft(episode, now.step);
  const end = now.step < episode.length ? `${left} of ${NUM_AGENTS} foods left` : episode.solved ? "solved" : `time limit, ${left} left`;
  const text = `Episode ${episode.number}: step ${now.step} of ${episode.length}, ${end}`;
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
  for (const id of ["show-plan", "show-ahead", "show-pairs"]) find(id).addEventListener("change", draw);
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", draw);
}

makeHead();
makeBoard();
makeCards();
makeTeam();
makeList();
makeTable();
makeControls();
draw();
