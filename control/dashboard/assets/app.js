// The page: lets in who has the token, follows the daemon's status, and shows it.

import { field, say, show } from './dom.js';
import { History } from './history.js';
import { Page } from './page.js';

const history = new History();
const page = new Page(document, history);
let events; // the stream of statuses
let heard = 0; // when the last one came, by performance.now()

async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    // It is to stay neither in the address bar nor in the browser's history.
    window.history.replaceState(null, '', location.pathname);
    await login(given);
  }
  await load();
}

// load gets the hour before, and then follows.
async function load() {
  let answer;
  try {
    answer = await fetch('api/history');
  } catch {
    setTimeout(load, 1000);
    return;
  }
  if (answer.status === 401) {
    askToken();
    return;
  }
  if (!answer.ok) {
    setTimeout(load, 1000);
    return;
  }
  history.load(await answer.json());
  show(document.getElementById('login'), false);
  follow();
}

function follow() {
  events = new EventSource('api/events');
  events.onmessage = (e) => {
    const status = JSON.parse(e.data);
    heard = performance.now();
    page.show(status, Date.now() / 1000);
    pulse();
  };
  events.onerror = () => {
    // A daemon that was away has another hour to tell, or wants another token.
    events.close();
    pulse();
    setTimeout(load, 1000);
  };
}

async function login(token) {
  const answer = await fetch('login', { method: 'POST', body: new URLSearchParams({ token }) });
  if (answer.ok) return true;
  say(document.querySelector('.wrong'), await answer.text());
  return false;
}

function askToken() {
  const form = document.getElementById('login');
  show(document.getElementById('page'), false);
  show(form, true);
  say(field(document, 'pulse'), 'token needed');
  form.token.focus();
  form.onsubmit = async (e) => {
    e.preventDefault();
    if (await login(form.token.value.trim())) {
      form.reset();
      await load();
    }
  };
}

// pulse says whether what is shown is of now.
function pulse() {
  const seconds = (performance.now() - heard) / 1000;
  const live = heard > 0 && seconds < 4;
  document.body.classList.toggle('stale', heard > 0 && !live);
  if (heard > 0 && !live) page.lost();
  if (!document.getElementById('login').hidden) return;
  const words = live ? 'live' : heard > 0 ? 'no answer' : 'connecting';
  const element = field(document, 'pulse');
  element.dataset.live = live;
  say(element, words);
}

setInterval(pulse, 1000);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => page.redraw());
new ResizeObserver(() => page.redraw()).observe(document.getElementById('hour'));
begin();
