// Puts the page together: pictures, transport, tools.

const $ = (id) => document.getElementById(id);
const COLOURS = ["#e4002b", "#ff8a00", "#ffd500", "#2fa84f", "#1273de", "#7b3ff2", "#ffffff", "#111111"];
const COLOUR_NAMES = ["red", "orange", "yellow", "green", "blue", "violet", "white", "black"];

async function pixelsOf(canvas, image) {
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

class Player {
  constructor(meta, layers, renderer) {
    Object.assign(this, { meta, layers, renderer, frame: 0, mode: "video", playing: false });
    this.around = meta.embedded ? new Around(layers.map((layer) => layer.painter), () => this.undo()) : null;
    this.list = new LayerList($("layers"), layers[0].painter);
    this.active = layers[0];
    this.steps = []; // painters, in the order in which strokes were made
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

  // Shows the canonical image of a layer, to be painted on.
  choose(layer) {
    this.active = layer;
    for (const { canonical, painter } of this.layers) {
      canonical.hidden = painter.canvas.hidden = painter !== layer.painter;
    }
    $("canonicalPicture").style.setProperty("--ratio", layer.canonical.width / layer.canonical.height);
    $("layer").value = this.layers.indexOf(layer);
    this.list.of(layer.painter);
  }

  // The layer that the video shows at a share of its width and height.
  shownAt(share) {
    const here = ({ meta }) => this.frame >= meta.start && this.frame < meta.start + meta.frames;
    const seen = this.layers.filter((layer) => here(layer) && layer.alpha.at(this.frame - layer.meta.start, share) >= 128);
    return seen.at(-1) ?? this.layers.find(here) ?? this.active;
  }

  get canUndo() {
    return this.layers.some(({ painter }) => painter.canUndo);
  }

  undo() {
    while (this.steps.length) {
      const painter = this.steps.pop();
      if (painter.canUndo) return painter.undo();
    }
    this.around?.tell({ undo: true });
  }

  painted(layer) {
    this.renderer.setPaint(this.layers.indexOf(layer), layer.painter.canvas);
    // The page around may have more to take back.
    $("undo").disabled = !this.canUndo && !this.around;
    if (this.canUndo || this.sent) this.around?.painted();
    this.sent = this.canUndo;
    this.list.update();
    this.dirty = true;
  }
}

// The brush's controls; they change `tool`, which all painters share.
function tools(tool, clear) {
  const choose = (colour) => {
    tool.colour = $("colour").value = colour;
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
  $("brush").addEventListener("change", () => (tool.erase = false));
  $("eraser").addEventListener("change", () => (tool.erase = true));
  const resize = () => {
    tool.size = Number($("size").value) / 100;
    $("sizeText").textContent = `${$("size").value} %`;
  };
  $("size").addEventListener("input", resize);
  $("clear").addEventListener("click", clear);
  resize();
  choose(COLOURS[0]);
}

function download({ canonical, painter }) {
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

// A layer's canvases: those of the page for the first, copies beside them for the others.
function canvases(number) {
  if (number === 0) return [$("canonical"), $("paint")];
  return ["canonical", "paint"].map((name) => {
    const copy = Object.assign($(name).cloneNode(true), { id: `${name}${number}`, hidden: true });
    $("cross").before(copy);
    return copy;
  });
}

async function decodedLayer(meta, number, size) {
  const source = $(`image${number}`), [canonical, paint] = canvases(number);
  await source.decode();
  const canonicalPixels = await pixelsOf(canonical, source);
  [paint.height, paint.width] = meta.paint;
  const field = await Field.decode($(`field${number}`).textContent, { ...meta, size });
  const light = await Light.decode($(`light${number}`).textContent, meta);
  const alpha = await Alpha.decode($(`alpha${number}`).textContent, meta, size);
  return { meta, canonical, paint, canonicalPixels, canonicalSize: [canonical.height, canonical.width], field, light, alpha };
}

async function start() {
  const meta = JSON.parse($("meta").textContent), layers = [];
  for (const [number, one] of meta.layers.entries()) layers.push(await decodedLayer(one, number, meta.size));
  const renderer = new Renderer($("video"), meta, layers);
  const tool = { erase: false, colour: COLOURS[0], size: 0.05 }; // size: share of the picture's shorter side
  let player = null;
  for (const layer of layers) {
    const step = () => player.steps.push(layer.painter);
    layer.painter = new Painter(layer.paint, tool, () => player?.painted(layer), step);
  }
  player = new Player(meta, layers, renderer);
  tools(tool, () => player.active.painter.clear());
  for (const layer of layers) player.painted(layer);
  layers.forEach((layer, number) => $("layer").append(new Option(layer.meta.title, number)));
  $("layerChoice").hidden = layers.length === 1;
  $("layer").addEventListener("change", () => player.choose(layers[Number($("layer").value)]));
  player.choose(layers[0]);

  const pixel = (layer, [x, y]) => [x * layer.paint.width, y * layer.paint.height];
  for (const layer of layers) new Brush(layer.paint, $("cross"), layer.painter, (share) => pixel(layer, share));
  // A stroke on a frame is painted where the frame looks; the frame must stand still for it.
  const looksAt = (share) => {
    const { active } = player, place = share.map((part) => 2 * part - 1);
    const looked = active.field.position(player.frame - active.meta.start, ...place);
    return pixel(active, looked.map((part) => (part + 1) / 2));
  };
  new Brush($("video"), $("videoCross"), layers[0].painter, looksAt, (share, brush) => {
    player.play(false);
    player.choose(player.shownAt(share));
    brush.painter = player.active.painter;
  });
  $("undo").addEventListener("click", () => player.undo());
  $("play").addEventListener("click", () => player.play(!player.playing));
  $("time").addEventListener("input", () => player.show(Number($("time").value)));
  $("speed").addEventListener("change", () => player.play(player.playing));
  for (const mode of MODES) $(mode + "View").addEventListener("change", () => player.view(mode));
  $("save").addEventListener("click", () => download(player.active));
  $("open").addEventListener("change", async () => {
    try {
      player.active.painter.put(await createImageBitmap($("open").files[0]));
      $("message").textContent = "";
    } catch {
      $("message").textContent = "That file is not a picture this browser can read.";
    }
    $("open").value = "";
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      player.undo();
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
