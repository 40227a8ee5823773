import { warnOfThrown } from '../base/emit.js';

/** Tells the process that a function of the host's failed at its task. The call that it was about is not touched. */
export function warnOf(circuit: string, part: string, error: unknown): void {
  warnOfThrown(`${part} of circuit "${circuit}"`, error);
}
