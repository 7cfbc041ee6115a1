// In a frame of another page: tells that page how high this one is, what was painted, and that more is to be taken back
// than was painted here; takes strokes back when it is told to.

const PAUSE = 250; // milliseconds without a change, after which strokes are sent

class Around {
  constructor(painters, undo) {
    this.painters = painters;
    addEventListener("message", (event) => event.source === parent && event.data?.gendef === "undo" && undo());
    this.waiting = 0;
    // Whoever leaves this frame may do something with the strokes.
    addEventListener("blur", () => this.waiting && this.send());
    new ResizeObserver(() => this.tell({ height: document.querySelector("main").offsetHeight + 4 })).observe(document.body);
  }

  // The page around has the same origin: this one was written into it.
  tell(message) {
    parent.postMessage({ gendef: message }, self.origin);
  }

  // Finished strokes only: what is still being drawn is looked at again later.
  painted() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => (this.painters.some((painter) => painter.last) ? this.painted() : this.send()), PAUSE);
  }

  send() {
    clearTimeout(this.waiting);
    this.waiting = 0;
    this.tell({ strokes: this.strokes() });
  }

  // Of one layer a data URL, of several an object of them in JSON by the layer's number; "" where nothing is painted.
  strokes() {
    const urls = this.painters.map((painter) => (painter.blank ? "" : painter.canvas.toDataURL("image/png")));
    if (urls.length === 1) return urls[0];
    const painted = Object.fromEntries(Object.entries(urls).filter(([, url]) => url));
    return Object.keys(painted).length ? JSON.stringify(painted) : "";
  }
}
