import { HoldfastError } from '../base/errors.js';

/** Not where the host froze the built-ins (`--frozen-intrinsics`): there a refusal has a stack. */
const mayLimitStacks = Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit')?.writable === true;

/**
 * A call was refused and not made: it is safe to make it later. Has no stack, because refusals come by the thousand
 * just when there is least time for them, and where a call was refused is of no interest.
 */
export abstract class RefusalError extends HoldfastError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    const { stackTraceLimit } = Error;
    if (mayLimitStacks) Error.stackTraceLimit = 0;
    super(message, options);
    if (mayLimitStacks) Error.stackTraceLimit = stackTraceLimit;
  }
}
