// The page for a status: the head and the graph of both kinds of daemon, and what
// is a client's or a server's alone.

import { draw } from './graph.js';
import { field, list, make, quantity, say, shape, show, stamp, stateIcon, tableRow } from './dom.js';
import { showClientCard } from './clientcard.js';
import { showUplink } from './uplink.js';
import * as words from './words.js';

const sparkPoints = 60; // two minutes
const leastPoints = 30; // of the large graph, which grows to an hour
const fewEvents = 8;
const colors = 8;

export class Page {
  constructor(root, history) {
    this.root = root;
    this.history = history;
    this.colors = new Map(); // a name's colour, which it keeps
    this.status = null;
    const more = this.f('events-more');
    more.onclick = () => {
      this.allEvents = !this.allEvents;
      say(more, this.allEvents ? 'Show fewer' : 'Show all');
      this.events(this.status);
    };
  }

  f(name) {
    return field(this.root, name);
  }

  color(name) {
    if (!this.colors.has(name)) this.colors.set(name, 'c' + (this.colors.size % colors));
    return this.colors.get(name);
  }

  // show shows a status that was true at nowS, in seconds since 1970.
  show(status, nowS) {
    this.status = status;
    const server = status.role === 'server';
    const parts = server
      ? status.clients.filter((c) => c.state === 'up').map((c) => [c.name, c.uplinks])
      : status.uplinks.map((u) => [u.interface, [u]]);
    this.history.add(nowS, parts.map(([name, uplinks]) => [name, [words.sum(uplinks, (u) => u.rx_bps), words.sum(uplinks, (u) => u.tx_bps)]]));

    show(document.getElementById('page'), true);
    this.head(status, server);
    this.uplinks(server ? null : status);
    this.clients(server ? status : null);
    this.streams(server ? null : status.streams);
    this.packets(server ? null : status.packet_lane);
    this.events(server ? null : status);
    this.facts(status, server);
    this.redraw();
  }

  // lost says that what is shown is not of now.
  lost() {
    this.verdict({ level: 'bad', about: 'dead', title: 'braid does not answer', text: 'It was stopped, or cannot be reached from here. Shown is what it said last.' });
  }

  verdict(v) {
    const box = this.f('verdict');
    box.dataset.level = v.level;
    shape(box.querySelector('svg'), v.about);
    say(this.f('verdict-title'), v.title);
    say(this.f('verdict-text'), v.text);
    document.title = (v.level === 'warn' || v.level === 'bad' ? '! ' : '') + v.title + ' – braid';
  }

  head(s, server) {
    const blocked = !server && s.session.state !== 'up' && s.kill_switch ? ' The kill switch blocks what would leave beside the tunnel.' : '';
    this.verdict({ ...s.verdict, text: words.sentence(s.verdict.text) + blocked });
    const where = server ? 'server on ' + s.listen.join(' ') : s.session.server ? 'to ' + s.session.server + (s.session.state === 'up' ? (s.session.mptcp ? ', Multipath TCP' : ', plain TCP') : '') : '';
    say(this.f('where'), where);

    const all = server ? s.clients.flatMap((c) => c.uplinks) : s.uplinks;
    // What a client downloads comes first, also where that is sent.
    const [first, second] = server ? ['tx_bps', 'rx_bps'] : ['rx_bps', 'tx_bps'];
    say(this.f('first-label'), server ? 'To clients' : 'Down');
    say(this.f('second-label'), server ? 'From clients' : 'Up');
    quantity(this.f('first'), words.rate(words.sum(all, (u) => u[first])), server ? '→' : '↓');
    quantity(this.f('second'), words.rate(words.sum(all, (u) => u[second])), server ? '←' : '↑');
    show(this.f('gain-box'), !server && s.uplinks.length > 1);
    if (!server) {
      const g = words.gain(s.gain);
      say(this.f('gain'), g.number);
      say(this.f('gain-text'), g.text);
    }
  }

  uplinks(s) {
    show(this.f('uplinks-section'), s !== null);
    if (!s) return;
    list(this.f('uplinks'), s.uplinks, (u) => u.interface, () => stamp('uplink-card'), (card, u) => showUplink(card, u, this.color(u.interface)));
  }

  clients(s) {
    show(this.f('clients-section'), s !== null);
    if (!s) return;
    list(this.f('clients'), s.clients, (c) => c.public_key, () => stamp('client-card'), (card, c) => showClientCard(card, c, this.color(c.name)));
    const more = s.clients_total - s.clients.length;
    say(this.f('clients-more'), more > 0 ? 'and ' + more + ' more, which braid status shows' : '');
  }

  streams(s) {
    show(this.f('streams-section'), s !== null);
    if (!s) return;
    const notes = [[s.open, 'open'], [s.waiting, 'waiting'], [s.resumed, 'resumed'], [s.failed, 'failed'], [s.denied, 'denied'], [s.limited, 'over a limit']];
    say(this.f('streams-note'), notes.filter(([n], i) => i === 0 || n > 0).map(([n, what]) => n + ' ' + what).join(', '));
    show(this.root.querySelector('table.streams'), s.list.length > 0);
    list(this.f('streams'), s.list.slice(0, 12), (t) => t.source + t.destination, () => streamRow(), (row, t) => this.stream(row, t));
  }

  stream(row, t) {
    const [to, age, rx, tx, over] = row.children;
    say(to.firstChild, t.destination);
    say(to.lastChild, t.state === 'open' ? '' : ' ' + t.state);
    say(age, words.age(t.age_s));
    quantity(rx, words.rate(t.rx_bps));
    quantity(tx, words.rate(t.tx_bps));
    const shares = t.uplinks.filter((u) => u.share_pct >= 0.5);
    list(over.firstChild, shares, (u) => u.interface, (u) => make('span', this.color(u.interface)), (part, u) => {
      part.style.flexGrow = u.share_pct;
    });
    say(over.lastChild, shares.map((u) => u.share_pct.toFixed(0) + ' % ' + u.interface).join(', '));
  }

  packets(l) {
    show(this.f('packets-section'), l !== null);
    if (!l) return;
    const rows = [['sparse', l.sparse], ['bulk', l.bulk]];
    list(this.f('packets'), rows, ([name]) => name, ([name]) => packetRow(name), (row, [, c]) => {
      const [, waits, worst, sent, dropped] = row.children;
      quantity(waits, words.milliseconds(c.delay_ms));
      quantity(worst, words.milliseconds(c.delay_max_ms));
      say(sent, words.count(c.packets));
      say(dropped, words.count(c.dropped + c.overflowed + c.too_old));
    });
    const copies = l.copies_at_once.sent + l.copies_again.sent, useful = l.copies_at_once.useful + l.copies_again.useful;
    const notes = [[copies, 'copies, ' + words.count(useful) + ' useful'], [l.saved, 'saved by a copy'], [l.resent, 'sent again'], [l.waiting, 'wait for an uplink']];
    say(this.f('packets-note'), notes.filter(([n]) => n > 0).map(([n, what]) => words.count(n) + ' ' + what).join(', '));
  }

  events(s) {
    show(this.f('events-section'), s !== null);
    if (!s) return;
    const all = s.events.slice().reverse();
    const lasting = all.filter((e) => !words.doubt(e)).slice(0, fewEvents);
    list(this.f('events'), this.allEvents ? all : lasting, (e) => e.time + e.uplink + e.to, eventRow, () => {});
    show(this.f('events-more'), all.length > lasting.length);
  }

  facts(s, server) {
    const facts = server
      ? [['Tunnel', s.device], ['Refused connections', String(s.rejected)], ['Packets for nobody', String(s.unroutable)]]
      : [
          ['Tunnel', [s.session.device, ...(s.session.addresses || [])].join(' ')],
          ['Round trip', s.session.rtt_ms ? words.text(words.milliseconds(s.session.rtt_ms)) : ''],
          ['Carriers', s.carriers.bond + ' bond, ' + s.carriers.path + ' path'],
          ['DNS', (s.dns.servers || []).join(' ') || 'not through the tunnel'],
          ['Overflow', s.overflow_reason || ''],
          ['Kill switch', s.kill_switch ? 'closed' : 'off'],
        ];
    list(this.f('facts'), facts.filter(([, what]) => what), ([name]) => name, ([name]) => factRow(name), (row, [, what]) => say(row.lastChild, what));
    say(this.f('version'), s.version);
  }

  // redraw draws the graphs, after a change of what they show, of their size or of
  // colours.
  redraw() {
    const s = this.status;
    if (!s) return;
    const server = s.role === 'server';
    const part = (name, n) => {
      const { rx, tx } = this.history.of(name, n);
      return server ? { above: tx, below: rx } : { above: rx, below: tx };
    };
    const drawn = (n, list) => ({
      series: list.map((name) => ({ color: this.color(name), ...part(name, n) })),
      points: n, stepS: this.history.stepS, endS: this.history.endS,
    });
    const shown = [...this.history.series.keys()];
    const canvas = document.getElementById('hour');
    draw(canvas, { ...drawn(this.history.known(leastPoints), shown), axes: true, belowWord: server ? 'from clients' : 'up' });
    const labels = [...this.root.querySelectorAll('.totals .big')].slice(0, 2).map((e) => e.textContent);
    canvas.setAttribute('aria-label', 'Rates of the last hour at most, stacked by ' + (server ? 'client' : 'uplink') + '. Now ' + labels.join(', '));
    list(this.f('legend'), shown, (name) => name, legendRow, (row, name) => (row.firstChild.className = 'swatch ' + this.color(name)));
    for (const card of this.root.querySelectorAll('.card[data-uplink]')) {
      draw(card.querySelector('canvas'), { ...drawn(sparkPoints, [card.dataset.uplink]), axes: false });
    }
  }
}

function streamRow() {
  const to = make('td', 'to'), over = make('td', 'over');
  to.append(make('span'), make('em'));
  over.append(make('div', 'shares'), make('span', 'note'));
  return tableRow(to, make('td', 'num'), make('td', 'num'), make('td', 'num'), over);
}

function packetRow(name) {
  const head = make('th', '', name);
  head.scope = 'row';
  return tableRow(head, ...[1, 2, 3, 4].map(() => make('td', 'num')));
}

function factRow(name) {
  const row = make('div');
  row.append(make('dt', '', name), make('dd'));
  return row;
}

function legendRow(name) {
  const row = make('li');
  row.append(make('span'), make('span', '', name));
  return row;
}

function eventRow(e) {
  const row = make('li');
  const time = make('time', '', new Date(e.time).toLocaleTimeString([], { hour12: false }));
  time.dateTime = e.time;
  const text = make('span');
  text.append(make('strong', '', e.uplink), ' ' + (e.to ? 'is ' + e.to : 'is gone'), make('span', 'note', e.reason ? ': ' + e.reason : ''));
  row.append(time, stateIcon(e.to || 'off'), text);
  return row;
}
