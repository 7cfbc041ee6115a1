// The reader's strokes: a transparent layer above the canonical image.

const UNDO_STEPS = 40;

class Painter {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.changed = changed;
    this.history = [];
    this.tool = { erase: false, colour: "#e4002b", size: 12 };
    this.last = null;
  }

  get canUndo() {
    return this.history.length > 0;
  }

  get blank() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    return !data.some((value, i) => i % 4 === 3 && value > 0);
  }

  remember() {
    this.history.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    if (this.history.length > UNDO_STEPS) this.history.shift();
  }

  // A stroke begins at a place of the canvas, in its pixels.
  begin(x, y) {
    this.remember();
    this.last = null;
    this.to(x, y);
  }

  to(x, y) {
    const { context, tool } = this;
    context.save();
    context.globalCompositeOperation = tool.erase ? "destination-out" : "source-over";
    context.strokeStyle = tool.colour;
    context.lineWidth = tool.size;
    context.lineCap = context.lineJoin = "round";
    const [fromX, fromY] = this.last ?? [x, y];
    context.beginPath();
    context.moveTo(fromX, fromY);
    context.lineTo(x, y === fromY && x === fromX ? y + 0.01 : y); // a line without length draws no dot
    context.stroke();
    context.restore();
    this.last = [x, y];
    this.changed();
  }

  end() {
    this.last = null;
  }

  // A picture that was edited elsewhere, stretched over the whole canonical image.
  put(image) {
    this.remember();
    this.context.drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
    this.changed();
  }

  undo() {
    if (this.canUndo) this.context.putImageData(this.history.pop(), 0, 0);
    this.changed();
  }

  clear() {
    this.remember();
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.changed();
  }
}
