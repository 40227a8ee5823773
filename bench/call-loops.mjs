import { CircuitBreaker, RetryManager } from '../dist/policies.js';

/** Each loop awaits as many calls as it is told. They are written out one by one, so that none slows another down. */

export const one = async () => 1;

const fault = new Error('busy');
export const fail = async () => {
  throw fault;
};

/** The least that can be put around a call and still see how it ended. */
async function watched(call) {
  try {
    return await call();
  } catch (error) {
    throw new Error('failed', { cause: error });
  }
}

/** A call alone, and in the cheapest wrapper there can be. */
export const bareLoops = {
  async bare(calls) {
    for (let n = 0; n < calls; n++) await one();
  },
  async watched(calls) {
    for (let n = 0; n < calls; n++) await watched(one);
  },
};

/** Calls that succeed: with retries and a circuit, and with a time limit besides. */
export function successLoops() {
  const retries = new RetryManager();
  const options = { circuit: 'db' };
  const policy = retries.policy({ circuit: 'db' });
  const wrapped = retries.wrap(one, { circuit: 'db' });
  const listening = async ({ signal }) => (signal.aborted ? 0 : 1);
  return {
    async literal(calls) {
      for (let n = 0; n < calls; n++) await retries.run(one, { circuit: 'db' });
    },
    async hoisted(calls) {
      for (let n = 0; n < calls; n++) await retries.run(one, options);
    },
    async policy(calls) {
      for (let n = 0; n < calls; n++) await policy.run(one);
    },
    async wrapped(calls) {
      for (let n = 0; n < calls; n++) await wrapped();
    },
    async limited(calls) {
      for (let n = 0; n < calls; n++) await retries.run(one, { circuit: 'db', attemptTimeoutMs: 10_000 });
    },
    async listening(calls) {
      for (let n = 0; n < calls; n++) await retries.run(listening, { circuit: 'db', attemptTimeoutMs: 10_000 });
    },
  };
}

/** Calls that are rejected: by the call itself, and by an open circuit. What was thrown is of no interest. */
export function refusalLoops() {
  const circuit = new CircuitBreaker({ name: 'db' });
  const retries = new RetryManager();
  for (const each of [circuit, retries.circuits.get('db')]) each.open(3_600_000);
  return {
    async bare(calls) {
      for (let n = 0; n < calls; n++) {
        try {
          await fail();
        } catch {}
      }
    },
    async circuit(calls) {
      for (let n = 0; n < calls; n++) {
        try {
          await circuit.run(one);
        } catch {}
      }
    },
    async literal(calls) {
      for (let n = 0; n < calls; n++) {
        try {
          await retries.run(one, { circuit: 'db' });
        } catch {}
      }
    },
  };
}
