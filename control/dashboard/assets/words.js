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

// gain compares what all uplinks move now with the most that the fastest one that
// works was seen to move by itself, in the direction in which more moves.
export function gain(uplinks) {
  const work = uplinks.filter((u) => ['up', 'late', 'quarantined'].includes(u.state));
  if (work.length < 2) return { number: '–', text: work.length ? 'one uplink works' : 'no uplink works' };
  const down = sum(work, (u) => u.rx_bps) >= sum(work, (u) => u.tx_bps);
  const total = sum(work, (u) => (down ? u.rx_bps : u.tx_bps));
  let best = 0, fastest = '';
  for (const u of work) {
    const alone = down ? Math.max(u.rx_bps, u.deliver_rx_bps) : Math.max(u.tx_bps, u.deliver_tx_bps);
    if (alone > best) [best, fastest] = [alone, u.interface];
  }
  if (total < 100e3) return { number: '–', text: 'next to nothing moves now' };
  const factor = total / best;
  if (factor < 1.05) return { number: '×1.0', text: 'now one uplink would do: ' + fastest + ' has ' + text(rate(best)) };
  return { number: '×' + factor.toFixed(1), text: 'against ' + text(rate(best)) + ', the most of ' + fastest + ' alone' };
}

// verdict is the whole in one line: how serious it is (good, held, warn, bad), the
// shape for it, and the words.
export function verdict(status) {
  if (status.role === 'server') return serverVerdict(status);
  const v = sessionVerdict(status.session, status.uplinks);
  if (status.session.state !== 'up' && status.kill_switch) v.text += ' The kill switch blocks what would leave beside the tunnel.';
  return v;
}

// sessionVerdict judges a session with its state, reason and mptcp. An uplink that is
// late is up or dead in a moment, so it is no fault yet.
function sessionVerdict(session, uplinks) {
  const of = (is) => uplinks.filter(is).map((u) => u.interface);
  const say = (list, one, many) => names(list) + ' ' + (list.length > 1 ? many : one);
  const why = (list) => (list.length === 1 ? sentence(uplinks.find((u) => u.interface === list[0]).reason) + ' ' : '');
  if (session.state !== 'up') {
    return { level: 'bad', shape: 'dead', title: 'Not connected', text: sentence(session.reason || 'no server has answered yet') };
  }
  const works = (u) => u.state === 'up' || u.state === 'late';
  const empty = of((u) => works(u) && u.use === 'active' && u.subflows === 0 && u.reason);
  const carry = of((u) => (works(u) || u.state === 'quarantined') && (u.use || 'active') === 'active' && !empty.includes(u.interface));
  const dead = of((u) => u.state === 'dead'), held = of((u) => u.state === 'quarantined'), probing = of((u) => u.state === 'probing');
  const carries = carry.length > 1 ? names(carry) + ' carry together.' : carry.length ? carry[0] + ' carries alone.' : 'No uplink carries.';
  const level = carry.length ? 'warn' : 'bad';
  if (dead.length) return { level, shape: 'dead', title: say(dead, 'is dead', 'are dead'), text: why(dead) + carries };
  if (!session.mptcp) {
    return { level, shape: 'late', title: 'One uplink only', text: 'The connection is plain TCP: something on the way takes Multipath TCP out.' };
  }
  if (empty.length) return { level, shape: 'late', title: say(empty, 'carries', 'carry') + ' nothing', text: why(empty) + carries };
  if (probing.length) return { level, shape: 'probing', title: say(probing, 'is', 'are') + ' being tried', text: why(probing) + carries };
  if (!carry.length) return { level, shape: 'late', title: 'No uplink carries', text: 'Connected, and no uplink is in use.' };
  if (held.length) {
    return { level: 'held', shape: 'quarantined', title: say(held, 'is', 'are') + ' quarantined', text: 'Nothing would be faster with ' + (held.length > 1 ? 'them. ' : 'it. ') + carries };
  }
  return { level: 'good', shape: 'up', title: 'All well', text: carries };
}

// serverVerdict judges a server: clients that are away are no fault.
function serverVerdict(s) {
  const title = s.clients_up + ' of ' + s.clients_total + (s.clients_total === 1 ? ' client' : ' clients') + ' connected';
  const faults = s.clients
    .filter((c) => c.state === 'up')
    .map((c) => [c.name, sessionVerdict(c, c.uplinks)])
    .filter(([, v]) => v.level === 'warn' || v.level === 'bad');
  if (faults.length === 0) return { level: 'good', shape: s.clients_up ? 'up' : 'standby', title, text: s.clients_up ? 'All is well with them.' : 'The server waits for them.' };
  const words = faults.slice(0, 3).map(([name, v]) => name + ': ' + v.title + '.');
  if (faults.length > 3) words.push('And ' + (faults.length - 3) + ' more have a fault.');
  return { level: 'warn', shape: faults[0][1].shape, title, text: words.join(' ') };
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
