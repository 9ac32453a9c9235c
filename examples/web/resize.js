// The area resize of leanood.data.frames: halvings as long as both sides are even, then means over covered areas.

// Returns {width, height, data: Uint8Array of RGB} of a canvas' ImageData at another size.
export function resize(image, width, height) {
  let source = {width: image.width, height: image.height, data: withoutAlpha(image.data)};
  while (source.height >= 2 * height && source.width >= 2 * width && source.height % 2 === 0 && source.width % 2 === 0) {
    source = halved(source);
  }
  if (source.width === width && source.height === height) return source;
  const rows = along(source.data, source.height, source.width * 3, height);
  const turned = transposed(rows, height, source.width);
  const columns = along(turned, source.width, height * 3, width);
  const mean = transposed(columns, width, height);
  return {width, height, data: Uint8Array.from(mean, rounded)};
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

function halved({width, height, data}) {
  const half = {width: width / 2, height: height / 2, data: new Uint8Array(data.length / 4)};
  const stride = width * 3;
  let to = 0;
  for (let y = 0; y < height; y += 2) {
    for (let x = 0; x < width; x += 2) {
      for (let channel = 0, at = y * stride + x * 3; channel < 3; ++channel, ++at) {
        half.data[to++] = (data[at] + data[at + 3] + data[at + stride] + data[at + stride + 3] + 2) >> 2;
      }
    }
  }
  return half;
}

// Float32Array [count, inner] of [length, inner]: each of `count` cells is the mean over what it covers of `length`.
function along(data, length, inner, count) {
  const out = new Float32Array(count * inner);
  const scale = length / count;
  for (let cell = 0; cell < count; ++cell) {
    const begin = cell * scale, end = Math.min(begin + scale, length);
    const shares = [];
    for (let row = Math.floor(begin); row < Math.min(Math.ceil(end), length); ++row) {
      const share = Math.min(end, row + 1) - Math.max(begin, row);
      if (share > 1e-6) shares.push([row, share]);
    }
    const whole = shares.reduce((sum, [, share]) => sum + share, 0);
    for (const [row, share] of shares) {
      const weight = Math.fround(share / whole);
      for (let i = 0; i < inner; ++i) out[cell * inner + i] += weight * data[row * inner + i];
    }
  }
  return out;
}

// RGB [columns, rows] of RGB [rows, columns].
function transposed(data, rows, columns) {
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; ++row) {
    for (let column = 0; column < columns; ++column) {
      for (let channel = 0; channel < 3; ++channel) {
        out[(column * rows + row) * 3 + channel] = data[(row * columns + column) * 3 + channel];
      }
    }
  }
  return out;
}

// To the nearest byte, ties to even, as NumPy rounds.
function rounded(value) {
  const below = Math.floor(value), rest = value - below;
  return below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0);
}
