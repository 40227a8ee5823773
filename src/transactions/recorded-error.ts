import { isHoldfastError } from '../base/errors.js';
import { inWords } from '../policies/in-words.js';
import type { CodecSettings } from '../records/codec.js';
import { encodeValue } from '../records/encode.js';

/** Longest error that is kept whole, in bytes: some hold the pages they were answered with. */
const MAX_BYTES = 64 * 1024;
/** How far causes are kept. */
const MAX_CAUSES = 5;

/**
 * What was thrown, encoded. Plain values and the language's own errors come back as they were; other errors as an Error of
 * the same name, message, code, stack and causes, with their plain fields. Never throws: what cannot be kept becomes text.
 */
export function encodeThrown(thrown: unknown, settings: CodecSettings): Buffer {
  const codec = { ...settings, maxBytes: Math.min(settings.maxBytes, MAX_BYTES) };
  const attempts = [() => thrown, () => plainError(thrown, MAX_CAUSES), () => new Error(inWords(thrown))];
  for (const attempt of attempts) {
    try {
      return encodeValue(attempt(), codec);
    } catch {} // A getter that throws, a class the codec does not know: the next form keeps less of it.
  }
  return encodeValue(new Error('something that cannot be kept'), codec);
}

function plainError(thrown: unknown, causes: number): unknown {
  if (!(thrown instanceof Error) && !isHoldfastError(thrown)) return new Error(inWords(thrown));
  const { name, message, stack } = thrown;
  const error = new Error(message);
  Object.assign(error, plainFields(thrown));
  hide(error, 'name', name);
  hide(error, 'stack', stack ?? `${name}: ${message}`);
  if (thrown.cause !== undefined)
    hide(error, 'cause', causes > 0 ? plainCause(thrown.cause, causes - 1) : inWords(thrown.cause));
  return error;
}

function plainCause(cause: unknown, causes: number): unknown {
  return typeof cause === 'object' && cause !== null ? plainError(cause, causes) : cause;
}

function plainFields(error: Error): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(error).filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value)),
  );
}

function hide(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, { value, enumerable: false, writable: true, configurable: true });
}
