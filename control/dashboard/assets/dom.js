// Small helpers for the document. Text is always set as text, never as HTML.

// field returns the element with data-f=name below root.
export function field(root, name) {
  return root.querySelector('[data-f="' + name + '"]');
}

// say sets an element's text if it is another one, so that a screen reader is told
// of changes alone.
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

// quantity shows a number and its unit, each on a place of its own.
export function quantity(element, [number, unit], mark) {
  if (element.childElementCount === 0) {
    element.replaceChildren(make('span', 'mark'), make('span', 'n'), make('span', 'u'));
  }
  const [m, n, u] = element.children;
  say(m, mark || '');
  say(n, number);
  say(u, unit ? '\u202f' + unit : '');
}

export function make(tag, className, words) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (words !== undefined) e.textContent = words;
  return e;
}

// tableRow makes a row of cells, the first of which may be its heading. Rows are laid
// out as grids on phones, after which browsers need the roles.
export function tableRow(...cells) {
  const row = make('tr');
  row.setAttribute('role', 'row');
  for (const c of cells) c.setAttribute('role', c.scope === 'row' ? 'rowheader' : 'cell');
  row.append(...cells);
  return row;
}

export function show(element, is) {
  if (element.hidden === is) element.hidden = !is;
}

// shape sets the symbol of a state.
export function shape(svg, name) {
  const use = svg.firstElementChild;
  if (use.getAttribute('href') !== '#' + name) use.setAttribute('href', '#' + name);
  svg.dataset.look = name;
}

export function stateIcon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.classList.add('state');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS('http://www.w3.org/2000/svg', 'use'));
  shape(svg, name);
  return svg;
}

// list makes one element of each item of a list, keeps those that were there before
// by their keys, and the order of the list.
export function list(parent, items, key, create, update) {
  const before = parent.known || new Map(), now = new Map();
  let place = parent.firstElementChild;
  items.forEach((item, i) => {
    const k = key(item, i);
    const e = before.get(k) || create(item);
    before.delete(k);
    now.set(k, e);
    update(e, item);
    if (e === place) place = place.nextElementSibling;
    else parent.insertBefore(e, place);
  });
  for (const e of before.values()) e.remove();
  parent.known = now;
}

export function stamp(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}
