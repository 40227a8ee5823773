import { sha256Base64Url } from '../../base/digest.js';
import { CorruptionError, InvalidInputError, LimitError } from '../../base/errors.js';
import type { CodecSettings } from '../../records/codec.js';
import { encodeValue } from '../../records/encode.js';
import { MAX_ID_BYTES } from '../../records/keys.js';

/*
 * An event as a line of the log: what is known of it as JSON, a tab, and its canonical bytes. Neither JSON has a raw tab or
 * line feed in it.
 *
 *   ["e-7",1767225600000]	{"amount":5,"id":"e-7"}
 *
 * The last line of each write has the write's id as well, `["e-7",1767225600000,"pWx3..."]`: when the outcome of a write
 * is unknown, and others have written since, it tells whether it happened.
 */
const TAB = 0x09;

/** An event that is to be appended, encoded already, so that nothing can change it any more. */
export interface PreparedEvent {
  readonly id: string;
  readonly appendedAtMs: number;
  readonly body: Buffer;
  /** Equal for equal events. */
  readonly fingerprint: string;
}

/** What a line says of its event. */
export interface EventLineHead {
  readonly id: string;
  readonly appendedAtMs: number;
  readonly writeId: string | undefined;
}

/** How the events of a log are encoded. */
export interface EventFormat {
  readonly codec: CodecSettings;
  readonly maxEventBytes: number;
}

/**
 * An event as it is to be stored.
 * @throws UnserializableError (with the path), LimitError; InvalidInputError for an id that is none.
 */
export function prepareEvent(
  { event, id, appendedAtMs }: { readonly event: unknown; readonly id: unknown; readonly appendedAtMs: number },
  { codec, maxEventBytes }: EventFormat,
): PreparedEvent {
  if (typeof id !== 'string' || id === '') {
    const message = Array.isArray(event)
      ? 'event.id: an array is one event here, and it has no id. Append several with appendAll.'
      : 'event.id: every event needs an id, a string that is not empty: in its property `id`, or given by `idOf`.';
    throw new InvalidInputError(message, 'event.id');
  }
  const idBytes = Buffer.byteLength(id);
  if (idBytes > MAX_ID_BYTES) {
    throw new InvalidInputError(`event.id: ${idBytes} bytes long; ${MAX_ID_BYTES} are allowed.`, 'event.id');
  }
  const body = encodeValue(event, codec);
  if (body.length > maxEventBytes) {
    const message = `Event "${id}" has ${body.length} bytes; ${maxEventBytes} are allowed. Keep large contents elsewhere.`;
    throw new LimitError(message, 'maxEventBytes', maxEventBytes);
  }
  return { id, appendedAtMs, body, fingerprint: fingerprintOf(body) };
}

/** The line of an event. `writeId` is for the last one of a write. */
export function lineOf({ id, appendedAtMs, body }: PreparedEvent, writeId?: string): Buffer {
  const head = JSON.stringify(writeId === undefined ? [id, appendedAtMs] : [id, appendedAtMs, writeId]);
  return Buffer.concat([Buffer.from(`${head}\t`), body]);
}

/** @throws CorruptionError if this is no line of an event; `key` is the record's that it stands in. */
export function readLineHead(line: Buffer, key: string): EventLineHead {
  const tabAt = tabIn(line, key);
  try {
    const head: unknown = JSON.parse(line.toString('utf8', 0, tabAt));
    const [id, appendedAtMs, writeId] = head as readonly unknown[];
    if (
      typeof id === 'string' &&
      typeof appendedAtMs === 'number' &&
      (writeId === undefined || typeof writeId === 'string')
    )
      return { id, appendedAtMs, writeId };
  } catch (cause) {
    throw unreadable(key, cause);
  }
  throw unreadable(key);
}

/** The canonical bytes of the event in a line. @throws CorruptionError as `readLineHead`. */
export function bodyOf(line: Buffer, key: string): Buffer {
  return line.subarray(tabIn(line, key) + 1);
}

/** What two events under one id are compared by. */
export function fingerprintOf(body: Buffer): string {
  return sha256Base64Url(body);
}

function tabIn(line: Buffer, key: string): number {
  const at = line.indexOf(TAB);
  if (at === -1) throw unreadable(key);
  return at;
}

/** Its hash is right: it was written so, by something else than this version. */
function unreadable(key: string, cause?: unknown): CorruptionError {
  const message = `The record "${key}" has a line that is not an event of this version. Run the newer holdfast that wrote it.`;
  return new CorruptionError(message, key, { cause });
}
