import {
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleAll,
  retry,
  TimeoutStrategy,
  timeout,
  wrap,
} from 'cockatiel';
import Opossum from 'opossum';
import pRetry from 'p-retry';

const one = async () => 1;
const fault = new Error('busy');

const cockatielRetry = () => retry(handleAll, { maxAttempts: 3, backoff: new ExponentialBackoff() });
const cockatielCircuit = () =>
  circuitBreaker(handleAll, { halfOpenAfter: 3_600_000, breaker: new ConsecutiveBreaker(5) });

/** What the same calls cost with others. Loops as in `bench/call-loops.mjs`. */
export function successLoops() {
  const cockatiel = wrap(cockatielRetry(), cockatielCircuit());
  const limited = wrap(cockatielRetry(), cockatielCircuit(), timeout(10_000, TimeoutStrategy.Aggressive));
  const opossum = new Opossum(one);
  return {
    async cockatiel(calls) {
      for (let n = 0; n < calls; n++) await cockatiel.execute(one);
    },
    async 'cockatiel limited'(calls) {
      for (let n = 0; n < calls; n++) await limited.execute(one);
    },
    async 'p-retry'(calls) {
      for (let n = 0; n < calls; n++) await pRetry(one, { retries: 3 });
    },
    async opossum(calls) {
      for (let n = 0; n < calls; n++) await opossum.fire();
    },
    async 'opossum in p-retry'(calls) {
      for (let n = 0; n < calls; n++) await pRetry(() => opossum.fire(), { retries: 3 });
    },
  };
}

/** Calls that an open circuit rejects. */
export async function refusalLoops() {
  const opossum = new Opossum(one, { resetTimeout: 3_600_000 });
  opossum.open();
  const cockatiel = cockatielCircuit();
  for (let n = 0; n < 5; n++) await cockatiel.execute(() => Promise.reject(fault)).catch(() => {});
  return {
    async opossum(calls) {
      for (let n = 0; n < calls; n++) {
        try {
          await opossum.fire();
        } catch {}
      }
    },
    async cockatiel(calls) {
      for (let n = 0; n < calls; n++) {
        try {
          await cockatiel.execute(one);
        } catch {}
      }
    },
  };
}

/** One opossum circuit with its defaults, as `(call) => promise`. */
export function opossumCircuit() {
  const circuit = new Opossum((call) => call());
  return (call) => circuit.fire(call);
}

const kept = new Map();

/** As many opossum circuits as there are names; each serves a call and is kept. */
export function opossumCircuits() {
  return (name) => {
    const circuit = new Opossum(one);
    kept.set(name, circuit);
    return circuit.fire();
  };
}
