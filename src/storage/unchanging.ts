/** Below this many bytes a copy costs next to nothing. */
const WORTH_SPARING_BYTES = 64 * 1024;

const unchanging = new WeakSet<Uint8Array>();

/**
 * Says that these bytes will not be changed by anybody from now on, so that a store may write them from where they are.
 * Only for who made them and gives them to stores alone: what a host can reach, it may use again.
 */
export function willNotChange(bytes: Buffer): void {
  if (bytes.length >= WORTH_SPARING_BYTES) unchanging.add(bytes);
}

/** The value as it is now, whatever becomes of the caller's buffer: a copy, unless nobody will change it. */
export function asItIsNow(value: Uint8Array): Buffer {
  if (!unchanging.has(value)) return Buffer.from(value);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}
