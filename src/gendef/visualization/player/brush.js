// A brush on a picture: with mouse, pen, finger or keyboard. `place` turns a share of the picture's width and height
// into a pixel of the paint layers; the way between two places is taken in small steps, for `place` may bend it. `before`
// is called with the place at which a stroke begins, and may choose another painter.

const STEP = 0.01;

class Brush {
  constructor(element, cross, painter, place, before = () => {}) {
    Object.assign(this, { element, cross, painter, place, before, at: [0.5, 0.5], drawing: false, held: null });
    this.pointer();
    this.keys();
  }

  down(share) {
    this.before(share, this);
    this.at = share;
    this.painter.begin(...this.place(share));
  }

  move(share) {
    const from = this.at, way = [share[0] - from[0], share[1] - from[1]];
    const steps = Math.max(Math.ceil(Math.hypot(...way) / STEP), 1);
    for (let i = 1; i <= steps; i++) this.painter.to(...this.place([0, 1].map((axis) => from[axis] + (way[axis] * i) / steps)));
    this.at = share;
  }

  share(event) {
    const box = this.element.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  pointer() {
    const { element } = this;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return; // further fingers do nothing
      event.preventDefault();
      element.focus({ preventScroll: true });
      element.setPointerCapture(event.pointerId);
      this.lift();
      this.held = event.pointerId;
      this.down(this.share(event));
    });
    element.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.held) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const part of events.length ? events : [event]) this.move(this.share(part));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      element.addEventListener(name, (event) => event.pointerId === this.held && this.lift());
    }
  }

  // Arrows move a cross, space puts the brush down or lifts it.
  keys() {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    this.element.addEventListener("keydown", (event) => {
      if (event.key === " " || event.key === "Enter") {
        this.drawing = !this.drawing;
        if (this.drawing) this.down(this.at);
        else this.painter.end();
      } else if (event.key === "Escape") {
        this.lift();
      } else if (arrows[event.key]) {
        const length = event.shiftKey ? 5 * STEP : STEP;
        const share = this.at.map((value, axis) => Math.min(Math.max(value + arrows[event.key][axis] * length, 0), 1));
        if (this.drawing) this.move(share);
        else this.at = share;
      } else return;
      event.preventDefault();
      this.cross.hidden = false;
      this.cross.classList.toggle("drawing", this.drawing);
      [this.cross.style.left, this.cross.style.top] = this.at.map((value) => `${100 * value}%`);
    });
    this.element.addEventListener("blur", () => this.lift());
  }

  lift() {
    this.cross.hidden = true;
    this.drawing = false;
    this.held = null;
    this.painter.end();
  }
}
