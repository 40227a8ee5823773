import { InvalidInputError } from '../base/errors.js';
import { readStep } from './step-code.js';
import type { StepContext, StepOptions, TransactionBody } from './transaction.js';

/** One step of a list: its options, its name, and what it runs with the results of those before it. */
export interface ListedStep<Earlier extends readonly unknown[], Result> extends StepOptions<NoInfer<Result>> {
  /** Default `step 1`, `step 2`, ... by position. Give names to what may ever change: after a crash steps are known by them. */
  readonly name?: string;
  /** Given the results of the steps before it, in order, then the step's context. */
  run(...given: [...Earlier, StepContext]): Result | PromiseLike<Result>;
}

/** A step of a list whose types are not followed. */
export type AnyListedStep = Omit<StepOptions<never>, 'compensate' | 'verify' | 'parse'> & {
  readonly name?: string;
  /** As of a `ListedStep`. */
  // biome-ignore lint/suspicious/noExplicitAny: whoever leaves the types to run time writes any parameters.
  run(...given: any[]): unknown;
  /** As of any step. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  compensate?(result: any, context: any): unknown;
  /** As of any step. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  verify?(context: any): any;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly parse?: any;
};

/**
 * A list of steps as the body of a transaction: one after the other; its result is all their results.
 * @throws InvalidInputError naming the step that cannot be used
 */
export function bodyOfList(steps: readonly AnyListedStep[]): TransactionBody<undefined, unknown[]> {
  const listed = steps.map((step, index) => {
    if (typeof step?.run !== 'function') {
      const path = `steps.${index}.run`;
      throw new InvalidInputError(`${path}: a step is { run, compensate? } with an optional name.`, path);
    }
    const { name = `step ${index + 1}`, run, compensate, verify, ...others } = step;
    const options = {
      ...others,
      ...(compensate !== undefined && { compensate: bound(compensate, step) }),
      ...(verify !== undefined && { verify: bound(verify, step) }),
    };
    readStep(name, [run, options]); // Only to see whether they can be used.
    return { name, run: run.bind(step), options: options as StepOptions<unknown> };
  });
  const again = listed.find(({ name }, index) => listed.findIndex((step) => step.name === name) !== index);
  if (again !== undefined) {
    const path = `step "${again.name}"`;
    throw new InvalidInputError(`${path}: this name is used twice. Give each step its own.`, path);
  }
  return async (tx) => {
    const results: unknown[] = [];
    for (const { name, run, options } of listed) {
      results.push(await tx.step<unknown>(name, (context) => run(...results, context), options));
    }
    return results;
  };
}

/** A step may be an object of a class. What is no function is left to the check of options. */
function bound(method: unknown, step: AnyListedStep): unknown {
  return typeof method === 'function' ? method.bind(step) : method;
}
