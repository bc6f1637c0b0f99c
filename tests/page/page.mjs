// The status page in a real Chromium: node page.mjs URL CHROMIUM FOLDER. Screenshots go to FOLDER.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import puppeteer from 'puppeteer-core';

const [url, executablePath, folder] = process.argv.slice(2);
const hour = Math.floor(Date.now() / 1000) + 3600;

async function revoke(body) {
  const response = await fetch(`${url}/v1/revocations`, {
    method: 'POST',
    headers: { Authorization: 'Bearer sts-token', 'Content-Type': 'application/json' },
    body: JSON.stringify({ exp: hour, ...body }),
  });
  const text = await response.text();
  assert.ok(response.ok, text);
  return JSON.parse(text).id;
}

async function lift(id) {
  const response = await fetch(`${url}/v1/revocations/${id}`, { method: 'DELETE', headers: { Authorization: 'Bearer sts-token' } });
  assert.ok(response.ok, await response.text());
}

// Beside the hub, in its database.
function sql(statement) {
  const program = 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1], 30); db.execute(sys.argv[2]); db.commit()';
  execFileSync('python3', ['-c', program, `${folder}/page.db`, statement]);
}

const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = (payload, header = { alg: 'ES256', kid: 'key-1' }) => `${encode(header)}.${encode(payload)}.c2lnbmF0dXJl`;

const browser = await puppeteer.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage();
const requests = [];
const complaints = [];
page.on('request', request => requests.push({ url: request.url(), body: request.postData() ?? '' }));
page.on('pageerror', error => complaints.push(String(error)));
// What a policy forbids is reported here, and so is every answer that is an error: those of the wrong password are expected.
page.on('console', message => {
  if (message.type() === 'error' && !message.text().includes('401')) complaints.push(message.text());
});

const text = selector => page.$eval(selector, element => element.textContent);
const shown = selector => page.waitForSelector(selector, { visible: true });
const until = (what, look, ...values) => page.waitForFunction(look, {}, ...values).catch(error => { throw new Error(`${what}: ${error.message}`); });
const says = (selector, part) => until(`${selector} says ${part}`, (s, p) => document.querySelector(s).textContent.includes(p), selector, part);

async function fill(selector, value) {
  await page.$eval(selector, element => { element.value = ''; });
  await page.type(selector, value);
}

async function signIn(name, secret) {
  await shown('#sign-in');
  await fill('#name', name);
  await fill('#secret', secret);
  await page.click('#sign-in button');
}

async function check(what, value) {
  await page.select('#what', what);
  await page.$eval('#answer', element => { element.textContent = ''; });
  await fill('#token', value);
  await page.click('#check button');
  await until('an answer', () => /revoked|hash|looks/i.test(document.querySelector('#answer').textContent));
  return text('#answer');
}

async function picture(name, width, scheme) {
  await page.setViewport({ width, height: 900, deviceScaleFactor: 1 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wider <= 0, `${name}: the page is ${wider} pixels wider than its window`);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

try {
  // Nothing is shown to whoever has not signed in, and a wrong password says so.
  const response = await page.goto(url);
  const policy = response.headers()['content-security-policy'];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  await shown('#sign-in');
  await picture('sign-in', 1200, 'light');
  await signIn('operator', 'wrong');
  await says('#sign-in-error', 'does not know');
  assert.equal(await page.$eval('#all', element => element.hidden), true);
  await signIn('operator', 'correct horse');
  await shown('#all');
  await says('#state', 'ready');
  await says('#links', 'sessions');
  assert.equal(await text('#live'), '0');

  // What happens is seen as it happens, and as text, whatever it is.
  const hostile = '<img src=x onerror="document.title=1">';
  await revoke({ jti: hostile, reason: '<b>bold</b>' });
  await says('#feed', hostile);
  assert.equal(await page.$$eval('#feed img, #feed b', all => all.length), 0);
  await revoke({ sub: 'mallory', iss: 'https://sts' });
  await says('#feed', 'sub=mallory');
  await says('#live', '2');
  await says('#kinds', 'subject1');

  // A jti, a JWT by its claims, a JWT without jti and an opaque token by their hashes.
  assert.match(await check('jti', 'unknown'), /^Not revoked/);
  assert.match(await check('jti', hostile), /^Revoked/);
  await revoke({ jti: 'token-7', iss: 'https://sts' });
  assert.match(await check('token', jwt({ jti: 'token-7', iss: 'https://sts' })), /^Revoked \(read as a JWT\)/);
  assert.match(await check('token', jwt({ jti: 'token-7', iss: 'https://other' })), /^Not revoked/);
  assert.match(await check('token', jwt({ jti: 'x', iss: 'https://sts', sub: 'mallory', iat: 1 })), /^Revoked/);
  const nameless = jwt({ iss: 'https://sts', n: 'ü' });
  await revoke({ sha256: createHash('sha256').update(nameless.slice(0, nameless.lastIndexOf('.'))).digest('hex') });
  assert.match(await check('token', nameless), /^Revoked/);
  const opaque = '0f8fad5b-d9cb-469f-a165-70867728950e';
  await revoke({ token: opaque });
  assert.match(await check('token', opaque), /^Revoked \(read as an opaque token\)/);
  assert.match(await check('token', `${opaque}f`), /^Not revoked/);
  // Pasted with the name of its scheme it is the same token; another spelling of a JWT is no token at all.
  const revoked = jwt({ jti: 'token-7', iss: 'https://sts' });
  assert.match(await check('token', `Bearer ${revoked}`), /^Revoked \(read as a JWT\)/);
  for (const other of [`${revoked}=`, `${revoked}.`, `${revoked}.a`, `${revoked}.a.b`, revoked.replace('.', '=.'), revoked.split('.').slice(0, 2).join('.')]) {
    assert.match(await check('token', other), /^This looks like a JWT/, other);
  }
  // A JWT is none the less one when somebody has chosen the wrong word for it, and so is a part of one.
  const chosen = jwt({ jti: 'token-7', iss: 'https://sts', n: 'pasted' });
  assert.match(await check('jti', chosen), /^Revoked \(read as a JWT\)/);
  assert.match(await check('jti', `Bearer ${chosen}`), /^Revoked \(read as a JWT\)/);
  const broken = chosen.replace('.', '.!');
  assert.match(await check('jti', broken), /^This looks like a JWT/);
  const half = chosen.split('.')[0];
  assert.match(await check('jti', half), /^Not revoked \(read as an opaque token; it looks like the beginning/);
  assert.match(await check('jti', 'com.example.7'), /^Not revoked \(read as a jti\)/);
  for (const secret of [opaque, nameless, chosen, broken, half, 'c2lnbmF0dXJl', 'correct horse']) {
    const sent = requests.filter(request => decodeURIComponent(request.url).includes(secret) || request.body.includes(secret));
    assert.deepEqual(sent, [], 'no token and no password leaves the page in a URL or a body');
  }
  const foreign = requests.filter(request => !request.url.startsWith(url) && !request.url.startsWith('data:'));
  assert.deepEqual(foreign, []);

  // What is taken back is seen as well.
  const id = await revoke({ sid: 'session-9' });
  await says('#feed', 'sid=session-9');
  await lift(id);
  await until('the lift', () => [...document.querySelectorAll('#feed li')].some(li => /lifted/.test(li.textContent) && /sid=session-9/.test(li.textContent)));
  await says('#tombstones', 'and 1 lifted');

  await says('#staleness', 's');
  await picture('light', 1200, 'light');
  await picture('dark', 1200, 'dark');
  await picture('narrow', 360, 'light');
  await picture('narrow-dark', 360, 'dark');
  // At 360 pixels nothing has to be scrolled to, least of all when a source last delivered.
  for (const part of ['last delivered', 'failures']) {
    const box = await page.$eval(`#links td[data-label="${part}"]`, cell => { const { left, right } = cell.getBoundingClientRect(); return { left, right }; });
    assert.ok(box.left >= 0 && box.right <= 360 && box.right > box.left, `${part}: ${JSON.stringify(box)}`);
  }

  // The database goes away and comes back: the page says so, and goes on by itself.
  sql('alter table log rename to gone');
  await says('#store', 'does not answer');
  await says('#state', 'not ready');
  await shown('#feed-stale');
  await picture('store-away', 1200, 'light');
  await picture('store-away-narrow', 360, 'dark');
  sql('alter table gone rename to log');
  await says('#store', 'the store answers');
  await until('ready again', () => document.querySelector('#state').textContent === 'ready' && document.querySelector('#feed-stale').hidden);
  // The log becomes another one.
  const before = await text('#epoch');
  sql("update log set epoch = 'bbbbbbbb'");
  await says('#epoch', 'bbbbbbbb');
  await says('#feed', 'reset');
  await revoke({ jti: 'of-the-new-log' });
  await says('#feed', 'jti=of-the-new-log');
  assert.notEqual(before, 'bbbbbbbb');
  await picture('reset', 1200, 'dark');

  // The sign-in lasts as long as the tab, and ends when one says so; a bearer token is as good.
  await page.reload();
  await says('#state', 'ready');
  await page.click('#sign-out');
  await page.reload();
  await signIn('', 'gateway-token');
  await says('#state', 'ready');
  // Who may not read is told so.
  await page.click('#sign-out');
  complaints.splice(0, complaints.length, ...complaints.filter(text => !text.includes('403')));
  await signIn('', 'sts-token');
  await says('#sign-in-error', 'may not read');
  assert.deepEqual(complaints.filter(text => !text.includes('403')), []);
  console.log('the status page: ok');
} finally {
  await browser.close();
}
