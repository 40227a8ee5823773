import { createHash } from 'node:crypto';

/** Pieces that a long text is cut into, in characters. */
const MIN_PIECE = 2 * 1024;
const MAX_PIECE = 16 * 1024;
/** A cut after one in so many characters, so that pieces have some 8 KiB. */
const MEAN_DISTANCE = 8 * 1024;

/** A fixed random number for each byte. Never to be changed: texts would be cut elsewhere, and stored anew once. */
const GEAR = new Uint32Array(256).map((_, byte) =>
  createHash('sha256').update(`holdfast gear ${byte}`).digest().readUInt32LE(0),
);

/**
 * Cuts a text where its own characters say so, so that the same stretch is cut alike wherever it stands: an edit changes
 * the pieces around it and no others. Source: the gear hash of "FastCDC" (Xia et al., USENIX ATC 2016).
 */
export function cutText(text: string): string[] {
  const pieces: string[] = [];
  for (let start = 0; start < text.length; ) {
    const end = pieceEnd(text, start);
    pieces.push(text.slice(start, end));
    start = end;
  }
  return pieces;
}

function pieceEnd(text: string, start: number): number {
  const last = Math.min(start + MAX_PIECE, text.length);
  let gear = 0;
  for (let at = start + MIN_PIECE; at < last; at++) {
    gear = ((gear << 1) + (GEAR[text.charCodeAt(at) & 0xff] as number)) | 0;
    if (gear >>> 0 < 0x1_0000_0000 / MEAN_DISTANCE) return betweenCharacters(text, at + 1);
  }
  return betweenCharacters(text, last);
}

/** Two halves of one character have no UTF-8 of their own. */
function betweenCharacters(text: string, at: number): number {
  const next = text.charCodeAt(at);
  return next >= 0xdc00 && next <= 0xdfff ? at + 1 : at;
}
