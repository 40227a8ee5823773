import type * as z from 'zod';
import { InvalidInputError } from './errors.js';

/**
 * `options` as its schema reads it, defaults filled in. Schemas are strict: an unknown key is an error, because a
 * misspelt option that is ignored fails silently later.
 * @throws InvalidInputError naming the path, what was wrong and what is allowed.
 */
export function parseOptions<Output>(schema: z.ZodType<Output>, options: unknown, name = 'options'): Output {
  const parsed = schema.safeParse(options === undefined ? {} : options);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues as [z.core.$ZodIssue]; // A failure has at least one.
  const path = [name, ...issue.path].map(String).join('.');
  throw new InvalidInputError(`${path}: ${issue.message}.`, path, { cause: parsed.error });
}
