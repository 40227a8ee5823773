// @ts-check
/**
 * A service that fails one call in three, then is down for a while, then comes back; and a client that gets its answers
 * without hammering it. Everything real: an HTTP server, fetch, timeouts.
 *
 *   node examples/guard-a-flaky-call/main.mjs
 */
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { CircuitBreaker, RetryManager } from 'holdfast/policies';

// The service: hangs, refuses or answers in turn; while `isDown`, it refuses everything.
let requests = 0;
let isDown = false;
const server = createServer((request, response) => {
  requests++;
  if (isDown) return void response.writeHead(503, { 'retry-after': '0.2' }).end();
  if (requests % 6 === 2) return; // Never answered: the client has to give up.
  if (requests % 6 === 4) return void response.writeHead(503).end();
  response.end(`answer to ${request.url}`);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
const address = server.address();
const base = `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;

// The client. One manager, one circuit for the service, one policy, made once.
const circuit = new CircuitBreaker({
  name: 'answers',
  openMs: 300,
  emit: (event) => event.type !== 'circuit.rejected' && console.log(`  ${event.type}`),
});
const guarded = new RetryManager().policy({
  circuit,
  attemptTimeoutMs: 100,
  deadlineMs: 2_000,
  backoff: { kind: 'exponential', baseMs: 20, maxMs: 200 },
});

/** @param {string} path */
function ask(path) {
  return guarded.run(async ({ signal, operationId }) => {
    const response = await fetch(`${base}${path}`, { signal, headers: { 'idempotency-key': operationId } });
    const body = await response.text();
    const { ok, status, headers } = response;
    if (!ok) throw Object.assign(new Error(`it answered ${status}`), { status, headers });
    return body;
  });
}

console.log('Flaky: every call gets its answer.');
for (let call = 1; call <= 8; call++) console.log(`  ${await ask(`/${call}`)}`);

console.log('Down: after five failures nothing is sent any more.');
isDown = true;
await ask('/9').catch((error) => console.log(`  ${error.message}`));
await ask('/10').catch((error) => console.log(`  ${error.message}`));
const sentBefore = requests;
const calls = await Promise.allSettled(Array.from({ length: 100 }, (_, call) => ask(`/${call}`)));
const refused = calls.filter(({ status }) => status === 'rejected').length;
console.log(`  100 more: ${refused} refused, ${requests - sentBefore} sent`);

console.log('Back: one call goes ahead to see, then all follow.');
isDown = false;
await sleep(circuit.retryAfterMs);
console.log(`  ${await ask('/11')}`);

server.closeAllConnections();
server.close();
