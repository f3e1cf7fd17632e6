// What the page says: numbers as people read them. Pure functions; the numbers are
// written as `braid status` writes them. The verdict comes with the status.

export function rate(bps) {
  if (bps >= 1e9) return [(bps / 1e9).toFixed(2), 'Gb/s'];
  if (bps >= 1e6) return [(bps / 1e6).toFixed(1), 'Mb/s'];
  if (bps >= 500) return [(bps / 1e3).toFixed(0), 'kb/s'];
  return ['0', 'kb/s'];
}

export function bytes(n) {
  for (const [unit, size, digits] of [['TB', 1e12, 2], ['GB', 1e9, 2], ['MB', 1e6, 1], ['kB', 1e3, 0]]) {
    if (n >= size) return [(n / size).toFixed(digits), unit];
  }
  return [String(n), 'B'];
}

export function milliseconds(ms) {
  if (!ms) return ['–', ''];
  return [ms >= 99.95 ? ms.toFixed(0) : ms.toFixed(1), 'ms'];
}

export function percent(p) {
  return [p.toFixed(1), '%'];
}

export function count(n) {
  return n >= 1e6 ? (n / 1e6).toFixed(1) + ' M' : n >= 1e4 ? (n / 1e3).toFixed(0) + ' k' : String(n);
}

// age writes seconds in two units at most: "5s", "3m", "2h05m", "12d".
export function age(s) {
  s = Math.max(0, Math.floor(s));
  if (s < 60) return s + 's';
  if (s < 3600) return Math.floor(s / 60) + 'm';
  if (s < 48 * 3600) return Math.floor(s / 3600) + 'h' + String(Math.floor(s / 60) % 60).padStart(2, '0') + 'm';
  return Math.floor(s / 86400) + 'd';
}

export function text(pair) {
  return pair.join(' ').trim();
}

export function sum(list, of) {
  return list.reduce((n, x) => n + of(x), 0);
}

// look is the shape and the colour of an uplink's state: up, standby, probing,
// late, dead, quarantined or off.
export function look(uplink) {
  if (uplink.state === 'up' && uplink.use && uplink.use !== 'active') return 'standby';
  return uplink.state;
}

// stateText is an uplink's state in words.
export function stateText(uplink) {
  return look(uplink) === 'standby' ? 'standby' : uplink.state;
}

// roleText is an uplink's role, and the configured one if that is another.
export function roleText(uplink) {
  if (uplink.configured_role && uplink.role !== uplink.configured_role) return uplink.role + ', configured ' + uplink.configured_role;
  return uplink.role;
}

// ceiling writes a rate of round numbers: of the graph's lines.
export function ceiling(bps) {
  const [number, unit] = rate(bps);
  return number.replace(/\.0+$/, '') + ' ' + unit;
}

// gain is that of a status as a number, and what it is beside.
export function gain(g) {
  if (!g.factor) return { number: '–', text: g.text };
  const number = '×' + g.factor.toFixed(1);
  return { number, text: g.factor > 1 ? 'against ' + text(rate(g.alone_bps)) + ', the most of ' + g.uplink + ' alone' : g.text };
}

// doubt is whether an event is that an answer was late, and came: it happens every
// now and then, and means nothing by itself.
export function doubt(event) {
  return event.to === 'late' || (event.from === 'late' && event.to === 'up');
}

// sentence is a reason as a sentence.
export function sentence(reason) {
  if (!reason) return '';
  const first = reason.charAt(0).toUpperCase() + reason.slice(1);
  return /[.!?]$/.test(first) ? first : first + '.';
}
