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
    this.around = meta.embedded ? new Around(painter, () => this.undo()) : null;
    this.list = new LayerList($("layers"), painter);
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

  undo() {
    if (this.painter.canUndo) this.painter.undo();
    else this.around?.tell({ undo: true });
  }

  painted() {
    this.renderer.setPaint(this.painter.canvas);
    // The page around may have more to take back.
    $("undo").disabled = !this.painter.canUndo && !this.around;
    if (this.painter.canUndo || this.sent) this.around?.painted();
    this.sent = this.painter.canUndo;
    this.list.update();
    this.dirty = true;
  }
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
  const light = await Light.decode($("light").textContent, meta);
  const renderer = new Renderer($("video"), field, light, pixels, [canonical.height, canonical.width]);
  [$("paint").height, $("paint").width] = meta.paint;
  let player = null;
  const painter = new Painter($("paint"), () => player?.painted());
  player = new Player(meta, field, painter, renderer);
  tools(painter);
  player.painted();

  const pixel = ([x, y]) => [x * painter.canvas.width, y * painter.canvas.height];
  new Brush($("paint"), $("cross"), painter, pixel);
  // A stroke on a frame is painted where the frame looks; the frame must stand still for it.
  const looksAt = (share) => pixel(field.position(player.frame, ...share.map((part) => 2 * part - 1)).map((part) => (part + 1) / 2));
  new Brush($("video"), $("videoCross"), painter, looksAt, () => player.play(false));
  $("undo").addEventListener("click", () => player.undo());
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
