// @ts-check
/**
 * An agent's model calls: paced to what the provider allows, repeated when it says so, and answered by a second model
 * when the first is down. Both providers are small HTTP servers here.
 *
 *   node examples/provider-fallback/main.mjs
 */
import { createServer } from 'node:http';
import { circuitBreaker, compose, fallback, rateLimit, retry, timeout } from 'holdfast/policies';

/**
 * A provider that answers as `status` says.
 * @param {string} model
 */
async function startProvider(model) {
  const provider = { model, calls: 0, status: 200, url: '' };
  const server = createServer((_request, response) => {
    provider.calls++;
    const headers = { 'content-type': 'application/json', 'retry-after-ms': '40' };
    response.writeHead(provider.status, headers).end(JSON.stringify({ text: `${model} says hello` }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const address = server.address();
  provider.url = `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
  return { provider, server };
}

const large = await startProvider('large');
const small = await startProvider('small');

/**
 * @param {{ url: string }} provider
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 */
async function complete(provider, signal) {
  const response = await fetch(provider.url, { signal });
  const { text } = await response.json();
  if (!response.ok)
    throw Object.assign(new Error('no completion'), { status: response.status, headers: response.headers });
  return text;
}

// Outermost first: what is wrapped around what can be read from the order.
const model = compose(
  fallback((_error, { signal }) => complete(small.provider, signal)), //   the second model, when all else failed
  retry({ maxRetries: 2, backoff: { kind: 'exponential', baseMs: 20, maxMs: 200 } }),
  circuitBreaker({ name: 'large model', openMs: 60_000 }),
  rateLimit({ calls: 50, perMs: 1_000, burst: 5, maxWaitMs: 1_000 }), //    what is sent counts against the quota
  timeout(1_000),
);
const ask = () => model.run(({ signal }) => complete(large.provider, signal));

console.log(`Healthy: ${await ask()}.`);

const startedAtMs = performance.now();
await Promise.all(Array.from({ length: 20 }, ask));
const tookMs = performance.now() - startedAtMs;
console.log(`Twenty at once: paced over ${tookMs > 200 ? 'more' : 'less'} than 200 ms.`);

large.provider.status = 429; // With Retry-After: asked again when the provider says, and then the other one.
console.log(`Rate-limited: ${await ask()}.`);

large.provider.status = 500;
for (let call = 0; call < 3; call++) await ask();
const callsBefore = large.provider.calls;
console.log(`Down: ${await ask()}; ${large.provider.calls - callsBefore} calls went to the large model.`);

large.server.close();
small.server.close();
