// Draws frames with WebGL 2: the same sampling as CanonicalVideo.render(), that is bilinear with clamped borders and
// pixel i of N at (2i + 1) / N - 1. All sampling is by hand: filters of graphics cards have only 8 bits of fraction.
// Layers are drawn from the back to the front, each over what is below by its alpha.

const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(corner, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp isampler2D;
uniform isampler2D nodes;
uniform sampler2D canonical, paint, wheel, light, alpha;
uniform vec2 viewSize, fieldSize, offsetStep;
uniform float largest;
uniform int mode;
out vec4 colour;

vec2 offsetAt(ivec2 pixel) {
  ivec2 last = textureSize(nodes, 0) - 1;
  vec2 place = vec2(pixel) * vec2(last) / max(fieldSize - 1.0, 1.0);
  ivec2 low = ivec2(floor(place));
  vec2 part = place - vec2(low);
  ivec2 high = min(low + 1, last);
  vec2 upper = mix(vec2(texelFetch(nodes, low, 0).xy), vec2(texelFetch(nodes, ivec2(high.x, low.y), 0).xy), part.x);
  vec2 lower = mix(vec2(texelFetch(nodes, ivec2(low.x, high.y), 0).xy), vec2(texelFetch(nodes, high, 0).xy), part.x);
  return mix(upper, lower, part.y) * offsetStep;
}

vec2 offsetOf(vec2 pixel) {
  vec2 place = clamp((pixel + 0.5) * fieldSize / viewSize - 0.5, vec2(0.0), fieldSize - 1.0);
  if (viewSize == fieldSize) return offsetAt(ivec2(pixel));
  ivec2 low = ivec2(floor(place));
  vec2 part = place - vec2(low);
  ivec2 high = min(low + 1, ivec2(fieldSize) - 1);
  vec2 upper = mix(offsetAt(low), offsetAt(ivec2(high.x, low.y)), part.x);
  vec2 lower = mix(offsetAt(ivec2(low.x, high.y)), offsetAt(high), part.x);
  return mix(upper, lower, part.y);
}

vec4 read(sampler2D image, vec2 position) {
  ivec2 last = textureSize(image, 0) - 1;
  vec2 place = clamp((position + 1.0) * 0.5 * vec2(last + 1) - 0.5, vec2(0.0), vec2(last));
  ivec2 low = ivec2(floor(place));
  vec2 part = place - vec2(low);
  ivec2 high = min(low + 1, last);
  vec4 upper = mix(texelFetch(image, low, 0), texelFetch(image, ivec2(high.x, low.y), 0), part.x);
  vec4 lower = mix(texelFetch(image, ivec2(low.x, high.y), 0), texelFetch(image, high, 0), part.x);
  return mix(upper, lower, part.y);
}

// The wheel of Baker et al. 2007: hue is direction, saturation is length.
vec3 flowColour(vec2 offset) {
  float place = (atan(-offset.y, -offset.x) / 3.14159265 + 1.0) * 27.0;
  int low = int(floor(place));
  vec3 hue = mix(texelFetch(wheel, ivec2(low % 55, 0), 0).rgb, texelFetch(wheel, ivec2((low + 1) % 55, 0), 0).rgb, place - float(low));
  return 1.0 - min(length(offset) / largest, 1.0) * (1.0 - hue);
}

void main() {
  vec2 pixel = vec2(floor(gl_FragCoord.x), viewSize.y - 1.0 - floor(gl_FragCoord.y));
  vec2 offset = offsetOf(pixel);
  vec2 here = (2.0 * pixel + 1.0) / viewSize - 1.0;
  vec2 position = here + offset;
  vec4 stroke = read(paint, position); // premultiplied
  vec3 shown = read(canonical, position).rgb * (1.0 - stroke.a) + stroke.rgb;
  shown = clamp(shown * (1.0 + read(light, here).rgb), 0.0, 1.0);
  if (mode == 1) shown = flowColour(offset * fieldSize * 0.5);
  if (mode == 2) {
    float shorter = min(fieldSize.x, fieldSize.y);
    vec2 place = position * 4.0 * fieldSize / shorter; // whole numbers on the lines
    vec2 slope = vec2(length(vec2(dFdx(place.x), dFdy(place.x))), length(vec2(dFdx(place.y), dFdy(place.y))));
    vec2 away = abs(place - round(place)) / max(slope, 1e-6);
    vec2 cover = clamp(max(min(viewSize.x, viewSize.y) / 256.0, 1.2) * 0.5 + 0.5 - away, 0.0, 1.0);
    shown = mix(1.0 - 0.5 * (1.0 - shown), vec3(0.08, 0.35, 0.63), max(cover.x, cover.y));
  }
  colour = vec4(shown, read(alpha, here).r);
}`;

const MODES = ["video", "field", "grid"];
const UNITS = { nodes: 0, canonical: 1, paint: 2, wheel: 3, light: 4, alpha: 5 };

// 55 hues: from one pure colour to the next, one channel stays full and another rises or falls.
function colourWheel() {
  const wheel = [];
  for (const [count, full, moving, direction] of [[15, 0, 1, 1], [6, 1, 0, -1], [4, 1, 2, 1], [11, 2, 1, -1], [13, 2, 0, 1], [6, 0, 2, -1]]) {
    for (let i = 0; i < count; i++) {
      const colour = [0, 0, 0, 255];
      colour[full] = 255;
      colour[moving] = Math.round(255 * (direction > 0 ? i / count : 1 - i / count));
      wheel.push(...colour);
    }
  }
  return new Uint8Array(wheel);
}

class Renderer {
  // layers: each with meta, field, light, alpha, canonicalPixels (RGBA bytes) and canonicalSize.
  constructor(canvas, meta, layers) {
    [canvas.height, canvas.width] = meta.view;
    // The buffer is kept so that a picture of the canvas can be taken at any time.
    const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true, alpha: false });
    if (!gl) throw new Error("this browser cannot draw the video: it has no WebGL 2");
    this.gl = gl;
    this.layers = layers;
    this.program = this.link();
    gl.useProgram(this.program);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.clearColor(0, 0, 0, 1);
    const wheel = this.texture("wheel");
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 55, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colourWheel());
    this.textures = layers.map((layer) => ({ ...this.texturesOf(layer), wheel }));
    this.shown = layers.map(() => -1);
    const at = (name) => gl.getUniformLocation(this.program, name);
    for (const [name, unit] of Object.entries(UNITS)) gl.uniform1i(at(name), unit);
    gl.uniform2f(at("viewSize"), meta.view[1], meta.view[0]);
    gl.uniform2f(at("fieldSize"), meta.size[1], meta.size[0]);
    gl.uniform1f(at("largest"), meta.largest);
    this.offsetStep = at("offsetStep");
    this.mode = at("mode");
  }

  texturesOf({ meta, light, alpha, canonicalPixels, canonicalSize }) {
    const { gl } = this, textures = { nodes: this.texture("nodes") };
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG16I, meta.nodes[1], meta.nodes[0], 0, gl.RG_INTEGER, gl.SHORT, null);
    textures.canonical = this.texture("canonical");
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, canonicalSize[1], canonicalSize[0], 0, gl.RGBA, gl.UNSIGNED_BYTE, canonicalPixels);
    textures.paint = this.texture("paint");
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    textures.light = this.texture("light");
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, light.size[1], light.size[0], 0, gl.RGBA, gl.FLOAT, null);
    textures.alpha = this.texture("alpha");
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, alpha.size[1], alpha.size[0], 0, gl.RED, gl.UNSIGNED_BYTE, null);
    return textures;
  }

  link() {
    const { gl } = this, program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("the graphics driver refuses the program");
    return program;
  }

  texture(unit) {
    const { gl } = this, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + UNITS[unit]);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    return texture;
  }

  bind(number, unit) {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + UNITS[unit]);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[number][unit]);
  }

  // Takes the strokes on a layer from a 2D canvas.
  setPaint(number, canvas) {
    const { gl } = this;
    this.bind(number, "paint");
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, true);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, canvas);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  }

  draw(frame, mode) {
    const { gl } = this;
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform1i(this.mode, MODES.indexOf(mode));
    this.layers.forEach((layer, number) => {
      const local = frame - layer.meta.start;
      if (local < 0 || local >= layer.meta.frames) return;
      for (const unit of Object.keys(UNITS)) this.bind(number, unit);
      if (local !== this.shown[number]) this.upload(number, local);
      gl.uniform2f(this.offsetStep, layer.meta.step[0], layer.meta.step[1]);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
  }

  // A layer's field, light and alpha in one of its frames.
  upload(number, frame) {
    const { gl } = this, { meta, field, light, alpha } = this.layers[number];
    const into = (unit, [tall, wide], format, type, values) => {
      gl.activeTexture(gl.TEXTURE0 + UNITS[unit]);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, wide, tall, format, type, values);
    };
    into("nodes", meta.nodes, gl.RG_INTEGER, gl.SHORT, field.texture(frame));
    into("light", light.size, gl.RGBA, gl.FLOAT, light.texture(frame));
    into("alpha", alpha.size, gl.RED, gl.UNSIGNED_BYTE, alpha.texture(frame));
    this.shown[number] = frame;
  }

  // RGBA bytes of what was drawn, rows from the top.
  pixels() {
    const { gl } = this, { width, height } = gl.canvas;
    const bytes = new Uint8Array(width * height * 4), upright = new Uint8Array(bytes.length);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    for (let y = 0; y < height; y++) upright.set(bytes.subarray((height - 1 - y) * width * 4, (height - y) * width * 4), y * width * 4);
    return upright;
  }
}
