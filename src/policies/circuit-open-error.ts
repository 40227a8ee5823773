import { RefusalError } from './refusal-error.js';

/**
 * The circuit refused the call: the dependency failed too often, and nothing was sent to it. Answer without it, or ask
 * again in `retryAfterMs`. `cause` is the failure that opened the circuit.
 */
export class CircuitOpenError extends RefusalError {
  readonly code = 'HOLDFAST_CIRCUIT_OPEN';
  /** Name of the circuit. */
  readonly circuit: string;
  /** Milliseconds until it is worth asking again. Infinity while the circuit is isolated: until somebody closes it. */
  readonly retryAfterMs: number;

  constructor(circuit: string, retryAfterMs: number, options?: { readonly cause?: unknown }) {
    super(messageOf(circuit, retryAfterMs), options);
    this.circuit = circuit;
    this.retryAfterMs = retryAfterMs;
  }
}

function messageOf(circuit: string, retryAfterMs: number): string {
  return retryAfterMs === Number.POSITIVE_INFINITY
    ? `Circuit "${circuit}" is isolated and refuses all calls. Close it when its dependency may be called again.`
    : `Circuit "${circuit}" refused the call. Answer without its dependency, or ask again in ${retryAfterMs} ms.`;
}
