import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { CorruptionError, HoldfastError } from '../../base/errors.js';
import type { OpenedKeyring } from './keyring.js';

/*
 * A value as it is stored, encrypted with AES-256-GCM:
 *
 *   offset  bytes  what
 *   0       4      "HFE1": encrypted, format 1
 *   4       64     id of the key, ASCII, filled up with zeros: the size of a value can be told from the stored size alone
 *   68      4      CRC-32 of everything before it, little-endian: tells an id that is damaged from one that is not known
 *   72      12     nonce, random
 *   84      n      the value, encrypted
 *   84+n    16     tag
 *
 * Authenticated with it: everything before the encrypted value, then the storage key.
 */
const MAGIC = Buffer.from('HFE1', 'latin1');
const MAGIC_FAMILY = /^HFE\d$/;
const ID_AT = 4;
const CHECKSUM_AT = 68;
const NONCE_AT = 72;
const BODY_AT = 84;
const TAG_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';
/** Node 20 would take a tag of 4 bytes for proof enough unless it is told. */
const GCM = { authTagLength: TAG_BYTES } as const;

/** Bytes that an encrypted value has beyond the value. */
export const OVERHEAD_BYTES = BODY_AT + TAG_BYTES;
/** The largest value, in bytes, that OpenSSL encrypts at one go. */
export const MAX_VALUE_BYTES = 2 ** 31 - 1;

/**
 * The value is encrypted under a key that the keyring does not have. The value is as it was written: it is the
 * configuration that lacks something. Add the key under this id to `keyring.keys`.
 */
export class UnknownEncryptionKeyError extends HoldfastError {
  readonly code = 'HOLDFAST_UNKNOWN_ENCRYPTION_KEY';
  constructor(
    /** The storage key of the value. */
    readonly key: string,
    /** The id of the key that is needed. */
    readonly keyId: string,
  ) {
    const id = JSON.stringify(keyId); // As stored, which may be anything.
    super(`"${key}" is encrypted under the key ${id}, which the keyring does not have. Add it to keyring.keys.`);
  }
}

/** A value that was decrypted and proved. */
export interface OpenedValue {
  readonly value: Uint8Array;
  /** Id of the key it was encrypted under. */
  readonly keyId: string;
}

/** The value, encrypted under the current key for this storage key and no other. */
export function sealValue(key: string, value: Uint8Array, { current, keys }: OpenedKeyring): Uint8Array {
  const sealed = Buffer.allocUnsafe(OVERHEAD_BYTES + value.byteLength);
  sealed.fill(0, ID_AT, CHECKSUM_AT);
  sealed.set(MAGIC, 0);
  sealed.write(current, ID_AT, 'latin1');
  sealed.writeUInt32LE(crc32(sealed.subarray(0, CHECKSUM_AT)), CHECKSUM_AT);
  const nonce = randomBytes(BODY_AT - NONCE_AT);
  sealed.set(nonce, NONCE_AT);
  const cipher = createCipheriv(ALGORITHM, keys.get(current) as KeyObject, nonce, GCM);
  cipher.setAAD(authenticated(key, sealed));
  sealed.set(cipher.update(value), BODY_AT);
  cipher.final(); // Holds nothing back: GCM encrypts byte by byte.
  sealed.set(cipher.getAuthTag(), BODY_AT + value.byteLength);
  return sealed;
}

/**
 * Is this, or was this before it was damaged, an encrypted value? Either of two marks will do, far enough apart that one
 * damaged place cannot make an encrypted value pass for a plain one.
 */
export function isSealed(stored: Uint8Array): boolean {
  const bytes = asBuffer(stored);
  return MAGIC_FAMILY.test(bytes.toString('latin1', 0, MAGIC.length)) || hasIntactId(bytes);
}

/**
 * The value that was sealed, if it was sealed under this storage key with a key that the keyring has.
 * @throws UnknownEncryptionKeyError when the keyring lacks the key.
 * @throws CorruptionError for everything else, naming what is wrong. Nothing is returned that was not proved first.
 */
export function openValue(key: string, stored: Uint8Array, { keys }: OpenedKeyring): OpenedValue {
  const bytes = asBuffer(stored);
  if (!isSealed(bytes)) throw corrupt(key, 'is not encrypted by holdfast, or damaged beyond recognition');
  if (bytes.length < OVERHEAD_BYTES) throw corrupt(key, 'is damaged: its end is missing');
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw corrupt(key, 'has a format that is unknown: it is damaged, or was written by a newer holdfast');
  }
  if (!hasIntactId(bytes)) throw corrupt(key, 'is damaged: the id of its key is not what was written');
  const keyId = bytes.toString('latin1', ID_AT, CHECKSUM_AT).replace(/\0+$/, '');
  const keyObject = keys.get(keyId);
  if (keyObject === undefined) throw new UnknownEncryptionKeyError(key, keyId);
  const tagAt = bytes.length - TAG_BYTES;
  const decipher = createDecipheriv(ALGORITHM, keyObject, bytes.subarray(NONCE_AT, BODY_AT), GCM);
  decipher.setAAD(authenticated(key, bytes));
  decipher.setAuthTag(bytes.subarray(tagAt));
  const value = decipher.update(bytes.subarray(BODY_AT, tagAt));
  try {
    decipher.final();
  } catch (cause) {
    const otherwise = `unless "${keyId}" in the keyring is another key than it was`;
    throw corrupt(key, `is damaged, or was encrypted for another storage key, ${otherwise}`, cause);
  }
  return { value, keyId };
}

function authenticated(key: string, sealed: Buffer): Buffer {
  return Buffer.concat([sealed.subarray(0, BODY_AT), Buffer.from(key, 'latin1')]);
}

function hasIntactId(bytes: Buffer): boolean {
  if (bytes.length < OVERHEAD_BYTES) return false;
  return crc32(bytes.subarray(ID_AT, CHECKSUM_AT), crc32(MAGIC)) === bytes.readUInt32LE(CHECKSUM_AT);
}

function corrupt(key: string, what: string, cause?: unknown): CorruptionError {
  return new CorruptionError(`The value of "${key}" ${what}.`, key, { cause });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
