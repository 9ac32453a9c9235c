// The page: a detector file and a camera or video in; score, sparkline and alarm out. Each verdict is also an event
// `verdict` of the window, with the frame that it is about.
import {Detector} from './detector.js';

const of = (id) => document.getElementById(id);
const video = of('video'), canvas = document.createElement('canvas');
const KEPT = 300;  // scores in the sparkline
let detector, source, scores = [], times = [];

async function tell(action) {
  of('message').textContent = '';
  try {
    await action();
  } catch (error) {
    of('message').textContent = String(error.message || error).split('\n')[0];
  }
}

async function open(file) {
  await stop();
  const bytes = new Uint8Array(await file.arrayBuffer());
  let found;
  try {
    found = await Detector.open(bytes, of('accelerator').value);
  } catch (error) {
    throw new Error(`${file.name}: ${error.message}`);
  }
  detector?.close();
  detector = found;
  const {config} = detector;
  of('about').textContent = [file.name, `${detector.width}×${detector.height}`,
    config.fps && config.window ? `${config.fps} frames a second` : 'single images',
    `${(bytes.length / 1e6).toFixed(2)} MB`].join(', ');
  of('camera').disabled = of('movie').disabled = false;
  show('', 'ready');
}

async function start(media) {
  await stop();
  detector.reset();
  [scores, times] = [[], []];
  source = {stopped: false};
  if (media instanceof MediaStream) video.srcObject = media;
  else video.src = URL.createObjectURL(media);
  await video.play();
  of('stop').disabled = false;
  source.done = watch(source);
}

// Judges frames one after the other, at the rate that the detector was calibrated at, until stopped or ended.
async function watch(own) {
  const rate = detector.config.window ? detector.config.fps : 0;
  let due = 0;
  while (!own.stopped && !video.ended) {
    const {mediaTime} = await next();
    if (own.stopped || mediaTime === undefined) break;
    if (rate && mediaTime < due - 0.5 / rate) continue;
    due = Math.max(due + (rate && 1 / rate), mediaTime);
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const brush = canvas.getContext('2d', {willReadFrequently: true});
    brush.drawImage(video, 0, 0);
    const frame = brush.getImageData(0, 0, canvas.width, canvas.height);
    const begin = performance.now();
    const verdict = await detector.judge(frame);
    draw(verdict, performance.now() - begin);
    window.dispatchEvent(new CustomEvent('verdict', {detail: {frame, verdict}}));
  }
}

// The next new frame's metadata; {} at the end.
function next() {
  return new Promise((resolve) => {
    const handle = video.requestVideoFrameCallback((now, metadata) => resolve(metadata));
    const end = () => { video.cancelVideoFrameCallback(handle); resolve({}); };
    video.addEventListener('ended', end, {once: true});
    video.addEventListener('emptied', end, {once: true});
  });
}

async function stop() {
  if (!source) return;
  source.stopped = true;
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute('src');
  video.load();
  await source.done;
  source = undefined;
  of('stop').disabled = true;
  show('', 'stopped');
}

function show(state, word) {
  of('view').className = state;
  of('word').textContent = word;
}

function draw(verdict, milliseconds) {
  scores.push(verdict.score);
  times.push(milliseconds);
  show(verdict.alarm ? 'alarm' : 'quiet', verdict.invalid ? 'invalid frame' : verdict.alarm ? 'out of distribution'
    : 'in distribution');
  of('score').textContent = verdict.invalid ? '∞' : verdict.score.toPrecision(3);
  of('p').textContent = verdict.pValue.toPrecision(2);
  of('count').textContent = scores.length;
  of('time').textContent = `${times.slice(-50).sort((a, b) => a - b)[Math.min(times.length, 50) >> 1].toFixed(1)} ms`;
  spark(scores.slice(-KEPT), detector.config.scales ? 1 : detector.config.threshold);
}

function spark(values, threshold) {
  const board = of('spark'), ratio = window.devicePixelRatio || 1, pen = board.getContext('2d');
  const [width, height] = [board.width, board.height] = [board.clientWidth * ratio, board.clientHeight * ratio];
  const finite = values.map((value) => Math.min(value, 4 * threshold));
  const low = Math.min(0, ...finite), high = Math.max(1.25 * threshold, ...finite);
  const y = (value) => height - 4 - (value - low) / (high - low || 1) * (height - 8);
  const line = (points, colour) => {
    pen.beginPath();
    points.forEach(([x, value], i) => pen[i ? 'lineTo' : 'moveTo'](x, y(value)));
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5 * ratio;
    pen.stroke();
  };
  line([[0, threshold], [width, threshold]], '#d33a2c');
  line(finite.map((value, i) => [i * width / KEPT, value]), getComputedStyle(board).color);
}

of('file').onchange = ({target}) => target.files.length && tell(() => open(target.files[0]));
of('movie').onchange = ({target}) => target.files.length && tell(() => start(target.files[0]));
of('camera').onclick = () => tell(async () => start(await navigator.mediaDevices.getUserMedia({video: true})));
of('stop').onclick = () => tell(stop);
document.ondragover = (event) => { event.preventDefault(); document.body.classList.add('over'); };
document.ondragleave = () => document.body.classList.remove('over');
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove('over');
  const [file] = event.dataTransfer.files;
  if (file) tell(() => (file.type.startsWith('video/') ? start(file) : open(file)));
};
