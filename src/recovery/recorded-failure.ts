import { DEFAULT_CODEC_SETTINGS } from '../records/codec.js';
import { decodeValue } from '../records/decode.js';
import { encodeValue } from '../records/encode.js';
import { encodeThrown } from '../transactions/recorded-error.js';
import type { Failure } from './failure.js';

/**
 * The failure as it is kept: a copy, and of its error what can be kept of any error. The same when it is read back.
 * @throws UnserializableError with the path, if the context cannot be kept
 */
export function recordedFailure({ subject, error, kind, context }: Failure): Failure {
  return {
    subject,
    ...(kind !== undefined && { kind }),
    ...(error !== undefined && { error: decodeValue(encodeThrown(error, DEFAULT_CODEC_SETTINGS)) }),
    ...(context !== undefined && { context: decodeValue(encodeValue(context)) }),
  };
}
