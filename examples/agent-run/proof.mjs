// @ts-check
import canonicalJson from 'fast-json-stable-stringify';
import { newestCheckpoint } from './store.mjs';

/**
 * @typedef {object} Proof
 * @property {boolean} isEqual
 * @property {string} difference Empty if there is none.
 * @property {number} sizeBytes
 * @property {string} checksum
 */

/**
 * Whether two runs ended with the same state, byte by byte. The bytes are made anew from what `restore` gave, by a
 * serialiser that is not holdfast's: it does not prove itself.
 * @param {import('./store.mjs').Place} killed
 * @param {import('./store.mjs').Place} undisturbed
 * @returns {Promise<Proof>}
 */
export async function compareResults(killed, undisturbed) {
  const [a, b] = [await newestCheckpoint(killed), await newestCheckpoint(undisturbed)];
  const [aBytes, bBytes] = [bytesOf(a.state), bytesOf(b.state)];
  const difference =
    (!aBytes.equals(bBytes) && `${aBytes.length} bytes after the kills, ${bBytes.length} without them`) ||
    (a.checkpoint.checksum !== b.checkpoint.checksum && 'the bytes are the same, the checksums are not') ||
    (a.checkpoint.sizeBytes !== aBytes.length && 'the checkpoint is not of the size of the bytes') ||
    (a.state.plan.next.length > 0 && `${a.state.plan.next.length} packages were left out`) ||
    '';
  return { isEqual: difference === '', difference, sizeBytes: aBytes.length, checksum: a.checkpoint.checksum };
}

/** @param {unknown} state */
function bytesOf(state) {
  return Buffer.from(canonicalJson(state));
}
