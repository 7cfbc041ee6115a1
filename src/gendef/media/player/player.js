// Puts the page together: pictures, transport, tools.

const $ = (id) => document.getElementById(id);
const COLOURS = ["#e4002b", "#ff8a00", "#ffd500", "#2fa84f", "#1273de", "#7b3ff2", "#ffffff", "#111111"];
const COLOUR_NAMES = ["red", "orange", "yellow", "green", "blue", "violet", "white", "black"];

async function canonicalPixels(canvas, image) {
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

class Player {
  constructor(meta, field, painter, renderer) {
    Object.assign(this, { meta, field, painter, renderer, frame: 0, mode: "video", playing: false });
    this.around = meta.embedded ? new Around(painter) : null;
    this.started = 0;
    this.dirty = true;
    $("time").max = meta.frames - 1;
    this.tick = this.tick.bind(this);
    requestAnimationFrame(this.tick);
  }

  tick(now) {
    if (this.playing) {
      const frame = Math.floor(((now - this.started) / 1000) * this.meta.fps * this.speed) % this.meta.frames;
      if (frame !== this.frame && frame >= 0) this.show(frame, false);
    }
    if (this.dirty) this.draw();
    requestAnimationFrame(this.tick);
  }

  get speed() {
    return Number($("speed").value);
  }

  draw() {
    this.renderer.draw(this.frame, this.mode);
    this.dirty = false;
  }

  show(frame, stop = true) {
    if (stop) this.play(false);
    this.frame = Math.min(Math.max(Math.round(frame), 0), this.meta.frames - 1);
    $("time").value = this.frame;
    const seconds = (this.frame / this.meta.fps).toFixed(2);
    $("time").setAttribute("aria-valuetext", `frame ${this.frame + 1} of ${this.meta.frames}`);
    $("clock").textContent = `${this.frame + 1} / ${this.meta.frames}  ·  ${seconds} s`;
    this.dirty = true;
  }

  play(on) {
    this.playing = on && this.meta.frames > 1;
    this.started = performance.now() - (this.frame * 1000) / (this.meta.fps * this.speed);
    $("play").setAttribute("aria-label", this.playing ? "Pause" : "Play");
    $("play").dataset.playing = this.playing;
  }

  view(mode) {
    this.mode = mode;
    $("legend").hidden = mode !== "field";
    this.dirty = true;
  }

  painted() {
    this.renderer.setPaint(this.painter.canvas);
    $("undo").disabled = !this.painter.canUndo;
    if (this.painter.canUndo || this.sent) this.around?.painted();
    this.sent = this.painter.canUndo;
    this.dirty = true;
  }
}

// Strokes with mouse, pen or finger; `place` turns an event into a pixel of the paint layer.
function strokes(element, painter, place) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    element.focus();
    element.setPointerCapture(event.pointerId);
    painter.begin(...place(event));
  });
  element.addEventListener("pointermove", (event) => {
    if (!element.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const part of events.length ? events : [event]) painter.to(...place(part));
  });
  for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => painter.end());
}

// The same with the keyboard: arrows move a cross, space draws.
function keyStrokes(element, cross, painter) {
  const at = [0.5, 0.5], arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const pixel = () => [at[0] * painter.canvas.width, at[1] * painter.canvas.height];
  let drawing = false;
  element.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") {
      drawing = !drawing;
      if (drawing) painter.begin(...pixel());
      else painter.end();
    } else if (arrows[event.key]) {
      const step = event.shiftKey ? 0.05 : 0.01;
      arrows[event.key].forEach((move, axis) => (at[axis] = Math.min(Math.max(at[axis] + move * step, 0), 1)));
      if (drawing) painter.to(...pixel());
    } else return;
    event.preventDefault();
    cross.hidden = false;
    cross.classList.toggle("drawing", drawing);
    [cross.style.left, cross.style.top] = at.map((share) => `${100 * share}%`);
  });
  element.addEventListener("blur", () => {
    cross.hidden = true;
    drawing = false;
    painter.end();
  });
}

function share(event) {
  const box = event.currentTarget?.getBoundingClientRect?.() ?? event.target.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function tools(painter) {
  const choose = (colour) => {
    painter.tool.colour = $("colour").value = colour;
    for (const swatch of $("swatches").children) swatch.setAttribute("aria-pressed", swatch.value === colour);
    $("brush").click();
  };
  COLOURS.forEach((colour, i) => {
    const swatch = Object.assign(document.createElement("button"), { type: "button", value: colour, title: COLOUR_NAMES[i] });
    swatch.style.background = colour;
    swatch.setAttribute("aria-label", `Colour ${COLOUR_NAMES[i]}`);
    swatch.addEventListener("click", () => choose(colour));
    $("swatches").append(swatch);
  });
  $("colour").addEventListener("input", () => choose($("colour").value));
  $("brush").addEventListener("change", () => (painter.tool.erase = false));
  $("eraser").addEventListener("change", () => (painter.tool.erase = true));
  const resize = () => {
    painter.tool.size = (Number($("size").value) / 100) * Math.min(painter.canvas.width, painter.canvas.height);
    $("sizeText").textContent = `${$("size").value} %`;
  };
  $("size").addEventListener("input", resize);
  $("undo").addEventListener("click", () => painter.undo());
  $("clear").addEventListener("click", () => painter.clear());
  resize();
  choose(COLOURS[0]);
}

function download(meta, canonical, painter) {
  const canvas = Object.assign(document.createElement("canvas"), { width: painter.canvas.width, height: painter.canvas.height });
  const context = canvas.getContext("2d");
  context.drawImage(canonical, 0, 0, canvas.width, canvas.height);
  context.drawImage(painter.canvas, 0, 0);
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "canonical.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

async function start() {
  const meta = JSON.parse($("meta").textContent), canonical = $("canonical"), source = $("image");
  await source.decode();
  const pixels = await canonicalPixels(canonical, source);
  const field = await Field.decode($("field").textContent, meta);
  const renderer = new Renderer($("video"), field, pixels, [canonical.height, canonical.width]);
  [$("paint").height, $("paint").width] = meta.paint;
  let player = null;
  const painter = new Painter($("paint"), () => player?.painted());
  player = new Player(meta, field, painter, renderer);
  tools(painter);
  player.painted();

  strokes($("paint"), painter, (event) => {
    const [x, y] = share(event);
    return [x * painter.canvas.width, y * painter.canvas.height];
  });
  // A stroke on a frame is painted where the frame looks.
  strokes($("video"), painter, (event) => {
    const [x, y] = field.position(player.frame, ...share(event).map((part) => 2 * part - 1));
    return [((x + 1) / 2) * painter.canvas.width, ((y + 1) / 2) * painter.canvas.height];
  });
  keyStrokes($("paint"), $("cross"), painter);
  $("play").addEventListener("click", () => player.play(!player.playing));
  $("time").addEventListener("input", () => player.show(Number($("time").value)));
  $("speed").addEventListener("change", () => player.play(player.playing));
  for (const mode of MODES) $(mode + "View").addEventListener("change", () => player.view(mode));
  $("save").addEventListener("click", () => download(meta, canonical, painter));
  $("open").addEventListener("change", async () => {
    try {
      painter.put(await createImageBitmap($("open").files[0]));
      $("message").textContent = "";
    } catch {
      $("message").textContent = "That file is not a picture this browser can read.";
    }
    $("open").value = "";
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      painter.undo();
      event.preventDefault();
    } else if (event.key === " " && event.target === document.body) {
      player.play(!player.playing);
      event.preventDefault();
    }
  });
  player.show(0);
  player.draw();
  player.play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  document.body.dataset.ready = "true";
  // For whoever embeds or tests the page: show a frame at once, read its RGBA bytes, rows from the top.
  window.gendefPlayer = {
    meta,
    show(frame, mode = "video") {
      player.view(mode);
      player.show(frame);
      player.draw();
    },
    pixels: () => renderer.pixels(),
  };
}

start().catch((error) => {
  $("message").textContent = `The clip cannot be shown: ${error.message}.`;
  document.body.dataset.ready = "failed";
});
