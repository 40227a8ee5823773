import * as z from 'zod';
import { InvalidInputError } from '../base/errors.js';
import { functionOption, parseOptions } from '../base/options.js';
import { retrySchema } from '../policies/retry-options.js';
import { isStandardSchema, type StandardSchema } from '../records/standard-schema.js';
import type { StepEffect, StepOptions, StepRetryOptions, StepRun } from './transaction.js';

/** Retries of a compensation unless its step says otherwise. */
const COMPENSATION_RETRIES = 3;
const MAX_NAME_LENGTH = 512;
const HALF_SURROGATE = /\p{Surrogate}/u;

/** What the body says of a step, checked. */
export interface StepCode {
  readonly run: StepRun<unknown>;
  readonly compensate: NonNullable<StepOptions<unknown>['compensate']> | undefined;
  readonly verify: NonNullable<StepOptions<unknown>['verify']> | undefined;
  readonly effect: StepEffect;
  readonly isPivot: boolean;
  readonly retry: StepRetryOptions;
  readonly compensateRetry: StepRetryOptions;
  readonly timeoutMs: number | undefined;
  readonly circuit: StepOptions<unknown>['circuit'];
  readonly bulkhead: StepOptions<unknown>['bulkhead'];
  readonly parse: StandardSchema | undefined;
}

export const standardSchemaOption = z.custom<StandardSchema>(isStandardSchema, 'must be a Standard Schema');

const retryOption = z
  .union([
    z.int().min(0),
    retrySchema.pick({ maxRetries: true, backoff: true, classify: true, retryAfter: true, budget: true }),
  ])
  .optional();

const stepSchema = z.strictObject({
  compensate: functionOption<NonNullable<StepCode['compensate']>>().optional(),
  verify: functionOption<NonNullable<StepCode['verify']>>().optional(),
  effect: z.enum(['idempotent', 'once', 'none']).optional(),
  pivot: z.boolean().optional(),
  retry: retryOption,
  compensateRetry: retryOption,
  timeoutMs: retrySchema.shape.attemptTimeoutMs,
  circuit: retrySchema.shape.circuit,
  bulkhead: retrySchema.shape.bulkhead,
  parse: standardSchemaOption.optional(),
});

const NO_RETRY: StepRetryOptions = { maxRetries: 0 };
const INSISTENT: StepRetryOptions = { maxRetries: COMPENSATION_RETRIES, budget: false };
const NO_OPTIONS: StepOptions<unknown> = {};

/**
 * The arguments of `tx.step`, checked.
 * @throws InvalidInputError naming the step and what is wrong with it.
 */
export function readStep(name: string, given: readonly unknown[]): StepCode {
  requireName(name, 'step');
  const what = `step "${name}"`;
  const [run, third] = given;
  if (given.length > 2 && given.slice(2).some((argument) => argument !== undefined)) {
    throw new InvalidInputError(`${what}: give a compensation or options; \`compensate\` is one of the options.`, what);
  }
  if (typeof run !== 'function') throw new InvalidInputError(`${what}: its second argument must be a function.`, what);
  const options = readOptions(third, what);
  const { verify, effect = 'idempotent', pivot = false, timeoutMs, circuit, bulkhead, parse } = options;
  return {
    run: run as StepRun<unknown>,
    compensate: typeof third === 'function' ? (third as StepCode['compensate']) : options.compensate,
    verify,
    effect,
    isPivot: pivot,
    retry: readRetry(options.retry, NO_RETRY),
    compensateRetry: readRetry(options.compensateRetry, INSISTENT),
    timeoutMs,
    circuit,
    bulkhead,
    parse,
  };
}

/** Most steps have none: a schema would cost more than all else that is done for them. */
function readOptions(third: unknown, what: string): StepOptions<unknown> {
  if (third === undefined || typeof third === 'function') return NO_OPTIONS;
  return parseOptions(stepSchema, third, what) as StepOptions<unknown>;
}

/** @throws InvalidInputError unless `name` can be kept and told apart. */
export function requireName(name: unknown, what: string): void {
  const isName =
    typeof name === 'string' && name !== '' && name.length <= MAX_NAME_LENGTH && !HALF_SURROGATE.test(name);
  if (isName) return;
  const message = `${what}: its name must be a string of 1 to ${MAX_NAME_LENGTH} characters without half surrogate pairs.`;
  throw new InvalidInputError(message, `${what}.name`);
}

function readRetry(given: StepOptions<unknown>['retry'], otherwise: StepRetryOptions): StepRetryOptions {
  if (given === undefined) return otherwise;
  return typeof given === 'number' ? { ...otherwise, maxRetries: given } : { ...otherwise, maxRetries: 3, ...given };
}
