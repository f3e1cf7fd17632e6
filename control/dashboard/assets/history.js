// The rates of the last hour: what the daemon kept before the page was opened, and
// what the page has seen since, in the daemon's steps.

const points = 1800;

export class History {
  constructor() {
    this.stepS = 2;
    this.endS = 0;
    this.series = new Map(); // name → { rx, tx }, the latest last
  }

  // load takes the daemon's answer of /api/history.
  load(hour) {
    this.stepS = hour.step_s;
    this.endS = hour.end_s;
    this.series.clear();
    for (const s of hour.series) this.series.set(s.name, { rx: s.rx_bps, tx: s.tx_bps });
  }

  // add takes rates at a time, in seconds since 1970: a map of name to [rx, tx].
  add(nowS, rates) {
    const end = (Math.floor(nowS / this.stepS) + 1) * this.stepS;
    let steps = Math.round((end - this.endS) / this.stepS);
    if (steps < 0 || steps > points) {
      this.series.clear(); // the clock was set
      steps = 0;
    }
    this.endS = end;
    for (const s of this.series.values()) {
      for (let i = 0; i < steps; i++) {
        s.rx.push(-1);
        s.tx.push(-1);
      }
      if (s.rx.length > points) {
        s.rx = s.rx.slice(-points);
        s.tx = s.tx.slice(-points);
      }
    }
    for (const [name, [rx, tx]] of rates) {
      let s = this.series.get(name);
      if (!s) this.series.set(name, (s = { rx: [-1], tx: [-1] }));
      s.rx[s.rx.length - 1] = rx;
      s.tx[s.tx.length - 1] = tx;
    }
  }

  // known is for how many points something is known, at least the least.
  known(least) {
    let n = least;
    for (const s of this.series.values()) n = Math.max(n, s.rx.length);
    return Math.min(n, points);
  }

  of(name, last) {
    const s = this.series.get(name);
    return s ? { rx: s.rx.slice(-last), tx: s.tx.slice(-last) } : { rx: [], tx: [] };
  }
}
