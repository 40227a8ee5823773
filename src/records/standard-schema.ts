import { InvalidInputError } from '../base/errors.js';

/**
 * A schema of any library that keeps to the Standard Schema (zod, valibot, arktype, ...): the part of it that is used
 * here. Source: https://standardschema.dev, version 1.
 */
export interface StandardSchema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    /** The value as the schema reads it, or what is wrong with it. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Only carries types. */
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

/** What a schema says of a value. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** One thing that is wrong with a value. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** Is this a Standard Schema? */
export function isStandardSchema(value: unknown): value is StandardSchema {
  return typeof (value as Partial<StandardSchema> | null | undefined)?.['~standard']?.validate === 'function';
}

/**
 * `value` as its schema reads it.
 * @throws InvalidInputError with the path of the first thing that is wrong, from `name` on.
 */
export async function parseWith<Output>(schema: StandardSchema<Output>, value: unknown, name: string): Promise<Output> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  const [issue] = result.issues;
  const steps = (issue?.path ?? []).map((step) => String(typeof step === 'object' ? step.key : step));
  const path = [name, ...steps].join('.');
  throw new InvalidInputError(`${path}: ${issue?.message ?? 'was refused by its schema'}.`, path, {
    cause: result.issues,
  });
}
