import { hash } from 'node:crypto';

/** SHA-256 in lower-case hexadecimal: 64 characters. One shot: three times cheaper than `createHash` for small inputs. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return hash('sha256', bytes, 'hex');
}

/** SHA-256 in base64url: 43 characters, the same strength in two thirds of the space. */
export function sha256Base64Url(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'base64url');
}
