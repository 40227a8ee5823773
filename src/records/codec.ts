import { constants } from 'node:buffer';
import * as z from 'zod';
import { HoldfastError, InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';

/**
 * Teaches the library to keep one class. Asked, in the order given, for every object that is neither a plain object nor
 * an array, before the built-in types. What `encode` returns may hold anything that can be kept, other classes included.
 *
 * ```ts
 * const money: ValueCodec<Money> = {
 *   tag: 'money',
 *   is: (value) => value instanceof Money,
 *   encode: (value) => [value.cents, value.currency],
 *   decode: (encoded) => Money.from(encoded),
 * };
 * ```
 */
export interface ValueCodec<Value = unknown> {
  /** Written with every value, so it is forever: 1 to 64 characters of `A-Z a-z 0-9 . _ -`. Unique among the codecs. */
  readonly tag: string;
  /** Whether this codec keeps `value`. Must not throw and must not change it. */
  is(value: unknown): boolean;
  /** The value in terms of plain values, built-in types and other codecs' classes. Equal values must give equal results. */
  encode(value: Value): unknown;
  /** The value again, from what `encode` returned. A throw is reported as `CorruptionError` with the throw as its cause. */
  decode(encoded: unknown): Value;
}

/** What may be kept, and how much of it. */
export interface CodecOptions {
  /** Default none. Classes of the host's own that its state holds. Reading needs every codec that writing used. */
  readonly codecs?: readonly ValueCodec[];
  /** Bytes of one encoded value. Default 64 MiB, at most 512 MiB. Raise it for states that are large on purpose. */
  readonly maxBytes?: number;
  /**
   * Levels of nesting in the JSON that is written: one for a plain object or array, up to three for a built-in type.
   * Default 2,000. Writing far deeper than 4,000 ends at the call stack, which is reported as the same error.
   */
  readonly maxDepth?: number;
}

/** Checked options; made once by `prepareCodecs`, used for every value. */
export interface CodecSettings {
  readonly codecs: readonly ValueCodec[];
  readonly codecsByTag: ReadonlyMap<string, ValueCodec>;
  readonly maxBytes: number;
  readonly maxDepth: number;
}

/** The value cannot be kept so that it comes back equal. Nothing was stored. */
export class UnserializableError extends HoldfastError {
  readonly code = 'HOLDFAST_UNSERIALIZABLE';
  constructor(
    /** Where it is, from the value that was to be kept: `$.steps[3].fn`. Map entries and Set items go by position. */
    readonly path: string,
    problem: string,
    options?: { readonly cause?: unknown },
  ) {
    super(`${path} ${problem}`, options);
  }
}

/** A record needs a codec that this process did not register. The record is intact: register the codec and read again. */
export class UnknownCodecError extends HoldfastError {
  readonly code = 'HOLDFAST_UNKNOWN_CODEC';
  constructor(readonly tag: string) {
    super(`This record holds a value written by codec "${tag}", which is not registered; pass it in \`codecs\`.`);
  }
}

const TAG = /^[A-Za-z0-9._-]{1,64}$/;

const codecOptions = z.strictObject({
  codecs: z
    .array(z.custom<ValueCodec>(isCodec, 'a codec has a string `tag` and functions `is`, `encode`, `decode`'))
    .default([]),
  maxBytes: z
    .int()
    .min(1)
    .max(constants.MAX_STRING_LENGTH)
    .default(64 * 1024 * 1024),
  maxDepth: z.int().min(1).default(2_000),
});

/**
 * Options checked and indexed, for `encodeValue` and `decodeValue`.
 * @throws InvalidInputError for a wrong option, a tag that is not well-formed, or a tag that is used twice.
 */
export function prepareCodecs(options?: CodecOptions): CodecSettings {
  const { codecs, maxBytes, maxDepth } = parseOptions(codecOptions, options);
  const codecsByTag = new Map<string, ValueCodec>();
  for (const [index, codec] of codecs.entries()) {
    const path = `options.codecs.${index}.tag`;
    if (!TAG.test(codec.tag)) {
      throw new InvalidInputError(`${path}: use 1 to 64 characters of A-Z a-z 0-9 . _ -, not "${codec.tag}".`, path);
    }
    if (codecsByTag.has(codec.tag)) {
      throw new InvalidInputError(`${path}: "${codec.tag}" is used by an earlier codec; give each its own.`, path);
    }
    codecsByTag.set(codec.tag, codec);
  }
  return { codecs, codecsByTag, maxBytes, maxDepth };
}

/** No codecs, default limits. */
export const DEFAULT_CODEC_SETTINGS: CodecSettings = prepareCodecs();

function isCodec(candidate: unknown): boolean {
  if (typeof candidate !== 'object' || candidate === null) return false;
  const { tag, is, encode, decode } = candidate as Partial<ValueCodec>;
  return typeof tag === 'string' && [is, encode, decode].every((member) => typeof member === 'function');
}
