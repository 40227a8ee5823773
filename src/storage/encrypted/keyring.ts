import { createSecretKey, KeyObject } from 'node:crypto';
import * as z from 'zod';
import { InvalidInputError } from '../../base/errors.js';
import { parseOptions } from '../../base/options.js';

/**
 * The keys of an encrypted store, by ids that you choose. Values are written under `current` and read under whichever
 * they were written with.
 */
export interface Keyring {
  /** Id of the key that is written with. */
  readonly current: string;
  /**
   * Every key that a value may still need, by its id: 32 random bytes each, as a Uint8Array (copied) or a secret
   * `KeyObject`. An id has 1 to 64 printable ASCII characters, is stored in the clear beside every value, and means the
   * same key for ever. A passphrase is no key: derive one from it, with `scrypt`.
   */
  readonly keys: Readonly<Record<string, Uint8Array | KeyObject>>;
}

/** A keyring that was checked, with keys of its own. */
export interface OpenedKeyring {
  readonly current: string;
  readonly keys: ReadonlyMap<string, KeyObject>;
}

const KEY_BYTES = 32;
const KEY_ID = /^[\x20-\x7e]{1,64}$/;

// Both messages hold ", not ": so worded, the error does not quote what was given, which could be the secret itself.
const key = z.custom<Uint8Array | KeyObject>(
  isKey,
  `must be ${KEY_BYTES} bytes in a Uint8Array or a secret KeyObject, not of another length, nor text`,
);
const keyringSchema = z.strictObject({
  current: z.string('must be the id of one of the keys, not something else'),
  keys: z.record(z.string(), key),
});

/** @throws InvalidInputError without quoting a key, unless every id and key is as it must be and `current` is among them. */
export function openKeyring(keyring: Keyring): OpenedKeyring {
  const { current, keys } = parseOptions(keyringSchema, keyring, 'keyring');
  const opened = new Map(Object.entries(keys).map(([id, key]) => [id, asKeyObject(key)]));
  if ([...opened.keys()].some((id) => !KEY_ID.test(id))) {
    throw new InvalidInputError('keyring.keys: an id has 1 to 64 printable ASCII characters.', 'keyring.keys');
  }
  if (!opened.has(current)) {
    throw new InvalidInputError('keyring.current: must be the id of one of the keys.', 'keyring.current');
  }
  return { current, keys: opened };
}

function isKey(given: unknown): boolean {
  if (given instanceof KeyObject) return given.type === 'secret' && given.symmetricKeySize === KEY_BYTES;
  return given instanceof Uint8Array && given.byteLength === KEY_BYTES;
}

function asKeyObject(key: Uint8Array | KeyObject): KeyObject {
  return key instanceof KeyObject ? key : createSecretKey(key);
}
