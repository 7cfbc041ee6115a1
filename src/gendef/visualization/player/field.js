// What the exporter wrote for each layer (field_codec.py): the deformation field as whole numbers of `step` at the nodes of a coarse
// grid, and the light of the frames likewise; differences from frame to frame and from left to right, low bytes before
// high bytes, deflate, base64. Alpha is bytes: differences from frame to frame, deflate, base64.

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Int16Array, frames x planes x tall x wide.
async function unpacked(base64, frames, planes, [tall, wide]) {
  const bytes = await inflated(bytesOf(base64));
  const size = planes * tall * wide, count = frames * size;
  if (bytes.length !== 2 * count) throw new Error("the numbers in this file are damaged");
  const values = new Int16Array(count); // sums wrap around as the exporter's differences did
  for (let i = 0; i < count; i++) values[i] = bytes[i] | (bytes[count + i] << 8);
  for (let row = 0; row < count; row += wide) {
    for (let x = 1; x < wide; x++) values[row + x] += values[row + x - 1];
  }
  for (let i = size; i < count; i++) values[i] += values[i - size];
  return values;
}

class Field {
  // values: Int16Array, frames x 2 planes x nodes high x nodes wide.
  constructor(values, meta) {
    this.values = values;
    this.meta = meta;
    this.texels = new Int16Array(meta.nodes[0] * meta.nodes[1] * 2);
  }

  static async decode(base64, meta) {
    return new Field(await unpacked(base64, meta.frames, 2, meta.nodes), meta);
  }

  // Node values of one frame, x and y side by side, for a texture.
  texture(frame) {
    const plane = this.meta.nodes[0] * this.meta.nodes[1], start = frame * 2 * plane;
    for (let i = 0; i < plane; i++) {
      this.texels[2 * i] = this.values[start + i];
      this.texels[2 * i + 1] = this.values[start + plane + i];
    }
    return this.texels;
  }

  // Where a place of a frame looks in the canonical image; both in normalised coordinates.
  position(frame, x, y) {
    const [tall, wide] = this.meta.nodes, [height, width] = this.meta.size, plane = tall * wide;
    const column = this.node(((x + 1) * width - 1) / 2, width, wide), row = this.node(((y + 1) * height - 1) / 2, height, tall);
    const offset = [0, 1].map((axis) => {
      const at = (r, c) => this.values[(frame * 2 + axis) * plane + Math.min(r, tall - 1) * wide + Math.min(c, wide - 1)];
      const mix = (a, b, share) => a + (b - a) * share;
      const upper = mix(at(row.low, column.low), at(row.low, column.low + 1), column.share);
      const lower = mix(at(row.low + 1, column.low), at(row.low + 1, column.low + 1), column.share);
      return mix(upper, lower, row.share) * this.meta.step[axis];
    });
    return [x + offset[0], y + offset[1]];
  }

  node(pixel, pixels, nodes) {
    const place = pixels > 1 ? (Math.min(Math.max(pixel, 0), pixels - 1) * (nodes - 1)) / (pixels - 1) : 0;
    return { low: Math.floor(place), share: place - Math.floor(place) };
  }
}

// The illumination: how much brighter than the canonical image each frame is, per colour, on a coarse grid.
class Light {
  constructor(values, { size, step }) {
    Object.assign(this, { values, size, step });
    this.texels = new Float32Array(size[0] * size[1] * 4);
  }

  // A clip in one light has a single cell that says so.
  static async decode(base64, meta) {
    if (!meta.light) return new Light(new Int16Array(meta.frames * 3), { size: [1, 1], step: 1 });
    return new Light(await unpacked(base64, meta.frames, 3, meta.light.size), meta.light);
  }

  // Values of one frame, the colours side by side, for a texture.
  texture(frame) {
    const plane = this.size[0] * this.size[1];
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) this.texels[4 * i + c] = this.values[(frame * 3 + c) * plane + i] * this.step;
    }
    return this.texels;
  }
}

// Where the layer hides what is below, 0 to 255 at each pixel of a frame. A layer that covers everything has one pixel.
class Alpha {
  constructor(values, size) {
    Object.assign(this, { values, size });
  }

  static async decode(base64, meta, size) {
    if (!meta.alpha) return new Alpha(null, [1, 1]);
    const values = await inflated(bytesOf(base64)), plane = size[0] * size[1];
    if (values.length !== meta.frames * plane) throw new Error("the alpha in this file is damaged");
    for (let i = plane; i < values.length; i++) values[i] += values[i - plane]; // bytes wrap around
    return new Alpha(values, size);
  }

  texture(frame) {
    const plane = this.size[0] * this.size[1];
    return this.values ? this.values.subarray(frame * plane, (frame + 1) * plane) : new Uint8Array([255]);
  }

  // At a share of the frame's width and height.
  at(frame, [x, y]) {
    const place = (share, pixels) => Math.min(Math.max(Math.floor(share * pixels), 0), pixels - 1);
    return this.texture(frame)[place(y, this.size[0]) * this.size[1] + place(x, this.size[1])];
  }
}
