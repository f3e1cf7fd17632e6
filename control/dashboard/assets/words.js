// What the page says: numbers as people read them, and the verdict on a status.
// Pure functions; the numbers are written as `braid status` writes them.

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

// names joins names: "dsl, lte and wlan0".
export function names(list) {
  if (list.length < 2) return list.join('');
  return list.slice(0, -1).join(', ') + ' and ' + list[list.length - 1];
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

// gain compares what all uplinks move now with the most that the fastest one was
// seen to move by itself, in the direction in which more moves.
export function gain(uplinks) {
  const rx = sum(uplinks, (u) => u.rx_bps), tx = sum(uplinks, (u) => u.tx_bps);
  const down = rx >= tx, total = down ? rx : tx;
  let best = 0, fastest = '';
  for (const u of uplinks) {
    const alone = down ? Math.max(u.rx_bps, u.deliver_rx_bps) : Math.max(u.tx_bps, u.deliver_tx_bps);
    if (alone > best) [best, fastest] = [alone, u.interface];
  }
  if (total < 500e3 || best === 0) return { number: '–', text: 'little moves now' };
  const factor = total / best;
  if (factor < 1.05) return { number: '×1.0', text: 'now one uplink would do: ' + fastest + ' has ' + text(rate(best)) };
  return { number: '×' + factor.toFixed(1), text: 'against ' + text(rate(best)) + ', the most of ' + fastest + ' alone' };
}

// verdict is the whole in one line: how serious it is (good, warn, bad), the shape
// for it, and the words.
export function verdict(status) {
  return status.role === 'server' ? serverVerdict(status) : clientVerdict(status);
}

function clientVerdict(s) {
  if (s.session.state !== 'up') {
    const blocked = s.kill_switch ? ' The kill switch blocks what would leave beside the tunnel.' : '';
    return { level: 'bad', shape: 'dead', title: 'Not connected', text: sentence(s.session.reason || 'no server has answered yet') + blocked };
  }
  const of = (state) => s.uplinks.filter((u) => look(u) === state).map((u) => u.interface);
  const up = of('up'), dead = of('dead'), late = of('late'), probing = of('probing'), held = of('quarantined');
  const carry = up.length > 1 ? names(up) + ' carry together.' : up.length === 1 ? up[0] + ' carries alone.' : 'No uplink carries.';
  const say = (list, one, many) => names(list) + ' ' + (list.length > 1 ? many : one);
  if (dead.length) {
    const why = dead.length === 1 ? sentence(s.uplinks.find((u) => u.interface === dead[0]).reason) + ' ' : '';
    return { level: up.length ? 'warn' : 'bad', shape: 'dead', title: say(dead, 'is dead', 'are dead'), text: why + carry };
  }
  if (late.length) return { level: 'warn', shape: 'late', title: say(late, 'is late to answer', 'are late to answer'), text: carry };
  if (!s.session.mptcp) {
    return { level: 'warn', shape: 'late', title: 'One uplink only', text: 'The connection is plain TCP: something on the way takes Multipath TCP out.' };
  }
  if (held.length) return { level: 'warn', shape: 'quarantined', title: say(held, 'is', 'are') + ' quarantined', text: 'Nothing would be faster with ' + (held.length > 1 ? 'them. ' : 'it. ') + carry };
  if (probing.length) return { level: 'good', shape: 'probing', title: 'Connected', text: say(probing, 'is', 'are') + ' being tried. ' + carry };
  return { level: 'good', shape: 'up', title: up.length > 1 ? 'All well' : 'Connected', text: carry };
}

function serverVerdict(s) {
  const troubled = s.clients.filter((c) => c.state === 'up' && c.uplinks.some((u) => u.state === 'dead')).map((c) => c.name);
  const title = s.clients_up + ' of ' + s.clients_total + (s.clients_total === 1 ? ' client' : ' clients') + ' connected';
  if (troubled.length) return { level: 'warn', shape: 'dead', title, text: names(troubled) + (troubled.length > 1 ? ' have' : ' has') + ' a dead uplink.' };
  return { level: 'good', shape: s.clients_up ? 'up' : 'standby', title, text: s.clients_up ? 'All their uplinks answer.' : 'The server waits for them.' };
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
