import { HoldfastError } from '../../base/errors.js';

/**
 * What was to be imported is not an export of holdfast as it was made: it was cut, edited, put together from several, or
 * never was one. Nothing was imported.
 */
export class ImportError extends HoldfastError {
  readonly code = 'HOLDFAST_IMPORT';
  constructor(
    /** Where it was found out, the first line being 1. What is wrong may be before it. */
    readonly line: number,
    problem: string,
    options?: { readonly cause?: unknown },
  ) {
    super(`Line ${line} of the export ${problem} Nothing was imported.`, options);
  }
}
