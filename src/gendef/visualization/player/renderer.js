// Draws frames with WebGL 2: the same sampling as CanonicalVideo.render(), that is bilinear with clamped borders and
// pixel i of N at (2i + 1) / N - 1. All sampling is by hand: filters of graphics cards have only 8 bits of fraction.

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
uniform sampler2D canonical, paint, wheel, light;
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
  colour = vec4(shown, 1.0);
}`;

const MODES = ["video", "field", "grid"];
const [NODES, CANONICAL, PAINT, WHEEL, LIGHT] = [0, 1, 2, 3, 4];

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
  constructor(canvas, field, light, canonicalPixels, canonicalSize) {
    const { meta } = field;
    [canvas.height, canvas.width] = meta.view;
    // The buffer is kept so that a picture of the canvas can be taken at any time.
    const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true, alpha: false });
    if (!gl) throw new Error("this browser cannot draw the video: it has no WebGL 2");
    this.gl = gl;
    this.field = field;
    this.light = light;
    this.shown = -1;
    this.program = this.link();
    gl.useProgram(this.program);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    [NODES, CANONICAL, PAINT, WHEEL, LIGHT].forEach((unit) => this.texture(unit));
    gl.activeTexture(gl.TEXTURE0 + NODES);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RG16I, meta.nodes[1], meta.nodes[0], 0, gl.RG_INTEGER, gl.SHORT, null);
    gl.activeTexture(gl.TEXTURE0 + CANONICAL);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, canonicalSize[1], canonicalSize[0], 0, gl.RGBA, gl.UNSIGNED_BYTE, canonicalPixels);
    gl.activeTexture(gl.TEXTURE0 + WHEEL);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 55, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colourWheel());
    gl.activeTexture(gl.TEXTURE0 + LIGHT);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, light.size[1], light.size[0], 0, gl.RGBA, gl.FLOAT, null);
    const at = (name) => gl.getUniformLocation(this.program, name);
    gl.uniform1i(at("nodes"), NODES);
    gl.uniform1i(at("canonical"), CANONICAL);
    gl.uniform1i(at("paint"), PAINT);
    gl.uniform1i(at("wheel"), WHEEL);
    gl.uniform1i(at("light"), LIGHT);
    gl.uniform2f(at("viewSize"), meta.view[1], meta.view[0]);
    gl.uniform2f(at("fieldSize"), meta.size[1], meta.size[0]);
    gl.uniform2f(at("offsetStep"), meta.step[0], meta.step[1]);
    gl.uniform1f(at("largest"), meta.largest);
    this.mode = at("mode");
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
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  }

  // Takes the strokes from a 2D canvas.
  setPaint(canvas) {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0 + PAINT);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, true);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, canvas);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  }

  draw(frame, mode) {
    const { gl } = this;
    if (frame !== this.shown) {
      const [tall, wide] = this.field.meta.nodes;
      gl.activeTexture(gl.TEXTURE0 + NODES);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, wide, tall, gl.RG_INTEGER, gl.SHORT, this.field.texture(frame));
      gl.activeTexture(gl.TEXTURE0 + LIGHT);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, this.light.size[1], this.light.size[0], gl.RGBA, gl.FLOAT, this.light.texture(frame));
      this.shown = frame;
    }
    gl.uniform1i(this.mode, MODES.indexOf(mode));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
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
