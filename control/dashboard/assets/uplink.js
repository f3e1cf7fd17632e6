// The card of one uplink of a client.

import { field, quantity, say, shape, show } from './dom.js';
import * as words from './words.js';

export function showUplink(card, u, color) {
  const f = (name) => field(card, name);
  card.dataset.uplink = u.interface;
  card.dataset.state = u.state;
  card.dataset.look = words.look(u);
  card.querySelector('.swatch').className = 'swatch ' + color;
  say(f('name'), u.interface);
  say(f('role'), words.roleText(u));
  shape(card.querySelector('svg'), words.look(u));
  say(f('state'), words.stateText(u));
  say(f('reason'), words.sentence(u.reason));
  show(f('reason'), u.reason !== '');
  quantity(f('rx'), words.rate(u.rx_bps), '↓');
  quantity(f('tx'), words.rate(u.tx_bps), '↑');
  quantity(f('rtt'), words.milliseconds(u.rtt_ms));
  quantity(f('jitter'), words.milliseconds(u.jitter_ms));
  quantity(f('loss'), words.percent(u.loss_pct));
  quantity(f('best'), u.deliver_rx_bps ? words.rate(u.deliver_rx_bps) : ['–', ''], u.deliver_rx_bps ? '↓' : '');
  quantity(f('best-up'), u.deliver_tx_bps ? words.rate(u.deliver_tx_bps) : ['', ''], u.deliver_tx_bps ? '↑' : '');
  quantity(f('bytes'), words.bytes(u.rx_bytes + u.tx_bytes));
  say(f('deaths'), u.deaths === 0 ? 'never' : u.deaths === 1 ? 'once' : u.deaths + ' times');
  const spark = card.querySelector('canvas');
  spark.setAttribute('aria-label', 'Rates of ' + u.interface + ' over two minutes');
  show(f('cap'), u.cap_bytes > 0);
  if (u.cap_bytes > 0) {
    const used = (100 * u.cap_used_bytes) / u.cap_bytes;
    const bar = f('cap').querySelector('progress');
    bar.value = Math.min(100, used);
    bar.className = used >= 100 ? 'full' : used >= 90 ? 'near' : '';
    say(f('cap-text'), used.toFixed(0) + ' % of ' + words.text(words.bytes(u.cap_bytes)) + ' used, anew on ' + new Date(u.cap_resets).toLocaleDateString([], { day: 'numeric', month: 'short' }));
  }
}
