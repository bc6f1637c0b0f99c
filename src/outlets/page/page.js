// The status page. No library, nothing from elsewhere. Text from the hub goes in as text, never as markup.

const byId = id => document.getElementById(id);
const number = new Intl.NumberFormat();
const FEED_LENGTH = 50;

let authorization = sessionStorage.getItem('authorization');
let session = null; // Aborts everything that belongs to the present sign-in.

class Refused extends Error {
  constructor(status) {
    super(`the hub answered ${status}`);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (authorization) headers.Authorization = authorization;
  // The browser's own credentials and its dialog stay out of it.
  const response = await fetch(path, { ...options, headers, credentials: 'omit', cache: 'no-store', signal: session?.signal });
  if (!response.ok) throw new Refused(response.status);
  return response;
}

const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));

// ---- signing in ----

function showSignIn(text) {
  session?.abort();
  session = null;
  authorization = null;
  sessionStorage.removeItem('authorization');
  byId('all').hidden = true;
  byId('sign-out').hidden = true;
  byId('sign-in').hidden = false;
  byId('sign-in-error').textContent = text;
  state('signed out', '');
}

byId('sign-in').addEventListener('submit', event => {
  event.preventDefault();
  const name = byId('name').value;
  const secret = byId('secret').value;
  const bytes = new TextEncoder().encode(`${name}:${secret}`);
  authorization = name ? `Basic ${btoa(String.fromCharCode(...bytes))}` : `Bearer ${secret}`;
  byId('secret').value = '';
  start(true);
});

byId('sign-out').addEventListener('click', () => showSignIn(''));

// ---- numbers ----

function state(text, kind) {
  byId('state').textContent = text;
  byId('state').className = `pill ${kind}`;
}

function age(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

const heads = []; // [milliseconds, epoch, head] of the last minute.

function rate(status) {
  const now = performance.now();
  const last = heads.at(-1);
  if (last && last[1] !== status.epoch) heads.length = 0;
  heads.push([now, status.epoch, status.head]);
  while (now - heads[0][0] > 60_000 && heads.length > 2) heads.shift();
  return status.head - heads[0][2];
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showStatus(status) {
  const live = Object.values(status.live).reduce((sum, n) => sum + n, 0);
  byId('live').textContent = number.format(live);
  byId('tombstones').textContent = status.tombstones ? `and ${number.format(status.tombstones)} lifted` : 'in force now';
  byId('head').textContent = number.format(status.head);
  byId('epoch').textContent = status.epoch ?? '–';
  byId('rate').textContent = number.format(rate(status));
  byId('staleness').textContent = status.staleness === undefined ? '–' : age(status.staleness);
  byId('store').textContent = status.store === 'answers' ? 'the store answers' : 'the store does not answer';
  byId('store').className = status.store === 'answers' ? 'quiet' : 'quiet bad';
  byId('feed-stale').hidden = status.store === 'answers';
  byId('streams').textContent = number.format(status.streams);
  byId('version').textContent = `revocation-hub ${status.version}`;
  byId('kinds').replaceChildren(...Object.entries(status.live).map(([kind, n]) => {
    const row = element('div');
    row.append(element('dt', kind.replace('_', ' ')), element('dd', number.format(n)));
    return row;
  }));
  state(status.ready ? 'ready' : `not ready: ${status.reason}`, status.ready ? 'good' : 'bad');
}

function showLinks(links) {
  byId('links').replaceChildren(...links.map(([direction, link]) => {
    const row = element('tr');
    const last = link.last_success ? new Date(link.last_success * 1000).toLocaleString() : 'never';
    const kind = { connected: 'good', serving: 'good', standby: 'good', connecting: 'wait' }[link.state] ?? 'bad';
    const cell = (label, text, className) => {
      const made = element('td', text, className);
      made.dataset.label = label; // Where there is no room for a heading, each cell has its own.
      return made;
    };
    row.append(cell('name', `${direction} ${link.name}`), cell('kind', link.kind), cell('state', link.state, kind), cell('last delivered', last));
    row.append(cell('delivered', number.format(link.delivered), 'n'), cell('failures', number.format(link.failures), 'n'));
    if (link.last_error) row.title = link.last_error;
    return row;
  }));
  byId('no-links').hidden = links.length > 0;
  byId('links').closest('table').hidden = links.length === 0;
}

async function watchNumbers(signal) {
  let round = 0;
  while (!signal.aborted) {
    try {
      showStatus(await (await ask('/v1/status')).json());
      if (round++ % 3 === 0) {
        const [sources, outlets] = await Promise.all(['sources', 'outlets'].map(async what => (await (await ask(`/v1/${what}`)).json())[what]));
        showLinks([...sources.map(link => ['←', link]), ...outlets.map(link => ['→', link])]);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) return showSignIn('These credentials are not accepted any more.');
      state('no answer from the hub', 'bad');
    }
    await pause(2000);
  }
}

// ---- the live feed: the hub's own event stream, read with fetch so that it can carry credentials ----

function showLine(name, className, text) {
  const line = element('li');
  line.append(element('time', new Date().toLocaleTimeString()), element('span', name, className), element('code', text));
  const feed = byId('feed');
  feed.prepend(line);
  while (feed.children.length > FEED_LENGTH) feed.lastChild.remove();
  byId('feed-empty').hidden = true;
}

function showEvent(name, event) {
  const { kind, ...rest } = event;
  const members = ['jti', 'sha256', 'sig', 'sid', 'sub', 'client_id', 'kid', 'iss'];
  const what = members.filter(member => rest[member] !== undefined).map(member => `${member}=${rest[member]}`).join(' ');
  showLine(name, name === 'revoked' ? 'bad' : 'good', `${kind} ${what}${rest.reason ? ` – ${rest.reason}` : ''}`);
}

async function watchEvents(signal) {
  let cursor = null;
  while (!signal.aborted) {
    try {
      const response = await ask('/v1/events', { headers: cursor ? { 'Last-Event-ID': cursor } : {} });
      byId('feed-state').textContent = '';
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ''; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const frames = (rest + value).split('\n\n');
        rest = frames.pop();
        for (const frame of frames) {
          const fields = Object.fromEntries(frame.split('\n').filter(line => !line.startsWith(':')).map(line => {
            const at = line.indexOf(':');
            return [line.slice(0, at), line.slice(at + 1).replace(/^ /, '')];
          }));
          if (fields.id) cursor = fields.id;
          if (fields.event === 'revoked' || fields.event === 'lifted') showEvent(fields.event, JSON.parse(fields.data));
          if (fields.event === 'reset') showLine('reset', 'wait', 'the log is another one now; gateways load their lists again');
        }
      }
    } catch {
      if (signal.aborted) return;
    }
    byId('feed-state').textContent = '– interrupted, coming back';
    await pause(1000 + Math.random() * 2000);
  }
}

// ---- is it revoked? ----

// The bytes of strict base64url, or null: a browser's own reader takes several spellings for one.
function strictBytes(part) {
  if (!/^[A-Za-z0-9_-]*$/.test(part) || part.length % 4 === 1) return null;
  const text = atob(part.replaceAll('-', '+').replaceAll('_', '/'));
  const again = btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return again === part ? Uint8Array.from(text, c => c.charCodeAt(0)) : null;
}

function readObject(part) {
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(strictBytes(part)));
    return value && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

// The claims of a JWT; null for what is an opaque token to everybody. What only looks like a JWT is neither: the hub would
// refuse it, and "not revoked" would be said of another text.
function readJwt(text) {
  const parts = text.split('.');
  const strict = parts.every(part => strictBytes(part));
  const header = readObject(parts[0].replaceAll('=', '').replaceAll('+', '-').replaceAll('/', '_'));
  const begins = parts.length > 1 && (typeof header?.alg === 'string' || (parts.length === 3 && text.startsWith('eyJ')));
  if (!begins) return null;
  if (strict && parts.length === 5 && header.enc && parts[3] && parts[4]) return null;
  const payload = strict && parts.length === 3 ? readObject(parts[1]) : null;
  const texts = ['jti', 'iss', 'sub', 'sid', 'client_id', 'azp', 'appid'];
  if (!payload || typeof header?.alg !== 'string'
    || texts.some(name => payload[name] != null && typeof payload[name] !== 'string')) {
    throw new Error('This looks like a JWT, but is not spelt as one. Nothing was asked.');
  }
  return { header, payload, input: `${parts[0]}.${parts[1]}` };
}

async function sha256(text) {
  // Browsers hash only on pages that came by HTTPS or from this machine.
  if (!crypto.subtle) throw new Error('This browser hashes only on a page that came by HTTPS. Nothing was sent.');
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map(byte => byte.toString(16).padStart(2, '0')).join('');
}

// What stands in the field; people also paste a whole Authorization header.
const pasted = () => byId('token').value.trim().replace(/^(authorization:\s*)?(bearer|dpop)\s+/i, '');

// What to ask of a text, and what it was read as. An opaque token can look like a jti, so people say which it is. A JWT is one
// whatever they say: it must not get into the address of a request, where proxies and logs see it.
async function question(text, isToken) {
  const jwtish = text.startsWith('eyJ') || readJwt(text);
  if (!isToken && !jwtish) return ['a jti', new URLSearchParams({ jti: text })];
  const jwt = readJwt(text);
  // Half a JWT would be not revoked, and that would mean nothing.
  const read = jwtish ? 'an opaque token; it looks like the beginning of a JWT' : 'an opaque token';
  if (!jwt) return [read, new URLSearchParams({ sha256: await sha256(text) })];
  const { header, payload } = jwt;
  const query = new URLSearchParams();
  const say = (name, value) => { if (typeof value === 'string' && value) query.set(name, value); };
  say('jti', payload.jti);
  if (!query.has('jti')) query.set('sha256', await sha256(jwt.input));
  for (const name of ['iss', 'sub', 'sid']) say(name, payload[name]);
  say('client_id', payload.client_id ?? payload.azp ?? payload.appid);
  say('kid', header.kid);
  if (Number.isFinite(payload.iat)) query.set('iat', String(Math.floor(payload.iat)));
  return ['a JWT', query];
}

byId('check').addEventListener('submit', async event => {
  event.preventDefault();
  const answer = byId('answer');
  byId('by').hidden = true;
  answer.className = '';
  answer.textContent = '…';
  try {
    const [what, query] = await question(pasted(), byId('what').value === 'token');
    const { revoked, by } = await (await ask(`/v1/check?${query}`)).json();
    answer.textContent = `${revoked ? 'Revoked' : 'Not revoked'} (read as ${what})`;
    answer.className = revoked ? 'bad' : 'good';
    byId('by').textContent = JSON.stringify(by, null, 2);
    byId('by').hidden = !revoked;
  } catch (error) {
    answer.textContent = error.message;
    answer.className = 'bad';
  }
});

// ---- the whole ----

async function start(asked) {
  session?.abort();
  session = new AbortController();
  const { signal } = session;
  for (; !signal.aborted; await pause(2000)) {
    try {
      showStatus(await (await ask('/v1/status')).json());
      break;
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return showSignIn(asked ? 'The hub does not know these credentials.' : '');
      if (error.status === 403) return showSignIn('This client may not read.');
      state('no answer from the hub', 'bad');
    }
  }
  if (authorization) sessionStorage.setItem('authorization', authorization);
  byId('sign-in').hidden = true;
  byId('sign-out').hidden = !authorization;
  byId('all').hidden = false;
  watchNumbers(signal);
  watchEvents(signal);
}

start(false);
