// In a frame of another page: tells that page how high this one is, and what was painted.

const PAUSE = 250; // milliseconds without a change, after which strokes are sent

class Around {
  constructor(painter) {
    this.painter = painter;
    this.waiting = 0;
    new ResizeObserver(() => this.tell({ height: document.querySelector("main").offsetHeight + 4 })).observe(document.body);
  }

  // The page around has the same origin: this one was written into it.
  tell(message) {
    parent.postMessage({ gendef: message }, self.origin);
  }

  // Finished strokes only: what is still being drawn is looked at again later.
  painted() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => (this.painter.last ? this.painted() : this.send()), PAUSE);
  }

  send() {
    this.tell({ strokes: this.painter.blank ? "" : this.painter.canvas.toDataURL("image/png") });
  }
}
