import { LimitError } from '../base/errors.js';

export function tooLarge(maxBytes: number): LimitError {
  return new LimitError(
    `The value needs more than maxBytes (${maxBytes}). Keep less in it, or raise the limit.`,
    'maxBytes',
    maxBytes,
  );
}

export function tooDeep(maxDepth: number): LimitError {
  return new LimitError(
    `The value is nested deeper than maxDepth (${maxDepth}). Flatten it, or raise the limit.`,
    'maxDepth',
    maxDepth,
  );
}
