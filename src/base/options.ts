import * as z from 'zod';
import type { Clock } from './clock.js';
import { InvalidInputError } from './errors.js';

/**
 * `options` as its schema reads it, defaults filled in. Schemas are strict: an unknown key is an error, because a
 * misspelt option that is ignored fails silently later.
 * @throws InvalidInputError naming the path, what was wrong and what is allowed.
 */
export function parseOptions<Output>(schema: z.ZodType<Output>, options: unknown, name = 'options'): Output {
  const parsed = schema.safeParse(options === undefined ? {} : options);
  if (parsed.success) return parsed.data;
  const issue = deepest(parsed.error.issues[0] as z.core.$ZodIssue); // A failure has at least one.
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const path = [name, ...issue.path, ...unknown].map(String).join('.');
  const isSaid = /, not |received/.test(issue.message);
  const given = isSaid ? '' : shown(issue.path.reduce(valueAt, options));
  throw new InvalidInputError(`${path}: ${issue.message}${given}.`, path, { cause: parsed.error });
}

/**
 * What `make` makes of options that the host gave as `options.<part>` and that it reads as `inner`: what is wrong with them
 * is told under the path that the host wrote.
 * @throws InvalidInputError with that path, and whatever else `make` throws.
 */
export function asGiven<Made>(part: string, make: () => Made, inner = 'options'): Made {
  const outer = `options.${part}`;
  try {
    return make();
  } catch (error) {
    const isInside = (path: string, root: string) => path === root || path.startsWith(`${root}.`);
    if (!(error instanceof InvalidInputError)) throw error;
    const { path, message, cause } = error;
    if (!isInside(path, inner) || isInside(path, outer)) throw error;
    const own = `${outer}${path.slice(inner.length)}`;
    throw new InvalidInputError(message.startsWith(path) ? own + message.slice(path.length) : message, own, { cause });
  }
}

/** Of a value that fits none of several shapes: what is wrong with the shape that it comes closest to. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue;
  const inside = issue.errors.flat().find(({ path, code }) => path.length > 0 || code === 'unrecognized_keys');
  return inside === undefined ? issue : deepest({ ...inside, path: [...issue.path, ...inside.path] });
}

function valueAt(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
}

/** What was given, where it is short enough to help. */
function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return `, not ${value}`;
  return typeof value === 'string' && value.length <= 100 ? `, not ${JSON.stringify(value)}` : '';
}

/** An injected clock among options. */
export const clockOption = z.custom<Clock>((clock) => typeof clock === 'object' && clock !== null, 'must be a Clock');

/** A function of the host's among options. */
export function functionOption<F>(): z.ZodCustom<F, F> {
  return z.custom<F>((given) => typeof given === 'function', 'must be a function');
}

/** No instance of anything: what is in that is not read as options. */
function isPlain(given: unknown): boolean {
  if (typeof given !== 'object' || given === null) return false;
  const prototype: unknown = Object.getPrototypeOf(given);
  return prototype === null || prototype === Object.prototype;
}

/** Options to be passed on, but for those in `refused`, which are not the host's to give: each with the reason. */
export function partOption(refused: Readonly<Record<string, string>>): z.ZodOptional<z.ZodCustom<object, object>> {
  const given = z.custom<object>(isPlain, 'must be a plain object of options');
  const refuse = (part: object, { addIssue }: z.core.$RefinementCtx<object>) => {
    const name = Object.keys(refused).find((name) => Reflect.get(part, name) !== undefined);
    if (name !== undefined) addIssue({ code: 'custom', path: [name], message: refused[name] });
  };
  return given.superRefine(refuse).optional();
}
