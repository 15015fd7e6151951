// The board of GridWorld25: agents, foods, paths, the planner's routes, and what an agent sees.

const { size, foods: NUM_FOODS, pairs, observation } = data.board;
const FOODS = [...Array(NUM_FOODS).keys()];
const track = (agent) => 0.12 * (agent - (data.agents - 1) / 2); // paths of different agents lie side by side

const digit = (text, at) => parseInt(text[at], 36);
const cell = (text, index) => [digit(text, 2 * index), digit(text, 2 * index + 1)];
const agentCell = (episode, step, agent) => cell(episode.agents, data.agents * step + agent);
const foodCell = (episode, food) => cell(episode.foods, food);
const isPresent = (episode, step, food) => episode.present[NUM_FOODS * step + food] === "1";
const same = (one, other) => one[0] === other[0] && one[1] === other[1];

/** What an agent sees, with their numbers and cells. */
function view(episode, step, agent) {
  const first = (data.agents * step + agent) * observation.size;
  const seen = [...episode.seen.slice(first, first + observation.size)].map((text) => parseInt(text, 36));
  // Several may share a cell: the first that stands there is as good a name as any.
  const whose = {
    agent: (at) => AGENTS.find((other) => other !== agent && same(agentCell(episode, step, other), at)),
    food: (at) => FOODS.find((food) => isPresent(episode, step, food) && same(foodCell(episode, food), at)),
  };
  const things = observation.shown.flatMap(([kind, x, flag]) => {
    const at = [seen[x], seen[x + 1]];
    return seen[flag] ? [{ kind, at, number: whose[kind](at) }] : [];
  });
  return { things, last: observation.last_action === null ? null : seen[observation.last_action] - 1 };
}

// A number from the number of actions on says that the action did not move the agent.
function lastActionText(last) {
  if (last < 0) return "no last action";
  const count = data.actions.length;
  return `last action ${data.actions[last % count]}${last < count ? "" : ", without moving"}`;
}

// --- Drawing -----------------------------------------------------------------------------------------------------

const picture = make(find("board-frame"), "svg", { id: "board", role: "img", "aria-labelledby": "status" });
const layers = {};

function makeGrid() {
  picture.setAttribute("viewBox", `-1.6 -0.4 ${size + 2} ${size + 2}`);
  const lines = [];
  for (let k = 0; k <= size; k++) lines.push(`M${k} 0V${size}M0 ${k}H${size}`);
  make(picture, "path", { class: "grid", d: lines.join("") });
  for (let k = 0; k < size; k += 2) {
    make(picture, "text", { x: k + 0.5, y: size + 0.65 }, String(k));
    make(picture, "text", { x: -0.65, y: k + 0.5 }, String(k));
  }
  make(picture, "text", { class: "axis", x: size / 2, y: size + 1.3 }, "x");
  make(picture, "text", { class: "axis", x: -1.35, y: size / 2 }, "y");
  for (const name of ["plan", "ahead", "path", "pairs", "sight", "objects"]) layers[name] = make(picture, "g");
  for (const id of ["show-plan", "show-ahead", "show-pairs"]) find(id).addEventListener("change", draw);
}

const middle = ([x, y], shift = 0) => [x + 0.5 + shift, y + 0.5 + shift];

function drawGrid(episode) {
  for (const layer of Object.values(layers)) layer.replaceChildren();
  for (const agent of AGENTS) {
    const cells = [];
    for (let step = 0; step <= episode.length; step++) cells.push(middle(agentCell(episode, step, agent), track(agent)));
    drawWay(layers.path, "path", cells.slice(0, now.step + 1), agent);
    const [cx, cy] = cells[0];
    make(layers.path, "circle", { class: "start", cx, cy, r: 0.2, stroke: color(agent) });
    if (find("show-ahead").checked) drawWay(layers.ahead, "path ahead", cells.slice(now.step), agent);
    if (find("show-plan").checked) drawWay(layers.plan, "path plan", plannedWay(episode, agent), agent);
  }
  if (find("show-pairs").checked) {
    for (const [one, other] of pairs) {
      drawLine(layers.pairs, "pairs", agentCell(episode, now.step, one), agentCell(episode, now.step, other));
    }
  }
  const things = now.agent === null ? null : view(episode, now.step, now.agent).things;
  if (things) {
    const from = agentCell(episode, now.step, now.agent);
    for (const thing of things) drawLine(layers.sight, "sight", from, thing.at);
  }
  drawObjects(episode, things);
}

/** From food to food, along x and then along y: one of many shortest ways. */
function plannedWay(episode, agent) {
  const way = [agentCell(episode, 0, agent)];
  for (const food of episode.routes[agent]) {
    const [x, y] = foodCell(episode, food);
    way.push([x, way[way.length - 1][1]], [x, y]);
  }
  return way.map((at) => middle(at, track(agent) + 0.06));
}

function drawWay(layer, kind, points, agent) {
  if (points.length > 1) make(layer, "path", { class: kind, d: pathOf(points), stroke: color(agent) });
}

function drawLine(layer, kind, from, to) {
  make(layer, "path", { class: kind, d: pathOf([middle(from), middle(to)]) });
}

function drawObjects(episode, seen) {
  for (const food of FOODS) {
    const [x, y] = middle(foodCell(episode, food));
    const there = isPresent(episode, now.step, food);
    const unseen = seen && there && !seen.some((thing) => thing.kind === "food" && thing.number === food);
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

const board = {
  choice: "Show on the board what this agent sees",
  make: makeGrid,
  draw: drawGrid,
  place: (episode, step, agent) => `at (${agentCell(episode, step, agent).join(", ")})`,
  state: (episode, step) => `${FOODS.filter((food) => isPresent(episode, step, food)).length} of ${NUM_FOODS} foods left`,
  sees(episode, step, agent) {
    const { things, last } = view(episode, step, agent);
    const texts = things.map(({ kind, number, at }) => `${kind} ${number} (${at.join(", ")})`);
    if (!things.some(({ kind }) => kind === "food")) texts.push("no food");
    return last === null ? texts : [...texts, lastActionText(last)];
  },
};
