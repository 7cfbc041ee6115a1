// The reader's strokes: transparent layers above the canonical image, put together on one canvas.

const UNDO_STEPS = 40;
const MAX_LAYERS = 8;

class Painter {
  // changed: called after every change; remembered: called when there is one more step to take back.
  constructor(canvas, tool, changed, remembered) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(this, { changed, remembered, tool });
    this.history = []; // functions that take back one step each
    this.last = null;
    this.named = 0;
    this.layers = [this.fresh()]; // the lowest first
    this.active = this.layers[0];
  }

  fresh(name = `Layer ${this.named + 1}`) {
    const canvas = Object.assign(document.createElement("canvas"), { width: this.canvas.width, height: this.canvas.height });
    this.named += 1;
    return { name, canvas, context: canvas.getContext("2d", { willReadFrequently: true }), visible: true };
  }

  get canUndo() {
    return this.history.length > 0;
  }

  get blank() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    return !data.some((value, i) => i % 4 === 3 && value > 0);
  }

  remember(back) {
    this.history.push(back);
    this.remembered();
    if (this.history.length > UNDO_STEPS) this.history.shift();
  }

  rememberPixels() {
    const { active } = this, before = active.context.getImageData(0, 0, this.canvas.width, this.canvas.height), { visible } = active;
    this.remember(() => {
      active.context.putImageData(before, 0, 0);
      active.visible = visible;
      this.active = active;
    });
  }

  rememberLayers() {
    const layers = [...this.layers], { active } = this;
    this.remember(() => Object.assign(this, { layers, active }));
  }

  compose() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const layer of this.layers) if (layer.visible) this.context.drawImage(layer.canvas, 0, 0);
    this.changed();
  }

  // A stroke begins at a place of the canvas, in its pixels.
  begin(x, y) {
    this.rememberPixels();
    this.active.visible = true; // nobody paints on what is not seen
    this.last = null;
    this.to(x, y);
  }

  to(x, y) {
    const { tool } = this, { context } = this.active;
    context.save();
    context.globalCompositeOperation = tool.erase ? "destination-out" : "source-over";
    context.strokeStyle = tool.colour;
    context.lineWidth = tool.size * Math.min(this.canvas.width, this.canvas.height);
    context.lineCap = context.lineJoin = "round";
    const [fromX, fromY] = this.last ?? [x, y];
    context.beginPath();
    context.moveTo(fromX, fromY);
    context.lineTo(x, y === fromY && x === fromX ? y + 0.01 : y); // a line without length draws no dot
    context.stroke();
    context.restore();
    this.last = [x, y];
    this.compose();
  }

  end() {
    this.last = null;
  }

  // A picture that was edited elsewhere, stretched over the whole canonical image, on a layer of its own.
  put(image) {
    this.add("Picture");
    this.active.context.drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
    this.compose();
  }

  undo() {
    this.history.pop()?.();
    this.compose();
  }

  clear() {
    this.rememberPixels();
    this.active.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.compose();
  }

  // A new layer above the one in use.
  add(name) {
    this.rememberLayers();
    const layer = this.fresh(name);
    this.layers.splice(this.layers.indexOf(this.active) + 1, 0, layer);
    this.active = layer;
    this.compose();
  }

  remove() {
    this.rememberLayers();
    const at = this.layers.indexOf(this.active);
    this.layers.splice(at, 1);
    if (!this.layers.length) this.layers.push(this.fresh());
    this.active = this.layers[Math.max(at - 1, 0)];
    this.compose();
  }

  raise() {
    const at = this.layers.indexOf(this.active);
    if (at + 1 >= this.layers.length) return;
    this.rememberLayers();
    [this.layers[at], this.layers[at + 1]] = [this.layers[at + 1], this.layers[at]];
    this.compose();
  }

  use(layer) {
    this.active = layer;
    this.compose();
  }

  show(layer, visible) {
    const before = layer.visible;
    this.remember(() => (layer.visible = before));
    layer.visible = visible;
    this.compose();
  }
}
