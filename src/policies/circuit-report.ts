import { inWords } from './in-words.js';

/** Tells the process that a function of the host's failed at its task. The call that it was about is not touched. */
export function warnOf(circuit: string, part: string, error: unknown): void {
  const { message, stack } = error instanceof Error ? error : new Error(inWords(error));
  process.emitWarning(`${part} of circuit "${circuit}" threw: ${message}`, {
    code: 'HOLDFAST_LISTENER_ERROR',
    detail: String(stack),
  });
}
