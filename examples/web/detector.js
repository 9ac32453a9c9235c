// A detector file at work: a frame in, score, p-value and alarm out. Its graph holds the whole detector.
import {Tensor, loadAndCompile, loadLiteRt} from '@litertjs/core';

import {resize} from './resize.js';

const INVALID = 1e29;  // a nonconformity beyond it stands for infinity

export class Detector {
  // Returns the detector in a file's bytes; accelerator: 'wasm' or 'webgpu'. Throws an Error in one line.
  static async open(bytes, accelerator = 'wasm') {
    Detector.runtime ??= loadLiteRt('./node_modules/@litertjs/core/wasm/');
    await Detector.runtime;
    const config = description(bytes);
    const model = await loadAndCompile(bytes, {accelerator});
    const inputs = Object.fromEntries(model.getInputDetails().map((detail) => [detail.name, detail]));
    if (!inputs.frame || !model.getOutputDetails().some(({name}) => name === 'alarm')) {
      model.delete();
      throw new Error('its graph holds no whole detector; make it with leanood calibrate --fold=full');
    }
    return new Detector(model, inputs, config);
  }

  constructor(model, inputs, config) {
    Object.assign(this, {model, config, input: inputs.frame, memory: inputs.state});
    [, this.height, this.width] = inputs.frame.shape;
    this.reset();
  }

  // Begins a new sequence.
  reset() {
    this.state = this.memory && new Float32Array(this.memory.shape.reduce((a, b) => a * b));
  }

  // Returns the verdict on the next frame, an ImageData of any size.
  async judge(image) {
    const {data} = resize(image, this.width, this.height);
    const pixels = this.input.dtype === 'uint8' ? data : Float32Array.from(data, (byte) => byte / 255);
    const given = {frame: new Tensor(pixels, [1, this.height, this.width, 3])};
    if (this.state) given.state = new Tensor(this.state, [...this.memory.shape]);
    const found = await this.model.run(given);
    const values = {};
    for (const [name, tensor] of Object.entries(found)) values[name] = (await tensor.data()).slice();
    for (const tensor of [...Object.values(given), ...Object.values(found)]) if (!tensor.deleted) tensor.delete();
    if (this.state) this.state = values.state;
    return {score: values.score[0], pValue: values.p_value[0], nonconformity: values.nonconformity[0],
            alarm: values.alarm[0] > 0.5, invalid: values.nonconformity[0] > INVALID};
  }

  close() {
    this.model.delete();
  }
}

// detector.json, out of the ZIP behind the graph; its members are stored as they are.
function description(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - 22;
  if (end >= 0 && view.getUint32(end, true) === 0x06054b50) {
    let at = view.getUint32(end + 16, true);
    for (let left = view.getUint16(end + 10, true); left && at + 46 <= end; --left) {
      const name = view.getUint16(at + 28, true), local = view.getUint32(at + 42, true);
      if (new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name)) === 'detector.json') {
        const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
        return JSON.parse(new TextDecoder().decode(bytes.subarray(begin, begin + view.getUint32(at + 20, true))));
      }
      at += 46 + name + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    }
  }
  throw new Error('it is no detector file; make one with leanood calibrate --fold=full');
}
