// The card of one client of a server.

import { field, list, make, quantity, say, shape, show, stateIcon, tableRow } from './dom.js';
import * as words from './words.js';

export function showClientCard(card, c, color) {
  const f = (name) => field(card, name);
  const up = c.state === 'up';
  card.dataset.client = c.name;
  card.dataset.state = c.state;
  card.querySelector('.swatch').className = 'swatch ' + (up ? color : 'none');
  say(f('name'), c.name);
  shape(card.querySelector('svg'), up ? 'up' : 'off');
  say(f('state'), up ? 'connected' : 'not connected');
  show(card.querySelector('.rates'), up);
  quantity(f('rx'), words.rate(words.sum(c.uplinks, (u) => u.rx_bps)), '←');
  quantity(f('tx'), words.rate(words.sum(c.uplinks, (u) => u.tx_bps)), '→');
  const about = [(c.addresses || []).map((a) => a.split('/')[0]).join(' ')];
  if (up) {
    about.push('since ' + new Date(c.since).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short', hour12: false }));
    about.push(c.streams.open + (c.streams.open === 1 ? ' stream' : ' streams'));
    if (!c.mptcp) about.push('plain TCP: one uplink only');
  }
  say(f('about'), about.filter((a) => a).join(', '));
  show(card.querySelector('table'), c.uplinks.length > 0 && up);
  list(f('uplinks'), c.uplinks, (u) => u.interface, uplinkRow, (row, u) => {
    const [name, state, rtt, loss, tx, rx] = row.children;
    row.dataset.uplink = u.interface;
    row.dataset.look = words.look(u);
    say(name, u.interface);
    shape(state.firstChild, words.look(u));
    say(state.lastChild, words.stateText(u) + (u.reason ? ': ' + u.reason : ''));
    quantity(rtt, words.milliseconds(u.rtt_ms));
    quantity(loss, words.percent(u.loss_pct));
    quantity(rx, words.rate(u.rx_bps));
    quantity(tx, words.rate(u.tx_bps));
  });
}

function uplinkRow() {
  const head = make('th');
  head.scope = 'row';
  const state = make('td', 'state-cell');
  state.append(stateIcon('off'), make('span'));
  return tableRow(head, state, ...[1, 2, 3, 4].map(() => make('td', 'num')));
}
