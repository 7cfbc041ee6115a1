// The list of paint layers, the uppermost first: which one is painted on, which ones are seen.

class LayerList {
  constructor(list, painter) {
    Object.assign(this, { list, painter, drawn: "" });
    $("addLayer").addEventListener("click", () => this.painter.add());
    $("raiseLayer").addEventListener("click", () => this.painter.raise());
    $("removeLayer").addEventListener("click", () => this.painter.remove());
  }

  // Shows the paint layers of another painter.
  of(painter) {
    this.painter = painter;
    this.drawn = "";
    this.update();
  }

  // Written anew only where something changed, for the keyboard's focus is in it.
  update() {
    const { painter } = this, layers = [...painter.layers].reverse();
    const now = JSON.stringify(layers.map((layer) => [layer.name, layer.visible, layer === painter.active]));
    if (now === this.drawn) return;
    this.drawn = now;
    const focus = document.activeElement?.dataset.layer;
    this.list.replaceChildren(...layers.map((layer) => this.row(layer)));
    if (focus) this.list.querySelector(`[data-layer="${focus}"]`)?.focus();
    $("addLayer").disabled = layers.length >= MAX_LAYERS;
    $("raiseLayer").disabled = layers[0] === painter.active;
    $("removeLayer").disabled = layers.length === 1;
  }

  row(layer) {
    const { painter } = this, row = document.createElement("li");
    const use = this.input("radio", `Paint on ${layer.name}`, layer === painter.active, () => painter.use(layer));
    use.name = "layer";
    const show = this.input("checkbox", `Show ${layer.name}`, layer.visible, () => painter.show(layer, show.checked));
    const named = document.createElement("label"), shown = document.createElement("label");
    named.append(use, layer.name);
    shown.append(show, "shown");
    row.append(named, shown);
    return row;
  }

  input(type, label, checked, changed) {
    const input = Object.assign(document.createElement("input"), { type, checked });
    input.setAttribute("aria-label", label);
    input.dataset.layer = label;
    input.addEventListener("change", changed);
    return input;
  }
}
