import { createHash, hash } from 'node:crypto';

/** SHA-256 in lower-case hexadecimal: 64 characters. One shot: three times cheaper than `createHash` for small inputs. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return hash('sha256', bytes, 'hex');
}

/** SHA-256 of pieces one behind the other, in lower-case hexadecimal. */
export function sha256HexOfPieces(pieces: readonly Uint8Array[]): string {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return sha256Hex(only);
  const sum = createHash('sha256');
  for (const piece of pieces) sum.update(piece);
  return sum.digest('hex');
}

/** SHA-256 in base64url: 43 characters, the same strength in two thirds of the space. */
export function sha256Base64Url(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'base64url');
}
