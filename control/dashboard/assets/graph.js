// A graph of rates over time: those of one direction are stacked above the middle
// line, those of the other below it, both on one scale.
//
// One hundred lines of canvas rather than a library: stacked areas in two directions
// are what chart libraries need plugins for, and the page weighs less without.

import { ceiling } from './words.js';

// draw draws into a canvas. series is a list of { color, above, below }, of which
// the last two are rates in bits per second, the latest last and at the right edge; negative ones
// are not known. points is how many fit, stepS the seconds of each, endS when the
// last ends. axes is whether there are scales, belowWord what stands at those below.
export function draw(canvas, { series, points, stepS, endS, axes, belowWord }) {
  const css = getComputedStyle(canvas);
  const width = canvas.clientWidth, height = canvas.clientHeight, dots = devicePixelRatio || 1;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * dots) || canvas.height !== Math.round(height * dots)) {
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
  }
  const c = canvas.getContext('2d');
  c.setTransform(dots, 0, 0, dots, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = '12px ' + css.fontFamily;

  const above = stack(series, 'above', points), below = stack(series, 'below', points);
  const least = axes ? 1e6 : 1e5;
  const top = Math.max(least * 0.6, ...above[above.length - 1]), bottom = Math.max(least * 0.2, ...below[below.length - 1]);
  const room = height - (axes ? 22 : 2);
  const scale = room / ((top + bottom) * 1.06);
  const zero = 1 + top * 1.03 * scale;
  const x = (i) => (i * width) / (points - 1);

  const g = { width, height, zero, scale, top, bottom, points, stepS, endS, belowWord };
  if (axes) grid(c, css, g);
  const areas = (sums, sign, alpha) => {
    c.globalAlpha = alpha;
    series.forEach((one, k) => {
      c.beginPath();
      for (let i = 0; i < points; i++) c.lineTo(x(i), zero - sign * sums[k][i] * scale);
      for (let i = points - 1; i >= 0; i--) c.lineTo(x(i), zero - sign * sums[k + 1][i] * scale);
      c.fillStyle = css.getPropertyValue('--' + one.color);
      c.fill();
    });
    c.globalAlpha = 1;
  };
  areas(above, 1, 1);
  areas(below, -1, 0.62);
  c.fillStyle = css.getPropertyValue('--axis');
  c.fillRect(0, Math.round(zero) - 0.5, width, 1);
  if (axes) labels(c, css, g);
}

// stack returns the sums of the first none, one, two … series at each point.
function stack(series, key, points) {
  const sums = [new Float64Array(points)];
  for (const s of series) {
    const sum = Float64Array.from(sums[sums.length - 1]), list = s[key];
    const first = points - list.length;
    for (let i = Math.max(0, first); i < points; i++) sum[i] += Math.max(0, list[i - first]);
    sums.push(sum);
  }
  return sums;
}

// tick is a round number so that there are two to five of it up to most.
function tick(most) {
  const unit = 10 ** Math.floor(Math.log10(most));
  return most / unit >= 5 ? 2 * unit : most / unit >= 2 ? unit : unit / 2;
}

// ticks lists where lines are: positive ones above, negative ones below.
function ticks({ top, bottom }) {
  const step = tick(Math.max(top, bottom)), list = [];
  for (let v = step; v <= top; v += step) list.push(v);
  for (let v = step; v <= bottom; v += step) list.push(-v);
  return list;
}

function grid(c, css, g) {
  c.fillStyle = css.getPropertyValue('--grid');
  for (const v of ticks(g)) {
    c.fillRect(0, Math.round(g.zero - v * g.scale), g.width, 1);
  }
}

function labels(c, css, g) {
  const write = (words, x, y, align) => {
    c.textAlign = align;
    c.lineWidth = 3;
    c.strokeStyle = css.getPropertyValue('--panel');
    c.lineJoin = 'round';
    c.strokeText(words, x, y);
    c.fillStyle = css.getPropertyValue('--soft');
    c.fillText(words, x, y);
  };
  let last = Infinity;
  for (const v of ticks(g).sort((a, b) => a - b)) {
    const y = Math.round(g.zero - v * g.scale);
    if (Math.abs(y - last) < 18 || y < 16 || Math.abs(y - g.zero) < 14) continue;
    write(ceiling(Math.abs(v)) + (v < 0 ? ' ' + g.belowWord : ''), 2, y + (v < 0 ? 12 : -4), 'left');
    last = y;
  }
  // A label each round number of minutes or seconds before now, by the clock.
  const span = g.points * g.stepS;
  const every = [15, 30, 60, 120, 300, 600, 900].find((s) => (span / s) * 80 <= g.width) || 1800;
  const offset = new Date(g.endS * 1000).getTimezoneOffset() * 60;
  for (let t = Math.ceil((g.endS - span - offset) / every) * every + offset; t <= g.endS; t += every) {
    const at = ((t - g.endS + span) / span) * g.width;
    if (at < 24 || at > g.width - 24) continue;
    const clock = new Date(t * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: every < 60 ? '2-digit' : undefined, hour12: false });
    c.fillStyle = css.getPropertyValue('--grid');
    c.fillRect(Math.round(at), g.height - 20, 1, 4);
    write(clock, at, g.height - 4, 'center');
  }
}
