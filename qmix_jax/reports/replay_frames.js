// The board of an environment that draws its own pictures.

const picture = make(find("board-frame"), "img", { id: "board", alt: "The environment's state at this step" });

const board = {
  choice: "Mark this agent",
  make() { find("layers").hidden = find("choose").hidden = true; },
  draw(episode) { picture.src = `data:image/png;base64,${data.board.pictures[episode.frames[now.step]]}`; },
  place: (episode, step, agent) => `agent ${agent}`,
  state: () => "",
  sees: () => [],
};
