import { isAscii, isUtf8 } from 'node:buffer';
import { CorruptionError, LimitError } from '../base/errors.js';
import { MALFORMED } from './built-in-type.js';
import { DECODERS } from './built-in-types.js';
import { type CodecSettings, DEFAULT_CODEC_SETTINGS, UnknownCodecError } from './codec.js';
import { CODEC_MARKER, isMarkerShaped, type JsonObject, NULL_PROTOTYPE_TAG, PLAIN_TAG, setOwn } from './json-object.js';

type Container = JsonObject | unknown[];

/** A marker found in the JSON, and the place its value goes to. */
interface FoundMarker {
  readonly holder: Container;
  readonly step: string | number;
  readonly marker: JsonObject;
  readonly tag: string;
}

/**
 * The value that `encodeValue` made `bytes` from. Total, whatever the bytes are: a value or one of the errors below, in
 * time and memory that grow with their length. Nothing but the registered codecs' `decode` is called by it.
 * @param key The storage key that the bytes came from, for the error.
 * @throws CorruptionError when `encodeValue` cannot have written the bytes.
 * @throws UnknownCodecError when they hold a value of a codec that is not registered.
 * @throws LimitError when they pass the settings' limits.
 */
export function decodeValue(bytes: Uint8Array, settings: CodecSettings = DEFAULT_CODEC_SETTINGS, key = ''): unknown {
  const { maxBytes } = settings;
  if (bytes.byteLength > maxBytes) {
    throw new LimitError(
      `The record has more than maxBytes (${maxBytes}). Raise the limit to read it.`,
      'maxBytes',
      maxBytes,
    );
  }
  const root = [parseJson(bytes, key)];
  const found = new MarkerSearch(settings).search(root);
  // An inner marker is always found after the one around it, so going backwards every payload is ready when it is used.
  for (let index = found.length - 1; index >= 0; index--) revive(found[index] as FoundMarker, settings, key);
  return root[0];
}

function parseJson(bytes: Uint8Array, key: string): unknown {
  if (bytes.byteLength === 0) throw corruption(key, 'are none at all');
  const encoding = isAscii(bytes) ? 'latin1' : 'utf8'; // The same text from ASCII, in a third of the time.
  if (encoding === 'utf8' && !isUtf8(bytes)) throw corruption(key, 'are not UTF-8');
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(encoding));
  } catch (error) {
    throw corruption(key, 'are not JSON', error);
  }
}

/** Finds markers and measures depth without recursion: hostile bytes can nest a million levels. */
class MarkerSearch {
  readonly #settings: CodecSettings;
  readonly #found: FoundMarker[] = [];
  /** Containers still to be looked into; beside each its depth and, for an object, its keys. */
  readonly #pending: Container[] = [];
  readonly #depths: number[] = [];
  readonly #keys: (readonly string[] | undefined)[] = [];

  constructor(settings: CodecSettings) {
    this.#settings = settings;
  }

  search(root: unknown[]): readonly FoundMarker[] {
    this.#visit(root, 0, 1);
    for (let container = this.#pending.pop(); container !== undefined; container = this.#pending.pop()) {
      const depth = (this.#depths.pop() as number) + 1;
      const keys = this.#keys.pop();
      if (keys === undefined) {
        const items = container as unknown[];
        for (let index = 0; index < items.length; index++) this.#visit(items, index, depth);
      } else {
        for (const key of keys) this.#visit(container, key, depth);
      }
    }
    return this.#found;
  }

  #visit(holder: Container, step: string | number, depth: number): void {
    let value = (holder as JsonObject)[step];
    // A marker's payload can be a marker again, any number of times.
    for (; typeof value === 'object' && value !== null; depth++) {
      const container = value as JsonObject;
      const keys = Array.isArray(value) ? undefined : Object.keys(value);
      if (keys === undefined || !isMarkerShaped(keys)) {
        this.#push(container, keys, depth);
        return;
      }
      const tag = keys[0] as string;
      this.#found.push({ holder, step, marker: container, tag });
      holder = container;
      step = tag;
      value = container[tag];
      if (isUserObject(tag, value)) {
        this.#push(value, Object.keys(value), depth + 1);
        return;
      }
      // A marker without parts, like the one of `undefined`, is a leaf and adds no level.
      if (typeof value === 'object' && value !== null) this.#requireDepth(depth);
    }
  }

  #push(container: Container, keys: readonly string[] | undefined, depth: number): void {
    this.#requireDepth(depth);
    this.#pending.push(container);
    this.#depths.push(depth);
    this.#keys.push(keys);
  }

  #requireDepth(depth: number): void {
    const { maxDepth } = this.#settings;
    if (depth <= maxDepth) return;
    throw new LimitError(
      `The record nests deeper than maxDepth (${maxDepth}). Raise the limit to read it.`,
      'maxDepth',
      maxDepth,
    );
  }
}

/** Whether `payload` is a user's object inside the marker that keeps its keys from being read as a marker. */
function isUserObject(tag: string, payload: unknown): payload is JsonObject {
  return OBJECT_DECODERS.has(tag) && isObject(payload);
}

function isObject(payload: unknown): payload is JsonObject {
  return typeof payload === 'object' && payload !== null && !Array.isArray(payload);
}

function revive({ holder, step, marker, tag }: FoundMarker, settings: CodecSettings, key: string): void {
  const decode = decoderOf(tag, settings);
  let value: unknown = MALFORMED;
  try {
    if (decode !== undefined) value = decode(marker[tag]);
  } catch (error) {
    throw corruption(key, `hold a "${tag}" that cannot be decoded`, error);
  }
  if (value === MALFORMED) throw corruption(key, `hold a "${tag}" that cannot be decoded`);
  if (typeof step === 'number') (holder as unknown[])[step] = value;
  else setOwn(holder as JsonObject, step, value);
}

function decoderOf(tag: string, { codecsByTag }: CodecSettings): ((payload: unknown) => unknown) | undefined {
  if (!tag.startsWith(CODEC_MARKER)) return OBJECT_DECODERS.get(tag) ?? DECODERS.get(tag);
  const codecTag = tag.slice(CODEC_MARKER.length);
  const codec = codecsByTag.get(codecTag);
  if (codec === undefined) throw new UnknownCodecError(codecTag);
  return (payload) => codec.decode(payload);
}

const OBJECT_DECODERS = new Map<string, (payload: unknown) => unknown>([
  [PLAIN_TAG, (payload) => (isObject(payload) && isMarkerShaped(Object.keys(payload)) ? payload : MALFORMED)],
  [NULL_PROTOTYPE_TAG, (payload) => (isObject(payload) ? Object.setPrototypeOf(payload, null) : MALFORMED)],
]);

function corruption(key: string, problem: string, cause?: unknown): CorruptionError {
  const bytes = key === '' ? 'The bytes' : `The bytes of "${key}"`;
  return new CorruptionError(`${bytes} ${problem}.`, key, cause === undefined ? {} : { cause });
}
